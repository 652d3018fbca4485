/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_GUEST_COMMAND_H
#define CMD_GUEST_COMMAND_H

#include "base/attr.h"

struct client_exec;
struct error;
struct invocation;
struct vm;

/* Open the VM @name, which must be running: E_NOT_FOUND, E_NOT_RUNNING. */
int guest_command_open(const struct invocation *inv, const char *name, struct vm *vm,
		       struct error *err) must_use_;
/*
 * Run a command in its guest, by its agent, for which it waits as long as a VM that has just been
 * started may take (@how's answer_ms is overwritten). Return: as client_exec(), but E_FAILED or
 * E_NOT_RUNNING where nobody answers.
 */
int guest_command_run(const struct vm *vm, struct client_exec *how, struct error *err) must_use_;

#endif
