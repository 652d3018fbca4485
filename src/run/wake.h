/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_WAKE_H
#define RUN_WAKE_H

#include <stdbool.h>

struct session;

/*
 * The guest was resumed and its agent answers: set its clock, which stood still, and have it mount
 * its folders as they were. Then --wait-ready is told that the VM is ready. What cannot be is told
 * on stderr, after two minutes at most.
 */
void wake_guest(struct session *session);
/* Of that, the folders alone: they were plugged out and are in again. */
void wake_folders(struct session *session);
/* Nothing of it is under way. */
bool wake_is_over(const struct session *session);
/* Have it over at once, as it is: the suspend that is wanted then begins. */
void wake_give_up(struct session *session);

#endif
