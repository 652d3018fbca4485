/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_MOUNTS_H
#define RUN_MOUNTS_H

/*
 * The guest's side of its folders, which it has to let go of for a suspend: commands for its agent
 * (errand.h). What was mounted where the guest itself keeps, in its memory; the host neither
 * learns nor believes it.
 */

/* Note what is mounted, and unmount it, also where it is in use. */
extern const char *const mounts_leave[];
/* The folders are plugged in again, which the guest may have yet to see: mount what was noted, and
 * end when all of it is mounted. What mounts by itself may be first. */
extern const char *const mounts_return[];

#endif
