/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/dns.h"
#include "net/frame.h"

enum { A = 1, CNAME = 5, AAAA = 28, IN = 1, CH = 3, QUESTION = 12 };

/* A message under construction. */
struct writer {
	uint8_t bytes[DNS_MESSAGE_MAX];
	size_t len;
};

static struct writer w;

static void put(const void *bytes, size_t len)
{
	assert_true(len <= sizeof(w.bytes) - w.len);
	memcpy(w.bytes + w.len, bytes, len);
	w.len += len;
}

static void put16(unsigned value)
{
	frame_put16(w.bytes + w.len, (uint16_t)value);
	w.len += 2;
}

static size_t put_name(const char *text)
{
	size_t at = w.len;

	while (*text) {
		uint8_t len = (uint8_t)strcspn(text, ".");

		put(&len, 1);
		put(text, len);
		text += len;
		text += *text == '.';
	}
	put("", 1);
	return at;
}

static void begin(const char *name)
{
	static const uint8_t header[DNS_HEADER] = { 1, 2, 0x81, 0x80, 0, 1 };

	w.len = 0;
	put(header, sizeof(header));
	put_name(name);
	put16(A);
	put16(IN);
}

/* Behind the owner. Return: where the data begin. */
static size_t put_fixed(unsigned type, unsigned class, uint32_t ttl, size_t len)
{
	frame_put16(w.bytes + 6, (uint16_t)(frame_get16(w.bytes + 6) + 1));
	put16(type);
	put16(class);
	put16(ttl >> 16);
	put16(ttl & 0xffff);
	put16((unsigned)len);
	return w.len;
}

static void put_pointer(size_t at)
{
	put16(0xc000 | (unsigned)at);
}

/* 192.0.2.@last for the name at @owner */
static void put_a(size_t owner, uint32_t ttl, uint8_t last)
{
	const uint8_t address[] = { 192, 0, 2, last };

	put_pointer(owner);
	put_fixed(A, IN, ttl, sizeof(address));
	put(address, sizeof(address));
}

/* Return: where the target's name is. */
static size_t put_cname(size_t owner, uint32_t ttl, const char *target)
{
	size_t data;

	put_pointer(owner);
	data = put_fixed(CNAME, IN, ttl, 0);
	put_name(target);
	frame_put16(w.bytes + data - 2, (uint16_t)(w.len - data));
	return data;
}

static struct dns_addresses collect(void)
{
	struct dns_addresses a;

	dns_answer_addresses((struct slice){ w.bytes, w.len }, &a);
	return a;
}

static void assert_has(const struct dns_addresses *a, unsigned i, uint8_t last)
{
	const uint8_t want[] = { 192, 0, 2, last };

	assert_true(i < a->count);
	assert_memory_equal(&a->items[i], want, sizeof(want));
}

static void test_plain(void **state)
{
	struct dns_addresses a;

	(void)state;
	begin("example.org");
	put_a(QUESTION, 300, 7);
	put_a(QUESTION, 20, 8);
	put_a(QUESTION, 90, 7);
	a = collect();
	assert_int_equal(a.count, 2);
	assert_int_equal(a.ttl, 20);
	assert_has(&a, 0, 7);
	assert_has(&a, 1, 8);
}

static void test_case_of_letters(void **state)
{
	struct dns_addresses a;

	(void)state;
	begin("eXample.org");
	(void)put_name("ExAmPlE.ORG");
	put_fixed(A, IN, 1, 4);
	put("\300\0\2\7", 4);
	a = collect();
	assert_int_equal(a.count, 1);
}

static void test_cname_chain(void **state)
{
	struct dns_addresses a;
	size_t one, two;

	(void)state;
	begin("www.example.org");
	one = put_cname(QUESTION, 50, "cdn.example.net");
	two = put_cname(one, 40, "edge.example.com");
	put_a(two, 300, 9);
	a = collect();
	assert_int_equal(a.count, 1);
	assert_int_equal(a.ttl, 40);
	assert_has(&a, 0, 9);
}

/* Some servers put the CNAME last; its target is a pointer to the address' owner. */
static void test_chain_backwards(void **state)
{
	struct dns_addresses a;
	size_t owner;

	(void)state;
	begin("www.example.org");
	owner = put_name("cdn.example.net");
	put_fixed(A, IN, 300, 4);
	put("\300\0\2\5", 4);
	put_pointer(QUESTION);
	put_fixed(CNAME, IN, 300, 2);
	put_pointer(owner);
	a = collect();
	assert_int_equal(a.count, 1);
	assert_has(&a, 0, 5);
}

/* Records that stand there but belong to another name, class or type. */
static void test_what_does_not_belong(void **state)
{
	struct dns_addresses a;

	(void)state;
	begin("example.org");
	put_name("evil.org");
	put_fixed(A, IN, 300, 4);
	put("\300\0\2\1", 4);
	put_a(QUESTION + 8, 300, 2); /* org */
	put_pointer(QUESTION);
	put_fixed(A, CH, 300, 4);
	put("\300\0\2\3", 4);
	put_pointer(QUESTION);
	put_fixed(AAAA, IN, 300, 16);
	put("0123456789abcdef", 16);
	put_pointer(QUESTION);
	put_fixed(A, IN, 300, 5);
	put("\300\0\2\4\0", 5);
	a = collect();
	assert_int_equal(a.count, 0);
	put_a(QUESTION, 300, 6);
	a = collect();
	assert_int_equal(a.count, 1);
	/* beyond the answer section: additional data */
	frame_put16(w.bytes + 6, (uint16_t)(frame_get16(w.bytes + 6) - 1));
	a = collect();
	assert_int_equal(a.count, 0);
}

static void test_cname_with_a_rest(void **state)
{
	struct dns_addresses a;
	size_t target, data;

	(void)state;
	begin("example.org");
	put_pointer(QUESTION);
	data = put_fixed(CNAME, IN, 300, 0);
	target = put_name("a.net");
	put("x", 1);
	frame_put16(w.bytes + data - 2, (uint16_t)(w.len - data));
	put_a(target, 300, 1);
	a = collect();
	assert_int_equal(a.count, 0);
}

static void test_ttl_with_sign(void **state)
{
	struct dns_addresses a;

	(void)state;
	begin("example.org");
	put_a(QUESTION, 0x80000000, 1);
	a = collect();
	assert_int_equal(a.ttl, 0);
}

/* Pointers to themselves, forwards, in a circle, into the header, cut. */
static void test_bad_pointers(void **state)
{
	struct dns_addresses a;
	size_t at;

	(void)state;
	for (size_t to = 0; to < 80; to++) {
		begin("example.org");
		at = w.len;
		put_a(to, 300, 1);
		put_a(at, 300, 2); /* its owner is a pointer to the pointer */
		a = collect();
		assert_int_equal(a.count, to == QUESTION ? 2 : 0);
	}
	begin("example.org");
	put("\1x", 2); /* "x" and then itself */
	put_a(w.len - 2, 300, 1);
	assert_int_equal(collect().count, 0);
	begin("example.org");
	put("\300", 1);
	frame_put16(w.bytes + 6, 1);
	assert_int_equal(collect().count, 0);
	begin("example.org");
	put("\100", 1);
	put_a(QUESTION, 300, 1);
	assert_int_equal(collect().count, 0);
}

/* Each pointer leads to the one before: allowed up to a number. */
static unsigned count_behind_pointers(unsigned pointers)
{
	size_t at = QUESTION;

	begin("example.org");
	put_pointer(QUESTION);
	put_fixed(AAAA, IN, 300, 2 * pointers);
	for (unsigned i = 0; i < pointers; i++) {
		put_pointer(at);
		at = w.len - 2;
	}
	put_a(at, 300, 1);
	return collect().count;
}

static void test_many_pointers(void **state)
{
	(void)state;
	assert_int_equal(count_behind_pointers(100), 1);
	assert_int_equal(count_behind_pointers(1000), 0);
}

/* The CNAME is a label of @len bytes before a name of 193. */
static unsigned count_behind_label(uint8_t len)
{
	uint8_t label[63];
	size_t data;

	memset(label, 'x', sizeof(label));
	w.len = 0;
	put(((const uint8_t[DNS_HEADER]){ 1, 2, 0x81, 0x80, 0, 1 }), DNS_HEADER);
	for (unsigned i = 0; i < 3; i++) {
		put("\77", 1);
		put(label, sizeof(label));
	}
	put("\0\0\1\0\1", 5);
	put_pointer(QUESTION);
	data = put_fixed(CNAME, IN, 300, len + 3U);
	put(&len, 1);
	put(label, len);
	put_pointer(QUESTION);
	put_a(data, 300, 1);
	return collect().count;
}

/* Pointers can make a name longer than a name can be. */
static void test_long_name(void **state)
{
	(void)state;
	assert_int_equal(count_behind_label(DNS_NAME_MAX - 193 - 1), 1);
	assert_int_equal(count_behind_label(DNS_NAME_MAX - 193), 0);
	assert_int_equal(count_behind_label(63), 0);
}

static void test_circle_of_cnames(void **state)
{
	struct dns_addresses a;
	size_t one, two;

	(void)state;
	begin("example.org");
	one = put_cname(QUESTION, 300, "a.net");
	two = put_cname(one, 300, "b.net");
	put_pointer(two);
	put_fixed(CNAME, IN, 300, 2);
	put_pointer(QUESTION);
	put_a(two, 300, 1);
	a = collect();
	assert_int_equal(a.count, 1);
}

static void test_chain_is_bounded(void **state)
{
	size_t at = QUESTION;

	(void)state;
	begin("example.org");
	for (unsigned i = 0; i < DNS_CNAMES_MAX; i++) {
		const char name[] = { (char)('a' + i), '.', 'n', 'e', 't', '\0' };

		at = put_cname(at, 300, name);
	}
	put_a(at, 300, 1);
	assert_int_equal(collect().count, 1);
	at = put_cname(at, 300, "too.far.net");
	put_a(at, 300, 2);
	assert_int_equal(collect().count, 1);
}

static void test_counts_that_lie(void **state)
{
	struct dns_addresses a;
	size_t whole;

	(void)state;
	begin("example.org");
	put_a(QUESTION, 300, 1);
	put_a(QUESTION, 300, 2);
	whole = w.len;
	frame_put16(w.bytes + 6, 0xffff);
	a = collect();
	assert_int_equal(a.count, 2);
	/* cut anywhere: what is whole counts */
	for (w.len = DNS_HEADER + 13 + 4; w.len < whole; w.len++) {
		a = collect();
		assert_int_equal(a.count, w.len >= whole - 16);
	}
	w.bytes[whole - 5] = 200; /* the data's length */
	a = collect();
	assert_int_equal(a.count, 1);
}

static void test_thousand_records(void **state)
{
	struct dns_addresses a;

	(void)state;
	begin("example.org");
	for (unsigned i = 0; i < 1000; i++) {
		const uint8_t address[] = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i };

		put_pointer(QUESTION);
		put_fixed(A, IN, 300, sizeof(address));
		put(address, sizeof(address));
	}
	a = collect();
	assert_int_equal(a.count, DNS_ADDRESSES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_case_of_letters),
		cmocka_unit_test(test_cname_chain),
		cmocka_unit_test(test_chain_backwards),
		cmocka_unit_test(test_what_does_not_belong),
		cmocka_unit_test(test_cname_with_a_rest),
		cmocka_unit_test(test_ttl_with_sign),
		cmocka_unit_test(test_bad_pointers),
		cmocka_unit_test(test_many_pointers),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_circle_of_cnames),
		cmocka_unit_test(test_chain_is_bounded),
		cmocka_unit_test(test_counts_that_lie),
		cmocka_unit_test(test_thousand_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
