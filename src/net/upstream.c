/* SPDX-License-Identifier: Apache-2.0 */
#include "net/upstream.h"

#include <sys/socket.h>

#include "base/error.h"
#include "net/message.h"

int upstream_get(int keeper, enum talker_request_kind kind, unsigned number)
{
	struct talker_request request = { .kind = (uint8_t)kind, .number = (uint8_t)number };
	struct error ignored = ERROR_INIT;
	uint8_t given = 0;
	auto_fd fd = -1;

	if (send(keeper, &request, sizeof(request), MSG_NOSIGNAL) < 0)
		return -1;
	if (net_message_receive(keeper, &given, 1, 0, &fd, &ignored) < 0 || !given)
		return -1;
	return take_fd(&fd);
}
