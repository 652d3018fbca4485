/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_VSOCK_H
#define RUN_VSOCK_H

/*
 * The guest's vsock: run --vsock. The device is opened by `run`, which so has its number (CID) for
 * this guest before QEMU starts, and is handed to QEMU, which becomes its owner. The number is the
 * guest's as long as the descriptor is open anywhere.
 *
 * The door has two sides: the guest may also dial whoever listens on a vsock of the host, and no
 * rule of a network knows of that (docs/decisions/vsock.md).
 */

#include <stdint.h>

#include "base/attr.h"

struct dial_address;
struct error;

enum { VSOCK_TRIES = 64 };

/*
 * Choose a free CID at random: @claim takes it, or returns -EADDRINUSE where another guest or this
 * host has it, or another -errno, which is the end. Return: 0 and *cid; or error.
 */
int vsock_choose(int (*claim)(void *arg, uint32_t cid), void *arg, uint32_t *cid,
		 struct error *err) must_use_;

/* Open the device with a CID of its own. Return: fd and *cid; or error, which says what to do. */
int vsock_open(uint32_t *cid, struct error *err) must_use_;

/* Where the stock agent of the guest with that CID listens. @cid 0: nowhere. */
void vsock_agent_address(uint32_t cid, struct dial_address *address);

#endif
