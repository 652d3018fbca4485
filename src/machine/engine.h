/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_ENGINE_H
#define MACHINE_ENGINE_H

/*
 * Finding what a VM needs on this host: the engine's program, its firmware, and
 * which accelerator really works.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "machine/plan.h"

struct error;

struct engine {
	char *program; /* absolute path of qemu-system-... */
	char *firmware_code; /* paths */
	char *firmware_vars; /* template of the variable store */
};
#define ENGINE_INIT \
	{           \
		0   \
	}

/*
 * The program is looked for in $PATH (a fixed path where this process has more rights than
 * its caller), the firmware where the distributions put it. What is missing
 * is E_MISSING_TOOL in one line naming the Debian package.
 */
int engine_find(enum plan_arch arch, struct engine *engine, struct error *err) must_use_;
/* The same with a given program path and file system root ("" for the real one). */
int engine_find_in(enum plan_arch arch, const char *path, const char *root, struct engine *engine,
		   struct error *err) must_use_;
void engine_release(struct engine *engine);
#define auto_engine cleanup_(engine_release) struct engine

/* The value of its -sandbox: what a guest that took it over cannot call. */
#define ENGINE_SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

enum accel_choice { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

/*
 * Decide the accelerator for a guest of @arch. AUTO takes KVM if /dev/kvm can be opened and is
 * fast (see accel_probe()); the answer is cached per boot and device under
 * $XDG_RUNTIME_DIR/linzer, as root /run/linzer. KVM overrides the test of speed; a host that cannot
 * open /dev/kvm, or a guest of another architecture, is then an error that says why.
 */
int accel_decide(enum plan_arch arch, enum accel_choice choice, enum plan_accel *accel,
		 struct error *err) must_use_;
const char *accel_name(enum plan_accel accel); /* "kvm", "tcg" */

/*
 * Thousands of guest instructions a second on @kvm (/dev/kvm, open), 0 where KVM does not
 * work: the best of three runs of a loop of 20,000 in long mode. Some nested hosts
 * emulate ring 0 at 3 million a second: a guest would never boot. Takes
 * about 20 ms where KVM is slow, under 2 s always.
 */
uint64_t accel_probe(int kvm);
/* From here on KVM is used: 100 million a second. */
enum { ACCEL_FAST_ENOUGH = 100000 };

#endif
