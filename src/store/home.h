/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_HOME_H
#define STORE_HOME_H

/*
 * The home directory: $TART_HOME, else ~/.tart; called as "vetu", $VETU_HOME
 * comes first. Layout: contract section 4.1. cache/ and tmp/ are made by
 * home_open(), vms/ by the first VM.
 */

#include <stdbool.h>

#include "base/attr.h"

struct error;
struct strings;

struct home {
	char *path; /* absolute */
	char *vms; /* path/vms */
	char *tmp;
	char *cache;
};
#define HOME_INIT \
	{         \
		0 \
	}

/*
 * @program: argv[0]'s last component. Failing to create the home is the
 * contract's "TART_HOME is invalid: ... does not exist, yet we can't create it: ...".
 */
int home_open(struct home *home, const char *program, struct error *err) must_use_;
void home_release(struct home *home);
#define auto_home cleanup_(home_release) struct home

/*
 * Remove the entries of tmp/ that nobody holds a flock on (contract 4.4;
 * verified pull directories are kept: section 12 fix 3).
 */
int home_collect_tmp(const struct home *home, struct error *err) must_use_;
/*
 * Make an empty directory, which nobody collects while the flock on it is held: at a path that
 * @fresh_path(home) finds, another each time, owned by its caller. Return: the directory, which is
 * the lock; *path is the caller's.
 */
int home_new_dir(const struct home *home, char *(*fresh_path)(const struct home *home), char **path,
		 struct error *err) must_use_;
/* The home's own flock (contract 3.1), to be held while MAC addresses are compared. */
int home_lock(const struct home *home, struct error *err) must_use_;
/*
 * Is @name one that a local VM can have: 1-255 bytes, no '/', not "." or
 * "..", no control bytes, and not an image's ("oci:x")? Return: 0, or E_FAILED with the contract's
 * message where it has one.
 */
int home_check_name(const char *name, struct error *err) must_use_;
/* Names of all complete local VMs (config.json, disk.img, nvram.bin), sorted. */
int home_list_vms(const struct home *home, struct strings *names, struct error *err) must_use_;

#endif
