/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_WAKE_H
#define RUN_WAKE_H

struct session;

/* The guest was resumed and its agent answers: set its clock, which stood still. What cannot be is
 * told on stderr. */
void wake_guest(struct session *session);

#endif
