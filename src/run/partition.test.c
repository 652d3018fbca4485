/* SPDX-License-Identifier: Apache-2.0 */
#include "run/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void gpt(uint8_t *head, uint64_t last_usable)
{
	memset(head, 0, 1024);
	memcpy(head + 512, "EFI PART", 8);
	for (unsigned i = 0; i < 8; i++)
		head[512 + 48 + i] = (uint8_t)(last_usable >> (8 * i));
}

static void mbr(uint8_t *head, uint8_t status, uint8_t type, uint32_t start, uint32_t count)
{
	uint8_t *e = head + 446;

	memset(head, 0, 1024);
	head[510] = 0x55;
	head[511] = 0xaa;
	e[0] = status;
	e[4] = type;
	for (unsigned i = 0; i < 4; i++) {
		e[8 + i] = (uint8_t)(start >> (8 * i));
		e[12 + i] = (uint8_t)(count >> (8 * i));
	}
}

static bool fits(const uint8_t *head, size_t len, uint64_t size)
{
	struct error err = ERROR_INIT;

	return partition_check(head, len, size, &err) == 0;
}

static void gpt_needs_its_last_usable_block(void **state)
{
	uint8_t head[1024];

	(void)state;
	gpt(head, 1999);
	assert_true(fits(head, sizeof(head), 2000 * 512));
	assert_true(fits(head, sizeof(head), 1 << 30));
	assert_false(fits(head, sizeof(head), 1999 * 512));
	gpt(head, UINT64_MAX);
	assert_false(fits(head, sizeof(head), UINT64_MAX));
}

static void mbr_needs_its_entries(void **state)
{
	uint8_t head[1024];

	(void)state;
	mbr(head, 0x80, 0x83, 2048, 1000);
	assert_true(fits(head, sizeof(head), 3048 * 512));
	assert_false(fits(head, sizeof(head), 3047 * 512));
	mbr(head, 0, 0x83, UINT32_MAX, UINT32_MAX);
	assert_false(fits(head, sizeof(head), 1 << 30));
	/* the protective entry may span more than the disk */
	mbr(head, 0, 0xee, 1, UINT32_MAX);
	assert_true(fits(head, sizeof(head), 4096));
}

static void no_table_is_fine(void **state)
{
	uint8_t head[1024] = { 0 };

	(void)state;
	assert_true(fits(head, sizeof(head), 0));
	assert_true(fits(head, 0, 0));
	mbr(head, 0x55, 0x83, 1, UINT32_MAX);
	assert_true(fits(head, sizeof(head), 4096));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpt_needs_its_last_usable_block),
		cmocka_unit_test(mbr_needs_its_entries),
		cmocka_unit_test(no_table_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
