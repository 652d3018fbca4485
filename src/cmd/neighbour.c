/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/neighbour.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

/*
 * Theory of operation
 * -------------------
 *
 * A bridge keeps entries of guests that are long gone, also of this MAC: the kernel forgets none
 * while they are few. So an entry counts if it says what the VM was seen to use (run.json), or
 * if the kernel has learnt it since the VM was started. /proc/net/arp does not tell when.
 */

enum { ANSWER_MAX = 32 * 1024 }; /* what the kernel puts into one packet of a dump at most */

static const unsigned valid_states =
	NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;

/* The seconds since the more recent of the two events. Kernel ticks are 1/sysconf(_SC_CLK_TCK). */
static uint64_t age_of(const struct nda_cacheinfo *info)
{
	uint32_t ticks =
		info->ndm_confirmed < info->ndm_updated ? info->ndm_confirmed : info->ndm_updated;
	long per_second = sysconf(_SC_CLK_TCK);

	return per_second > 0 ? ticks / (uint64_t)per_second : ticks;
}

enum found { FOUND_ADDRESS = 1, FOUND_MAC = 2, FOUND_AGE = 4, FOUND_ALL = 7 };

/* Take one attribute. Return: its bit of enum found, 0 for others. */
static unsigned take_attribute(unsigned type, struct slice value, struct neighbour *n)
{
	struct nda_cacheinfo info;

	if (type == NDA_DST && value.len == sizeof(n->address)) {
		memcpy(&n->address, value.ptr, value.len);
		return FOUND_ADDRESS;
	}
	if (type == NDA_LLADDR && value.len == sizeof(n->mac.bytes)) {
		memcpy(n->mac.bytes, value.ptr, value.len);
		return FOUND_MAC;
	}
	if (type == NDA_CACHEINFO && value.len >= sizeof(info)) {
		memcpy(&info, value.ptr, sizeof(info));
		n->age = age_of(&info);
		return FOUND_AGE;
	}
	return 0;
}

/* Is it what something with such a header, of which there are @left bytes, can have? Else 0. */
static size_t check_length(size_t length, size_t header, size_t left)
{
	return length < header || length > left ? 0 : length;
}

/* Go past something of @length bytes: what follows begins at a multiple of 4. */
static void advance(struct slice *all, size_t length)
{
	size_t step = NLMSG_ALIGN(length);

	step = step < all->len ? step : all->len;
	all->ptr += step;
	all->len -= step;
}

bool neighbour_parse(struct slice message, struct neighbour *n)
{
	unsigned found = 0;
	struct ndmsg fixed;

	if (message.len < sizeof(fixed))
		return false;
	memcpy(&fixed, message.ptr, sizeof(fixed));
	if (fixed.ndm_family != AF_INET || !(fixed.ndm_state & valid_states))
		return false;
	*n = (struct neighbour){ .interface = (unsigned)fixed.ndm_ifindex };
	advance(&message, sizeof(fixed));
	while (message.len >= sizeof(struct rtattr)) {
		struct rtattr a;
		size_t length;

		memcpy(&a, message.ptr, sizeof(a));
		length = check_length(a.rta_len, sizeof(a), message.len);
		if (!length)
			return false;
		found |= take_attribute(
			a.rta_type, (struct slice){ message.ptr + sizeof(a), length - sizeof(a) },
			n);
		advance(&message, length);
	}
	return found == FOUND_ALL;
}

bool neighbour_is_better(const struct neighbour *a, const struct neighbour *b, struct in_addr known,
			 uint64_t max_age)
{
	bool is_known = known.s_addr && a->address.s_addr == known.s_addr;

	if (!is_known && a->age > max_age)
		return false;
	if (!b || is_known)
		return true;
	return b->address.s_addr != known.s_addr && a->age < b->age;
}

struct search {
	const struct neighbour_wanted *wanted;
	unsigned interface;
	uint64_t max_age;
	bool found, done;
	struct neighbour best;
};

static void look_at(struct search *s, struct slice message)
{
	struct neighbour n;

	if (neighbour_parse(message, &n) && n.interface == s->interface &&
	    mac_equal(n.mac, s->wanted->mac) &&
	    neighbour_is_better(&n, s->found ? &s->best : NULL, s->wanted->known, s->max_age)) {
		s->best = n;
		s->found = true;
	}
}

/* Go through one packet of the kernel's answer. */
static void read_packet(struct search *s, struct slice packet)
{
	while (packet.len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;
		size_t length;

		memcpy(&h, packet.ptr, sizeof(h));
		length = check_length(h.nlmsg_len, sizeof(h), packet.len);
		if (!length || h.nlmsg_type == NLMSG_DONE || h.nlmsg_type == NLMSG_ERROR) {
			s->done = true;
			return;
		}
		if (h.nlmsg_type == RTM_NEWNEIGH)
			look_at(s, (struct slice){ packet.ptr + sizeof(h), length - sizeof(h) });
		advance(&packet, length);
	}
}

static bool ask_kernel(int sock)
{
	struct {
		struct nlmsghdr header;
		struct ndmsg fixed;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			    .nlmsg_type = RTM_GETNEIGH,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.fixed = { .ndm_family = AF_INET },
	};

	return send(sock, &request, sizeof(request), 0) == sizeof(request);
}

/* A dump that breaks off in the middle has found what it has found. */
static void search_table(struct search *s)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	auto_free uint8_t *answer = xmalloc(ANSWER_MAX);
	auto_fd sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (sock < 0 || connect(sock, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0 ||
	    !ask_kernel(sock))
		return;
	while (!s->done) {
		ssize_t n = recv(sock, answer, ANSWER_MAX, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		read_packet(s, (struct slice){ answer, (size_t)n });
	}
}

bool neighbour_find(const struct neighbour_wanted *wanted, struct in_addr *address)
{
	time_t now = time(NULL);
	struct search search = {
		.wanted = wanted,
		.interface = *wanted->interface ? if_nametoindex(wanted->interface) : 0,
		.max_age = now > wanted->since ? (uint64_t)(now - wanted->since) : 0,
	};

	if (search.interface)
		search_table(&search);
	if (search.found)
		*address = search.best.address;
	return search.found;
}
