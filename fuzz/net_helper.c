/* SPDX-License-Identifier: Apache-2.0 */

/* What a caller may send to the keeper, and what may come back: src/net/message.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "net/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* With a descriptor beside it, as the tap is. */
static void pass_on(const struct net_message *m)
{
	struct net_message back;
	struct error err = ERROR_INIT;
	int pair[2], fd = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	assert(net_message_send(pair[0], m, sizeof(*m), pair[0], &err) == 0);
	assert(net_message_receive(pair[1], &back, sizeof(back), 0, &fd, &err) == sizeof(back));
	assert(fd >= 0 && memcmp(&back, m, sizeof(back)) == 0);
	(void)close(fd);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t got[sizeof(struct net_message) + 1];
	struct error err = ERROR_INIT;
	struct net_message m;
	int pair[2], n;

	if (net_message_check_start(bytes, len, &err) == 0) {
		struct net_start start;

		memcpy(&start, bytes, sizeof(start));
		assert(start.kind == NET_START && !(start.mac[0] & 1) &&
		       start.exposed_count <= NET_EXPOSED_MAX && start.mode < NET_MODE_MAX);
		assert(strnlen(start.interface, sizeof(start.interface)) < sizeof(start.interface));
	}
	if (net_message_check_count(bytes, len, &err) == 0)
		assert(len == sizeof(m) && net_message_kind(bytes, len) == NET_COUNT);
	if (net_message_check_answer(bytes, len, &err) == 0) {
		memcpy(&m, bytes, sizeof(m));
		assert(strnlen(m.text, sizeof(m.text)) < sizeof(m.text));
		pass_on(&m);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	if (len && send(pair[0], bytes, len, MSG_NOSIGNAL) == (ssize_t)len) {
		n = net_message_receive(pair[1], got, sizeof(got), MSG_DONTWAIT, NULL, &err);
		assert(n == (int)len || (n == -E_PROTOCOL && len > sizeof(got)));
	}
	(void)close(pair[0]);
	(void)close(pair[1]);
	return 0;
}
