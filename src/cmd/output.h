/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_OUTPUT_H
#define CMD_OUTPUT_H

/* What several verbs print. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/attr.h"
#include "store/vm.h"

struct error;
struct str;
struct table;

enum output_format { FORMAT_TEXT, FORMAT_JSON };
extern const char *const output_formats[]; /* for OPTION_CHOICE */

/* Write to the standard output and flush it; that it was lost is an error. */
int output_text(const struct str *text, struct error *err) must_use_;

/* What is known of a VM beyond the contract. */
struct vm_extra {
	uint64_t exclusive; /* bytes that deleting this VM alone would give back */
	time_t started; /* 0: not running */
	char address[16]; /* "": none */
	char mac[MAC_TEXT];
};
/*
 * Gather it. What a broken VM cannot tell stays empty, so that one such does
 * not hide the others.
 */
void vm_extra_read(const struct vm *vm, struct vm_extra *extra);
/* The four as members "Exclusive" (bytes), "Started" (ISO 8601 or null), "Address", "MAC". */
void vm_extra_add_json(const struct vm_extra *extra, json_t *object);
/* The four as cells. */
enum { EXTRA_COLUMNS = 4 };
void vm_extra_add_cells(const struct vm_extra *extra, struct table *table);

/* For cli/waiting.h; @arg: a struct archive_progress. */
void output_ask_archive(void *arg, uint64_t *done, uint64_t *total);

/* A JSON string, also from a file name that is not UTF-8 (its odd bytes as '?'). */
json_t *json_text(const char *text);

#endif
