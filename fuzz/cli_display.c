/* SPDX-License-Identifier: Apache-2.0 */

/* What `set --display` is given. */

#include <assert.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "cmd/display.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct config config = { .display_width = 1024, .display_height = 768 };
	auto_free char *text = xstrndup((const char *)bytes, len);
	struct error err = ERROR_INIT;
	int r = display_apply(text, &config, &err);

	assert(r == 0 || r == -E_USAGE);
	assert(r == 0 || (config.display_width == 1024 && config.display_height == 768));
	assert(config.display_width >= 1 && config.display_width <= DISPLAY_SIDE_MAX);
	assert(config.display_height >= 1 && config.display_height <= DISPLAY_SIDE_MAX);
	return 0;
}
