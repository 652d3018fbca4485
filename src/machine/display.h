/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_DISPLAY_H
#define MACHINE_DISPLAY_H

/*
 * What a person sees, hears and touches of a VM, as the engine's arguments: a part of
 * qemu_arguments(), and as pure.
 */

#include "machine/plan.h"

struct strings;

/* An adapter's sides in pixels: what a configuration asks for beyond is cut. */
enum { DISPLAY_SIDE_LEAST = 320, DISPLAY_SIDE_MOST = 8192 };

/* The clipboard's chardev, its device's id and the name by which the guest knows it. */
#define DISPLAY_CLIPBOARD "clipboard"
#define DISPLAY_CLIPBOARD_PORT "clipboard-port"
#define DISPLAY_CLIPBOARD_NAME "com.redhat.spice.0"

/* Has the machine a PS/2 controller? */
bool display_has_ps2(const struct launch_plan *plan);
/* Append them. A clipboard needs a channel before it (plan.h: .channels); @sound_fd: what number
 * .sound_fd has in the child, if it is used. */
void display_arguments(const struct launch_plan *plan, int sound_fd, struct strings *argv);

#endif
