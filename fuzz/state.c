/* SPDX-License-Identifier: Apache-2.0 */

/* A suspended VM's state.json: what is read is bounded, and is read again as the same. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "store/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_state state = STATE_INIT, again = STATE_INIT;
	auto_str text = STR_INIT, second = STR_INIT;
	struct error err = ERROR_INIT;

	if (state_parse(data, size, &state, &err) < 0) {
		assert(err.code > 0 && err.text[0] && !state.machine);
		return 0;
	}
	assert(strlen(state.machine) <= STATE_TEXT_MAX &&
	       strlen(state.processor) <= STATE_TEXT_MAX);
	assert(state.parts.len <= STATE_PARTS_MAX);
	state_format(&state, &text);
	if (state_parse(text.ptr, text.len, &again, &err) < 0)
		abort();
	state_format(&again, &second);
	assert(strcmp(text.ptr, second.ptr) == 0 && state_same_disk(&state.disk, &again.disk));
	return 0;
}
