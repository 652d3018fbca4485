/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolvers.h"

#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "base/fs.h"
#include "net/message.h"
#include "net/outside.h"

/* Return: a socket connected (or connecting) to resolver @number modulo their count, or -1. */
static int connect_to(unsigned number, int type)
{
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;
	struct resolvers r;
	const struct sockaddr_storage *to;
	auto_fd fd = -1;

	if (fs_read_file(AT_FDCWD, "/etc/resolv.conf", RESOLV_CONF_MAX, &text, &ignored) < 0)
		str_reset(&text);
	resolvers_parse((struct slice){ (const uint8_t *)text.ptr, text.len }, &r);
	to = &r.items[number % r.count];
	fd = socket(to->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* an IPv4 address is shorter: bytes behind it are not looked at */
	if (fd < 0 || (connect(fd, (const struct sockaddr *)to, sizeof(struct sockaddr_in6)) < 0 &&
		       errno != EINPROGRESS))
		return -1;
	return take_fd(&fd);
}

int resolvers_hand_out(int sock, int outside, int type, unsigned number, struct error *err)
{
	auto_fd fd =
		outside < 0 ? connect_to(number, type) : outside_connect(outside, type, number);
	const uint8_t given = fd >= 0;

	return net_message_send(sock, &given, sizeof(given), fd, err);
}
