/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_QMP_H
#define MACHINE_QMP_H

/*
 * A QMP client. QEMU may have been taken over by its guest: every byte is
 * bounded and checked. One struct for one connection; the event handler is
 * called from qmp_process() and from within qmp_call(). After any error the
 * connection is dead and every later call fails.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct qmp;

enum { QMP_MESSAGE_MAX = 16 * 1024 * 1024 };

/* @data: the event's "data" object or NULL, borrowed. */
typedef void (*qmp_event_fn)(void *arg, const char *event, const json_t *data);

/* Takes @fd (a connected stream socket) over. */
struct qmp *qmp_new(int fd, qmp_event_fn on_event, void *arg) must_use_;
void qmp_free(struct qmp *qmp);
int qmp_fd(const struct qmp *qmp);

/* Wait for the greeting and negotiate. */
int qmp_handshake(struct qmp *qmp, unsigned timeout_ms, struct error *err) must_use_;
/*
 * Execute and wait for the answer; other threads of events are dispatched meanwhile.
 * @arguments is consumed (may be NULL). @fd: sent along by SCM_RIGHTS if >= 0.
 * @result: the "return" value, owned by the caller; may be NULL.
 * QEMU's own error is E_FAILED with its text.
 */
int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, int fd, unsigned timeout_ms,
	     json_t **result, struct error *err) must_use_;
/* Read what is there, dispatch events. Return: 0; end of file or rubbish: error. */
int qmp_process(struct qmp *qmp, struct error *err) must_use_;
/* Does this engine know the command? (query-commands, asked once) 1, 0 or error. */
int qmp_has_command(struct qmp *qmp, const char *command, struct error *err) must_use_;

/* The parser alone, for the fuzzer: one line of @len bytes to one object. */
int qmp_parse_line(const char *line, size_t len, json_t **object, struct error *err) must_use_;

#endif
