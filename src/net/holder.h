/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HOLDER_H
#define NET_HOLDER_H

/*
 * The network of a user without any privilege: one user and network namespace
 * for all his VMs, whose uplink is pasta.
 *
 * Theory of operation
 *
 * A namespace lives as long as a process is in it. The holder is that process:
 * pasta makes the namespaces and starts it in them, and ends when it ends. It
 * listens at RUNTIME_DIR_SOCKET. A keeper (net/user_namespace.h) connects, is
 * given the two namespaces, and keeps the connection as long as it lives.
 *
 * The last connection ends the holder, if nobody else comes meanwhile: who
 * connects has the lock of the directory, and the holder leaves with that
 * lock. If pasta dies, its interface is gone, and the holder ends; if the
 * holder dies, the keepers' connections end, and so do they.
 *
 * The holder has what pasta passes on in every version: descriptors 0 (it
 * listens), 1 (net/host_addresses.h) and 2 (for what went wrong).
 */

#include "base/attr.h"
#include "net/subnet.h"

struct error;

/* The interface that pasta makes. */
#define HOLDER_UPLINK "uplink"

enum { HOLDER_POOLS_MAX = 4, HOLDER_TEXT_MAX = 128 };

/*
 * What a keeper is sent, with the descriptor of the user namespace; then a
 * byte with that of the network namespace.
 */
struct holder_answer {
	char pools[HOLDER_TEXT_MAX]; /* for which it was started, terminated */
};

/* The pools as text, and back: "192.168.64.0/24,192.168.128.0/24". */
int holder_pools_write(const struct subnet *pools, size_t count, char text[HOLDER_TEXT_MAX],
		       struct error *err) must_use_;
int holder_pools_read(const char *text, struct subnet pools[HOLDER_POOLS_MAX], size_t *count,
		      struct error *err) must_use_;

/*
 * All its life. @dir: the directory of net/runtime_dir.h, @pools: the text
 * above. Only as the first process of a PID namespace, as pasta starts it.
 */
int holder_main(const char *dir, const char *pools, struct error *err) must_use_;

#endif
