/* SPDX-License-Identifier: Apache-2.0 */

/* config.json, which may come from a registry: what is accepted survives being written and read
 * again. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/str.h"
#include "store/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_config config = CONFIG_INIT;
	auto_config again = CONFIG_INIT;
	auto_str text = STR_INIT;
	auto_str display = STR_INIT;
	struct error err = ERROR_INIT;

	config_init_linux(&config, config_host_arch()); /* what we make ourselves is valid */
	config_format(&config, &text);
	if (config_parse(text.ptr, text.len, &again, &err) < 0)
		abort();
	config_release(&config);
	config_release(&again);
	str_reset(&text);
	if (config_parse(data, size, &config, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		return 0;
	}
	config_add_display(&config, &display);
	config_format(&config, &text);
	if (config_parse(text.ptr, text.len, &again, &err) < 0)
		abort();
	assert(again.os == config.os && again.arch == config.arch);
	assert(again.cpu_count == config.cpu_count && again.memory == config.memory);
	assert(mac_equal(again.mac, config.mac));
	assert(again.display_unit == config.display_unit);
	return 0;
}
