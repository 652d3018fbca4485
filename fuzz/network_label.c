/* SPDX-License-Identifier: Apache-2.0 */

/* The labels of an image's config, an attacker's: what is accepted is a filter that is one, and
 * survives another push and pull. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/manifest.h"
#include "store/network_copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void push_and_pull(const struct network_copy *copy, struct network_copy *again)
{
	auto_json *labels = json_object();
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	if (network_copy_add_labels(copy, labels, &err) < 0)
		abort();
	image_config_format("amd64", "linux", "raw", labels, &text);
	if (network_copy_parse_labels(text.ptr, text.len, again, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_network_copy copy = NETWORK_COPY_INIT, again = NETWORK_COPY_INIT;
	struct error err = ERROR_INIT;

	if (network_copy_parse_labels(data, size, &copy, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		assert(!copy.has_filter && !copy.no_local);
		return 0;
	}
	if (network_copy_check(&copy, &err) < 0)
		abort();
	push_and_pull(&copy, &again);
	assert(again.has_filter == copy.has_filter && again.no_local == copy.no_local);
	assert(again.filter.len == copy.filter.len &&
	       memcmp(again.filter.ptr, copy.filter.ptr, copy.filter.len) == 0);
	return 0;
}
