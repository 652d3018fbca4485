/* SPDX-License-Identifier: Apache-2.0 */

/* A frame that a guest on a bridge sends, or gets from the LAN: src/net/learn.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/learn.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct learner learner;
	struct learnt found;

	learner_init(&learner, mac, 0);
	if (!learner_take(&learner, (struct slice){ bytes, len }, 1000, &found))
		return 0;
	assert(memmem(bytes, len, mac, sizeof(mac)));
	assert(memmem(bytes, len, &found.address, sizeof(found.address)));
	assert(found.address.s_addr != 0 && found.address.s_addr != UINT32_MAX);
	assert(!learner_take(&learner, (struct slice){ bytes, len }, 1000, &found));
	return 0;
}
