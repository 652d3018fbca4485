/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "base/attr.h"
#include "cmd/neighbour.h"

static const struct mac mac = { { 0x52, 0x54, 0, 0xab, 0xcd, 0xef } };

#define LINE(flags, hardware, device) \
	"192.168.64.7     0x1         " flags "         " hardware "     *        " device "\n"

static void a_confirmed_entry_of_the_interface_is_found(void **state)
{
	struct in_addr address = { 0 };

	(void)state;
	assert_true(neighbour_match(LINE("0x2", "52:54:00:ab:cd:ef", "lz0"), mac, "lz0", &address));
	assert_int_equal(address.s_addr, inet_addr("192.168.64.7"));
	assert_true(neighbour_match(LINE("0x6", "52:54:00:AB:CD:EF", "lz0"), mac, "", &address));
}

static void nothing_else_is(void **state)
{
	static const char *const lines[] = {
		"IP address       HW type     Flags       HW address            Mask     Device\n",
		LINE("0x0", "52:54:00:ab:cd:ef", "lz0"), /* not confirmed */
		LINE("0x2", "52:54:00:ab:cd:ee", "lz0"), /* another's */
		LINE("0x2", "52:54:00:ab:cd:ef", "lz01"), /* elsewhere */
		"192.168.64.999 0x1 0x2 52:54:00:ab:cd:ef * lz0\n",
		"192.168.64.7 0x20 0x2 52:54:00:ab:cd:ef * lz0\n", /* not Ethernet */
		"192.168.64.7 0x1 0x2 52:54:00:ab:cd:ef",
		"",
	};
	struct in_addr address = { 0 };

	(void)state;
	for (size_t i = 0; i < array_size(lines); i++)
		assert_false(neighbour_match(lines[i], mac, "lz0", &address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_confirmed_entry_of_the_interface_is_found),
		cmocka_unit_test(nothing_else_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
