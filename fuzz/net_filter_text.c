/* SPDX-License-Identifier: Apache-2.0 */

/* The rule text of --net-filter: src/net/filter_text.c and src/net/prefix.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "net/filter_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A text that is parsed twice means the same: of each stage the first copy decides. */
static void check_twice(struct slice text, const struct policy *once)
{
	static const struct in_addr remotes[] = { { 0 }, { 0x01010101 }, { 0x0100000a } };
	auto_policy twice = POLICY_INIT;
	struct error err = ERROR_INIT;

	for (int i = 0; i < 2; i++)
		if (filter_text_parse(text, POLICY_OWN, &twice, &err) < 0)
			return; /* too many for one policy */
	for (unsigned i = 0; i < array_size(remotes) * 4; i++) {
		struct policy_flow flow = { .direction = i & 1 ? POLICY_OUT : POLICY_IN,
					    .kind = POLICY_WORLD,
					    .protocol = i & 2 ? IPPROTO_TCP : IPPROTO_ICMP,
					    .remote = remotes[i / 4],
					    .remote_port = 80,
					    .guest_port = 22 };

		assert(policy_passes(once, &flow) == policy_passes(&twice, &flow));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct slice text = { bytes, len };
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;
	int r = filter_text_parse(text, POLICY_OWN, &policy, &err);

	assert(r == 0 || r == -E_INVALID || r == -E_TOO_BIG);
	if (r < 0) {
		assert(policy.rules.len == 0);
		assert(len > FILTER_TEXT_MAX || strncmp(err.text, "line ", 5) == 0);
		return 0;
	}
	assert(policy_check(&policy, &err) == 0);
	check_twice(text, &policy);
	return 0;
}
