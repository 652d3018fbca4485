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
struct str;
struct vm;

enum { RUNTIME_FILE_MAX = 64 * 1024 };

struct runtime {
	pid_t pid; /* of `run` */
	pid_t qemu_pid;
	time_t started;
	struct mac mac;
	struct in_addr address; /* 0.0.0.0: none */
	bool leased; /* the guest has taken the address by DHCP */
	bool agent_ready;
	char accel[8]; /* "kvm", "tcg" */
	char interface[16]; /* the tap's name on the host */
};

int runtime_write(const struct vm *vm, const struct runtime *rt, struct error *err) must_use_;
/* The text of run.json. */
void runtime_format(const struct runtime *rt, struct str *out);
/* Read it; the fields that are missing are zero. */
int runtime_parse(const void *bytes, size_t len, struct runtime *rt, struct error *err) must_use_;
/* Return: 1 read; 0 not running, or nothing written yet; or error. Not for `run` itself. */
int runtime_read(const struct vm *vm, struct runtime *rt, struct error *err) must_use_;
void runtime_remove(const struct vm *vm);

#endif
