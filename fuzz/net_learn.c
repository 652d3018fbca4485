/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames that a guest on a bridge sends, or gets from the LAN: src/net/learn.c. Each stands
 * behind its length (16 bits).
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/frame.h"
#include "net/learn.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

static void give(struct learner *learner, struct slice frame, bool *asked)
{
	struct learnt found;
	struct learn_hint hint;

	if (learner_take(learner, frame, 1000, &found)) {
		assert(memmem(frame.ptr, frame.len, mac, sizeof(mac)));
		assert(memmem(frame.ptr, frame.len, &found.address, sizeof(found.address)));
		assert(found.address.s_addr != 0 && found.address.s_addr != UINT32_MAX);
		assert(!found.by_dhcp || *asked);
		assert(!learner_take(learner, frame, 1000, &found));
	}
	*asked |= learn_frame(frame, mac, &hint) == LEARN_ASKED;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct learner learner;
	bool asked = false;

	learner_init(&learner, mac, 0);
	while (len >= 2) {
		size_t size = frame_get16(bytes);

		bytes += 2;
		len -= 2;
		if (size > len)
			size = len;
		give(&learner, (struct slice){ bytes, size }, &asked);
		bytes += size;
		len -= size;
	}
	return 0;
}
