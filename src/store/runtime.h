/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RUNTIME_H
#define STORE_RUNTIME_H

/*
 * run.json: what a running VM's `run` lets others know. Written by `run` only,
 * atomically; believed only while that VM's running lock is held by the
 * pid in it.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "base/attr.h"
#include "store/config.h"

struct error;
struct home;
struct str;
struct vm;

enum { RUNTIME_FILE_MAX = 64 * 1024, RUNTIME_CARDS_MAX = 8, RUNTIME_PORTS_MAX = 64 };

struct runtime_card {
	struct mac mac;
	struct in_addr address; /* 0.0.0.0: none, or none seen yet (bridged) */
	bool leased; /* the guest uses the address */
	char interface[16]; /* where the host sees the guest: the tap, bridge or macvlan */
	char parent[16]; /* bridged: the bridge or interface, else "" */
};
/* A TCP port of the host that leads to one of the guest's. */
struct runtime_port {
	uint16_t host, guest;
};

struct runtime {
	pid_t pid; /* of `run` */
	pid_t qemu_pid;
	time_t started;
	struct mac mac; /* this and address, leased, interface: the first card's, as below */
	struct in_addr address; /* 0.0.0.0: none */
	bool leased; /* the guest has taken the address by DHCP */
	bool agent_ready;
	char accel[8]; /* "kvm", "tcg" */
	char interface[16]; /* where the host sees the guest: the tap, bridge or macvlan */
	char mode[8]; /* "shared", "softnet", "host", "bridged", "none" */
	/* the network is in a namespace of its own: from the host the guest's address cannot be
	 * dialled, only the exposed ports */
	bool isolated;
	struct runtime_card cards[RUNTIME_CARDS_MAX];
	size_t card_count;
	struct runtime_port ports[RUNTIME_PORTS_MAX]; /* exposed */
	size_t port_count;
};

int runtime_write(const struct vm *vm, const struct runtime *rt, struct error *err) must_use_;
/* The text of run.json. */
void runtime_format(const struct runtime *rt, struct str *out);
/* Read it; the fields that are missing are zero. */
int runtime_parse(const void *bytes, size_t len, struct runtime *rt, struct error *err) must_use_;
/* Return: 1 read; 0 not running, or nothing written yet; or error. Not for `run` itself. */
int runtime_read(const struct vm *vm, struct runtime *rt, struct error *err) must_use_;
void runtime_remove(const struct vm *vm);
/*
 * Has a card of a running VM other than @except this MAC? Hold home_lock(). One that is just being
 * started and has written nothing yet is not seen: that its config does not have it is
 * vm_mac_in_use()'s to say. Return: 1, 0 or error.
 */
int runtime_mac_in_use(const struct home *home, struct mac mac, const char *except,
		       struct error *err) must_use_;

#endif
