/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP from a hostile engine: the input is what it sends, in packets that end with a form
 * feed (which no valid message holds), so that the client gets an answer after its question
 * and not before; then the engine hangs up.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "machine/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Less than a socket's buffer: one thread plays both sides. */
enum { INPUT_MAX = 32 * 1024, PACKETS_MAX = 32, LIMIT_MS = 1000, END = '\f' };

static void on_event(void *arg, const char *event, const json_t *data)
{
	unsigned *events = arg;

	if (!event || (data && !json_is_object(data)))
		abort();
	(*events)++;
}

static void parse_line(const uint8_t *bytes, size_t len)
{
	auto_qmp_message message = QMP_MESSAGE_INIT;
	struct error err = ERROR_INIT;
	int r = qmp_parse_line((const char *)bytes, len, &message, &err);

	if (r < 0 && (err.code != -r || err.text[0] == '\0' || message.object))
		abort();
	if (r == 0 && !message.object)
		abort();
}

static void send_packets(int peer, const uint8_t *bytes, size_t len)
{
	for (unsigned i = 0; len && i < PACKETS_MAX; i++) {
		const uint8_t *end = memchr(bytes, END, len);
		size_t part = end ? (size_t)(end - bytes) : len;

		if (part && send(peer, bytes, part, MSG_DONTWAIT) != (ssize_t)part)
			abort();
		part += end != NULL;
		bytes += part;
		len -= part;
	}
	if (shutdown(peer, SHUT_WR) < 0)
		abort();
}

static void on_answer(void *arg, int result, const struct error *err)
{
	unsigned *answers = arg;

	if ((result == 0) != (err->code == 0))
		abort();
	(*answers)++;
}

/* One whose answer is waited for, and one that nobody wants to hear of any more. */
static int ask(struct qmp *qmp, unsigned answers[2], struct error *err)
{
	int r = qmp_ask(qmp, "screendump", json_object(), -1, on_answer, &answers[0], err);

	if (r == 0)
		r = qmp_ask(qmp, "device_del", NULL, STDERR_FILENO, on_answer, &answers[1], err);
	qmp_forget(qmp, &answers[1]);
	return r;
}

static void converse(struct qmp *qmp)
{
	unsigned answers[2] = { 0 };
	struct error err = ERROR_INIT;
	int r = qmp_handshake(qmp, LIMIT_MS, &err);

	if (r == 0)
		r = qmp_check_engine(qmp, &err);
	if (r == 0)
		r = qmp_post(qmp, "system_powerdown", &err);
	if (r == 0)
		r = ask(qmp, answers, &err);
	while (r >= 0)
		r = qmp_process(qmp, &err);
	if (r == -ETIMEDOUT)
		abort(); /* the peer has hung up: nothing to wait for */
	if (answers[0] > 1 || answers[1])
		abort(); /* asked once; forgotten */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	unsigned events = 0;
	struct qmp *qmp;
	int fds[2];

	if (len > INPUT_MAX)
		return 0;
	parse_line(bytes, len);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	qmp = qmp_new(fds[0], on_event, &events);
	send_packets(fds[1], bytes, len);
	converse(qmp);
	qmp_free(qmp);
	(void)close(fds[1]);
	return 0;
}
