/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_CARETAKER_H
#define RUN_CARETAKER_H

/*
 * Who keeps the network of a suspended VM, so that its open connections go on.
 *
 * Theory of operation
 *
 * A keeper (net/helper.h) lives as long as its socket is open. When a VM is suspended, `run` leaves
 * a process behind that has this socket and the tap, and does nothing with them: for the keeper,
 * for the filter and for other VMs the guest is merely silent. So nobody else can get its address,
 * nothing is forwarded to anybody but into the tap, where nobody reads, and no part of the
 * privileged program knows of all this.
 *
 * It listens in state/, whose owner alone can come there, and lives as long as that very directory
 * is the VM's state: a resume, `stop` or `delete` ends it, and with it the network. So does
 * CARETAKER_LIFE_MS, and a `run` that asks for another network than the one that was kept: another
 * mode, MAC address, fixed address or other exposed ports, also if that `run` then fails. `run`
 * that resumes gets copies of both descriptors, tells the keeper its policy, by which the keeper
 * judges what is open, empties the tap of what came before, and only then gives it to QEMU. If it
 * fails, and the state stays, the caretaker goes on.
 *
 * It is of a card with an address of ours only: on a LAN nobody would renew the guest's lease.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;
struct net_start;
struct network;
struct vm;

enum { CARETAKER_LIFE_MS = 24 * 60 * 60 * 1000 };

/* A `run`'s end of it. */
struct caretaker {
	pid_t pid; /* that we started, 0: none */
	int lease; /* it sees by this that we end, -1 */
	int line; /* to the one that kept our network, which has a copy as long as this is open */
};
#define CARETAKER_INIT                   \
	{                                \
		.lease = -1, .line = -1, \
	}

/*
 * state.new/ is about to become the VM's state: start one that serves there. Nothing to keep, or
 * keepers that owe an answer: it does nothing.
 */
int caretaker_start(struct network *network, const struct vm *vm, struct error *err) must_use_;
/* There is no state, and the guest goes on. */
void caretaker_dismiss(struct network *network);
/*
 * The network that was kept, if it is what @start asks for, becomes that of the network's first
 * card, with the network's policy. Return: 1, *tap is the caller's; 0 there is none, and its
 * address and ports are free; or error, and it is kept on.
 */
int caretaker_take(struct network *network, const struct vm *vm, const struct net_start *start,
		   int *tap, struct error *err) must_use_;
/* The guest goes on: the network is ours alone. */
void caretaker_thank(struct network *network);
/* We end, and are about to close the cards. Return: somebody else keeps them. */
bool caretaker_keeps(struct network *network);

#endif
