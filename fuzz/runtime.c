/* SPDX-License-Identifier: Apache-2.0 */

/* run.json. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "store/runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct runtime rt, again;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	if (runtime_parse(data, size, &rt, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		return 0;
	}
	assert(memchr(rt.accel, '\0', sizeof(rt.accel)));
	assert(memchr(rt.interface, '\0', sizeof(rt.interface)));
	assert(rt.pid >= 0 && rt.qemu_pid >= 0);
	runtime_format(&rt, &text);
	if (runtime_parse(text.ptr, text.len, &again, &err) < 0) {
		assert(!rt.pid); /* none was given, and zero is nobody's */
		return 0;
	}
	assert(again.pid == rt.pid && again.started == rt.started);
	assert(again.address.s_addr == rt.address.s_addr && mac_equal(again.mac, rt.mac));
	return 0;
}
