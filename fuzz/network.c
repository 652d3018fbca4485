/* SPDX-License-Identifier: Apache-2.0 */

/* network.json, which may come out of an archive: what is accepted survives being written and read
 * again. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"
#include "store/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vm_network network = { 0 }, again = { 0 };
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	if (vm_network_parse(data, size, &network, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		return 0;
	}
	assert(!network.fixed.s_addr || vm_network_is_address(network.fixed));
	vm_network_format(&network, &text);
	if (vm_network_parse(text.ptr, text.len, &again, &err) < 0)
		abort();
	assert(again.fixed.s_addr == network.fixed.s_addr && again.no_local == network.no_local);
	return 0;
}
