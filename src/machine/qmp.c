/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Bytes are collected in a buffer; every complete line in it is one message and is
 * handled at once, so between calls the buffer holds at most one incomplete
 * line. Events go to the handler. An answer must carry the id of the one
 * call that is waiting, of what was asked for, or of a call that has waited too long: any other is
 * a peer that does not keep to the protocol.
 *
 * The first failure is kept: the connection is dead, and says so to every later caller.
 * Nothing waits without a deadline, also not while sending: a peer that stops reading is
 * read from meanwhile, so that two full socket buffers cannot block each other.
 */

#include "machine/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum { READ_CHUNK = 64 * 1024, TEXT_MAX = 300, NOBODY = -1, POSTED = -2 };

/* A command that was asked for; .on_answer NULL: nobody hears of it. */
struct asked {
	int64_t id;
	const char *command;
	qmp_answer_fn on_answer;
	void *arg;
};

struct qmp {
	int fd;
	qmp_event_fn on_event;
	void *arg;
	struct str in;
	size_t scanned; /* so many bytes of .in hold no line end */
	struct qmp_message answer; /* of the waiting call; .object NULL: not yet */
	int64_t next_id;
	int64_t waiting; /* id of the waiting call, NOBODY: none */
	size_t posted; /* commands with the id POSTED that are not answered yet */
	struct asked asked[QMP_ASKED_MAX]; /* not answered yet */
	size_t asked_count;
	size_t given_up; /* calls that nobody waits for any more, not answered yet */
	bool greeted; /* the greeting has come */
	int64_t major, minor; /* the engine's version */
	json_t *commands; /* set of names, or NULL: not asked yet */
	struct error dead; /* .code: why */
};

/* --- the parser --- */

void qmp_message_release(struct qmp_message *message)
{
	json_decref(message->object);
	*message = (struct qmp_message)QMP_MESSAGE_INIT;
}

static int parse_error(const json_t *object, struct qmp_message *m, struct error *err)
{
	const json_t *error = json_object_get(object, "error");

	m->kind = QMP_ERROR;
	m->text = json_string_value(json_object_get(error, "desc"));
	if (!m->text)
		return error_set(err, E_PROTOCOL, "QEMU sent an error without a description");
	return 0;
}

static int parse_answer(const json_t *object, struct qmp_message *m, struct error *err)
{
	const json_t *id = json_object_get(object, "id");

	m->body = json_object_get(object, "return");
	m->kind = QMP_RETURN;
	if (!json_is_integer(id))
		return error_set(err, E_PROTOCOL, "QEMU sent an answer without a number");
	m->id = json_integer_value(id);
	return m->body ? 0 : parse_error(object, m, err);
}

static int parse_event(const json_t *object, struct qmp_message *m, struct error *err)
{
	m->kind = QMP_EVENT;
	m->text = json_string_value(json_object_get(object, "event"));
	m->body = json_object_get(object, "data");
	if (!m->text || (m->body && !json_is_object(m->body)))
		return error_set(err, E_PROTOCOL, "QEMU sent a malformed event");
	return 0;
}

static int parse_greeting(const json_t *object, struct qmp_message *m, struct error *err)
{
	m->kind = QMP_GREETING;
	m->body = json_object_get(object, "QMP");
	if (!json_is_object(m->body))
		return error_set(err, E_PROTOCOL, "QEMU sent a malformed greeting");
	return 0;
}

int qmp_parse_line(const char *line, size_t len, struct qmp_message *message, struct error *err)
{
	auto_json *object = NULL;
	struct qmp_message m = QMP_MESSAGE_INIT;
	int r = json_parse_object(line, len, &object, err);

	if (r < 0) {
		err->code = E_PROTOCOL;
		return error_wrap(err, "QEMU sent a malformed message");
	}
	if (json_object_get(object, "event"))
		r = parse_event(object, &m, err);
	else if (json_object_get(object, "QMP"))
		r = parse_greeting(object, &m, err);
	else
		r = parse_answer(object, &m, err);
	if (r < 0)
		return r;
	m.object = take(object);
	*message = m;
	return 0;
}

/* --- the connection --- */

struct qmp *qmp_new(int fd, qmp_event_fn on_event, void *arg)
{
	struct qmp *qmp = xcalloc(1, sizeof(*qmp));

	*qmp = (struct qmp){
		.fd = fd, .on_event = on_event, .arg = arg, .in = STR_INIT, .waiting = NOBODY
	};
	return qmp;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	(void)close(qmp->fd);
	str_release(&qmp->in);
	qmp_message_release(&qmp->answer);
	json_decref(qmp->commands);
	free(qmp);
}

int qmp_fd(const struct qmp *qmp)
{
	return qmp->fd;
}

/* The connection is of no use any more. Return: @err's code. */
static int die(struct qmp *qmp, const struct error *err)
{
	if (!qmp->dead.code)
		qmp->dead = *err;
	return -err->code;
}

static int still_alive(const struct qmp *qmp, struct error *err)
{
	if (!qmp->dead.code)
		return 0;
	*err = qmp->dead;
	return -err->code;
}

static int on_greeting(struct qmp *qmp, const struct qmp_message *m, struct error *err)
{
	const json_t *version = json_object_get(m->body, "version");
	const json_t *qemu = json_object_get(version, "qemu");

	if (qmp->greeted)
		return error_set(err, E_PROTOCOL, "QEMU sent a second greeting");
	qmp->greeted = true;
	qmp->major = json_integer_value(json_object_get(qemu, "major"));
	qmp->minor = json_integer_value(json_object_get(qemu, "minor"));
	return 0;
}

static void tell(const struct asked *asked, const struct qmp_message *m)
{
	struct error err = ERROR_INIT;

	if (!asked->on_answer)
		return;
	if (m->kind == QMP_ERROR)
		(void)error_set(&err, E_FAILED, "'%s' failed: %.*s", asked->command, TEXT_MAX,
				m->text);
	asked->on_answer(asked->arg, -err.code, &err);
}

/* Return: was it asked for? */
static bool on_asked(struct qmp *qmp, const struct qmp_message *m)
{
	for (size_t i = 0; i < qmp->asked_count; i++) {
		struct asked asked = qmp->asked[i];

		if (asked.id != m->id)
			continue;
		qmp->asked[i] = qmp->asked[--qmp->asked_count];
		tell(&asked, m);
		return true;
	}
	return false;
}

static int take_answer(struct qmp *qmp, struct qmp_message *m, struct error *err)
{
	if (on_asked(qmp, m))
		return 0;
	if (m->id == POSTED && qmp->posted) {
		qmp->posted--;
		return 0;
	}
	if (m->id >= 0 && m->id < qmp->next_id && m->id != qmp->waiting && qmp->given_up) {
		qmp->given_up--;
		return 0;
	}
	if (m->id == NOBODY || m->id != qmp->waiting)
		return error_set(err, E_PROTOCOL, "QEMU answered what nobody asked");
	qmp->waiting = NOBODY;
	qmp->answer = *m;
	m->object = NULL;
	return 0;
}

static int on_line(struct qmp *qmp, const char *line, size_t len, struct error *err)
{
	auto_qmp_message m = QMP_MESSAGE_INIT;
	int r = qmp_parse_line(line, len, &m, err);

	if (r < 0)
		return r;
	switch (m.kind) {
	case QMP_GREETING:
		return on_greeting(qmp, &m, err);
	case QMP_EVENT:
		if (qmp->on_event)
			qmp->on_event(qmp->arg, m.text, m.body);
		return 0;
	case QMP_RETURN:
	case QMP_ERROR:
		break;
	}
	return take_answer(qmp, &m, err);
}

/* Handle every complete line. */
static int on_bytes(struct qmp *qmp, struct error *err)
{
	const char *begin = qmp->in.ptr, *end = qmp->in.ptr + qmp->in.len;
	const char *newline, *from = begin + qmp->scanned;
	int r = 0;

	while (r == 0 && (newline = memchr(from, '\n', (size_t)(end - from)))) {
		r = on_line(qmp, begin, (size_t)(newline - begin), err);
		begin = from = newline + 1;
	}
	str_consume(&qmp->in, (size_t)(begin - qmp->in.ptr));
	qmp->scanned = qmp->in.len;
	if (r == 0 && qmp->in.len > QMP_MESSAGE_MAX)
		return error_set(err, E_PROTOCOL, "QEMU sent a message of more than %d bytes",
				 QMP_MESSAGE_MAX);
	return r;
}

/* Read once without waiting. Return: 0, also where there was nothing, or error. */
static int receive(struct qmp *qmp, struct error *err)
{
	ssize_t n;

	str_grow(&qmp->in, READ_CHUNK);
	n = recv(qmp->fd, qmp->in.ptr + qmp->in.len, READ_CHUNK, MSG_DONTWAIT);
	if (n == 0)
		return error_set(err, EPIPE, "QEMU closed its control connection");
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return error_errno(err, "cannot read from QEMU");
	str_set_len(&qmp->in, qmp->in.len + (size_t)n);
	return on_bytes(qmp, err);
}

int qmp_process(struct qmp *qmp, struct error *err)
{
	int r = still_alive(qmp, err);

	if (r < 0)
		return r;
	r = receive(qmp, err);
	return r < 0 ? die(qmp, err) : 0;
}

/* Wait until there is something to read (to write, with POLLOUT), read what there is. */
static int wait_and_receive(struct qmp *qmp, short events, uint64_t deadline, struct error *err)
{
	struct pollfd p = { .fd = qmp->fd, .events = events };
	uint64_t now = clock_ms();
	int n;

	if (now >= deadline)
		return error_set(err, ETIMEDOUT, "QEMU does not answer");
	n = poll(&p, 1, (int)(deadline - now));
	if (n < 0 && errno != EINTR)
		return error_errno(err, "cannot wait for QEMU");
	if (n > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)))
		return receive(qmp, err);
	return 0;
}

/* Send what is possible now, @fd with its first byte. Return: bytes sent, or -errno. */
static ssize_t send_some(const struct qmp *qmp, const char *bytes, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	n = sendmsg(qmp->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

static int send_all(struct qmp *qmp, const struct str *text, int fd, uint64_t deadline,
		    struct error *err)
{
	size_t sent = 0;
	int r = 0;

	while (r == 0 && sent < text->len) {
		ssize_t n = send_some(qmp, text->ptr + sent, text->len - sent, fd);

		if (n > 0) {
			sent += (size_t)n;
			fd = -1;
		} else if (n == -EAGAIN || n == -EINTR) {
			r = wait_and_receive(qmp, POLLIN | POLLOUT, deadline, err);
		} else {
			errno = (int)-n;
			r = error_errno(err, "cannot write to QEMU");
		}
	}
	return r;
}

static void format_command(int64_t id, const char *command, json_t *arguments, struct str *text)
{
	auto_json *message = json_object();

	(void)json_object_set_new(message, "execute", json_string(command));
	if (arguments)
		(void)json_object_set(message, "arguments", arguments);
	(void)json_object_set_new(message, "id", json_integer(id));
	json_add_compact(text, message);
	str_addc(text, '\n');
}

/* Send @text and wait for the answer to the waiting call. */
static int converse(struct qmp *qmp, const struct str *text, int fd, uint64_t deadline,
		    struct error *err)
{
	int r = send_all(qmp, text, fd, deadline, err);

	if (r < 0)
		return die(qmp, err);
	while (r == 0 && !qmp->answer.object)
		r = wait_and_receive(qmp, POLLIN, deadline, err);
	if (r != -ETIMEDOUT)
		return r < 0 ? die(qmp, err) : 0;
	/* all is sent: a QEMU that is slow has done nothing wrong, and may answer yet */
	qmp->waiting = NOBODY;
	qmp->given_up++;
	return r;
}

int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, int fd, unsigned timeout_ms,
	     json_t **result, struct error *err)
{
	auto_json *consumed = arguments;
	auto_qmp_message answer = QMP_MESSAGE_INIT;
	auto_str text = STR_INIT;
	int r = still_alive(qmp, err);

	if (r < 0)
		return r;
	qmp->waiting = qmp->next_id++;
	format_command(qmp->waiting, command, consumed, &text);
	r = converse(qmp, &text, fd, clock_ms() + timeout_ms, err);
	if (r < 0)
		return error_wrap(err, "'%s' failed", command);
	answer = qmp->answer;
	qmp->answer = (struct qmp_message)QMP_MESSAGE_INIT;
	if (answer.kind == QMP_ERROR)
		return error_set(err, E_FAILED, "'%s' failed: %.*s", command, TEXT_MAX,
				 answer.text);
	if (result)
		*result = json_deep_copy(answer.body);
	return 0;
}

/* Send the command if that is possible without waiting; consumes @arguments. */
static int post(struct qmp *qmp, int64_t id, const char *command, json_t *arguments, int fd,
		struct error *err)
{
	auto_json *consumed = arguments;
	auto_str text = STR_INIT;
	ssize_t n;
	int r = still_alive(qmp, err);

	if (r < 0)
		return r;
	format_command(id, command, consumed, &text);
	n = send_some(qmp, text.ptr, text.len, fd);
	if (n == (ssize_t)text.len)
		return 0;
	/* half a command cannot be taken back */
	errno = n < 0 ? (int)-n : EAGAIN;
	(void)error_errno(err, "cannot write to QEMU");
	return die(qmp, err);
}

int qmp_post_with(struct qmp *qmp, const char *command, json_t *arguments, struct error *err)
{
	int r = post(qmp, POSTED, command, arguments, -1, err);

	if (r == 0)
		qmp->posted++;
	return r;
}

int qmp_ask(struct qmp *qmp, const char *command, json_t *arguments, int fd,
	    qmp_answer_fn on_answer, void *arg, struct error *err)
{
	auto_json *consumed = arguments;
	int64_t id = qmp->next_id;
	int r;

	if (qmp->asked_count == array_size(qmp->asked))
		return error_set(err, EBUSY, "QEMU does not answer");
	r = post(qmp, id, command, take(consumed), fd, err);
	if (r < 0)
		return r;
	qmp->next_id++;
	qmp->asked[qmp->asked_count++] =
		(struct asked){ .id = id, .command = command, .on_answer = on_answer, .arg = arg };
	return 0;
}

void qmp_forget(struct qmp *qmp, const void *arg)
{
	for (size_t i = 0; i < qmp->asked_count; i++)
		if (qmp->asked[i].arg == arg)
			qmp->asked[i].on_answer = NULL;
}

int qmp_post(struct qmp *qmp, const char *command, struct error *err)
{
	return qmp_post_with(qmp, command, NULL, err);
}

int qmp_handshake(struct qmp *qmp, unsigned timeout_ms, struct error *err)
{
	uint64_t deadline = clock_ms() + timeout_ms;
	int r = still_alive(qmp, err);

	while (r == 0 && !qmp->greeted) {
		r = wait_and_receive(qmp, POLLIN, deadline, err);
		if (r < 0)
			r = die(qmp, err);
	}
	if (r < 0)
		return r;
	return qmp_call(qmp, "qmp_capabilities", NULL, -1, timeout_ms, NULL, err);
}

/* --- what the engine can --- */

enum { QUERY_MS = 60000 };

static int ask_commands(struct qmp *qmp, struct error *err)
{
	auto_json *list = NULL;
	auto_json *names = json_object();
	int r = qmp_call(qmp, "query-commands", NULL, -1, QUERY_MS, &list, err);

	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *name = json_object_get(json_array_get(list, i), "name");

		if (json_is_string(name))
			(void)json_object_set_new(names, json_string_value(name), json_true());
	}
	if (r == 0)
		qmp->commands = take(names);
	return r;
}

int qmp_has_command(struct qmp *qmp, const char *command, struct error *err)
{
	int r = qmp->commands ? 0 : ask_commands(qmp, err);

	if (r < 0)
		return r;
	return json_object_get(qmp->commands, command) ? 1 : 0;
}

int qmp_check_engine(struct qmp *qmp, struct error *err)
{
	static const char *const needed[] = { "add-fd",		  "remove-fd",
					      "blockdev-add",	  "blockdev-snapshot",
					      "system_powerdown", "quit" };

	for (size_t i = 0; i < array_size(needed); i++) {
		int r = qmp_has_command(qmp, needed[i], err);

		if (r < 0)
			return r;
		if (r == 0)
			return error_set(err, E_MISSING_TOOL,
					 "QEMU %" PRId64 ".%" PRId64
					 " is too old: it has no '%s'; 7.2 or newer is needed",
					 qmp->major, qmp->minor, needed[i]);
	}
	return 0;
}
