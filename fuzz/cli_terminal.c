/* SPDX-License-Identifier: Apache-2.0 */

/* A guest's console output on its way to the user's terminal. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "cli/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct terminal_filter whole = { 0 };
	struct terminal_filter parts = { 0 };
	auto_str a = STR_INIT;
	auto_str b = STR_INIT;
	size_t cut = len ? bytes[0] % len : 0;

	terminal_filter_add(&whole, (const char *)bytes, len, &a);
	terminal_filter_add(&parts, (const char *)bytes, cut, &b);
	terminal_filter_add(&parts, (const char *)bytes + cut, len - cut, &b);
	assert(a.len == b.len && !memcmp(a.ptr, b.ptr, a.len));
	assert(a.len <= len);
	for (size_t i = 0; i < a.len; i++) {
		unsigned char c = (unsigned char)a.ptr[i];

		assert(c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f));
		/* no C1 control */
		assert(!(c == 0xc2 && i + 1 < a.len && (unsigned char)a.ptr[i + 1] < 0xa0 &&
			 (unsigned char)a.ptr[i + 1] >= 0x80));
	}
	return 0;
}
