/* SPDX-License-Identifier: Apache-2.0 */

/* index.json of an image layout: what is named is found, and strangers stay. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/layout_index.h"

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_find(const json_t *index, const char *reference)
{
	struct layout_entry entry;
	struct error err = ERROR_INIT;
	int r = layout_index_find(index, reference, &entry, &err);

	assert(r == 1 || r == 0 || (r == -E_INVALID && err.text[0]));
	assert(r != 1 || entry.size <= INT64_MAX);
}

static void check_set(json_t *index, const char *reference)
{
	struct layout_entry entry = { .size = 5 }, found = { 0 };
	size_t before = json_array_size(json_object_get(index, "manifests"));
	struct error err = ERROR_INIT;
	auto_json *again = NULL;
	auto_str text = STR_INIT;
	int r;

	entry.digest.bytes[0] = 1;
	layout_index_set(index, reference, "x", &entry);
	assert(json_array_size(json_object_get(index, "manifests")) - before <= 1);
	json_add_compact(&text, index);
	r = layout_index_parse(text.ptr, text.len, &again, &err);
	assert(r == 0 || r == -E_TOO_BIG);
	if (r < 0)
		return;
	r = layout_index_find(again, reference, &found, &err);
	/* a descriptor that was there may have said a broken size */
	assert(r == -E_INVALID || (r == 1 && digest_equal(&found.digest, &entry.digest)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const references[] = { "latest", "v1", DIGEST_A };
	struct error err = ERROR_INIT;
	auto_json *index = NULL;

	if (layout_index_parse(data, size, &index, &err) < 0) {
		assert(err.code > 0 && err.text[0] && !index);
		index = layout_index_new();
	}
	for (size_t i = 0; i < array_size(references); i++)
		check_find(index, references[i]);
	check_set(index, "v1");
	check_set(index, "sha256:0100000000000000000000000000000000000000000000000000000000000000");
	return 0;
}
