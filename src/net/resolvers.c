/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolvers.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"

#define RESOLV_CONF "/etc/resolv.conf"

static bool is_same(const struct resolvers *r, const struct stat *st)
{
	return r->count && r->inode == st->st_ino && r->size == st->st_size &&
	       r->read.tv_sec == st->st_mtim.tv_sec && r->read.tv_nsec == st->st_mtim.tv_nsec;
}

static void refresh(struct resolvers *r)
{
	struct stat st = { 0 };
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;

	if (stat(RESOLV_CONF, &st) == 0 && is_same(r, &st))
		return;
	if (fs_read_file(AT_FDCWD, RESOLV_CONF, RESOLV_CONF_MAX, &text, &ignored) < 0)
		str_reset(&text);
	resolvers_parse((struct slice){ (const uint8_t *)text.ptr, text.len }, r);
	r->read = st.st_mtim;
	r->inode = st.st_ino;
	r->size = st.st_size;
}

/* Return: the socket, or -1. */
static int connect_to(const struct sockaddr_storage *to, int type)
{
	auto_fd fd = socket(to->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len =
		to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)to, len) < 0 && errno != EINPROGRESS)
		return -1;
	return take_fd(&fd);
}

int resolvers_hand_out(struct resolvers *r, int sock, int type, unsigned number, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	uint8_t yes;
	struct iovec iov = { .iov_base = &yes, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	auto_fd fd = -1;

	refresh(r);
	fd = connect_to(&r->items[number % r->count], type);
	yes = fd >= 0;
	if (yes) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return error_errno(err, "cannot answer the talker");
	return 1;
}
