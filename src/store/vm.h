/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_VM_H
#define STORE_VM_H

/*
 * One local VM's directory, $TART_HOME/vms/NAME:
 *
 *   config.json       the config, and the running lock (fcntl, by inode)
 *   config.next.json  what `set` wrote while the VM ran; put in place by run
 *   disk.img          the disk: raw, or a qcow2 overlay where disk.json says so
 *   disk.json         the chain of layers (see store/disk.h), absent: raw
 *   layer-<hex>       frozen layers, hard-linked between clones
 *   nvram.bin         the image's variable store, never altered by us
 *   efivars.fd        the firmware variables of this VM under QEMU
 *   control.sock      while running: agent connections
 *   manage.sock       while running: requests to `run` (store/manage.h)
 *   run.json          while running: what `run` knows (store/runtime.h)
 *   console.log, run.log, qemu.log
 *   .lock             flock: freeze, clone, rename, delete, set --disk*, push, start of run
 *   state/            while suspended: its state (store/state.h)
 *   origin.json       the image that its disk came from (store/origin.h)
 *   network.json, net.rules, last-ip  what its network is to be like (store/network.h)
 *   .accessed         its mtime is the access date
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/attr.h"
#include "store/config.h"

struct error;
struct home;

enum vm_state { VM_STOPPED, VM_RUNNING, VM_SUSPENDED };

struct vm {
	char *name;
	char *path; /* of the directory */
	int dir; /* O_PATH-like directory descriptor, O_RDONLY | O_DIRECTORY */
};
#define VM_INIT           \
	{                 \
		.dir = -1 \
	}

/*
 * Open a local VM. Touches the access date unless @quiet. A name that parses
 * as remote, is malformed or names nothing is E_NOT_FOUND with
 * `the specified VM "x" does not exist`; a directory without its three files is
 * E_FAILED `VM is missing some of its files (config.json, disk.img or nvram.bin)`.
 */
int vm_open(const struct home *home, const char *name, bool quiet, struct vm *vm,
	    struct error *err) must_use_;
/* The directory alone, whole or not, without touching its access date; E_NOT_FOUND if there is
 * none. */
int vm_open_any(const struct home *home, const char *name, struct vm *vm,
		struct error *err) must_use_;
/* Set @err to `the specified VM "x" does not exist`. Return: -E_NOT_FOUND. */
int vm_not_found(const char *name, struct error *err);
void vm_release(struct vm *vm);
#define auto_vm cleanup_(vm_release) struct vm

/*
 * Locks, in the order in which they may be taken:
 *
 *   1. home_lock()             MAC addresses are compared, a new VM appears
 *   2. vm_lock()               at most one, and never two of them waited for at once
 *   3. vm_take_running_lock(), vm_take_reading_lock()  never wait
 *
 * Nobody asks for a lock above one that he holds; so nobody waits in a circle. In
 * particular `run` that wants both takes home_lock() first, and clone gives the
 * source's .lock back before it takes home_lock() to publish its copy.
 * While clone waits for manage_request("freeze") it holds the source's .lock and shares it with
 * `run`, which must not wait for a .lock once its VM runs.
 *
 * The process that holds the running lock (`run`) loses it when it closes any
 * descriptor of config.json. From then on it must not call vm_running_pid, vm_state,
 * vm_read_config, vm_write_config, runtime_read or anything that takes a VM's name;
 * it may call vm_lock, vm_sizes, disk_*, runtime_write, runtime_remove, manage_listen,
 * vm_socket_listen and, as its very last act, vm_adopt_config.
 */

/* The VM's .lock (flock). Return: fd; E_NOT_FOUND if the VM went meanwhile. */
int vm_lock(const struct vm *vm, struct error *err) must_use_;
/* Is @fd open on @vm's .lock and does it hold it? (One that nobody holds is taken.) */
bool vm_is_lock(const struct vm *vm, int fd);
/* Who runs it: the pid that holds config.json's lock, 0 if nobody. */
pid_t vm_running_pid(const struct vm *vm);
/* Does its `run` have that lock, or a verb that replaces or deletes it, and not who reads its disk?
 */
bool vm_is_run(const struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
const char *vm_state_name(enum vm_state state); /* "stopped", "running", "suspended" */

/* config.next.json if there is one, else config.json. */
int vm_read_config(const struct vm *vm, struct config *config, struct error *err) must_use_;
/*
 * Save: atomically to config.next.json, which is renamed over config.json unless the VM
 * runs. The caller holds vm_lock().
 */
int vm_write_config(const struct vm *vm, const struct config *config, struct error *err) must_use_;

/*
 * Put config.next.json, where there is one, in the place of config.json. That is another inode, so
 * the caller either knows under vm_lock() that nobody runs the VM, or is its `run` about to exit.
 */
int vm_adopt_config(const struct vm *vm, struct error *err) must_use_;

/*
 * The running lock for `run` and `delete`; the caller holds vm_lock(). A config.next.json that
 * a killed `run` left is put in place first. *fd is to stay open as long as the lock is
 * wanted; see above for what must not be called meanwhile.
 * Return: 1 taken; 0 somebody runs it; or error (-ENOENT: there is no config.json).
 */
int vm_take_running_lock(const struct vm *vm, int *fd, struct error *err) must_use_;

/*
 * The same for push, which reads the disk's files as they are now for a long time: the VM counts
 * as running and cannot be run, changed or deleted, but it can be cloned (vm_is_run() is false).
 */
int vm_take_reading_lock(const struct vm *vm, int *fd, struct error *err) must_use_;

time_t vm_accessed(const struct vm *vm);
/* Set it to now; where that cannot be (a read-only home) it is let be. */
void vm_touch(const struct vm *vm);

/* Sizes in bytes. */
struct vm_sizes {
	uint64_t apparent; /* config + disk (virtual size) + nvram */
	uint64_t allocated; /* on disk, frozen layers included */
	uint64_t exclusive; /* what deleting this VM alone would give back */
};
/* @exclusive: also compute .exclusive, which opens the files and is slow. */
int vm_sizes(const struct vm *vm, bool exclusive, struct vm_sizes *sizes,
	     struct error *err) must_use_;

/*
 * The verbs. Each does all its own locking and is all or nothing: what is
 * made appears by rename, what fails leaves everything as it was.
 */
struct vm_create {
	uint64_t disk_size; /* bytes */
	const char *disk_file; /* raw file moved in as disk.img, or NULL: an empty disk */
	enum config_arch arch;
	uint32_t cpus; /* 0: as many as a Linux VM has */
	uint64_t memory; /* bytes, likewise */
	int nvram_template; /* descriptor of the firmware's variable store */
	bool no_clobber;
};
/* Replaces a stopped VM of that name; a running one: E_RUNNING `VM "x" is running`. */
int vm_create(const struct home *home, const char *name, const struct vm_create *how,
	      struct error *err) must_use_;
struct vm_clone {
	bool raw; /* a full copy of the disk, raw, sharing nothing */
	bool no_clobber;
};
int vm_clone(const struct home *home, const char *source, const char *name,
	     const struct vm_clone *how, struct error *err) must_use_;
/* The three E_USAGE messages of contract 2.16. */
int vm_rename(const struct home *home, const char *from, const char *to,
	      struct error *err) must_use_;
/* A running VM is E_RUNNING `VM "x" is running`. */
int vm_delete(const struct home *home, const char *name, struct error *err) must_use_;
/*
 * The following three are for a stopped VM (E_RUNNING otherwise) and take vm_lock() themselves:
 * the caller must not hold it.
 */
/* Grow only; equal is nothing; smaller is the contract's 'new disk size of 10 GB should ...'. */
int vm_resize_disk(const struct vm *vm, uint64_t size, struct error *err) must_use_;
/* Replace the disk by a copy of the raw file @path. */
int vm_replace_disk(const struct vm *vm, const char *path, struct error *err) must_use_;
/* Turn an overlay into a raw disk.img. */
int vm_flatten_disk(const struct vm *vm, struct error *err) must_use_;
/* Does any local VM other than @except (may be NULL) have this MAC? Hold home_lock(). */
int vm_mac_in_use(const struct home *home, struct mac mac, const char *except, bool running_only,
		  struct error *err) must_use_; /* 1, 0 or error */

/* prune --entries vms (contract 4.6); -1 where not given. */
int vm_prune(const struct home *home, int64_t older_than_days, int64_t budget_gib,
	     struct error *err) must_use_;

#endif
