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
	assert(memchr(rt.mode, '\0', sizeof(rt.mode)));
	assert(rt.pid >= 0 && rt.qemu_pid >= 0);
	assert(rt.card_count <= RUNTIME_CARDS_MAX && rt.port_count <= RUNTIME_PORTS_MAX);
	for (size_t i = 0; i < rt.card_count; i++)
		assert(memchr(rt.cards[i].interface, '\0', sizeof(rt.cards[i].interface)) &&
		       memchr(rt.cards[i].parent, '\0', sizeof(rt.cards[i].parent)));
	runtime_format(&rt, &text);
	if (runtime_parse(text.ptr, text.len, &again, &err) < 0) {
		assert(!rt.pid); /* none was given, and zero is nobody's */
		return 0;
	}
	assert(again.pid == rt.pid && again.started == rt.started);
	assert(again.card_count == rt.card_count && again.port_count == rt.port_count);
	for (size_t i = 0; i < rt.card_count; i++)
		assert(mac_equal(again.cards[i].mac, rt.cards[i].mac));
	for (size_t i = 0; i < rt.port_count; i++)
		assert(again.ports[i].host == rt.ports[i].host);
	assert(again.address.s_addr == rt.address.s_addr && mac_equal(again.mac, rt.mac));
	return 0;
}
