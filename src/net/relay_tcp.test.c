/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_tcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"

/* An abstract name of the kernel's choice: nothing is left of it. */
static int listen_somewhere(struct sockaddr_un *name, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = sizeof(*name);
	assert_int_equal(bind(fd, (struct sockaddr *)name, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)name, len), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* Who cannot be let in is not asked for again and again, and is let in later. */
static void test_it_rests_when_no_descriptor_is_left(void **state)
{
	static struct tcp_relay relay;
	struct rlimit before, none;
	struct sockaddr_un name;
	socklen_t len;
	auto_fd listener = listen_somewhere(&name, &len);
	auto_fd client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	tcp_relay_init(&relay, /* keeper= */ -1, listener, /* names= */ NULL);
	assert_int_equal(connect(client, (struct sockaddr *)&name, len), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	tcp_relay_accept(&relay);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(tcp_relay_listener(&relay).fd, -1);
	while (tcp_relay_tick(&relay))
		clock_sleep_ms(10);
	assert_int_equal(tcp_relay_listener(&relay).fd, listener);
	tcp_relay_accept(&relay);
	assert_true(tcp_relay_tick(&relay)); /* for it */
	assert_int_equal(relay.clients[0].state, TCP_READ_QUERY);
	(void)close(relay.clients[0].guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_rests_when_no_descriptor_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
