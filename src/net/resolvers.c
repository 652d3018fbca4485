/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolvers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"

#define RESOLV_CONF "/etc/resolv.conf"

enum { DNS_PORT = 53 };

static bool parse_address(const char *text, struct sockaddr_storage *to)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		memcpy(to, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		memcpy(to, &v6, sizeof(v6));
	else
		return false;
	return true;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void parse_line(struct slice line, struct resolvers *r)
{
	static const char key[] = "nameserver";
	char text[INET6_ADDRSTRLEN];
	size_t at = sizeof(key) - 1, len = 0;

	if (line.len <= at || memcmp(line.ptr, key, at) != 0 || !is_blank(line.ptr[at]))
		return;
	while (at < line.len && is_blank(line.ptr[at]))
		at++;
	for (; at < line.len && !is_blank(line.ptr[at]); at++) {
		if (len == sizeof(text) - 1)
			return;
		text[len++] = (char)line.ptr[at];
	}
	text[len] = '\0';
	if (r->count < RESOLVERS_MAX && parse_address(text, &r->items[r->count]))
		r->count++;
}

void resolvers_parse(struct slice text, struct resolvers *r)
{
	r->count = 0;
	while (text.len) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		size_t n = end ? (size_t)(end - text.ptr) : text.len;

		parse_line((struct slice){ text.ptr, n }, r);
		n += end != NULL;
		text = (struct slice){ text.ptr + n, text.len - n };
	}
	if (r->count == 0 && parse_address("127.0.0.1", &r->items[0]))
		r->count = 1;
}

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
