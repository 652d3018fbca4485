/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_RUN_H
#define RUN_RUN_H

/*
 * `linzer run`: the supervisor of one VM. It holds the VM's running lock,
 * starts QEMU and its helpers, serves the VM's sockets, and takes everything
 * down when it ends. However it ends, nothing of it outlives it.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "base/vec.h"
#include "machine/engine.h"
#include "run/desk.h"

struct cloud_init;
struct error;
struct home;
struct dir_archives;
struct dir_options;
struct net_options;

struct run_options {
	const char *name;
	const char *root_disk; /* --root-disk-opts, or NULL */
	struct strings disks; /* --disk, as given */
	struct dir_options *dirs; /* --dir */
	struct dir_archives *archives; /* those of them that are URLs, fetched */
	const struct cloud_init *cloud;
	bool serial;
	const char *serial_path;
	bool nested;
	bool vsock; /* a vsock device, for a stock agent; see vsock.h */
	struct desk_options desk;
	const struct net_options *network;
	enum accel_choice accel;
	bool detach; /* return as soon as the VM runs */
	bool wait_ready; /* ... or as soon as its agent answers */
	/* Around that wait, in the process that was called, once it has forked; or NULL. */
	void (*on_wait)(bool begins);
};

/* Return: the exit status of `run` (contract 7.8), or error if the VM could not be started. */
int run_vm(const struct home *home, const struct run_options *options, struct error *err) must_use_;

#endif
