/* SPDX-License-Identifier: Apache-2.0 */

/* WWW-Authenticate: headers, one a line. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "oci/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	auto_challenge best = CHALLENGE_INIT;
	char *rest = text;

	while (rest) {
		const char *header = strsep(&rest, "\n");
		enum challenge_scheme before = best.scheme;
		struct error err = ERROR_INIT;

		if (challenge_parse(header, &best, &err) < 0)
			assert(err.code == E_INVALID && err.text[0]);
		assert(best.scheme >= before);
		assert(best.scheme != CHALLENGE_BEARER || best.realm);
		assert(best.scheme != CHALLENGE_NONE ||
		       (!best.realm && !best.service && !best.scope));
	}
	return 0;
}
