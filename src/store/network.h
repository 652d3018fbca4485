/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_NETWORK_H
#define STORE_NETWORK_H

/*
 * What a VM's directory says of its network:
 *
 *   network.json  {"ip":"192.168.64.7","noLocal":true}, each where it is set; absent: neither
 *   net.rules     the filter's text (net/filter_text.h), as it was given; absent: no filter
 *   last-ip       the address that the VM had when it ran last: a hint, which `run` writes
 *
 * The first two are written by `set`, clone and pull under vm_lock(), and read by `run` at its
 * start under it. The third is a file of its own since `run` must not wait for that lock.
 *
 * Nothing here fails open: network.json or net.rules that is there but cannot be read, or is
 * malformed, is an error, and a VM with an error does not run. A file that is a symbolic link is
 * one. last-ip, which decides nothing, counts as absent then.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"

struct error;
struct policy;
struct vm;

#define NETWORK_SETTINGS "network.json"
#define NETWORK_FILTER "net.rules"

enum { NETWORK_FILE_MAX = 64 * 1024 }; /* bytes of network.json */

struct vm_network {
	struct in_addr fixed; /* the address that it always has; 0.0.0.0: any */
	bool no_local; /* no other guest and no host: policy_add_no_local() */
};

/* The text of network.json. */
void vm_network_format(const struct vm_network *network, struct str *out);
/*
 * Read it. A member that is not known is refused: it may be a restriction.
 * Errors: E_INVALID, E_TOO_BIG beyond NETWORK_FILE_MAX; @network is untouched then.
 */
int vm_network_parse(const void *bytes, size_t len, struct vm_network *network,
		     struct error *err) must_use_;
/* Can a guest have @address: unicast, and neither loopback, link-local, 0/8 nor reserved? */
bool vm_network_is_address(struct in_addr address);

/* Read network.json; where there is none @network is all zero. The error names file and VM. */
int vm_network_read(const struct vm *vm, struct vm_network *network, struct error *err) must_use_;
/* Write it atomically; what sets nothing removes the file. */
int vm_network_write(const struct vm *vm, const struct vm_network *network,
		     struct error *err) must_use_;

/*
 * Append the text of net.rules, at most FILTER_TEXT_MAX bytes, to @text. It is not looked into.
 * Return: 1; 0 no filter; or error, which names file and VM.
 */
int vm_filter_read(const struct vm *vm, struct str *text, struct error *err) must_use_;
/*
 * Append the rules of net.rules to @policy, stage OWN; what is malformed is the error
 * `net.rules of VM "x": line L, column C: ...`.
 * Return: 1; 0 no filter; or error, after which @policy must not be used.
 */
int vm_filter_compile(const struct vm *vm, struct policy *policy, struct error *err) must_use_;
/* Write net.rules atomically. The caller has parsed @text. */
int vm_filter_write(const struct vm *vm, struct slice text, struct error *err) must_use_;
int vm_filter_remove(const struct vm *vm, struct error *err) must_use_;

/* The address that the VM had when it ran last; 0.0.0.0: not known. */
struct in_addr vm_last_address(const struct vm *vm);
/* Remember it. Best effort: where it cannot be written the VM just gets another. */
void vm_set_last_address(const struct vm *vm, struct in_addr address);

#endif
