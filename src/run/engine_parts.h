/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_ENGINE_PARTS_H
#define RUN_ENGINE_PARTS_H

/* What a QEMU may have been built without, and a VM can do without. */

#include <stdbool.h>

#include "base/attr.h"
#include "machine/plan.h"

struct engine;
struct error;
struct identity;
struct session;
struct str;

struct engine_parts {
	bool clipboard; /* qemu-vdagent */
	bool sound_card; /* intel-hda */
};

/*
 * Ask the session's engine. That takes a moment, so the answer of one that has all is kept in the
 * home's cache for as long as its file is the same. One that cannot be asked has all: it says
 * itself, when it starts, what is wrong.
 */
struct engine_parts engine_parts_find(const struct session *session);
/*
 * What @engine prints of @option @value ("-display help"), as the user of @identity: append it to
 * @out, and what it complains of to @complaints (may be NULL). Return: its exit status or error.
 */
int engine_ask(const struct engine *engine, const struct identity *identity, const char *option,
	       const char *value, struct str *out, struct str *complaints,
	       struct error *err) must_use_;
/* Is @word one of the kinds, one a line, in what it printed? */
bool engine_named(const char *text, const char *word) must_use_;
/* Which window can it open? WINDOW_NONE: none is installed. */
int engine_find_window(const struct engine *engine, const struct identity *identity,
		       enum plan_window *window, struct error *err) must_use_;

#endif
