/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_JOB_H
#define AGENT_JOB_H

/*
 * One command running in the guest for one exec call: its process group,
 * its pipes or terminal. Nothing is buffered beyond JOB_INPUT_MAX and what
 * one read brings.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/proto.h"

struct job;
struct login;
struct loop;

enum { JOB_INPUT_MAX = 256 * 1024 };

struct job_events {
	/* The command wrote; @kind: PROTO_RESPONSE_OUTPUT or PROTO_RESPONSE_ERROR. */
	void (*output)(void *arg, enum proto_response_kind kind, const void *bytes, size_t len);
	/* job_input_pending() has become less. */
	void (*input_taken)(void *arg);
	/* The command ended and all its output was told. The job is gone. */
	void (*exited)(void *arg, int code);
};

/*
 * Run @command (copied). Whatever goes wrong is told on the command's standard error
 * and by its exit code, as a shell does: 127 not found, 126 cannot be run.
 */
struct job *job_start(struct loop *loop, struct login *login, const struct proto_command *command,
		      const struct job_events *events, void *arg);
/* Standard input; @len 0 is its end. Dropped where the command does not read it. */
void job_input(struct job *job, const void *bytes, size_t len);
size_t job_input_pending(const struct job *job);
void job_resize(struct job *job, struct proto_size size);
/* Stop reading the command's output, or go on. */
void job_pause(struct job *job, bool paused);
/* The client is gone: hang up on the process group, kill it later; no more events. */
void job_hangup(struct job *job);

#endif
