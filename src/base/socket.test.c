/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/socket.h"

static int ends[2];

static int open_ends(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

static int close_ends(void **state)
{
	(void)state;
	cleanup_close_(&ends[0]);
	cleanup_close_(&ends[1]);
	return 0;
}

static void assert_same_file(int a, int b)
{
	struct stat x, y;

	assert_int_equal(fstat(a, &x), 0);
	assert_int_equal(fstat(b, &y), 0);
	assert_true(x.st_ino == y.st_ino && x.st_dev == y.st_dev);
}

static void a_descriptor_comes_with_the_bytes(void **state)
{
	auto_fd null = open("/dev/null", O_RDONLY | O_CLOEXEC), got = -1;
	char text[8];

	(void)state;
	assert_int_equal(socket_send(ends[0], "ab", 2, null, 0), 2);
	assert_int_equal(socket_send(ends[0], "c", 1, -1, 0), 1);
	assert_int_equal(socket_receive(ends[1], text, sizeof(text), &got, 0), 2);
	assert_same_file(null, got);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
	assert_int_equal(socket_receive(ends[1], text, sizeof(text), &got, 0), 1);
	assert_same_file(null, got);
}

/* Who sends many does not fill our table of descriptors. */
static void only_one_is_kept(void **state)
{
	int many[2] = { ends[0], ends[1] }, before, after;
	union {
		char bytes[CMSG_SPACE(sizeof(many))];
		struct cmsghdr align;
	} control = { .align = { .cmsg_level = SOL_SOCKET,
				 .cmsg_type = SCM_RIGHTS,
				 .cmsg_len = CMSG_LEN(sizeof(many)) } };
	struct iovec part = { .iov_base = control.bytes, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	int got = -1;
	char byte;

	(void)state;
	memcpy(CMSG_DATA(&control.align), many, sizeof(many));
	before = dup(ends[0]);
	(void)close(before);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sendmsg(ends[0], &message, 0), 1);
		assert_int_equal(socket_receive(ends[1], &byte, 1, &got, 0), 1);
		assert_same_file(got, ends[0]);
	}
	cleanup_close_(&got);
	after = dup(ends[0]);
	(void)close(after);
	assert_int_equal(before, after);
}

static void what_fails_says_why(void **state)
{
	int got = -1;
	char byte;

	(void)state;
	assert_int_equal(socket_receive(ends[1], &byte, 1, &got, MSG_DONTWAIT), -EAGAIN);
	cleanup_close_(&ends[1]);
	ends[1] = -1;
	assert_int_equal(socket_send(ends[0], "x", 1, -1, 0), -EPIPE);
	assert_int_equal(socket_receive(ends[0], &byte, 1, &got, 0), 0);
	assert_int_equal(got, -1);
}

static void who_connected_is_told(void **state)
{
	(void)state;
	assert_true(socket_peer_is(ends[0], getuid()));
	assert_false(socket_peer_is(ends[0], getuid() + 1));
	assert_false(socket_peer_is(-1, getuid()));
}

#define with_ends(test) cmocka_unit_test_setup_teardown(test, open_ends, close_ends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_ends(a_descriptor_comes_with_the_bytes),
		with_ends(only_one_is_kept),
		with_ends(what_fails_says_why),
		with_ends(who_connected_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
