/* SPDX-License-Identifier: Apache-2.0 */
#include "net/helper.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/libexec.h"
#include "base/process.h"
#include "base/str.h"
#include "net/message.h"
#include "net/policy_message.h"

enum { START_LIMIT_MS = 20 * 1000, STOP_LIMIT_MS = 5 * 1000, HELPER_FD = 3 };

#define PLAIN_SUFFIX "-plain" /* as scripts/install-caps names the copy */

/*
 * After `make install-caps` only a group may run linzer-net; for everybody else there is the same
 * program beside it without capabilities. Return: the path, owned; or NULL with err.
 */
static char *find_helper(struct error *err)
{
	auto_free char *path = libexec_path("linzer-net", "LINZER_NET");
	auto_free char *plain = str_format("%s" PLAIN_SUFFIX, path);

	if (access(path, X_OK) == 0 || errno != EACCES)
		return take(path);
	if (access(plain, X_OK) == 0)
		return take(plain);
	(void)error_set(err, EPERM,
			"you may not run '%s': join the group 'linzer' ('adduser USER linzer', "
			"then log in again)",
			path);
	return NULL;
}

/*
 * It outlives us: it has to remove the network when we were killed. A session
 * of its own keeps a terminal's signals away from it.
 */
static int start_helper(struct net_link *link, struct error *err)
{
	auto_free char *path = find_helper(err);
	const char *argv[] = { path, NULL };
	struct process_fd fds[1];
	int pair[2], r;

	if (!path)
		return -err->code;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "cannot make a socket pair");
	fds[0] = (struct process_fd){ pair[1], HELPER_FD };
	r = process_start(&(struct process_spec){ .argv = argv,
						  .fds = fds,
						  .fd_count = 1,
						  .outlive = true,
						  .new_session = true },
			  &link->keeper, err);
	(void)close(pair[1]);
	if (r < 0)
		(void)close(pair[0]);
	else
		link->sock = pair[0];
	if (r == 0)
		link->watch = pidfd_open(link->keeper, 0);
	/* without it nobody waits for its end */
	if (link->watch < 0)
		link->watch = 0;
	return r;
}

static int wait_readable(int sock, uint64_t limit_ms, struct error *err)
{
	uint64_t end = clock_ms() + limit_ms, now;
	struct pollfd fd = { .fd = sock, .events = POLLIN };

	while ((now = clock_ms()) < end) {
		int n = poll(&fd, 1, (int)(end - now));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return error_errno(err, "cannot poll");
	}
	return error_set(err, ETIMEDOUT, "the network helper does not answer");
}

/* Return: 1 with an answer; 0 with MSG_DONTWAIT and none; or error. */
static int receive(struct net_link *link, int flags, struct net_message *message, int *fd,
		   struct error *err)
{
	uint8_t bytes[sizeof(*message) + 1];
	auto_fd came = -1;
	int n = net_message_receive(link->sock, bytes, sizeof(bytes), flags, &came, err);

	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return n;
	if (net_message_check_answer(bytes, (size_t)n, err) < 0)
		return -err->code;
	memcpy(message, bytes, sizeof(*message));
	if (fd)
		*fd = take_fd(&came);
	return 1;
}

int net_link_set_policy(struct net_link *link, const struct policy *policy, struct error *err)
{
	auto_str packet = STR_INIT;
	int r = policy_message_write(policy, &packet, err);

	return r < 0 ? r : net_message_send(link->sock, packet.ptr, packet.len, -1, err);
}

int net_link_count(struct net_link *link, struct error *err)
{
	const struct net_message ask = { .magic = NET_MAGIC, .kind = NET_COUNT };

	return net_message_send(link->sock, &ask, sizeof(ask), -1, err);
}

static int ask(struct net_link *link, const struct net_start *wanted, const struct policy *policy,
	       struct net_message *started, int *tap_fd, struct error *err)
{
	struct net_start start = *wanted;
	auto_fd tap = -1;
	int r;

	start.magic = NET_MAGIC;
	start.kind = NET_START;
	r = net_message_send(link->sock, &start, sizeof(start), -1, err);
	if (r == 0)
		r = net_link_set_policy(link, policy, err);
	if (r == 0)
		r = wait_readable(link->sock, START_LIMIT_MS, err);
	if (r == 0)
		r = receive(link, 0, started, &tap, err);
	if (r < 0)
		return r;
	if (started->kind == NET_FAILED)
		return error_set(err, E_FAILED, "%s", started->text);
	if (started->kind != NET_STARTED || tap < 0)
		return error_set(err, E_PROTOCOL, "network helper: expected a tap");
	*tap_fd = take_fd(&tap);
	return 0;
}

int net_link_start(struct net_link *link, const struct net_start *start,
		   const struct policy *policy, struct net_message *started, int *tap_fd,
		   struct error *err)
{
	int r;

	*link = (struct net_link)NET_LINK_INIT;
	r = start_helper(link, err);
	if (r < 0)
		return error_wrap(err, "failed to start the network");
	r = ask(link, start, policy, started, tap_fd, err);
	if (r == 0)
		return 0;
	net_link_stop(link);
	return error_wrap(err, "failed to start the network");
}

int net_link_receive(struct net_link *link, struct net_message *message, struct error *err)
{
	int r = receive(link, MSG_DONTWAIT, message, NULL, err);

	return r < 0 ? -1 : r;
}

static int await_change(struct net_link *link, struct error *err)
{
	struct net_message message = { .kind = NET_LEASED };
	int r = 0;

	while (r >= 0 && message.kind == NET_LEASED) {
		r = wait_readable(link->sock, START_LIMIT_MS, err);
		if (r == 0)
			r = receive(link, 0, &message, NULL, err);
		if (r >= 0 && message.kind == NET_LEASED)
			link->leased = message.address;
	}
	if (r < 0)
		return r;
	if (message.kind == NET_FAILED)
		return error_set(err, E_FAILED, "failed to start the network: %s", message.text);
	if (message.kind != NET_CHANGED)
		return error_set(err, E_PROTOCOL, "network helper: expected another answer");
	return 0;
}

int net_link_adopt(struct net_link *link, const struct policy *policy, struct error *err)
{
	int r = net_link_set_policy(link, policy, err);

	return r < 0 ? r : await_change(link, err);
}

void net_link_forget(struct net_link *link)
{
	if (link->sock >= 0)
		(void)close(link->sock);
	if (link->watch > 0)
		(void)close(link->watch);
	*link = (struct net_link)NET_LINK_INIT;
}

void net_link_stop(struct net_link *link)
{
	struct pollfd end = { .fd = link->watch, .events = POLLIN };

	if (link->sock >= 0)
		(void)close(link->sock);
	link->sock = -1;
	/* a keeper that hangs in the kernel is left to itself */
	while (end.fd > 0 && poll(&end, 1, STOP_LIMIT_MS) < 0 && errno == EINTR)
		;
	if (link->keeper > 0)
		(void)waitpid(link->keeper, NULL, WNOHANG);
	net_link_forget(link);
}
