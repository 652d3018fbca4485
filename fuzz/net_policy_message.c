/* SPDX-License-Identifier: Apache-2.0 */

/* NET_POLICY, which the keeper takes from an ordinary user: src/net/policy_message.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "net/helper.h"
#include "net/policy_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_policy policy = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;
	int r = policy_message_read(bytes, len, &policy, &err);

	assert(r == 0 || r == -E_PROTOCOL);
	if (r < 0) {
		assert(policy.rules.len == 0 && policy.names.len == 0 && !policy.names_only);
		return 0;
	}
	assert(policy.rules.len <= POLICY_RULES_MAX && policy.names.len <= POLICY_NAMES_MAX);
	for (size_t i = 0; i < policy.rules.len; i++)
		assert(policy.rules.items[i].stage != POLICY_HOST_WIDE);
	for (size_t i = 0; i < policy.names.len; i++)
		assert(policy_is_name(policy.names.items[i]));
	/* there is one form for each policy */
	assert(policy_message_write(&policy, &packet, &err) == 0);
	assert(packet.len == len && memcmp(packet.ptr, bytes, len) == 0);
	return 0;
}
