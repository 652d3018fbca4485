/* SPDX-License-Identifier: Apache-2.0 */
#include "net/user_namespace.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/socket.h"
#include "base/str.h"
#include "net/holder.h"
#include "net/outside.h"
#include "net/pasta.h"
#include "net/runtime_dir.h"

enum { BACKLOG = 128, ANSWER_LIMIT_S = 8 };

/* The two namespaces. */
struct namespaces {
	int user, net;
};

bool user_namespace_needed(void)
{
	return getuid() != 0 && capng_get_caps_process() == 0 &&
	       !capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) &&
	       !capng_have_capability(CAPNG_PERMITTED, CAP_NET_RAW);
}

static int open_socket(const char *dir, int flags, struct sockaddr_un *address, struct error *err)
{
	auto_free char *path = str_format("%s/" RUNTIME_DIR_SOCKET, dir);
	/* of this type AppArmor lets pasta pass one on */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address->sun_path, path, strlen(path)); /* it fits: runtime_dir_find() */
	return fd < 0 ? error_errno(err, "cannot open a socket") : fd;
}

/* Return: connected; -1 nobody listens there; or error. */
static int connect_holder(const char *dir, struct error *err)
{
	const struct timeval limit = { .tv_sec = ANSWER_LIMIT_S };
	struct sockaddr_un address;
	auto_fd fd = open_socket(dir, 0, &address, err);

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return error_errno(err, "cannot set a socket's time limit");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return take_fd(&fd);
	return error_errno(err, "cannot connect to the holder of the network");
}

static bool nobody_listens(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

static int listen_for(const char *dir, struct error *err)
{
	struct sockaddr_un address;
	auto_fd fd = open_socket(dir, SOCK_NONBLOCK, &address, err);

	if (fd < 0)
		return fd;
	if (unlink(address.sun_path) < 0 && errno != ENOENT)
		return error_errno(err, "cannot remove '%s'", address.sun_path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return error_errno(err, "cannot listen at '%s'", address.sun_path);
	return take_fd(&fd);
}

/* Both namespaces, from a holder that has the same pools as we. */
static int receive(int sock, const char *pools, struct namespaces *ns, struct error *err)
{
	struct holder_answer answer = { 0 };
	char byte;
	ssize_t n = socket_receive(sock, &answer, sizeof(answer), &ns->user, MSG_WAITALL);

	if (n == (ssize_t)sizeof(answer))
		n = socket_receive(sock, &byte, 1, &ns->net, 0);
	if (n == -EAGAIN)
		return error_set(err, ETIMEDOUT, "the holder of the network does not answer");
	if (n <= 0 || ns->user < 0 || ns->net < 0)
		return error_set(err, E_PROTOCOL, "the holder of the network ended");
	if (strncmp(answer.pools, pools, sizeof(answer.pools)) != 0)
		return error_set(err, E_VALIDATION,
				 "the subnets changed while VMs run: stop all of them first");
	return 0;
}

/* Its first connection is ours, made before it runs: it never sees nobody. */
static int start_holder(struct user_namespace *u, const char *pools, struct namespaces *ns,
			struct error *err)
{
	struct pasta pasta = PASTA_INIT;
	auto_fd listener = listen_for(u->dir, err);
	int r;

	if (listener < 0)
		return listener;
	u->holder = connect_holder(u->dir, err);
	if (u->holder < 0)
		return u->holder;
	r = pasta_start(&pasta, u->dir, pools, listener, err);
	/* if it fails, nobody has the listener, and that ends our connection */
	(void)close(take_fd(&listener));
	if (r == 0) {
		r = receive(u->holder, pools, ns, err);
		if (r < 0)
			r = pasta_explain(&pasta, err);
	}
	pasta_release(&pasta);
	if (r < 0)
		runtime_dir_remove(u->dir);
	return r;
}

static int find_holder(struct user_namespace *u, const char *pools, struct namespaces *ns,
		       struct error *err)
{
	auto_fd lock = runtime_dir_lock(u->dir, LOCK_WAIT, err);

	if (lock < 0)
		return lock;
	u->holder = connect_holder(u->dir, err);
	if (u->holder < 0 && !nobody_listens(u->holder))
		return u->holder;
	if (mkdir(u->lock_dir, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "cannot make '%s'", u->lock_dir);
	if (u->holder >= 0)
		return receive(u->holder, pools, ns, err);
	return start_holder(u, pools, ns, err);
}

/* As the owner of the user namespace we have all capabilities in it. */
static int enter(const struct namespaces *ns, struct error *err)
{
	if (setns(ns->user, CLONE_NEWUSER) < 0)
		return error_errno(err, "cannot join the user namespace");
	if (setns(ns->net, CLONE_NEWNET) < 0)
		return error_errno(err, "cannot join the network namespace");
	return 0;
}

int user_namespace_join(struct user_namespace *u, const struct subnet *pools, size_t pool_count,
			struct error *err)
{
	struct namespaces ns = { -1, -1 };
	char text[HOLDER_TEXT_MAX];
	auto_str dir = STR_INIT;
	int r = holder_pools_write(pools, pool_count, text, err);

	if (r < 0)
		return r;
	runtime_dir_find(&dir);
	u->dir = str_detach(&dir);
	u->lock_dir = str_format("%s/" RUNTIME_DIR_NETWORK, u->dir);
	u->outside = outside_start(err);
	r = u->outside < 0 ? u->outside : find_holder(u, text, &ns, err);
	if (r == 0)
		r = enter(&ns, err);
	cleanup_close_(&ns.user);
	cleanup_close_(&ns.net);
	return r;
}

/* A holder that was killed leaves its directory to its keepers. */
static void clean_up_after(const char *dir)
{
	struct error ignored = ERROR_INIT;
	auto_fd lock = runtime_dir_lock(dir, LOCK_TRY, &ignored);
	auto_fd holder = lock < 0 ? -1 : connect_holder(dir, &ignored);

	if (lock >= 0 && nobody_listens(holder))
		runtime_dir_remove(dir);
}

void user_namespace_leave(struct user_namespace *u)
{
	char byte;
	bool ended = u->holder >= 0 && recv(u->holder, &byte, 1, MSG_DONTWAIT) == 0;

	cleanup_close_(&u->outside);
	cleanup_close_(&u->holder);
	if (ended)
		clean_up_after(u->dir);
	free(u->dir);
	free(u->lock_dir);
	*u = (struct user_namespace)USER_NAMESPACE_INIT;
}
