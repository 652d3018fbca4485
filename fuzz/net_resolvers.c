/* SPDX-License-Identifier: Apache-2.0 */

/* /etc/resolv.conf: src/net/resolvers.c. */

#include <assert.h>
#include <stdint.h>

#include "net/resolvers.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct resolvers r = { .count = 0 };

	resolvers_parse((struct slice){ bytes, len }, &r);
	assert(r.count >= 1 && r.count <= RESOLVERS_MAX);
	for (unsigned i = 0; i < r.count; i++)
		assert(r.items[i].ss_family == AF_INET || r.items[i].ss_family == AF_INET6);
	return 0;
}
