/* SPDX-License-Identifier: Apache-2.0 */

/* The lists of --net-softnet-allow and -block: src/net/softnet.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"
#include "net/policy.h"
#include "net/softnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A line is an element of the allow list, one that begins with "-" of the block list. */
static void read_lists(char *text, struct strings *allow, struct strings *block)
{
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line == '-')
			strings_add(block, line + 1);
		else
			strings_add(allow, line);
}

static bool mentions(const struct strings *list, const char *part)
{
	for (size_t i = 0; i < list->len; i++)
		if (strstr(list->items[i], part))
			return true;
	return false;
}

/* What must hold whatever the lists say. */
static void check_policy(const struct policy *policy, const struct strings *allow)
{
	/* an address of the host's that is not among the inputs' often used ones */
	struct policy_flow flow = { .direction = POLICY_OUT,
				    .kind = POLICY_HOST,
				    .protocol = IPPROTO_TCP,
				    .remote = { 0xc7b9a783 },
				    .remote_port = 22 };
	struct error err = ERROR_INIT;

	assert(policy_check(policy, &err) == 0);
	if (!mentions(allow, "@host") && !mentions(allow, "131.167.185.199"))
		assert(!policy_passes(policy, &flow));
	for (size_t i = 0; i < policy->names.len; i++)
		assert(policy->names.items[i][0] == '*' ||
		       policy_find_name(&policy->names, policy->names.items[i]) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_free char *text = xmalloc(len + 1);
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;
	int r;

	if (len)
		memcpy(text, bytes, len);
	text[len] = '\0';
	read_lists(text, &allow, &block);
	r = softnet_compile(&allow, &block, &policy, &err);
	assert(r == 0 || r == -E_INVALID || r == -E_TOO_BIG);
	if (r == 0)
		check_policy(&policy, &allow);
	else
		assert(policy.rules.len == 0 && policy.names.len == 0 && !policy.names_only);
	return 0;
}
