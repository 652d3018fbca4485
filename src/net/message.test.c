/* SPDX-License-Identifier: Apache-2.0 */
#include "net/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/error.h"

static struct net_start start(void)
{
	return (struct net_start){ .magic = NET_MAGIC,
				   .kind = NET_START,
				   .mode = NET_SOFTNET,
				   .mac = { 2, 0, 0, 0, 0, 1 },
				   .exposed_count = 1,
				   .exposed = { { 2222, 22 } } };
}

static int check(const struct net_start *m)
{
	struct error err = ERROR_INIT;

	return net_message_check_start(m, sizeof(*m), &err);
}

/* Whatever byte outside MAC, wanted address and ports is changed, it is refused. */
static void test_start(void **state)
{
	const size_t mac = offsetof(struct net_start, mac);
	const size_t wanted = offsetof(struct net_start, wanted);
	const size_t ports = offsetof(struct net_start, exposed);
	struct net_start m = start();

	(void)state;
	assert_int_equal(check(&m), 0);
	for (size_t i = 0; i < sizeof(m); i++) {
		bool open = (i > mac && i < mac + 6) || (i >= wanted && i < wanted + 4) ||
			    (i >= ports && i < ports + 4);

		m = start();
		((uint8_t *)&m)[i] ^= i == mac ? 1 : 0x80;
		assert_int_equal(check(&m), open ? 0 : -E_PROTOCOL);
	}
	m = start();
	memset(m.mac, 0, sizeof(m.mac));
	assert_int_equal(check(&m), -E_PROTOCOL);
}

static void test_start_of_a_bridged_card(void **state)
{
	struct net_start m = start();

	(void)state;
	m.mode = NET_BRIDGED;
	assert_int_equal(check(&m), -E_PROTOCOL); /* no interface, but ports */
	memcpy(m.interface, "br0", 4);
	assert_int_equal(check(&m), -E_PROTOCOL);
	m.exposed_count = 0;
	m.exposed[0] = (struct net_exposed){ 0, 0 };
	assert_int_equal(check(&m), 0);
	memset(m.interface, 'x', sizeof(m.interface));
	assert_int_equal(check(&m), -E_PROTOCOL);
}

static void test_start_with_ports(void **state)
{
	struct net_start m = start();

	(void)state;
	m.exposed_count = 2;
	assert_int_equal(check(&m), -E_PROTOCOL); /* port 0 */
	m.exposed[1] = (struct net_exposed){ 2222, 23 };
	assert_int_equal(check(&m), -E_PROTOCOL); /* twice */
	m.exposed[1].host = 2223;
	assert_int_equal(check(&m), 0);
	m.exposed_count = NET_EXPOSED_MAX + 1;
	assert_int_equal(check(&m), -E_PROTOCOL);
}

static void test_start_with_a_fixed_address(void **state)
{
	struct net_start m = start();

	(void)state;
	m.fixed = 1;
	assert_int_equal(check(&m), -E_PROTOCOL); /* but none */
	m.wanted.s_addr = 1;
	assert_int_equal(check(&m), 0);
}

static void test_count(void **state)
{
	struct net_message m = { .magic = NET_MAGIC, .kind = NET_COUNT };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(net_message_check_count(&m, sizeof(m), &err), 0);
	assert_int_equal(net_message_check_count(&m, sizeof(m) - 1, &err), -E_PROTOCOL);
	m.prefix = 1;
	assert_int_equal(net_message_check_count(&m, sizeof(m), &err), -E_PROTOCOL);
}

static void test_kind(void **state)
{
	const struct net_start m = start();
	const uint32_t other[] = { NET_MAGIC, NET_KIND_MAX };

	(void)state;
	assert_int_equal(net_message_kind(&m, sizeof(m)), NET_START);
	assert_int_equal(net_message_kind(&m, 7), 0);
	assert_int_equal(net_message_kind(other, sizeof(other)), 0);
}

static void test_answer(void **state)
{
	struct net_message m = { .magic = NET_MAGIC, .kind = NET_STARTED };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(net_message_check_answer(&m, sizeof(m), &err), 0);
	assert_int_equal(net_message_check_answer(&m, sizeof(m) - 1, &err), -E_PROTOCOL);
	m.kind = NET_KIND_MAX;
	assert_int_equal(net_message_check_answer(&m, sizeof(m), &err), -E_PROTOCOL);
	m.kind = NET_FAILED;
	memset(m.text, 'x', sizeof(m.text));
	assert_int_equal(net_message_check_answer(&m, sizeof(m), &err), -E_PROTOCOL);
	memset(m.text, 0, sizeof(m.text));
	memset(m.interface, 'x', sizeof(m.interface));
	assert_int_equal(net_message_check_answer(&m, sizeof(m), &err), -E_PROTOCOL);
}

static void test_transport(void **state)
{
	uint8_t bytes[sizeof(struct net_message) + 1];
	struct net_message m = { .magic = NET_MAGIC, .kind = NET_STARTED };
	struct error err = ERROR_INIT;
	int pair[2], fd = -1;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(net_message_receive(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT, &fd,
					     &err),
			 -EAGAIN);
	assert_int_equal(net_message_send(pair[0], &m, sizeof(m), pair[0], &err), 0);
	assert_int_equal(net_message_receive(pair[1], bytes, sizeof(bytes), 0, &fd, &err),
			 sizeof(m));
	assert_true(fd >= 0);
	assert_memory_equal(bytes, &m, sizeof(m));
	assert_int_equal(close(fd), 0);
	assert_int_equal(net_message_send(pair[0], &m, sizeof(m), -1, &err), 0);
	assert_int_equal(net_message_receive(pair[1], bytes, 10, 0, &fd, &err), -E_PROTOCOL);
	assert_int_equal(close(pair[0]), 0);
	assert_int_equal(net_message_receive(pair[1], bytes, sizeof(bytes), 0, NULL, &err), -EPIPE);
	assert_int_equal(net_message_send(pair[1], &m, sizeof(m), -1, &err), -EPIPE);
	assert_int_equal(close(pair[1]), 0);
}

static void send_descriptors(int sock, size_t count)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (char[]){ 'x' }, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	for (size_t i = 0; i < count; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &sock, sizeof(int));
	assert_int_equal(sendmsg(sock, &msg, 0), 1);
}

/* Whoever runs the keeper must not fill its table of descriptors. */
static void test_descriptors_do_not_stay(void **state)
{
	struct error err = ERROR_INIT;
	int pair[2], next;
	uint8_t byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	next = dup(pair[0]);
	assert_int_equal(close(next), 0);
	for (size_t count = 1; count <= 4; count++) {
		send_descriptors(pair[0], count);
		assert_int_equal(net_message_receive(pair[1], &byte, 1, 0, NULL, &err), 1);
		assert_int_equal(dup(pair[0]), next);
		assert_int_equal(close(next), 0);
	}
	assert_int_equal(close(pair[0]), 0);
	assert_int_equal(close(pair[1]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_start_of_a_bridged_card),
		cmocka_unit_test(test_start_with_ports),
		cmocka_unit_test(test_start_with_a_fixed_address),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_kind),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_transport),
		cmocka_unit_test(test_descriptors_do_not_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
