/* SPDX-License-Identifier: Apache-2.0 */

/* A frame that a guest sends to DHCP's port: src/net/dhcp.c, src/net/frame.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/dhcp.h"
#include "net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const struct dhcp dhcp = {
		.mac = { 0x52, 0x54, 0, 1, 2, 3 },
		.host_mac = { 2, 'L' },
		.address = { 0x0240a8c0 },
		.host = { 0x0140a8c0 },
		.prefix = 24,
		.mtu = 1500,
	};
	uint8_t reply[DHCP_FRAME_MAX];
	struct frame frame;
	bool leased;
	size_t n = dhcp_answer(&dhcp, (struct slice){ bytes, len }, reply, &leased);

	assert(n <= sizeof(reply));
	assert(n || !leased);
	if (n) {
		assert(frame_parse((struct slice){ reply, n }, &frame));
		assert(frame.target_port == 68 && memcmp(frame.from, dhcp.host_mac, 6) == 0);
	}
	return 0;
}
