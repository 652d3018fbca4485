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
#define VM_INIT { .dir = -1 }

/*
 * Open a local VM. Touches the access date unless @quiet. A name that parses
 * as remote, is malformed or names nothing is E_NOT_FOUND with
 * `the specified VM "x" does not exist`; a directory without its three files is
 * E_FAILED `VM is missing some of its files (config.json, disk.img or nvram.bin)`.
 */
int vm_open(const struct home *home, const char *name, bool quiet, struct vm *vm,
	    struct error *err) must_use_;
void vm_release(struct vm *vm);
#define auto_vm cleanup_(vm_release) struct vm

/* The VM's .lock (flock). Return: fd; E_NOT_FOUND if the VM went meanwhile. */
int vm_lock(const struct vm *vm, struct error *err) must_use_;
/* Who runs it: the pid that holds config.json's lock, 0 if nobody. */
pid_t vm_running_pid(const struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
const char *vm_state_name(enum vm_state state); /* "stopped", "running", "suspended" */

/* config.next.json if there is one, else config.json. */
int vm_read_config(const struct vm *vm, struct config *config, struct error *err) must_use_;
/*
 * Save: in place where nobody runs the VM (by rename, keeping no lock on the old
 * inode), to config.next.json while it runs. The caller holds vm_lock().
 */
int vm_write_config(const struct vm *vm, const struct config *config, struct error *err) must_use_;

/*
 * The running lock for `run` and `delete`. Takes the fcntl lock on
 * config.json and checks that the path still names that inode. *fd is to stay
 * open as long as the lock is wanted, and the process must never open and
 * close config.json again meanwhile.
 * Return: 1 taken; 0 somebody runs it; or error.
 */
int vm_take_running_lock(const struct vm *vm, int *fd, struct error *err) must_use_;

time_t vm_accessed(const struct vm *vm);

/* Sizes in bytes. */
struct vm_sizes {
	uint64_t apparent; /* config + disk (virtual size) + nvram */
	uint64_t allocated; /* on disk, frozen layers included */
	uint64_t exclusive; /* what deleting this VM alone would give back */
};
/* @exclusive: also compute .exclusive, which opens the files and is slow. */
int vm_sizes(const struct vm *vm, bool exclusive, struct vm_sizes *sizes, struct error *err) must_use_;

/*
 * The verbs. Each does all its own locking and is all or nothing: what is
 * made appears by rename, what fails leaves everything as it was.
 */
struct vm_create {
	uint64_t disk_size; /* bytes */
	const char *disk_file; /* raw file moved in as disk.img, or NULL: an empty disk */
	enum config_arch arch;
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
int vm_rename(const struct home *home, const char *from, const char *to, struct error *err) must_use_;
/* A running VM is E_RUNNING `VM "x" is running`. */
int vm_delete(const struct home *home, const char *name, struct error *err) must_use_;
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
