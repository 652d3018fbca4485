/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_CLOUD_INIT_H
#define RUN_CLOUD_INIT_H

/*
 * What --cloud-init, --cloud-init-network and --ssh-key give to the guest: a seed of cloud-init's
 * data source NoCloud, a small read-only disk that exists only while the VM runs. On it are
 *
 *   user-data        as the user gave it, or none to speak of
 *   meta-data        the instance's id and host name, and public keys for the default user
 *   network-config   where one was given
 *   authorized_keys  the same keys, for our own image, which has no cloud-init
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"
#include "base/vec.h"

struct error;
struct home;
struct vm;

enum {
	CLOUD_INIT_FILE_MAX = 1024 * 1024, /* bytes of user-data, and of network-config */
	CLOUD_INIT_KEY_FILE_MAX = 64 * 1024, /* bytes of a file of public keys */
	CLOUD_INIT_HOST_NAME_MAX = 63,
};

struct cloud_init {
	bool wanted; /* is there to be a seed? */
	struct str user_data, network_config; /* empty: none */
	struct strings keys; /* public ones, a line each */
};
#define CLOUD_INIT_INIT                                                              \
	{                                                                            \
		.user_data = STR_INIT, .network_config = STR_INIT, .keys = VEC_INIT, \
	}

/*
 * Read the files, each NULL where its option is not given; "-" is the standard input, of
 * one of them. Whatever is no such file, empty or too large is an error that names the option.
 */
int cloud_init_read(struct cloud_init *cloud, const char *user_data, const char *network_config,
		    const char *ssh_key, struct error *err) must_use_;
void cloud_init_release(struct cloud_init *cloud);
#define auto_cloud_init cleanup_(cloud_init_release) struct cloud_init

/*
 * Append the public keys of @text (as in authorized_keys: one a line; empty lines and those of
 * '#' are no keys) to @keys. None, a private key, or a line that is no key: E_INVALID.
 */
int cloud_init_parse_keys(const struct str *text, struct strings *keys,
			  struct error *err) must_use_;
/* @name with what no host name has made '-': 1 to CLOUD_INIT_HOST_NAME_MAX characters, owned. */
char *cloud_init_host_name(const char *name) must_use_;

/*
 * Make the seed of @vm. Its instance's id is the VM's for its life, made at its first seed; a clone
 * does not have it, and so is another instance. Return: a descriptor to read it from, of memory
 * that has no name; or error.
 */
int cloud_init_seed(const struct cloud_init *cloud, const struct home *home, const struct vm *vm,
		    struct error *err) must_use_;

#endif
