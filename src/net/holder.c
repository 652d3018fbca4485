/* SPDX-License-Identifier: Apache-2.0 */
#include "net/holder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/socket.h"
#include "base/vec.h"
#include "net/host_addresses.h"
#include "net/runtime_dir.h"

enum { LISTENER, HOST };

enum {
	UPLINK_LIMIT_MS = 5 * 1000,
	RETRY_MS = 20,
	PLACE_LISTENER = 0,
	PLACE_HOST,
	PLACE_LINKS,
	PLACE_USER, /* the first of the keepers' connections */
};

DEFINE_VEC(places, struct pollfd)

struct holder {
	const char *dir;
	const char *pools_text;
	struct subnet pools[HOLDER_POOLS_MAX];
	size_t pool_count;
	struct host_addresses addresses;
	unsigned uplink; /* its number */
	struct places places;
};

int holder_pools_write(const struct subnet *pools, size_t count, char text[HOLDER_TEXT_MAX],
		       struct error *err)
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < count && len < HOLDER_TEXT_MAX; i++) {
		char address[INET_ADDRSTRLEN];
		struct in_addr network = { htonl(pools[i].network) };

		(void)inet_ntop(AF_INET, &network, address, sizeof(address));
		len += (size_t)snprintf(text + len, HOLDER_TEXT_MAX - len, "%s%s/%u", i ? "," : "",
					address, pools[i].prefix);
	}
	if (count == 0 || count > HOLDER_POOLS_MAX || len >= HOLDER_TEXT_MAX)
		return error_set(err, E_INVALID, "not a list of subnets");
	return 0;
}

int holder_pools_read(const char *text, struct subnet pools[HOLDER_POOLS_MAX], size_t *count,
		      struct error *err)
{
	char copy[HOLDER_TEXT_MAX], *rest = copy, *one;

	*count = 0;
	if (strlen(text) >= sizeof(copy))
		return error_set(err, E_INVALID, "not a list of subnets");
	memcpy(copy, text, strlen(text) + 1);
	while ((one = strsep(&rest, ","))) {
		if (*count == HOLDER_POOLS_MAX)
			return error_set(err, E_INVALID, "too many subnets");
		if (subnet_parse(one, &pools[(*count)++], err) < 0)
			return -err->code;
	}
	return 0;
}

/* pasta may still be at it. */
static int find_uplink(struct holder *h, struct error *err)
{
	uint64_t end = clock_ms() + UPLINK_LIMIT_MS;

	while ((h->uplink = if_nametoindex(HOLDER_UPLINK)) == 0 && clock_ms() < end)
		clock_sleep_ms(RETRY_MS);
	return h->uplink ? 0 : error_set(err, ETIMEDOUT, "pasta made no interface");
}

static int watch_links(struct error *err)
{
	const struct sockaddr_nl self = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&self, sizeof(self)) < 0)
		return error_errno(err, "cannot watch the interfaces");
	return take_fd(&fd);
}

static void watch(struct holder *h, int fd)
{
	places_add(&h->places, (struct pollfd){ .fd = fd, .events = POLLIN });
}

/* As many keepers as the system lets one process serve. */
static void raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

static int begin(struct holder *h, const char *pools, struct error *err)
{
	int links = watch_links(err), r = links;

	/* anywhere else the routes below would be the host's */
	if (getpid() != 1)
		return error_set(err, EPERM, "the holder of linzer-net is started by pasta");
	(void)prctl(PR_SET_NAME, "linzer-holder");
	raise_limit();
	h->pools_text = pools;
	if (r >= 0)
		r = holder_pools_read(pools, h->pools, &h->pool_count, err);
	if (r < 0)
		return r;
	watch(h, LISTENER);
	watch(h, HOST);
	watch(h, links);
	r = find_uplink(h, err);
	return r < 0 ? r : host_addresses_begin(&h->addresses, HOST, h->pools, h->pool_count, err);
}

/* Return: were both namespaces sent? */
static bool send_namespaces(const struct holder *h, int sock)
{
	struct holder_answer answer = { 0 };
	auto_fd user = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
	auto_fd net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	memcpy(answer.pools, h->pools_text, strlen(h->pools_text));
	return user >= 0 && net >= 0 &&
	       socket_send(sock, &answer, sizeof(answer), user, MSG_DONTWAIT) ==
		       (ssize_t)sizeof(answer) &&
	       socket_send(sock, "", 1, net, MSG_DONTWAIT) == 1;
}

/* Return: did anybody come? */
static bool take_in(struct holder *h)
{
	auto_fd sock = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0 && errno != EAGAIN)
		clock_sleep_ms(RETRY_MS); /* no descriptor is left: not at full speed, please */
	if (sock < 0)
		return false;
	if (socket_peer_is(sock, getuid()) && send_namespaces(h, sock))
		watch(h, take_fd(&sock));
	return true;
}

/* A keeper never says anything: whatever comes is its end. */
static void let_go(struct holder *h)
{
	size_t kept = PLACE_USER;

	for (size_t i = PLACE_USER; i < h->places.len; i++) {
		if (h->places.items[i].revents)
			(void)close(h->places.items[i].fd);
		else
			h->places.items[kept++] = h->places.items[i];
	}
	h->places.len = kept;
}

/* Some interface changed. Return: is pasta's still there? */
static bool has_uplink(const struct holder *h)
{
	char event[1];

	while (recv(h->places.items[PLACE_LINKS].fd, event, sizeof(event), MSG_TRUNC) > 0)
		continue;
	return if_nametoindex(HOLDER_UPLINK) == h->uplink;
}

/*
 * Nobody is here. Return: 1 it is the end, the directory is removed; 0 there is
 * somebody at the door, or just about to be.
 */
static int leave(struct holder *h)
{
	struct error ignored = ERROR_INIT;
	auto_fd lock = runtime_dir_lock(h->dir, LOCK_TRY, &ignored);

	if (lock < 0 || take_in(h))
		return 0;
	runtime_dir_remove(h->dir);
	return 1;
}

/* Return: 1 go on; 0 the end; or error. */
static int serve_once(struct holder *h, struct error *err)
{
	bool alone = h->places.len == PLACE_USER;
	struct pollfd *places;

	if (alone && leave(h))
		return 0;
	if (poll(h->places.items, h->places.len, alone ? RETRY_MS : -1) < 0)
		return errno == EINTR ? 1 : error_errno(err, "cannot poll");
	places = h->places.items;
	if (places[PLACE_LINKS].revents && !has_uplink(h))
		return error_set(err, E_FAILED, "pasta ended");
	if (places[PLACE_HOST].revents && host_addresses_follow(&h->addresses, err) < 0)
		return -err->code;
	let_go(h);
	if (places[PLACE_LISTENER].revents)
		(void)take_in(h);
	return 1;
}

int holder_main(const char *dir, const char *pools, struct error *err)
{
	struct holder h = { .dir = dir, .addresses = HOST_ADDRESSES_INIT, .places = VEC_INIT };
	int r = begin(&h, pools, err);

	if (r == 0)
		do
			r = serve_once(&h, err);
		while (r > 0);
	host_addresses_release(&h.addresses);
	places_release(&h.places);
	return r;
}
