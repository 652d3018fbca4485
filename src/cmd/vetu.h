/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_VETU_H
#define CMD_VETU_H

/*
 * Called as "vetu" (a link of that name), what vetu's clients say is understood: all its verbs and
 * options are ours, too, but for those below. $VETU_HOME is store/home.c's.
 *
 * The verbs' tables have these options under every name, in no help screen: who uses them here is
 * told why not.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "cli/option.h"

struct error;

enum { VETU_CPUS = 2 /* of a VM that create is told nothing of */ };

bool vetu_is_name(const char *program);

struct vetu_create {
	const char *kernel, *initramfs, *cmdline; /* NULL: not given */
	struct strings disks;
};
/*
 * One disk is the image that the VM is made from, *from_image. E_VALIDATION: several, or a kernel
 * of its own: what a VM boots is on its disk, where an image that is pushed carries it.
 */
int vetu_check_create(const struct vetu_create *create, const char **from_image,
		      struct error *err) must_use_;

struct vetu_run {
	struct optional_number net_host_mtu;
	struct strings devices;
};
/* E_VALIDATION: a device of the host's, or an MTU that our networks do not have. */
int vetu_check_run(const struct vetu_run *run, struct error *err) must_use_;

#endif
