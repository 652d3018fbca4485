/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One thread, one poll() over a table of fixed size, no allocation: places
 * for the keeper, the policy's names, the packet socket, the two DNS
 * listeners, each exposed port, each waiting UDP query, each TCP client of DNS,
 * and both sides of each exposed connection. A place that has nothing to wait
 * for holds -1, which poll() skips. The parsers (dhcp.c, dns.c, dns_answer.c,
 * frame.c, learn.c) do no I/O.
 *
 * In one round each ready place is served once, with a bounded piece of work;
 * of the DNS answers one of each kind, as the keeper may need milliseconds to take
 * its addresses into the filter. So nobody who floods a place starves another.
 */

#include "net/talker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/dhcp.h"
#include "net/learn.h"
#include "net/names.h"
#include "net/relay_expose.h"
#include "net/relay_tcp.h"
#include "net/relay_udp.h"
#include "net/sandbox.h"

/* Where the descriptors are put, whatever their numbers were. */
enum {
	FD_KEEPER = 3,
	FD_NAMES,
	FD_PACKETS,
	FD_DNS_UDP,
	FD_DNS_TCP,
	FD_EXPOSED,
	FD_END = FD_EXPOSED + NET_EXPOSED_MAX,
	/* beyond them: each query's and client's, both sides of a connection, one that comes */
	FILES_MAX = FD_END + UDP_QUERIES_MAX + 2 * TCP_CLIENTS_MAX + 2 * EXPOSE_CONNECTIONS_MAX + 1,
};

enum {
	PLACE_KEEPER,
	PLACE_NAMES,
	PLACE_PACKETS,
	PLACE_DNS_UDP,
	PLACE_DNS_TCP,
	PLACE_EXPOSED,
	PLACE_UDP = PLACE_EXPOSED + NET_EXPOSED_MAX,
	PLACE_TCP = PLACE_UDP + UDP_QUERIES_MAX,
	PLACE_CONNECTIONS = PLACE_TCP + TCP_CLIENTS_MAX,
	PLACE_COUNT = PLACE_CONNECTIONS + 2 * EXPOSE_CONNECTIONS_MAX,
};

enum {
	TICK_MS = 250,
	DHCP_BURST = 20, /* answers at once, */
	DHCP_REFILL_MS = 100, /* and then one each */
	FRAME_MAX = 4096,
	/* ranges that no distribution gives to people, services or containers: one user for each
	   guest, by its address or, BRIDGED, its MAC: talkers cannot touch each other */
	USER_BASE = 0x7f000000,
	USER_BRIDGED_BASE = 0x7e000000,
};

struct talker {
	bool bridged;
	struct in_addr address;
	struct names names;
	struct learner learner;
	struct dhcp dhcp;
	unsigned dhcp_tokens;
	uint64_t dhcp_refilled; /* ms */
	struct udp_relay udp;
	struct tcp_relay tcp;
	struct expose_relay expose;
	unsigned udp_turn, tcp_turn; /* who was served last */
	struct pollfd places[PLACE_COUNT];
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

static void tell(const struct talker_request *request)
{
	(void)send(FD_KEEPER, request, sizeof(*request), MSG_NOSIGNAL);
}

static void tell_leased(struct in_addr address, bool by_dhcp)
{
	const struct talker_request request = {
		.kind = TALKER_LEASED,
		.number = by_dhcp,
		.count = 1,
		.addresses = { address },
	};

	tell(&request);
}

static void serve_dhcp(struct talker *t, struct slice frame)
{
	uint8_t reply[DHCP_FRAME_MAX];
	bool leased;
	size_t len;

	refill(t);
	if (t->dhcp_tokens == 0)
		return;
	len = dhcp_answer(&t->dhcp, frame, reply, &leased);
	if (len == 0)
		return;
	t->dhcp_tokens--;
	(void)send(FD_PACKETS, reply, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (leased)
		tell_leased(t->address, true);
}

static void serve_packets(struct talker *t)
{
	uint8_t bytes[FRAME_MAX];
	ssize_t n = recv(FD_PACKETS, bytes, sizeof(bytes), MSG_DONTWAIT);
	const struct slice frame = { bytes, n > 0 ? (size_t)n : 0 };
	struct learnt found;

	if (n <= 0)
		return;
	if (!t->bridged)
		serve_dhcp(t, frame);
	else if (learner_take(&t->learner, frame, clock_ms(), &found))
		tell_leased(found.address, found.by_dhcp);
}

static void fill_fixed_places(struct talker *t)
{
	/* without the policy's names nothing is asked for them */
	bool dns = !t->bridged && t->names.known;

	t->places[PLACE_KEEPER] = (struct pollfd){ .fd = FD_KEEPER, .events = POLLIN };
	t->places[PLACE_NAMES] = (struct pollfd){ .fd = FD_NAMES, .events = POLLIN };
	t->places[PLACE_PACKETS] = (struct pollfd){ .fd = FD_PACKETS, .events = POLLIN };
	t->places[PLACE_DNS_UDP] = (struct pollfd){ .fd = dns ? FD_DNS_UDP : -1, .events = POLLIN };
	t->places[PLACE_DNS_TCP] = dns ? tcp_relay_listener(&t->tcp) : (struct pollfd){ .fd = -1 };
}

static void fill_places(struct talker *t)
{
	fill_fixed_places(t);
	for (unsigned i = 0; i < NET_EXPOSED_MAX; i++)
		t->places[PLACE_EXPOSED + i] = i < t->expose.count
						       ? expose_relay_listener(&t->expose, i)
						       : (struct pollfd){ .fd = -1 };
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		t->places[PLACE_UDP + i] =
			(struct pollfd){ .fd = t->udp.queries[i].fd, .events = POLLIN };
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++) {
		struct pollfd *p = &t->places[PLACE_TCP + i];

		*p = (struct pollfd){ 0 };
		p->fd = tcp_relay_wants(&t->tcp, i, &p->events);
	}
	for (unsigned i = 0; i < EXPOSE_CONNECTIONS_MAX; i++)
		expose_relay_wants(&t->expose, i, &t->places[PLACE_CONNECTIONS + 2 * i]);
}

/* The next of @count places that is ready, behind *turn, which it becomes. Return: is there one? */
static bool next_ready(const struct pollfd *places, unsigned count, unsigned *turn)
{
	for (unsigned i = 1; i <= count; i++) {
		unsigned at = (*turn + i) % count;

		if (places[at].revents == 0)
			continue;
		*turn = at;
		return true;
	}
	return false;
}

static void serve_dns(struct talker *t)
{
	if (next_ready(t->places + PLACE_UDP, UDP_QUERIES_MAX, &t->udp_turn))
		udp_relay_answer(&t->udp, t->udp_turn);
	if (next_ready(t->places + PLACE_TCP, TCP_CLIENTS_MAX, &t->tcp_turn))
		tcp_relay_go(&t->tcp, t->tcp_turn);
	if (t->places[PLACE_DNS_UDP].revents)
		udp_relay_take(&t->udp);
	if (t->places[PLACE_DNS_TCP].revents)
		tcp_relay_accept(&t->tcp);
}

static void serve_exposed(struct talker *t)
{
	for (unsigned i = 0; i < EXPOSE_CONNECTIONS_MAX; i++) {
		const struct pollfd *sides = &t->places[PLACE_CONNECTIONS + 2 * i];

		if (sides[0].revents || sides[1].revents)
			expose_relay_go(&t->expose, i, sides);
	}
	for (unsigned i = 0; i < t->expose.count; i++)
		if (t->places[PLACE_EXPOSED + i].revents)
			expose_relay_accept(&t->expose, i);
}

/* Return: is there anything that time may end? */
static bool tick(struct talker *t)
{
	bool udp = udp_relay_tick(&t->udp), tcp = tcp_relay_tick(&t->tcp);

	return expose_relay_tick(&t->expose) || udp || tcp;
}

/* Until the keeper is gone. */
static int serve(struct talker *t)
{
	for (;;) {
		bool waiting = tick(t);

		fill_places(t);
		if (poll(t->places, PLACE_COUNT, waiting ? TICK_MS : -1) < 0) {
			if (errno != EINTR)
				return 1;
			continue;
		}
		/* it speaks only when asked, in upstream_ask() */
		if (t->places[PLACE_KEEPER].revents)
			return 0;
		if (t->places[PLACE_NAMES].revents && !names_refresh(&t->names))
			return 0;
		if (t->places[PLACE_PACKETS].revents)
			serve_packets(t);
		serve_exposed(t);
		serve_dns(t);
	}
}

/* Nothing else stays open; the numbers are fixed for the system call filter. */
static int place_descriptors(const struct talker_setup *s)
{
	int fds[FD_END - FD_KEEPER] = { s->keeper, s->names, s->packets, s->dns_udp, s->dns_tcp };
	const size_t fixed = FD_EXPOSED - FD_KEEPER, count = fixed + s->exposed_count;

	if (s->exposed_count > NET_EXPOSED_MAX)
		return -1;
	memcpy(fds + fixed, s->exposed, s->exposed_count * sizeof(fds[0]));
	for (size_t i = 0; i < count; i++) {
		if (fds[i] < 0)
			continue;
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FD_END);
		if (fds[i] < 0)
			return -1;
	}
	if (close_range(FD_KEEPER, FD_END - 1, 0) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0 && dup2(fds[i], FD_KEEPER + (int)i) < 0)
			return -1;
	return close_range(FD_END, ~0U, 0);
}

static void init(struct talker *t, const struct talker_setup *s)
{
	t->bridged = s->bridged;
	t->address = s->address;
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
	names_init(&t->names, FD_KEEPER, FD_NAMES);
	learner_init(&t->learner, s->mac, clock_ms());
	udp_relay_init(&t->udp, FD_KEEPER, FD_DNS_UDP, &t->names);
	tcp_relay_init(&t->tcp, FD_KEEPER, FD_DNS_TCP, &t->names);
	expose_relay_init(&t->expose, FD_KEEPER, FD_EXPOSED, s->exposed_count);
}

static uid_t user_of(const struct talker_setup *s)
{
	if (s->bridged)
		return USER_BRIDGED_BASE +
		       ((unsigned)s->mac[3] << 16 | (unsigned)s->mac[4] << 8 | s->mac[5]);
	return USER_BASE + (ntohl(s->address.s_addr) & 0xffff);
}

int talker_main(const struct talker_setup *setup)
{
	const struct sandbox sandbox = {
		.id = user_of(setup),
		.parent = setup->keeper_pid,
		.files = FILES_MAX,
		.answers = setup->bridged ? -1 : FD_DNS_UDP,
		.silent = setup->bridged ? FD_PACKETS : -1,
	};
	struct error err = ERROR_INIT;

	(void)prctl(PR_SET_NAME, "linzer-talker");
	if (place_descriptors(setup) < 0)
		return 1;
	init(&the_talker, setup);
	if (sandbox_enter(&sandbox, &err) < 0) {
		(void)!write(STDERR_FILENO, err.text, strlen(err.text));
		return 1;
	}
	tell(&(struct talker_request){ .kind = TALKER_READY });
	return serve(&the_talker);
}
