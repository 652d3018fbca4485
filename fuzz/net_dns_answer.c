/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A resolver's answer to a fixed question ("a.b" IN A, number 0x0102):
 * src/net/dns_answer.c. The bytes are what stands behind the question; the first two are
 * the number of answers.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/dns.h"
#include "net/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const uint8_t query[] = {
	1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 1, 'b', 0, 0, 1, 0, 1
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static uint8_t message[DNS_MESSAGE_MAX];
	struct dns_addresses found;
	struct slice answer;

	if (len < 2 || len - 2 > sizeof(message) - sizeof(query))
		return 0;
	memcpy(message, query, sizeof(query));
	message[2] |= 0x80;
	memcpy(message + 6, bytes, 2);
	/* at the very end: what is read beyond is seen */
	answer.len = sizeof(query) + len - 2;
	answer.ptr = message + sizeof(message) - answer.len;
	memmove(message + sizeof(message) - answer.len, message, sizeof(query));
	memcpy(message + sizeof(message) - (len - 2), bytes + 2, len - 2);
	assert(dns_is_answer(answer, 0x0102, (struct slice){ query, sizeof(query) }));
	dns_answer_addresses(answer, &found);
	assert(found.count <= DNS_ADDRESSES_MAX && found.ttl <= INT32_MAX);
	/* each is there, as it stands in a record of 4 bytes */
	for (unsigned i = 0; i < found.count; i++)
		assert(memmem(bytes, len, &found.items[i], sizeof(found.items[i])));
	return 0;
}
