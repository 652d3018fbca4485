/* SPDX-License-Identifier: Apache-2.0 */

/* A query of a guest's, and the same bytes as a resolver's answer to it: src/net/dns.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A text of whole labels of host names: as policy_find_name() wants it. */
static void check_name(struct slice query)
{
	char name[DNS_NAME_MAX];

	if (!dns_question_name(query, name))
		return;
	assert(name[0] != '\0' && strlen(name) == query.len - DNS_HEADER - 4 - 2);
	assert(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
	assert(name[0] != '.' && !strstr(name, "..") && name[strlen(name) - 1] != '.');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const uint8_t fixed[] = {
		1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1
	};
	size_t question = dns_check_query((struct slice){ bytes, len });
	uint8_t failure[DNS_QUESTION_MAX];

	assert(question <= len && question <= DNS_QUESTION_MAX);
	(void)!dns_is_answer((struct slice){ bytes, len }, 0x0102,
			     (struct slice){ fixed, sizeof(fixed) });
	if (question == 0)
		return 0;
	check_name((struct slice){ bytes, question });
	memcpy(failure, bytes, question);
	dns_make_error(failure, DNS_FAILURE);
	assert(dns_is_answer((struct slice){ failure, question }, dns_id(bytes),
			     (struct slice){ bytes, question }));
	dns_set_id(failure, (uint16_t)(dns_id(bytes) ^ 1));
	assert(!dns_is_answer((struct slice){ failure, question }, dns_id(bytes),
			      (struct slice){ bytes, question }));
	return 0;
}
