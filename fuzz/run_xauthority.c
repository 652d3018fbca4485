/* SPDX-License-Identifier: Apache-2.0 */

/* DISPLAY in the first line, and an Xauthority file. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "run/xauthority.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *end = size ? memchr(text, '\n', size) : NULL;
	auto_str out = STR_INIT;
	auto_str again = STR_INIT;
	struct x_display display;

	if (!end)
		return 0;
	size_t used = (size_t)(end - text) + 1;
	auto_free char *name = str_format("%.*s", (int)used - 1, text);
	/* of its own, so that a byte too far is seen */
	auto_free char *file = xmalloc(size - used + 1);

	memcpy(file, text + used, size - used);
	if (!x_display_parse(name, &display))
		return 0;
	xauthority_pick(file, size - used, &display, "host", &out);
	assert(out.len <= size - used);
	/* what was picked is a file of which all is picked */
	if (out.len)
		xauthority_pick(out.ptr, out.len, &display, "host", &again);
	assert(again.len == out.len);
	return 0;
}
