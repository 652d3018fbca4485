/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VNC (--vnc-experimental: QEMU's server; --vnc: the guest's own) and pictures of the screen.
 *
 * QEMU binds to the first free port of 127.0.0.1 and is asked which it is. The password
 * goes by QMP, so it is in no argument that other users can read; before it has come
 * nobody is let in. It is printed and kept nowhere else; no viewer is started, which would have it
 * in its arguments.
 */

#include "run/desk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "machine/qmp.h"
#include "run/run.h"
#include "run/session.h"

enum {
	CALL_MS = 10000,
	ADDRESS_MS = 60000, /* contract 7.1 */
	PORT_MAX = 65535,
	FIRST_SET = 1000000,
	SETS = 1000000,
};

/* 64 characters that need no escape in a URL: six bits of a random byte each. */
static int make_password(char password[DESK_PASSWORD + 1], struct error *err)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char bytes[DESK_PASSWORD];

	_Static_assert(sizeof(letters) == 64 + 1, "six bits");
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return error_errno(err, "cannot make a password");
	for (size_t i = 0; i < sizeof(bytes); i++)
		password[i] = letters[bytes[i] % 64];
	password[DESK_PASSWORD] = '\0';
	return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* On which port does it listen, and is it as we asked for? */
static int read_server(const json_t *answer, unsigned *port, struct error *err)
{
	uint64_t n = 0;

	if (strcmp(text_of(answer, "auth"), "vnc") != 0 ||
	    strcmp(text_of(answer, "host"), "127.0.0.1") != 0 ||
	    str_to_u64(text_of(answer, "service"), PORT_MAX, &n) < 0 || n == 0)
		return error_set(err, E_PROTOCOL, "QEMU's VNC server is not as it was asked for");
	*port = (unsigned)n;
	return 0;
}

static int set_password(struct session *session, struct error *err)
{
	json_t *arguments =
		json_pack("{s:s, s:s}", "protocol", "vnc", "password", session->desk.password);

	return qmp_call(session->qmp, "set_password", arguments, -1, CALL_MS, NULL, err);
}

int desk_open(struct session *session, struct error *err)
{
	struct desk *desk = &session->desk;
	auto_json *answer = NULL;
	int r;

	if (!session->plan.vnc)
		return 0;
	r = make_password(desk->password, err);
	if (r == 0)
		r = set_password(session, err);
	if (r == 0)
		r = qmp_call(session->qmp, "query-vnc", NULL, -1, CALL_MS, &answer, err);
	if (r == 0)
		r = read_server(answer, &desk->port, err);
	return r < 0 ? error_wrap(err, "cannot serve the display by VNC") : 0;
}

/* The line that programs wait for; at once, also into a pipe. */
static void print_server(const char *url)
{
	(void)printf("VNC server is running at %s\n", url);
	(void)fflush(stdout);
}

/* Said, but no reason to give up: a guest may take longer than that to boot. */
static void on_time_out(uv_timer_t *timer)
{
	(void)timer;
	(void)fputs("--vnc: the guest has no address yet\n", stderr);
}

void desk_on_address(struct session *session, struct in_addr address)
{
	char text[INET_ADDRSTRLEN], url[64];

	if (!session->desk.awaits_address || address.s_addr == 0)
		return;
	session->desk.awaits_address = false;
	(void)uv_timer_stop(&session->desk.timer);
	(void)inet_ntop(AF_INET, &address, text, sizeof(text));
	(void)snprintf(url, sizeof(url), "vnc://%s", text);
	print_server(url);
}

static void await_address(struct session *session)
{
	if (session->network.card_count == 0) {
		(void)fputs("--vnc has no effect without a network card\n", stderr);
		return;
	}
	session->desk.awaits_address = true;
	(void)uv_timer_start(&session->desk.timer, on_time_out, ADDRESS_MS, 0);
}

void desk_announce(struct session *session)
{
	const struct desk *desk = &session->desk;
	char url[64];

	if (session->options->desk.vnc)
		await_address(session);
	if (!desk->password[0])
		return;
	(void)snprintf(url, sizeof(url), "vnc://:%s@127.0.0.1:%u", desk->password, desk->port);
	print_server(url);
}

/*
 * Nothing of it is waited for: QEMU works in order, so the set is there when it draws, and goes
 * when it has drawn. Sets that QEMU numbers itself have the lowest free number.
 */
int desk_screenshot(struct session *session, int file, qmp_answer_fn on_drawn, void *arg,
		    struct error *err)
{
	json_int_t set = FIRST_SET + session->desk.pictures;
	char path[48];
	struct stat st;
	int r;

	if (file < 0 || fstat(file, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, E_PROTOCOL, "no file to draw into");
	r = qmp_ask(session->qmp, "add-fd", json_pack("{s:I}", "fdset-id", set), file, NULL, NULL,
		    err);
	if (r < 0)
		return r;
	session->desk.pictures = (session->desk.pictures + 1) % SETS;
	(void)snprintf(path, sizeof(path), "/dev/fdset/%lld", (long long)set);
	r = qmp_ask(session->qmp, "screendump",
		    json_pack("{s:s, s:s}", "filename", path, "format", "png"), -1, on_drawn, arg,
		    err);
	if (r == 0 || r == -EBUSY)
		(void)!qmp_post_with(session->qmp, "remove-fd", json_pack("{s:I}", "fdset-id", set),
				     &(struct error)ERROR_INIT);
	return r;
}
