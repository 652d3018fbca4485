/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_ENGINE_H
#define MACHINE_ENGINE_H

/*
 * Finding what a VM needs on this host: the engine's program, its firmware, and
 * which accelerator really works.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "machine/plan.h"

struct error;

struct engine {
	char *program; /* absolute path of qemu-system-... */
	char *firmware_code; /* paths */
	char *firmware_vars; /* template of the variable store */
};
#define ENGINE_INIT { 0 }

/* What is missing is E_MISSING_TOOL in one line naming the Debian package. */
int engine_find(enum plan_arch arch, struct engine *engine, struct error *err) must_use_;
void engine_release(struct engine *engine);
#define auto_engine cleanup_(engine_release) struct engine

enum accel_choice { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

/*
 * Decide the accelerator for a guest of @arch. AUTO probes KVM in a child
 * that cannot hang (tried.md 8): TCG where /dev/kvm is missing, not
 * permitted, or slower than 100 million instructions a second; the answer is
 * cached per boot (and per /dev/kvm device) under $XDG_RUNTIME_DIR or /run/linzer. KVM on a host
 * that cannot is an error that says why.
 */
int accel_decide(enum plan_arch arch, enum accel_choice choice, enum plan_accel *accel,
		 struct error *err) must_use_;
const char *accel_name(enum plan_accel accel); /* "kvm", "tcg" */

#endif
