/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_CALL_FILTER_H
#define MACHINE_CALL_FILTER_H

/*
 * A filter of system calls (seccomp) as the kernel's own program, made before a fork for a child
 * that may only make system calls until it loads it.
 */

#include <linux/filter.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

/* Adds its rules. Return: 0 or -errno. */
typedef int call_filter_rules(scmp_filter_ctx filter);

/*
 * For such a function: @action (SCMP_ACT_*) for the call @name where its arguments are as the
 * @count @arguments say; nothing on an architecture that does not have the call. Return: 0 or
 * -errno.
 */
int call_filter_rule(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned count,
		     const struct scmp_arg_cmp *arguments) must_use_;

/*
 * The program of the filter that does @otherwise (SCMP_ACT_*) where no rule of @add matches: its
 * @room instructions go to @code, which @program then borrows.
 */
int call_filter_make(uint32_t otherwise, call_filter_rules *add, struct sock_filter *code,
		     size_t room, struct sock_fprog *program, struct error *err) must_use_;

#endif
