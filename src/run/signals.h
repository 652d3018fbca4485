/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_SIGNALS_H
#define RUN_SIGNALS_H

/*
 * SIGINT, SIGTERM and SIGHUP of `run` before and after its loop (supervise.c), which has them
 * meanwhile. The three calls come in this order.
 */

/* At the start: none is blocked, and a shell's "run &" does not make SIGINT ignored. */
void signals_hear(void);
/*
 * The VM is seen as running, but there is no loop yet: each says that the VM is stopped and ends
 * the process with status 0, on the spot. Nothing is taken down, as with SIGKILL, which every stage
 * of a start bears. A SIGHUP that nohup ignores stays ignored.
 */
void signals_stop_start(void);
/* What is being taken down is taken down to its end: they are blocked from here on. */
void signals_hold(void);

#endif
