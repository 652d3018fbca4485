/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"

/* a.Bc IN A, with an EDNS record behind the question */
static const uint8_t query[] = { 0x12, 0x34, 1,	  0,   0,   1, 0, 0, 0, 0, 0, 1,
				 1,    'a',  2,	  'B', 'c', 0, 0, 1, 0, 1, 0, 0,
				 41,   4,    208, 0,   0,   0, 0, 0, 3, 9, 9, 9 };
enum { QUESTION = 22 };

static void test_query(void **state)
{
	(void)state;
	assert_int_equal(dns_check_query((struct slice){ query, sizeof(query) }), QUESTION);
	for (size_t n = 0; n < sizeof(query); n++)
		assert_int_equal(dns_check_query((struct slice){ query, n }), 0);
}

static void test_bad_query(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} flips[] = {
		{ 2, 0x81 }, { 2, 0x28 }, { 2, 0x03 }, { 5, 0 },  { 5, 2 },	{ 4, 1 },
		{ 7, 1 },    { 9, 1 },	  { 11, 0 },   { 11, 3 }, { 12, 0xc0 }, { 12, 64 },
		{ 14, 60 },  { 32, 2 },	  { 32, 4 },   { 22, 1 }, { 21, 3 },	{ 20, 1 },
	};

	(void)state;
	for (size_t i = 0; i < array_size(flips); i++) {
		uint8_t m[sizeof(query)];

		memcpy(m, query, sizeof(m));
		m[flips[i].at] = flips[i].value;
		assert_int_equal(dns_check_query((struct slice){ m, sizeof(m) }), 0);
	}
}

/* 127 labels of one letter are the longest name: 255 bytes. */
static void test_longest_name(void **state)
{
	uint8_t m[DNS_QUERY_MAX] = { 0, 0, 1, 0, 0, 1 };
	char name[DNS_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < 128; i++) {
		m[DNS_HEADER + 2 * i] = 1;
		m[DNS_HEADER + 2 * i + 1] = 'x';
	}
	m[DNS_HEADER + 254] = 0;
	m[DNS_HEADER + 255] = 0;
	m[DNS_HEADER + 258] = 1; /* class IN */
	assert_int_equal(dns_check_query((struct slice){ m, DNS_HEADER + 255 + 4 }),
			 DNS_HEADER + 255 + 4);
	assert_true(dns_question_name((struct slice){ m, DNS_HEADER + 255 + 4 }, name));
	assert_int_equal(strlen(name), 253);
	m[DNS_HEADER + 254] = 1;
	m[DNS_HEADER + 256] = 0;
	assert_int_equal(dns_check_query((struct slice){ m, DNS_HEADER + 257 + 4 }), 0);
}

static void test_answer(void **state)
{
	const struct slice asked = { query, QUESTION };
	uint8_t m[sizeof(query)];
	const struct slice got = { m, sizeof(m) };

	(void)state;
	memcpy(m, query, sizeof(m));
	assert_false(dns_is_answer(got, 0x1234, asked));
	m[2] |= 0x80;
	assert_true(dns_is_answer(got, 0x1234, asked));
	assert_false(dns_is_answer(got, 0x1235, asked));
	assert_false(dns_is_answer((struct slice){ m, QUESTION - 1 }, 0x1234, asked));
	m[15] = 'b';
	assert_true(dns_is_answer(got, 0x1234, asked));
	m[15] = 'd';
	assert_false(dns_is_answer(got, 0x1234, asked));
	m[15] = 'B';
	m[5] = 2;
	assert_false(dns_is_answer(got, 0x1234, asked));
}

static void test_error(void **state)
{
	uint8_t m[sizeof(query)];

	(void)state;
	memcpy(m, query, sizeof(m));
	dns_make_error(m, DNS_REFUSED);
	assert_true(dns_is_answer((struct slice){ m, QUESTION }, 0x1234,
				  (struct slice){ query, QUESTION }));
	assert_int_equal(m[3] & 15, DNS_REFUSED);
	assert_int_equal(m[11], 0);
}

static void test_name(void **state)
{
	char name[DNS_NAME_MAX];

	(void)state;
	assert_true(dns_question_name((struct slice){ query, QUESTION }, name));
	assert_string_equal(name, "a.bc");
}

/* What a filter would take for another name than the resolver does. */
static void test_name_of_no_host(void **state)
{
	static const uint8_t bytes[] = { '.', 0, '*', ' ', '/', 0x80, 0xff, '\\', '[', '`', '{' };
	char name[DNS_NAME_MAX];
	uint8_t m[QUESTION];
	static const uint8_t root[] = { 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1 };

	(void)state;
	memcpy(m, query, sizeof(m));
	for (size_t i = 0; i < array_size(bytes); i++) {
		m[16] = bytes[i];
		assert_int_equal(dns_check_query((struct slice){ m, sizeof(m) }), 0);
		m[11] = 0;
		assert_int_equal(dns_check_query((struct slice){ m, sizeof(m) }), QUESTION);
		assert_false(dns_question_name((struct slice){ m, sizeof(m) }, name));
		m[11] = 1;
	}
	assert_int_equal(dns_check_query((struct slice){ root, sizeof(root) }), sizeof(root));
	assert_false(dns_question_name((struct slice){ root, sizeof(root) }, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_query),		cmocka_unit_test(test_bad_query),
		cmocka_unit_test(test_longest_name),	cmocka_unit_test(test_answer),
		cmocka_unit_test(test_error),		cmocka_unit_test(test_name),
		cmocka_unit_test(test_name_of_no_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
