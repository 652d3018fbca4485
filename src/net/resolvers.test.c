/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolvers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

static struct resolvers parse(const char *text)
{
	struct resolvers r = { .count = 7 };

	resolvers_parse((struct slice){ (const uint8_t *)text, strlen(text) }, &r);
	return r;
}

static void assert_v4(const struct resolvers *r, unsigned i, const char *expected)
{
	struct sockaddr_in a;
	char text[INET_ADDRSTRLEN];

	memcpy(&a, &r->items[i], sizeof(a));
	assert_int_equal(a.sin_family, AF_INET);
	assert_int_equal(ntohs(a.sin_port), 53);
	assert_string_equal(inet_ntop(AF_INET, &a.sin_addr, text, sizeof(text)), expected);
}

static void test_addresses(void **state)
{
	struct resolvers r = parse("# x\nsearch a.b\nnameserver 10.0.0.1\nnameserver\t::1 \n"
				   "options edns0\nnameserver 10.0.0.3 # c\nnameserver 10.0.0.4");

	(void)state;
	assert_int_equal(r.count, 3);
	assert_v4(&r, 0, "10.0.0.1");
	assert_int_equal(r.items[1].ss_family, AF_INET6);
	assert_v4(&r, 2, "10.0.0.3");
}

/* The kernel's first interface in every namespace is lo. */
static void test_link_local(void **state)
{
	static const char *const scopes[] = { "lo", "1" };
	struct sockaddr_in6 a;

	(void)state;
	for (size_t i = 0; i < array_size(scopes); i++) {
		auto_free char *text = str_format("nameserver fe80::53%%%s\n", scopes[i]);
		struct resolvers r = parse(text);

		assert_int_equal(r.count, 1);
		memcpy(&a, &r.items[0], sizeof(a));
		assert_int_equal(a.sin6_family, AF_INET6);
		assert_int_equal(a.sin6_scope_id, 1);
		assert_true(IN6_IS_ADDR_LINKLOCAL(&a.sin6_addr));
	}
}

static void test_none(void **state)
{
	static const char *const texts[] = {
		"",
		"nameserver",
		"nameserver \n",
		"nameservers 10.0.0.1",
		"nameserver x.example",
		"nameserver 1.2.3",
		" nameserver 10.0.0.1",
		"nameserver 10.0.0.1%lo",
		"nameserver fe80::1%",
		"nameserver fe80::1%0",
		"nameserver fe80::1%nonesuch",
		"nameserver fe80::1%4294967297",
		"nameserver fe80::1%1x",
		"nameserver 2001:db8::1%lo",
		"nameserver 0000000000000000000000000000000000000000000000000000000",
	};

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		struct resolvers r = parse(texts[i]);

		assert_int_equal(r.count, 1);
		assert_v4(&r, 0, "127.0.0.1");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_link_local),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
