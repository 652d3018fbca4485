/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_QMP_H
#define MACHINE_QMP_H

/*
 * A QMP client. QEMU may have been taken over by its guest: every byte is
 * bounded and checked. One struct for one connection; the event handler is
 * called from qmp_process(), qmp_handshake() and qmp_call(), and calls none of them itself.
 * After any error but QEMU's own answer (E_FAILED from qmp_call()) and an answer that is late
 * (ETIMEDOUT from it) the connection is dead and every later call fails.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct qmp;

enum { QMP_MESSAGE_MAX = 1024 * 1024, QMP_ASKED_MAX = 64 };

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
 * QEMU's own error is E_FAILED with its text. ETIMEDOUT: QEMU may be doing it yet; its answer will
 * be ignored, and as it works in order, what is called or posted next waits behind this.
 */
int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, int fd, unsigned timeout_ms,
	     json_t **result, struct error *err) must_use_;
/*
 * Send a command without arguments and without waiting; how it ends is not told. A peer that
 * does not read is -EAGAIN, and the connection is dead.
 */
int qmp_post(struct qmp *qmp, const char *command, struct error *err) must_use_;
/* The same with @arguments, which are consumed. */
int qmp_post_with(struct qmp *qmp, const char *command, json_t *arguments,
		  struct error *err) must_use_;
/*
 * How a command ended that was asked for: 0, or E_FAILED with QEMU's text in @err. It is called
 * where events are, and may post and ask, but not call.
 */
typedef void (*qmp_answer_fn)(void *arg, int result, const struct error *err);
/*
 * As qmp_post_with(), with @fd (-1: none) sent along, and @command is borrowed; @on_answer(@arg)
 * hears how it ends, but not of the connection's end. EBUSY: QMP_ASKED_MAX commands are not
 * answered yet, and nothing is sent.
 */
int qmp_ask(struct qmp *qmp, const char *command, json_t *arguments, int fd,
	    qmp_answer_fn on_answer, void *arg, struct error *err) must_use_;
/* Nobody hears any more how what was asked with @arg ends. */
void qmp_forget(struct qmp *qmp, const void *arg);
/* Read what is there, dispatch events. Return: 0; -EPIPE: the end; -E_PROTOCOL: rubbish; or error.
 */
int qmp_process(struct qmp *qmp, struct error *err) must_use_;
/* Does this engine know the command? (query-commands, asked once) 1, 0 or error. */
int qmp_has_command(struct qmp *qmp, const char *command, struct error *err) must_use_;
/* 0 if this engine can all that freezing a disk takes; else E_MISSING_TOOL: too old. */
int qmp_check_engine(struct qmp *qmp, struct error *err) must_use_;

/* One message of the protocol (QEMU's docs/interop/qmp-spec: 2.2 to 2.5). */
enum qmp_kind { QMP_GREETING, QMP_EVENT, QMP_RETURN, QMP_ERROR };
struct qmp_message {
	enum qmp_kind kind;
	int64_t id; /* of an answer */
	const char *text; /* the event's name, the error's description; borrowed from object */
	const json_t
		*body; /* greeting: "QMP"; event: "data" or NULL; return: its value; borrowed */
	json_t *object; /* owned */
};
#define QMP_MESSAGE_INIT \
	{                \
		0        \
	}
void qmp_message_release(struct qmp_message *message);
#define auto_qmp_message cleanup_(qmp_message_release) struct qmp_message

/* The parser alone: one line of @len bytes. @message is untouched on error (E_PROTOCOL). */
int qmp_parse_line(const char *line, size_t len, struct qmp_message *message,
		   struct error *err) must_use_;

#endif
