/* SPDX-License-Identifier: Apache-2.0 */
#include "net/filter_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "net/policy_vectors.h"

static struct slice slice_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static void must_parse(const char *text, struct policy *policy)
{
	struct error err = ERROR_INIT;

	if (filter_text_parse(slice_of(text), POLICY_OWN, policy, &err) < 0 ||
	    policy_check(policy, &err) < 0)
		fail_msg("%s", err.text);
}

struct meaning {
	const char *text, *rules;
};

static void check_meanings(const struct meaning *meanings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		auto_policy policy = POLICY_INIT;
		auto_str rules = STR_INIT;

		must_parse(meanings[i].text, &policy);
		vector_add_rules(&rules, &policy, 0);
		if (strcmp(rules.ptr, meanings[i].rules) != 0)
			fail_msg("'%s' is\n%s", meanings[i].text, rules.ptr);
	}
}

#define CHECK(...)                                                        \
	do {                                                              \
		static const struct meaning meanings[] = { __VA_ARGS__ }; \
		check_meanings(meanings, array_size(meanings));           \
	} while (0)

struct mistake {
	const char *text, *says;
};

static void check_mistakes(const struct mistake *mistakes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		auto_policy policy = POLICY_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(filter_text_parse(slice_of(mistakes[i].text), POLICY_OWN, &policy,
						   &err),
				 -E_INVALID);
		assert_string_equal(err.text, mistakes[i].says);
		assert_int_equal(policy.rules.len, 0);
	}
}

#define CHECK_WRONG(...)                                                  \
	do {                                                              \
		static const struct mistake mistakes[] = { __VA_ARGS__ }; \
		check_mistakes(mistakes, array_size(mistakes));           \
	} while (0)

/* What rules mean. */

/* Anka's own examples. */
static void test_documented_examples(void **state)
{
	(void)state;
	CHECK({ "block out to 1.1.1.1 from any", "own block out whg 1.1.1.1/32 any\n" },
	      { "block out to 1.1.1.1 port 53", "own block out whg 1.1.1.1/32:53-53 any\n" },
	      { "block in to port 22", "own block in whg any any:22-22\n" },
	      { "block out from port 68 to port 67", "own block out whg any:67-67 any:68-68\n" },
	      { "block in from any port 67 to any port 68",
		"own block in whg any:67-67 any:68-68\n" },
	      { "block any from port 67 to port 68", "own block out whg any:68-68 any:67-67\n"
						     "own block in whg any:67-67 any:68-68\n" },
	      { "block any", "own block both whg any any\n" },
	      { "block local", "own block both hg any any\n" },
	      { "pass out from all", "own pass out whg any any\n" },
	      { "pass in from 10.20.30.40", "own pass in whg 10.20.30.40/32 any\n" },
	      { "block out to 169.254.169.254", "own block out whg 169.254.169.254/32 any\n" });
}

static void test_whole_rules(void **state)
{
	(void)state;
	CHECK({ "pass", "own pass both whg any any\n" },
	      { "block", "own block both whg any any\n" },
	      { "pass any", "own pass both whg any any\n" },
	      { "pass local", "own pass both hg any any\n" },
	      { "block in", "own block in whg any any\n" },
	      { "block out", "own block out whg any any\n" });
}

static void test_quick_changes_nothing(void **state)
{
	(void)state;
	CHECK({ "block quick in from 1.1.1.1", "own block in whg 1.1.1.1/32 any\n" },
	      { "block in quick from 1.1.1.1", "own block in whg 1.1.1.1/32 any\n" },
	      { "block quick", "own block both whg any any\n" });
}

static void test_from_is_the_guest_for_out(void **state)
{
	(void)state;
	CHECK({ "pass out from 10.0.0.1 port 1 to 10.0.0.2 port 2",
		"own pass out whg 10.0.0.2/32:2-2 10.0.0.1/32:1-1\n" });
}

static void test_from_is_the_remote_for_in(void **state)
{
	(void)state;
	CHECK({ "pass in from 10.0.0.1 port 1 to 10.0.0.2 port 2",
		"own pass in whg 10.0.0.1/32:1-1 10.0.0.2/32:2-2\n" });
}

static void test_without_direction_one_rule_for_each(void **state)
{
	(void)state;
	CHECK({ "block from port 1-9 to port 2-9", "own block out whg any:2-9 any:1-9\n"
						   "own block in whg any:1-9 any:2-9\n" },
	      { "block from 10.0.0.0/9 to 10.0.0.0/8", "own block out whg 10.0.0.0/8 10.0.0.0/9\n"
						       "own block in whg 10.0.0.0/9 10.0.0.0/8\n" },
	      { "block from port 1-8 to port 1-9", "own block out whg any:1-9 any:1-8\n"
						   "own block in whg any:1-8 any:1-9\n" },
	      { "block from 10.0.0.0/8", "own block out whg any 10.0.0.0/8\n"
					 "own block in whg 10.0.0.0/8 any\n" },
	      { "block any to 10.0.0.0/8", "own block out whg 10.0.0.0/8 any\n"
					   "own block in whg any 10.0.0.0/8\n" });
}

static void test_alike_ends_need_one_rule(void **state)
{
	(void)state;
	CHECK({ "block from any to all", "own block both whg any any\n" },
	      { "block from 10.0.0.0/8 port 1 to 10.0.0.0/8 port 1",
		"own block both whg 10.0.0.0/8:1-1 10.0.0.0/8:1-1\n" },
	      { "block proto icmp from any", "own block both whg proto 1 any any\n" });
}

static void test_order_of_from_and_to_is_free(void **state)
{
	(void)state;
	CHECK({ "block in to 10.0.0.2 from 10.0.0.1",
		"own block in whg 10.0.0.1/32 10.0.0.2/32\n" },
	      { "block in from 10.0.0.1 to 10.0.0.2",
		"own block in whg 10.0.0.1/32 10.0.0.2/32\n" });
}

static void test_port_without_address(void **state)
{
	(void)state;
	CHECK({ "block out to port 22", "own block out whg any:22-22 any\n" },
	      { "block out from port 22", "own block out whg any any:22-22\n" });
}

static void test_port_ranges(void **state)
{
	(void)state;
	CHECK({ "block out to port 80-90", "own block out whg any:80-90 any\n" },
	      { "block out to port 80 - 90", "own block out whg any:80-90 any\n" },
	      { "block out to port 80 -90 from any", "own block out whg any:80-90 any\n" },
	      { "block out to port 80- 90", "own block out whg any:80-90 any\n" },
	      { "block out to port 1-65535", "own block out whg any:1-65535 any\n" },
	      { "block out to port 7-7", "own block out whg any:7-7 any\n" });
}

static void test_protocols(void **state)
{
	(void)state;
	CHECK({ "block out proto tcp to port 22", "own block out whg proto 6 any:22-22 any\n" },
	      { "block out proto udp", "own block out whg proto 17 any any\n" },
	      { "block out proto icmp", "own block out whg proto 1 any any\n" },
	      { "block out proto 47 to 1.1.1.1", "own block out whg proto 47 1.1.1.1/32 any\n" },
	      { "block out proto 255", "own block out whg proto 255 any any\n" },
	      { "block out proto 6 to port 22", "own block out whg proto 6 any:22-22 any\n" });
}

static void test_tcp_and_udp(void **state)
{
	(void)state;
	CHECK({ "block out proto tcp/udp to port 53", "own block out whg any:53-53 any\n" },
	      { "block out proto tcp/udp from port 53", "own block out whg any any:53-53\n" },
	      { "block out proto tcp/udp", "own block out whg proto 6 any any\n"
					   "own block out whg proto 17 any any\n" },
	      { "block proto tcp/udp to 1.1.1.1", "own block out whg proto 6 1.1.1.1/32 any\n"
						  "own block in whg proto 6 any 1.1.1.1/32\n"
						  "own block out whg proto 17 1.1.1.1/32 any\n"
						  "own block in whg proto 17 any 1.1.1.1/32\n" });
}

static void test_host_bits_are_cleared(void **state)
{
	(void)state;
	CHECK({ "block out to 10.1.2.3/8", "own block out whg 10.0.0.0/8 any\n" },
	      { "block out to 10.1.2.3/0", "own block out whg any any\n" });
}

static void test_duplicates_and_overlaps_stay(void **state)
{
	(void)state;
	CHECK({ "pass out to 1.1.1.1\npass out to 1.1.1.1\nblock out to 1.0.0.0/8\n",
		"own pass out whg 1.1.1.1/32 any\n"
		"own pass out whg 1.1.1.1/32 any\n"
		"own block out whg 1.0.0.0/8 any\n" });
}

static void test_stage(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(filter_text_parse(slice_of("block any"), POLICY_HOST_WIDE, &policy, &err),
			 0);
	assert_int_equal(filter_text_parse(slice_of("pass any"), POLICY_OWN, &policy, &err), 0);
	assert_int_equal(policy.rules.items[0].stage, POLICY_HOST_WIDE);
	assert_int_equal(policy.rules.items[1].stage, POLICY_OWN);
}

/* What texts do. */

struct verdict {
	const char *flow;
	bool passes;
};

static void check_verdicts(const char *text, const struct verdict *verdicts, size_t n)
{
	auto_policy policy = POLICY_INIT;

	must_parse(text, &policy);
	for (size_t i = 0; i < n; i++)
		if (vector_passes(&policy, verdicts[i].flow) != verdicts[i].passes)
			fail_msg("%s %s", verdicts[i].flow,
				 verdicts[i].passes ? "is blocked" : "passes");
}

static void test_first_match_wins(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out world 1.1.1.1 tcp 443 9", true },  { "out world 1.1.1.1 udp 443 9", true },
		{ "out world 1.1.1.1 tcp 80 9", false },  { "out world 1.1.1.1 icmp", false },
		{ "in world 1.1.1.1 tcp 443 9", false },  { "out host 1.1.1.1 tcp 443 9", true },
		{ "out guests 1.1.1.1 tcp 443 9", true }, { "in host 10.9.9.9 tcp 9 22", true },
	};

	(void)state;
	check_verdicts("pass out to 1.1.1.1 port 443\npass in to port 22\nblock any\npass any\n",
		       verdicts, array_size(verdicts));
}

static void test_without_a_match_all_passes(void **state)
{
	static const struct verdict verdicts[] = { { "out world 1.1.1.1 tcp 443 9", false },
						   { "out world 1.1.1.2 tcp 443 9", true },
						   { "in world 1.1.1.1 icmp", true } };

	(void)state;
	check_verdicts("block out to 1.1.1.1", verdicts, array_size(verdicts));
}

static void test_local_is_the_host_and_guests(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out host 8.8.8.8 tcp 22 9", false },	   { "in host 8.8.8.8 tcp 9 22", false },
		{ "out guests 10.0.0.9 tcp 22 9", false }, { "in guests 10.0.0.9 icmp", false },
		{ "out world 10.0.0.9 tcp 22 9", true },   { "in world 10.0.0.9 icmp", true },
	};

	(void)state;
	check_verdicts("block local", verdicts, array_size(verdicts));
}

/* How texts are written. */

static void test_blanks_comments_and_line_ends(void **state)
{
	(void)state;
	CHECK({ "", "" }, { "\n", "" }, { " \t \n\n", "" }, { "# block any", "" }, { "#", "" },
	      { "\r\n", "" }, { "block any", "own block both whg any any\n" },
	      { "\t block \t any \t ", "own block both whg any any\n" },
	      { "block any# all of it\n", "own block both whg any any\n" },
	      { "block any # all # of it\r\n# x\r\n", "own block both whg any any\n" },
	      { "block any\r", "own block both whg any any\n" },
	      { "\n\nblock any\r\n\r\npass any", "own block both whg any any\n"
						 "own pass both whg any any\n" });
}

static void test_empty_slice(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(filter_text_parse((struct slice){ NULL, 0 }, POLICY_OWN, &policy, &err),
			 0);
	assert_int_equal(policy.rules.len, 0);
}

/* Mistakes. */

static void test_wrong_action(void **state)
{
	(void)state;
	CHECK_WRONG({ "allow any", "line 1, column 1: expected 'pass' or 'block', not 'allow'" },
		    { "BLOCK any", "line 1, column 1: expected 'pass' or 'block', not 'BLOCK'" },
		    { "blocks", "line 1, column 1: expected 'pass' or 'block', not 'blocks'" },
		    { "any", "line 1, column 1: expected 'pass' or 'block', not 'any'" });
}

static void test_wrong_word_after_the_action(void **state)
{
	(void)state;
	CHECK_WRONG({ "block 1.1.1.1", "line 1, column 7: expected 'in', 'out', 'any', 'local', "
				       "'proto', 'from' or 'to', not '1.1.1.1'" },
		    { "block in out", "line 1, column 10: expected 'proto', 'from', 'to' or "
				      "the end of the line, not 'out'" },
		    { "block quick x", "line 1, column 13: expected 'proto', 'from', 'to' or "
				       "the end of the line, not 'x'" },
		    { "block port 22", "line 1, column 7: expected 'in', 'out', 'any', 'local', "
				       "'proto', 'from' or 'to', not 'port'" },
		    { "block local from any",
		      "line 1, column 13: expected the end of the line, not 'from'" },
		    { "block in local", "line 1, column 10: expected 'proto', 'from', 'to' or "
					"the end of the line, not 'local'" },
		    { "block from any proto tcp", "line 1, column 16: expected 'port', 'to' or "
						  "the end of the line, not 'proto'" });
}

static void test_wrong_protocol(void **state)
{
	(void)state;
	CHECK_WRONG({ "block proto",
		      "line 1, column 12: expected 'tcp', 'udp', 'tcp/udp', 'icmp' or "
		      "a number from 1 to 255, but the line ends" },
		    { "block proto sctp", "line 1, column 13: expected 'tcp', 'udp', 'tcp/udp', "
					  "'icmp' or a number from 1 to 255, not 'sctp'" },
		    { "block proto 0", "line 1, column 13: expected 'tcp', 'udp', 'tcp/udp', "
				       "'icmp' or a number from 1 to 255, not '0'" },
		    { "block proto 256", "line 1, column 13: expected 'tcp', 'udp', 'tcp/udp', "
					 "'icmp' or a number from 1 to 255, not '256'" },
		    { "block proto 6x", "line 1, column 13: expected 'tcp', 'udp', 'tcp/udp', "
					"'icmp' or a number from 1 to 255, not '6x'" },
		    { "block proto tcp port 22", "line 1, column 17: expected 'from', 'to' or "
						 "the end of the line, not 'port'" });
}

static void test_wrong_address(void **state)
{
	(void)state;
	CHECK_WRONG(
		{ "block from", "line 1, column 11: expected an address, a CIDR, 'any', 'all' or "
				"'port', but the line ends" },
		{ "block from # 1.1.1.1", "line 1, column 12: expected an address, a CIDR, 'any', "
					  "'all' or 'port', but the line ends" },
		{ "block from to 1.1.1.1", "line 1, column 12: expected an address, a CIDR, 'any', "
					   "'all' or 'port', not 'to'" },
		{ "block from example.org", "line 1, column 12: expected an address, a CIDR, "
					    "'any', 'all' or 'port', not 'example.org'" },
		{ "block from 1.1.1", "line 1, column 12: '1.1.1' is not an IPv4 address" },
		{ "block to 1.1.1.1/33",
		  "line 1, column 10: '/33' is not a prefix between /0 and /32" },
		{ "block to 1.1.1.1:80", "line 1, column 10: '1.1.1.1:80' is not an IPv4 address" },
		{ "block to !1.1.1.1", "line 1, column 10: '!1.1.1.1' is not an IPv4 address" });
}

static void test_ipv6(void **state)
{
	(void)state;
	CHECK_WRONG({ "block to ::1", "line 1, column 10: IPv6 is not supported" },
		    { "block to fe80::/10", "line 1, column 10: IPv6 is not supported" },
		    { "block to [::1]", "line 1, column 10: IPv6 is not supported" });
}

static void test_wrong_ports(void **state)
{
	(void)state;
	CHECK_WRONG({ "block to port",
		      "line 1, column 14: expected a port between 1 and 65535, but the line ends" },
		    { "block to port ssh",
		      "line 1, column 15: expected a port between 1 and 65535, not 'ssh'" },
		    { "block to port = 22",
		      "line 1, column 15: expected a port between 1 and 65535, not '='" },
		    { "block to port 0",
		      "line 1, column 15: expected a port between 1 and 65535, not '0'" },
		    { "block to port 65536",
		      "line 1, column 15: expected a port between 1 and 65535, not '65536'" },
		    { "block to port 99999999999999999999",
		      "line 1, column 15: expected a port between 1 and 65535, not "
		      "'99999999999999999999'" },
		    { "block to port 22,23",
		      "line 1, column 15: expected a port between 1 and 65535, not '22,23'" },
		    { "block to port 22x",
		      "line 1, column 15: expected a port between 1 and 65535, not '22x'" },
		    { "block to port 22-",
		      "line 1, column 18: expected a port between 1 and 65535, but the line ends" },
		    { "block to port 22-23x",
		      "line 1, column 18: expected a port between 1 and 65535, not '23x'" },
		    { "block to port 22-23-24",
		      "line 1, column 20: expected 'from' or the end of the line, not '-24'" },
		    { "block to port 22 - to",
		      "line 1, column 20: expected a port between 1 and 65535, not 'to'" },
		    { "block to port 23-22",
		      "line 1, column 15: the range of ports ends before it begins" });
}

static void test_protocol_without_ports(void **state)
{
	(void)state;
	CHECK_WRONG(
		{ "block proto icmp from any port 5",
		  "line 1, column 27: only tcp and udp have ports" },
		{ "block proto icmp to port 5", "line 1, column 21: only tcp and udp have ports" },
		{ "block proto 132 to port 5", "line 1, column 20: only tcp and udp have ports" });
}

static void test_wrong_end(void **state)
{
	(void)state;
	CHECK_WRONG({ "block from any from any", "line 1, column 16: expected 'port', 'to' or "
						 "the end of the line, not 'from'" },
		    { "block to any to any", "line 1, column 14: expected 'port', 'from' or "
					     "the end of the line, not 'to'" },
		    { "block to port 1 x", "line 1, column 17: expected 'from' or "
					   "the end of the line, not 'x'" },
		    { "block from port 1 x", "line 1, column 19: expected 'to' or "
					     "the end of the line, not 'x'" },
		    { "block to any from any x", "line 1, column 23: expected 'port' or "
						 "the end of the line, not 'x'" },
		    { "block to any from port 1 x",
		      "line 1, column 26: expected the end of the line, not 'x'" },
		    { "block proto icmp from any x", "line 1, column 27: expected 'to' or "
						     "the end of the line, not 'x'" });
}

static void test_position(void **state)
{
	(void)state;
	CHECK_WRONG(
		{ "pass any\r\n\n# x\n\tblock x", "line 4, column 8: expected 'in', 'out', 'any', "
						  "'local', 'proto', 'from' or 'to', not 'x'" },
		{ "pass any\n pass from", "line 2, column 11: expected an address, a CIDR, 'any', "
					  "'all' or 'port', but the line ends" });
}

static void test_long_words_are_cut(void **state)
{
	char text[2000];
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(filter_text_parse((struct slice){ (const uint8_t *)text, sizeof(text) },
					   POLICY_OWN, &policy, &err),
			 -E_INVALID);
	assert_in_range(strlen(err.text), 64, 128);
}

static void test_bytes_that_are_no_text(void **state)
{
	static const struct {
		struct slice text;
		const char *says;
	} bad[] = {
		{ { (const uint8_t *)"block\0any", 9 },
		  "line 1, column 6: expected ASCII text, not byte 0x00" },
		{ { (const uint8_t *)"pass any\n# b\xc3\xbc", 13 },
		  "line 2, column 4: expected ASCII text, not byte 0xc3" },
		{ { (const uint8_t *)"\xef\xbb\xbfpass any", 11 },
		  "line 1, column 1: expected ASCII text, not byte 0xef" },
		{ { (const uint8_t *)"pass \x1b[2J", 9 },
		  "line 1, column 6: expected ASCII text, not byte 0x1b" },
		{ { (const uint8_t *)"pass\rany\n", 9 },
		  "line 1, column 5: expected ASCII text, not byte 0x0d" },
		{ { (const uint8_t *)"pass\r\r\n", 7 },
		  "line 1, column 5: expected ASCII text, not byte 0x0d" },
		{ { (const uint8_t *)"pass\x7f", 5 },
		  "line 1, column 5: expected ASCII text, not byte 0x7f" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_policy policy = POLICY_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(filter_text_parse(bad[i].text, POLICY_OWN, &policy, &err),
				 -E_INVALID);
		assert_string_equal(err.text, bad[i].says);
	}
}

static void test_error_changes_nothing(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	must_parse("block any", &policy);
	assert_int_equal(filter_text_parse(slice_of("pass any\npass\nx"), POLICY_OWN, &policy,
					   &err),
			 -E_INVALID);
	assert_int_equal(policy.rules.len, 1);
}

/* Sizes. */

static void test_4096_rules(void **state)
{
	auto_policy policy = POLICY_INIT;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < POLICY_TARGETS_MAX; i++)
		str_addf(&text, "pass to 10.%d.%d.0/24\n\n", i / 256, i % 256);
	must_parse(text.ptr, &policy);
	assert_int_equal(policy.rules.len, 2 * POLICY_TARGETS_MAX);
	str_adds(&text, "# not a rule\n");
	policy.rules.len = 0;
	must_parse(text.ptr, &policy);
	str_adds(&text, "  block any\n");
	policy.rules.len = 0;
	assert_int_equal(filter_text_parse(slice_of(text.ptr), POLICY_OWN, &policy, &err),
			 -E_TOO_BIG);
	assert_string_equal(err.text, "line 8194, column 3: more than 4096 rules");
	assert_int_equal(policy.rules.len, 0);
}

static void test_more_rules_than_a_policy_has(void **state)
{
	auto_policy policy = POLICY_INIT;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < POLICY_TARGETS_MAX; i++)
		str_adds(&text, "pass proto tcp/udp to 10.0.0.0/8\n");
	assert_int_equal(filter_text_parse(slice_of(text.ptr), POLICY_OWN, &policy, &err),
			 -E_TOO_BIG);
	assert_string_equal(err.text, "line 2057, column 1: the rules, one for each direction and "
				      "protocol, are more than 8224");
	assert_int_equal(policy.rules.len, 0);
}

static void test_size(void **state)
{
	auto_free uint8_t *text = xmalloc(FILTER_TEXT_MAX + 1);
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	memset(text, '\n', FILTER_TEXT_MAX + 1);
	assert_int_equal(filter_text_parse((struct slice){ text, FILTER_TEXT_MAX }, POLICY_OWN,
					   &policy, &err),
			 0);
	assert_int_equal(filter_text_parse((struct slice){ text, FILTER_TEXT_MAX + 1 }, POLICY_OWN,
					   &policy, &err),
			 -E_TOO_BIG);
	assert_string_equal(err.text, "larger than 1048576 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documented_examples),
		cmocka_unit_test(test_whole_rules),
		cmocka_unit_test(test_quick_changes_nothing),
		cmocka_unit_test(test_from_is_the_guest_for_out),
		cmocka_unit_test(test_from_is_the_remote_for_in),
		cmocka_unit_test(test_without_direction_one_rule_for_each),
		cmocka_unit_test(test_alike_ends_need_one_rule),
		cmocka_unit_test(test_order_of_from_and_to_is_free),
		cmocka_unit_test(test_port_without_address),
		cmocka_unit_test(test_port_ranges),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_tcp_and_udp),
		cmocka_unit_test(test_host_bits_are_cleared),
		cmocka_unit_test(test_duplicates_and_overlaps_stay),
		cmocka_unit_test(test_stage),
		cmocka_unit_test(test_first_match_wins),
		cmocka_unit_test(test_without_a_match_all_passes),
		cmocka_unit_test(test_local_is_the_host_and_guests),
		cmocka_unit_test(test_blanks_comments_and_line_ends),
		cmocka_unit_test(test_empty_slice),
		cmocka_unit_test(test_wrong_action),
		cmocka_unit_test(test_wrong_word_after_the_action),
		cmocka_unit_test(test_wrong_protocol),
		cmocka_unit_test(test_wrong_address),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_wrong_ports),
		cmocka_unit_test(test_protocol_without_ports),
		cmocka_unit_test(test_wrong_end),
		cmocka_unit_test(test_position),
		cmocka_unit_test(test_long_words_are_cut),
		cmocka_unit_test(test_bytes_that_are_no_text),
		cmocka_unit_test(test_error_changes_nothing),
		cmocka_unit_test(test_4096_rules),
		cmocka_unit_test(test_more_rules_than_a_policy_has),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
