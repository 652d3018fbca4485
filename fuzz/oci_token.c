/* SPDX-License-Identifier: Apache-2.0 */

/* A token server's answer. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "oci/token_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_token token = TOKEN_INIT;
	struct error err = ERROR_INIT;

	if (token_parse(data, size, 1000, &token, &err) < 0) {
		assert(err.code > 0 && err.text[0] && !token.text);
		return 0;
	}
	assert(token.text[0] && strlen(token.text) <= TOKEN_MAX);
	for (const char *c = token.text; *c; c++)
		assert(*c > ' ' && *c < 0x7f);
	return 0;
}
