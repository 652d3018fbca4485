/* SPDX-License-Identifier: Apache-2.0 */

/* nft's answers, and the rules that are made of them: src/net/rules.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "net/rules.h"
#include "net/rules_bridged.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_free char *answer = xstrndup((const char *)bytes, len);
	struct rules_taps taps = VEC_INIT;
	auto_strings opened = VEC_INIT;
	auto_str text = STR_INIT;
	auto_strings cards = VEC_INIT;
	struct net_drops drops;

	rules_read_taps(answer, &taps);
	rules_read_opened(answer, &opened);
	rules_add_skeleton(&text);
	for (size_t i = 0; i < taps.len; i++) {
		struct rules_guest guest = { .gateway = taps.items[i].gateway };

		rules_sweep_guest(&text, taps.items[i].name, taps.items[i].gateway);
		assert(subnet_interface_address(taps.items[i].name, &guest.address));
		subnet_interface(guest.address, guest.name);
		rules_add_guest(&text, &guest);
		rules_remove_guest(&text, &guest);
	}
	for (size_t i = 0; i < opened.len; i++) {
		assert(rules_is_plain_name(opened.items[i]));
		rules_add_opened(&text, opened.items[i]);
	}
	(void)rules_read_drops(answer);
	rules_read_card_drops(answer, &drops);
	rules_read_cards(answer, &cards);
	for (size_t i = 0; i < cards.len; i++) {
		assert(rules_is_card(cards.items[i]));
		rules_remove_card(&text, cards.items[i]);
	}
	rules_clear_opened(&text);
	rules_drop_tables(&text);
	assert(strlen(text.ptr) == text.len);
	rules_taps_release(&taps);
	return 0;
}
