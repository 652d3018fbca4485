/* SPDX-License-Identifier: Apache-2.0 */
#include "net/upstream.h"

#include <sys/socket.h>

#include "base/error.h"
#include "net/message.h"

bool upstream_ask(int keeper, const struct talker_request *request, int *fd)
{
	struct error ignored = ERROR_INIT;
	uint8_t given = 0;
	auto_fd came = -1;

	if (send(keeper, request, sizeof(*request), MSG_NOSIGNAL) < 0 ||
	    net_message_receive(keeper, &given, 1, 0, &came, &ignored) < 0 || given != 1)
		return false;
	if (fd)
		*fd = take_fd(&came);
	return true;
}

int upstream_get(int keeper, enum talker_request_kind kind, unsigned number)
{
	struct talker_request request = { .kind = (uint8_t)kind, .number = (uint8_t)number };
	int fd = -1;

	return upstream_ask(keeper, &request, &fd) ? fd : -1;
}
