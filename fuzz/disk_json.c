/* SPDX-License-Identifier: Apache-2.0 */

/* disk.json: whatever it says, a chain names only files of the fixed forms. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "store/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disk_chain chain, again;
	auto_str text = STR_INIT;
	char name[DISK_NAME];
	struct error err = ERROR_INIT;

	if (disk_parse(data, size, &chain, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		return 0;
	}
	assert(chain.count >= 1 && chain.count <= DISK_LAYERS_MAX);
	assert(chain.size <= QCOW2_SIZE_MAX);
	for (size_t i = 0; i < chain.count; i++) {
		assert(!strchr(chain.layers[i].file, '/') && chain.layers[i].file[0] != '.');
		assert(strncmp(chain.layers[i].file, i ? "layer-" : "disk.img", 6) == 0);
		assert(chain.layers[i].qcow2 || i + 1 == chain.count);
	}
	chain_format(&chain, &text);
	if (disk_parse(text.ptr, text.len, &again, &err) < 0)
		abort();
	assert(again.count == chain.count && again.size == chain.size);
	assert(chain_is_pending(&again) == chain_is_pending(&chain));
	chain_new_layer_name(name);
	assert(chain_is_layer_name(name));
	chain_set_raw(&again, chain.size);
	assert(chain_is_raw(&again) && !chain_is_pending(&again));
	return 0;
}
