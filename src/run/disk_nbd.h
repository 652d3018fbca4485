/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_NBD_H
#define RUN_DISK_NBD_H

/*
 * A disk of an NBD server (disk_nbd_url.h). We connect, QEMU speaks: it finds a socket of ours in a
 * directory that it has a descriptor of, and what it and the server say is copied without a look
 * by a thread of this process, also after a reconnect.
 */

#include <stdint.h>

#include "base/attr.h"
#include "machine/plan.h"

struct error;
struct nbd_relay;
struct nbd_url;

enum { NBD_TIMEOUT_MS = 30000 };

/*
 * Connect to the server of @url and see within @timeout_ms that it speaks NBD, by its first 8
 * bytes, which stay in the socket; or until the event @stop (-1: none) is there, but for the time
 * that a name server takes. Return: fd, not blocking; or E_FAILED with one line.
 */
int nbd_connect(const struct nbd_url *url, unsigned timeout_ms, int stop,
		struct error *err) must_use_;

/*
 * Connect to the server of @text and serve it to QEMU from the empty directory @dir, which this
 * fills: @nbd for the plan, borrowed from *relay. *relay is the caller's, to be stopped.
 */
int disk_nbd_start(const char *text, int dir, struct nbd_relay **relay, struct plan_nbd *nbd,
		   struct error *err) must_use_;
/* Ends the thread and its connections; NULL is fine. A thread that waits for a name server ends
 * later, by itself. */
void disk_nbd_stop(struct nbd_relay *relay);

#endif
