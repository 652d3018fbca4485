/* SPDX-License-Identifier: Apache-2.0 */

/* The whole talker, in its sandbox, with the test as its keeper: what a card on a bridge needs. */

#include "net/talker.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "net/frame.h"

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

enum { ARP = 42, DHCP = FRAME_HEADERS + 300, PATIENCE_MS = 60000, SILENCE_MS = 100 };
enum { DHCPREQUEST = 3, DHCPACK = 5 }; /* RFC 2132, 9.6 */

/* Our ends. */
struct world {
	pid_t talker;
	int keeper, names, packets;
};

static void make_pair(int type, int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

static struct talker_request await_request(const struct world *w)
{
	struct pollfd fd = { .fd = w->keeper, .events = POLLIN };
	struct talker_request request = { 0 };

	assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
	assert_int_equal(recv(w->keeper, &request, sizeof(request), 0), sizeof(request));
	return request;
}

static int set_up(void **state)
{
	static struct world w;
	int keeper[2], names[2], packets[2];
	pid_t self = getpid();

	make_pair(SOCK_SEQPACKET, keeper);
	make_pair(SOCK_SEQPACKET, names);
	make_pair(SOCK_SEQPACKET, packets);
	w = (struct world){ .keeper = keeper[0], .names = names[0], .packets = packets[0] };
	w.talker = fork();
	if (w.talker == 0) {
		struct talker_setup setup = {
			.keeper_pid = self,
			.keeper = keeper[1],
			.names = names[1],
			.packets = packets[1],
			.dns_udp = -1,
			.dns_tcp = -1,
			.bridged = true,
		};

		memcpy(setup.mac, mac, sizeof(mac));
		/* _exit() is more than that call where a sanitizer watches */
		(void)syscall(SYS_exit_group, talker_main(&setup));
	}
	(void)close(keeper[1]);
	(void)close(names[1]);
	(void)close(packets[1]);
	*state = &w;
	return await_request(&w).kind == TALKER_READY ? 0 : -1;
}

/* It ends with the keeper, in order. */
static int tear_down(void **state)
{
	struct world *w = *state;
	int status = 0;

	(void)close(w->keeper);
	(void)close(w->names);
	(void)close(w->packets);
	if (w->talker == 0)
		return 0;
	return waitpid(w->talker, &status, 0) == w->talker && status == 0 ? 0 : -1;
}

static void send_arp(const struct world *w, uint8_t last)
{
	uint8_t frame[ARP] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0,
			       0,    8,	   6,	 0,    1,    8,	   0, 6, 4, 0, 1 };
	const uint8_t address[] = { 10, 0, 2, last };

	memcpy(frame + 6, mac, sizeof(mac));
	memcpy(frame + 22, mac, sizeof(mac));
	memcpy(frame + 28, address, sizeof(address));
	assert_int_equal(send(w->packets, frame, sizeof(frame), 0), sizeof(frame));
}

/* @type: DHCPREQUEST of the guest's, or DHCPACK. */
static void send_dhcp(const struct world *w, uint8_t type, uint8_t last)
{
	const uint8_t options[] = { 99, 130, 83, 99, 53, 1, type, 255 };
	bool asks = type == DHCPREQUEST;
	uint8_t bytes[DHCP] = { 0 };
	struct frame f = { .source_port = asks ? 68 : 67, .target_port = asks ? 67 : 68 };
	uint8_t *m = bytes + FRAME_HEADERS;

	memcpy(m, ((const uint8_t[]){ asks ? 1 : 2, 1, 6 }), 3);
	memcpy(m + 16, ((const uint8_t[]){ 10, 0, 2, last }), 4);
	memcpy(m + 28, mac, sizeof(mac));
	memcpy(m + 236, options, sizeof(options));
	memcpy(asks ? f.from : f.to, mac, sizeof(mac));
	f.payload = (struct slice){ m, DHCP - FRAME_HEADERS };
	assert_int_equal(frame_build(bytes, &f), DHCP);
	assert_int_equal(send(w->packets, bytes, DHCP, 0), DHCP);
}

static void assert_learnt(const struct world *w, uint8_t last, bool by_dhcp)
{
	struct talker_request r = await_request(w);

	assert_int_equal(r.kind, TALKER_LEASED);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.number, by_dhcp);
	assert_memory_equal(r.addresses, ((const uint8_t[]){ 10, 0, 2, last }), 4);
}

static void assert_silent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, SILENCE_MS), 0);
}

static void test_bridged_card_is_learnt(void **state)
{
	const struct world *w = *state;

	send_arp(w, 7);
	assert_learnt(w, 7, false);
	send_arp(w, 7);
	assert_silent(w->keeper);
	send_dhcp(w, DHCPACK, 9);
	assert_silent(w->keeper); /* nobody asked */
	send_dhcp(w, DHCPREQUEST, 0);
	send_dhcp(w, DHCPACK, 7);
	assert_learnt(w, 7, true);
	send_dhcp(w, DHCPREQUEST, 0);
	send_dhcp(w, DHCPACK, 8);
	assert_learnt(w, 8, true);
	assert_silent(w->packets);
}

static void test_floods_are_told_slowly(void **state)
{
	const struct world *w = *state;
	struct talker_request r;
	unsigned told = 0;

	for (unsigned i = 0; i < 200; i++)
		send_arp(w, (uint8_t)(i % 2 + 1));
	assert_learnt(w, 1, false);
	(void)await_request(w);
	(void)poll(NULL, 0, SILENCE_MS);
	while (recv(w->keeper, &r, sizeof(r), MSG_DONTWAIT) > 0)
		told++;
	assert_in_range(told, 0, 8);
}

/* The keeper breaks the protocol: better no network than one by wrong rules. */
static void test_names_that_are_none(void **state)
{
	struct world *w = *state;
	int status = -1;

	assert_int_equal(send(w->names, "nonsense", 8, 0), 8);
	assert_int_equal(waitpid(w->talker, &status, 0), w->talker);
	assert_int_equal(status, 0);
	w->talker = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bridged_card_is_learnt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_floods_are_told_slowly, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names_that_are_none, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
