/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One thread, one poll() over a table of fixed size, no allocation: places
 * for the keeper, DHCP, the two DNS listeners, each waiting UDP query and
 * each TCP client. A place that has nothing to wait for holds -1, which
 * poll() skips. The parsers (dhcp.c, dns.c, frame.c) do no I/O.
 */

#include "net/talker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/dhcp.h"
#include "net/relay_tcp.h"
#include "net/relay_udp.h"
#include "net/sandbox.h"

/* Where the descriptors are put, whatever their numbers were. */
enum { FD_KEEPER = 3, FD_DHCP, FD_DNS_UDP, FD_DNS_TCP, FD_COUNT };

enum {
	PLACE_KEEPER,
	PLACE_DHCP,
	PLACE_DNS_UDP,
	PLACE_DNS_TCP,
	PLACE_UDP,
	PLACE_TCP = PLACE_UDP + UDP_QUERIES_MAX,
	PLACE_COUNT = PLACE_TCP + TCP_CLIENTS_MAX,
};

enum {
	TICK_MS = 250,
	DHCP_BURST = 20, /* answers at once, */
	DHCP_REFILL_MS = 100, /* and then one each */
	FRAME_MAX = 4096,
	/* a range that no distribution gives to people, services or containers */
	USER_BASE = 0x7f000000,
};

struct talker {
	struct dhcp dhcp;
	unsigned dhcp_tokens;
	uint64_t dhcp_refilled; /* ms */
	struct udp_relay udp;
	struct tcp_relay tcp;
};

/* Static, not on the stack: pages that are never used cost nothing. */
static struct talker the_talker;

static void refill(struct talker *t)
{
	uint64_t now = clock_ms(), more = (now - t->dhcp_refilled) / DHCP_REFILL_MS;

	if (more == 0)
		return;
	t->dhcp_refilled = now;
	t->dhcp_tokens =
		more > DHCP_BURST - t->dhcp_tokens ? DHCP_BURST : t->dhcp_tokens + (unsigned)more;
}

static void tell(enum talker_request_kind kind)
{
	const struct talker_request request = { .kind = (uint8_t)kind };

	(void)send(FD_KEEPER, &request, sizeof(request), MSG_NOSIGNAL);
}

static void serve_dhcp(struct talker *t)
{
	uint8_t frame[FRAME_MAX], reply[DHCP_FRAME_MAX];
	bool leased;
	ssize_t n = recv(FD_DHCP, frame, sizeof(frame), MSG_DONTWAIT);
	size_t len;

	refill(t);
	if (n <= 0 || t->dhcp_tokens == 0)
		return;
	len = dhcp_answer(&t->dhcp, (struct slice){ frame, (size_t)n }, reply, &leased);
	if (len == 0)
		return;
	t->dhcp_tokens--;
	(void)send(FD_DHCP, reply, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (leased)
		tell(TALKER_LEASED);
}

static bool fill_places(const struct talker *t, struct pollfd *places)
{
	bool waiting = false;

	places[PLACE_KEEPER] = (struct pollfd){ .fd = FD_KEEPER, .events = POLLIN };
	places[PLACE_DHCP] = (struct pollfd){ .fd = FD_DHCP, .events = POLLIN };
	places[PLACE_DNS_UDP] = (struct pollfd){ .fd = FD_DNS_UDP, .events = POLLIN };
	places[PLACE_DNS_TCP] = (struct pollfd){ .fd = FD_DNS_TCP, .events = POLLIN };
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++) {
		places[PLACE_UDP + i] =
			(struct pollfd){ .fd = t->udp.queries[i].fd, .events = POLLIN };
		waiting |= t->udp.queries[i].fd >= 0;
	}
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++) {
		struct pollfd *p = &places[PLACE_TCP + i];

		*p = (struct pollfd){ 0 };
		p->fd = tcp_relay_wants(&t->tcp, i, &p->events);
		waiting |= p->fd >= 0;
	}
	return waiting;
}

static void serve_places(struct talker *t, const struct pollfd *places)
{
	if (places[PLACE_DHCP].revents)
		serve_dhcp(t);
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		if (places[PLACE_UDP + i].revents)
			udp_relay_answer(&t->udp, i);
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++)
		if (places[PLACE_TCP + i].revents)
			tcp_relay_go(&t->tcp, i);
	if (places[PLACE_DNS_UDP].revents)
		udp_relay_take(&t->udp);
	if (places[PLACE_DNS_TCP].revents)
		tcp_relay_accept(&t->tcp);
	udp_relay_tick(&t->udp);
	tcp_relay_tick(&t->tcp);
}

/* Until the keeper is gone. */
static int serve(struct talker *t)
{
	struct pollfd places[PLACE_COUNT];

	for (;;) {
		bool waiting = fill_places(t, places);

		if (poll(places, PLACE_COUNT, waiting ? TICK_MS : -1) < 0) {
			if (errno != EINTR)
				return 1;
			continue;
		}
		/* it speaks only when asked, in upstream_get() */
		if (places[PLACE_KEEPER].revents)
			return 0;
		serve_places(t, places);
	}
}

/* Nothing else stays open; the numbers are fixed for the system call filter. */
static int place_descriptors(const struct talker_setup *s)
{
	const int ours[] = { s->keeper, s->packets, s->dns_udp, s->dns_tcp };
	int high[array_size(ours)];

	_Static_assert(array_size(ours) == FD_COUNT - FD_KEEPER, "one number for each");
	for (size_t i = 0; i < array_size(ours); i++) {
		high[i] = fcntl(ours[i], F_DUPFD_CLOEXEC, FD_COUNT);
		if (high[i] < 0)
			return -1;
	}
	for (size_t i = 0; i < array_size(ours); i++)
		if (dup2(high[i], FD_KEEPER + (int)i) < 0)
			return -1;
	return close_range(FD_COUNT, ~0U, 0);
}

static void init(struct talker *t, const struct talker_setup *s)
{
	t->dhcp = (struct dhcp){
		.address = s->address,
		.host = s->gateway,
		.prefix = s->prefix,
		.mtu = (uint16_t)s->mtu,
	};
	memcpy(t->dhcp.mac, s->mac, sizeof(s->mac));
	memcpy(t->dhcp.host_mac, s->host_mac, sizeof(s->host_mac));
	t->dhcp_tokens = DHCP_BURST;
	t->dhcp_refilled = clock_ms();
	udp_relay_init(&t->udp, FD_KEEPER, FD_DNS_UDP);
	tcp_relay_init(&t->tcp, FD_KEEPER, FD_DNS_TCP);
}

int talker_main(const struct talker_setup *setup)
{
	struct error err = ERROR_INIT;
	/* one user for each guest: talkers cannot touch each other */
	uid_t id = USER_BASE + (ntohl(setup->address.s_addr) & 0xffff);

	(void)prctl(PR_SET_NAME, "linzer-talker");
	if (place_descriptors(setup) < 0)
		return 1;
	init(&the_talker, setup);
	if (sandbox_enter(id, setup->keeper_pid, FD_DNS_UDP, &err) < 0) {
		(void)!write(STDERR_FILENO, err.text, strlen(err.text));
		return 1;
	}
	tell(TALKER_READY);
	return serve(&the_talker);
}
