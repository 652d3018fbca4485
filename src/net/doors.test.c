/* SPDX-License-Identifier: Apache-2.0 */
#include "net/doors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "net/rules.h"

enum { DOCKER, UFW_FORWARD, UFW_INPUT, FIREWALLD_FORWARD, FIREWALLD_INPUT };

static const struct rules_guest guest = { .name = "lzc0a84002",
					  .dns_udp = 40001,
					  .dns_tcp = 40002 };

static void test_chains(void **state)
{
	(void)state;
	assert_int_equal(doors_read_chains(""), 0);
	assert_int_equal(doors_read_chains("table ip filter {\n\tchain FORWARD {\n\t}\n}\n"), 0);
	assert_int_equal(doors_read_chains(
				 "table ip filter {\n\tchain DOCKER-USER { # handle 2\n\t}\n}\n"),
			 1U << DOCKER);
	assert_int_equal(doors_read_chains(
				 "table ip filter {\n\tchain ufw-before-input {\n\t}\n"
				 "\tchain ufw-before-forward {\n\t}\n}\n"
				 "table inet firewalld {\n\tchain filter_FORWARD {\n\t}\n}\n"),
			 1U << UFW_INPUT | 1U << UFW_FORWARD | 1U << FIREWALLD_FORWARD);
}

/* The same names elsewhere are somebody else's. */
static void test_other_tables(void **state)
{
	(void)state;
	assert_int_equal(doors_read_chains("table ip6 filter {\n\tchain DOCKER-USER {\n\t}\n}\n"),
			 0);
	assert_int_equal(doors_read_chains("table ip filter {\n\tchain DOCKER-USER-2 {\n\t}\n}\n"),
			 0);
	assert_int_equal(doors_read_chains("table ip filter {\n}\ntable ip nat {\n"
					   "\tchain DOCKER-USER {\n\t}\n}\n"),
			 0);
	assert_int_equal(doors_read_chains("\tchain DOCKER-USER {\n\t}\n"), 0);
}

static void test_add(void **state)
{
	auto_str text = STR_INIT;

	(void)state;
	doors_add(&text, DOCKER, &guest);
	doors_add(&text, FIREWALLD_INPUT, &guest);
	doors_list(&text, UFW_FORWARD);
	assert_string_equal(
		text.ptr,
		"insert rule ip filter DOCKER-USER iifname \"lz*\" counter accept comment "
		"\"linzer\"\n"
		"insert rule ip filter DOCKER-USER oifname \"lz*\" counter accept comment "
		"\"linzer\"\n"
		"insert rule inet firewalld filter_INPUT iifname \"lzc0a84002\" udp dport 40001"
		" counter accept comment \"linzer\"\n"
		"insert rule inet firewalld filter_INPUT iifname \"lzc0a84002\" tcp dport 40002"
		" counter accept comment \"linzer\"\n"
		"list chain ip filter ufw-before-forward\n");
}

static const char listed[] =
	"table ip filter { # handle 1\n\tchain ufw-before-input { # handle 2\n"
	"\t\tiifname \"lzc0a84002\" udp dport 40001 counter packets 7 bytes 9 accept comment "
	"\"linzer\" # handle 11\n"
	"\t\tiifname \"lzc0a84003\" udp dport 40003 counter packets 7 bytes 9 accept comment "
	"\"linzer\" # handle 12\n"
	"\t\tiifname \"eth0\" counter packets 0 bytes 0 accept comment \"linzer's\" # handle 13\n"
	"\t\toifname \"lz*\" counter packets 0 bytes 0 accept comment \"linzer\" # handle 14\n"
	"\t\tcounter packets 0 bytes 0 accept comment \"other\" # handle 15\n"
	"\t\tiifname \"lzc0a84002\" accept # handle 16\n\t}\n}\n";

static void test_remove(void **state)
{
	auto_str one = STR_INIT, all = STR_INIT, none = STR_INIT;

	(void)state;
	doors_remove(&one, UFW_INPUT, listed, guest.name);
	assert_string_equal(one.ptr, "delete rule ip filter ufw-before-input handle 11\n");
	doors_remove(&all, UFW_INPUT, listed, NULL);
	assert_string_equal(all.ptr, "delete rule ip filter ufw-before-input handle 11\n"
				     "delete rule ip filter ufw-before-input handle 12\n"
				     "delete rule ip filter ufw-before-input handle 14\n");
	doors_remove(&none, UFW_INPUT, "", NULL);
	assert_string_equal(none.ptr, "");
}

static void test_card(void **state)
{
	static const char answer[] =
		"table ip filter { # handle 1\n\tchain DOCKER-USER { # handle 2\n"
		"\t\toifname \"lz*\" counter packets 0 bytes 0 accept comment \"linzer\" # handle "
		"3\n"
		"\t\tiifname \"br0\" oifname \"br0\" ip saddr 10.9.0.7 counter packets 0 bytes 0 "
		"accept "
		"comment \"linzer lzb1\" # handle 4\n"
		"\t\tiifname \"br0\" oifname \"br0\" counter packets 0 bytes 0 accept comment "
		"\"linzer lzb11\" # handle 5\n\t}\n}\n";
	const struct doors_card card = { "lzb1", "br0", { htonl(0x0a090007) } };
	const struct doors_card before = { "lzb1", "br0", { 0 } };
	auto_str text = STR_INIT, first = STR_INIT, removed = STR_INIT;

	(void)state;
	doors_add_card(&text, UFW_INPUT, &card);
	assert_int_equal(text.len, 0);
	doors_add_card(&first, DOCKER, &before);
	doors_add_card(&text, DOCKER, &card);
#define HEAD "insert rule ip filter DOCKER-USER iifname \"br0\" oifname \"br0\" "
#define TAIL " counter accept comment \"linzer lzb1\"\n"
	assert_string_equal(first.ptr, HEAD "udp sport 67 udp dport 68" TAIL HEAD
					    "udp sport 68 udp dport 67" TAIL);
	assert_string_equal(text.ptr, HEAD "udp sport 67 udp dport 68" TAIL HEAD
					   "udp sport 68 udp dport 67" TAIL HEAD
					   "ip daddr 10.9.0.7" TAIL HEAD "ip saddr 10.9.0.7" TAIL);
	doors_remove_card(&removed, DOCKER, answer, "lzb1");
	assert_string_equal(removed.ptr, "delete rule ip filter DOCKER-USER handle 4\n");
	doors_remove(&removed, DOCKER, answer, NULL); /* of routed guests */
	assert_string_equal(removed.ptr, "delete rule ip filter DOCKER-USER handle 4\n"
					 "delete rule ip filter DOCKER-USER handle 3\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains), cmocka_unit_test(test_other_tables),
		cmocka_unit_test(test_add),    cmocka_unit_test(test_remove),
		cmocka_unit_test(test_card),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
