/* SPDX-License-Identifier: Apache-2.0 */
#include "net/talker.h"

#include <sys/socket.h>

int talker_main(const struct talker_setup *setup)
{
	uint8_t byte;

	while (recv(setup->keeper, &byte, 1, 0) > 0)
		;
	return 0;
}
