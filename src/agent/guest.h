/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_GUEST_H
#define AGENT_GUEST_H

/*
 * The agent's doors: the virtio-serial port (framed streams), vsock port 8080
 * (a connection is a stream; only the host's are taken), and for tests an
 * AF_UNIX socket. Behind each stream stands a struct server.
 */

#include "base/attr.h"

struct error;
struct guest;
struct login;
struct loop;

enum { GUEST_VSOCK_PORT = 8080 };

struct guest *guest_new(struct loop *loop, struct login *login) must_use_;
void guest_free(struct guest *guest);
/*
 * Serve the port @path (borrowed) from now on, for ever: where it is missing, busy or its other
 * end is away, try again. A path of a socket is connected to instead.
 */
void guest_serve_port(struct guest *guest, const char *path);
/* Serve vsock as soon as the kernel has it (tried for a minute). */
void guest_serve_vsock(struct guest *guest);
/* Serve connections to the AF_UNIX socket @path, made anew with mode 0600. */
int guest_serve_socket(struct guest *guest, const char *path, struct error *err) must_use_;

#endif
