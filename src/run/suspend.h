/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_SUSPEND_H
#define RUN_SUSPEND_H

struct session;

/* SIGUSR1: save the VM's state and end; or say on stdout why not, and it goes on. */
void suspend_start(struct session *session);

#endif
