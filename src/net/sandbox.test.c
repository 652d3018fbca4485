/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sandbox.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/error.h"

/* Descriptors of a child: a UDP socket that may send to anybody, others that may not. */
enum { ANSWERS = 3, SILENT, STREAM, PEER, COUNT };

static const struct sockaddr_in nowhere = { .sin_family = AF_INET, .sin_port = 9 };

static void open_sockets(void)
{
	int pair[2];

	assert_int_equal(close_range(ANSWERS, ~0U, 0), 0);
	assert_int_equal(socket(AF_INET, SOCK_DGRAM, 0), ANSWERS);
	assert_int_equal(socket(AF_INET, SOCK_DGRAM, 0), SILENT);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pair[0], STREAM);
}

/* Return: how a child ended that did @act in the sandbox; 0: in order. */
static int end_of(void (*act)(void), int answers, int silent)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		const struct sandbox sandbox = {
			.id = 0x7effffff,
			.parent = getppid(),
			.files = COUNT + 1,
			.answers = answers,
			.silent = silent,
		};
		struct error err = ERROR_INIT;

		open_sockets();
		if (sandbox_enter(&sandbox, &err) < 0)
			_exit(1);
		act();
		(void)syscall(SYS_exit_group, 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void send_plain(void)
{
	(void)send(STREAM, "x", 1, 0);
}

static void answer(void)
{
	(void)sendto(ANSWERS, "x", 1, 0, (const struct sockaddr *)&nowhere, sizeof(nowhere));
}

static void send_elsewhere(void)
{
	(void)sendto(SILENT, "x", 1, 0, (const struct sockaddr *)&nowhere, sizeof(nowhere));
}

static void break_silence(void)
{
	(void)send(SILENT, "x", 1, 0);
}

/* The kernel takes the lower half for the descriptor. */
static void break_silence_by_half(void)
{
	(void)syscall(SYS_sendto, UINT64_C(1) << 32 | SILENT, "x", 1, 0, NULL, 0);
}

/* Its number, and what may be done with it, would be the next socket's that the keeper gives. */
static void close_answers(void)
{
	(void)close(ANSWERS);
}

static void close_answers_by_half(void)
{
	(void)syscall(SYS_close, UINT64_C(1) << 32 | ANSWERS);
}

static void end_orderly(void)
{
	const struct linger at_once = { .l_onoff = 1 };

	(void)setsockopt(STREAM, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	(void)shutdown(STREAM, SHUT_WR);
	(void)recv(STREAM, NULL, 1, MSG_TRUNC | MSG_DONTWAIT);
	(void)close(STREAM);
}

static void set_other_option(void)
{
	(void)setsockopt(STREAM, SOL_SOCKET, SO_MARK, &(int){ 1 }, sizeof(int));
}

static void set_option_of_other_level(void)
{
	(void)setsockopt(STREAM, IPPROTO_IP, SO_LINGER, &(int){ 1 }, sizeof(int));
}

static void shut_reading(void)
{
	(void)shutdown(STREAM, SHUT_RD);
}

static void open_file(void)
{
	(void)syscall(SYS_openat, -1, "/", 0, 0);
}

static void make_socket(void)
{
	(void)socket(AF_INET, SOCK_STREAM, 0);
}

static void dial(void)
{
	(void)connect(ANSWERS, (const struct sockaddr *)&nowhere, sizeof(nowhere));
}

static void send_message(void)
{
	(void)sendmsg(STREAM, &(struct msghdr){ 0 }, 0);
}

static void call_nothing(void)
{
}

static void test_what_is_needed(void **state)
{
	(void)state;
	assert_int_equal(end_of(call_nothing, ANSWERS, -1), 0);
	assert_int_equal(end_of(send_plain, ANSWERS, -1), 0);
	assert_int_equal(end_of(answer, ANSWERS, -1), 0);
	assert_int_equal(end_of(end_orderly, ANSWERS, -1), 0);
	assert_int_equal(end_of(break_silence, ANSWERS, -1), 0);
	assert_int_equal(end_of(send_plain, -1, SILENT), 0);
	assert_int_equal(end_of(end_orderly, -1, SILENT), 0);
}

static void test_what_is_not(void **state)
{
	void (*const acts[])(void) = {
		send_elsewhere, set_other_option, set_option_of_other_level,
		shut_reading,	open_file,	  make_socket,
		dial,		send_message,
	};

	(void)state;
	for (size_t i = 0; i < array_size(acts); i++) {
		assert_int_equal(end_of(acts[i], ANSWERS, -1), SIGSYS);
		assert_int_equal(end_of(acts[i], -1, SILENT), SIGSYS);
	}
}

static void test_silence(void **state)
{
	(void)state;
	assert_int_equal(end_of(answer, -1, SILENT), SIGSYS);
	assert_int_equal(end_of(break_silence, -1, SILENT), SIGSYS);
	assert_int_equal(end_of(break_silence_by_half, -1, SILENT), SIGSYS);
}

static void test_answers_stay(void **state)
{
	(void)state;
	assert_int_equal(end_of(close_answers, ANSWERS, -1), SIGSYS);
	assert_int_equal(end_of(close_answers_by_half, ANSWERS, -1), SIGSYS);
	assert_int_equal(end_of(close_answers, -1, SILENT), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_needed),
		cmocka_unit_test(test_what_is_not),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_answers_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
