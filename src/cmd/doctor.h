/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_DOCTOR_H
#define CMD_DOCTOR_H

/*
 * What `linzer doctor` finds out about this host. No check guesses from versions and settings:
 * each does for a moment what `run` and its like do, with their own functions, and takes it back.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "machine/engine.h"
#include "run/identity.h"

struct error;
struct home;

/* FAIL: no VM can run. WARN: one can, but something is missing or slow. */
enum doctor_status { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

enum { DOCTOR_FINDINGS_MAX = 16, DOCTOR_MESSAGE_MAX = 1024 };

struct doctor_finding {
	const char *check; /* a short name */
	enum doctor_status status;
	char message[DOCTOR_MESSAGE_MAX]; /* one line */
	const char *advice; /* what to do about it; NULL: nothing, or the message says it */
};

struct doctor {
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	size_t count;
	struct identity identity; /* whom engines run as, once doctor_check_identity() found one */
	struct engine engine; /* once doctor_check_engine() found it */
};
#define DOCTOR_INIT                                               \
	{                                                         \
		.identity = IDENTITY_INIT, .engine = ENGINE_INIT, \
	}
void doctor_release(struct doctor *doctor);
#define auto_doctor cleanup_(doctor_release) struct doctor

/* Add a finding; @advice lives as long as the program. */
void doctor_add(struct doctor *doctor, const char *check, enum doctor_status status,
		const char *advice, const char *fmt, ...) printf_(5, 6);

/* Each adds one finding or more, and can do without the others unless it says so. */

/* KVM, or why guests are emulated. */
void doctor_check_accelerator(struct doctor *doctor);
/* The user that QEMU runs as. */
void doctor_check_identity(struct doctor *doctor);
/* QEMU and firmware for guests of this architecture, which are started; those for the other. After
 * doctor_check_identity(). */
void doctor_check_engine(struct doctor *doctor);
/* The window of `run`: the desktop, and what of QEMU opens one. After doctor_check_engine(). */
void doctor_check_window(struct doctor *doctor);
/* linzer-oci: pull and push. */
void doctor_check_registries(struct doctor *doctor);
/* The default network, and with which privileges it is made. */
void doctor_check_network(struct doctor *doctor);
/* virtiofsd in its jail: --dir. After doctor_check_identity(). */
void doctor_check_folders(struct doctor *doctor);
/* The home's file system: what it can, and its free space. */
void doctor_check_home(struct doctor *doctor, const struct home *home);
/* qemu-img in its sandbox: what import, create --from-image and export of some disks need. */
void doctor_check_images(struct doctor *doctor, const struct home *home);

#endif
