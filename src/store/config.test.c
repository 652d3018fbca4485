/* SPDX-License-Identifier: Apache-2.0 */
#include "store/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define GOOD                                                                                   \
	"{\"version\":1,\"os\":\"linux\",\"arch\":\"amd64\",\"cpuCountMin\":1,\"cpuCount\":2," \
	"\"memorySizeMin\":1,\"memorySize\":1073741824,\"macAddress\":\"0A:00:00:00:00:01\""

static int parse(const char *text, struct config *config, struct error *err)
{
	return config_parse(text, strlen(text), config, err);
}

static void test_parse(void **state)
{
	auto_config config = CONFIG_INIT;
	auto_str display = STR_INIT;
	struct error err = ERROR_INIT;
	char mac[MAC_TEXT];

	(void)state;
	assert_int_equal(parse(GOOD ",\"display\":{\"width\":1920,\"height\":1080,\"unit\":\"px\"},"
				    "\"displayRefit\":false}",
			       &config, &err),
			 0);
	assert_int_equal(config.os, OS_LINUX);
	assert_int_equal(config.arch, ARCH_AMD64);
	assert_int_equal(config.cpu_count, 2);
	assert_int_equal(config.memory, 1073741824);
	assert_int_equal(config.display_refit, 0);
	assert_string_equal(config.disk_format, "raw");
	mac_format(config.mac, mac);
	assert_string_equal(mac, "0a:00:00:00:00:01");
	config_add_display(&config, &display);
	assert_string_equal(display.ptr, "1920x1080px");
}

/* Contract 4.3: what is absent. */
static void test_defaults(void **state)
{
	auto_config config = CONFIG_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(
		parse("{\"version\":1,\"cpuCountMin\":1,\"cpuCount\":2,\"memorySizeMin\":1,"
		      "\"memorySize\":9,\"macAddress\":\"0a:00:00:00:00:01\"}",
		      &config, &err),
		0);
	assert_int_equal(config.os, OS_DARWIN);
	assert_int_equal(config.arch, ARCH_ARM64);
	assert_int_equal(config.display_width, 1024);
	assert_int_equal(config.display_height, 768);
	assert_int_equal(config.display_refit, -1);
}

static void test_unknown_members_are_kept(void **state)
{
	auto_config config = CONFIG_INIT;
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;

	(void)state;
	assert_int_equal(parse(GOOD ",\"machineIdentifier\":\"abc\",\"display\":{\"width\":1,"
				    "\"height\":2,\"dpi\":3}}",
			       &config, &err),
			 0);
	config.cpu_count = 7;
	config_format(&config, &text);
	assert_non_null(strstr(text.ptr, "\"machineIdentifier\" : \"abc\""));
	assert_non_null(strstr(text.ptr, "\"dpi\" : 3"));
	assert_non_null(strstr(text.ptr, "\"cpuCount\" : 7"));
	assert_int_not_equal(text.ptr[text.len - 1], '\n');
	config_release(&config);
	assert_int_equal(config_parse(text.ptr, text.len, &config, &err), 0);
	assert_int_equal(config.cpu_count, 7);
}

static void test_bad_input(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{ "", "invalid JSON" },
		{ "{", "invalid JSON" },
		{ "[]", "not an object" },
		{ "{}", "'version' is missing" },
		{ "{\"version\":2}", "from the future" },
		{ "{\"version\":\"1\"}", "not an integer" },
		{ "{\"version\":1,\"os\":\"plan9\"}", "unknown operating system" },
		{ "{\"version\":1,\"arch\":\"vax\"}", "unknown architecture" },
		{ "{\"version\":1,\"cpuCount\":0}", "'cpuCount' is out of range" },
		{ "{\"version\":1,\"cpuCount\":70000}", "'cpuCount' is out of range" },
		{ "{\"version\":1,\"cpuCount\":1}", "'cpuCountMin' is missing" },
		{ "{\"version\":1,\"cpuCount\":1,\"cpuCountMin\":1,\"memorySize\":-5}",
		  "'memorySize' is out of range" },
		{ "{\"version\":1,\"cpuCount\":1,\"cpuCountMin\":1,\"memorySize\":1,"
		  "\"memorySizeMin\":1,\"macAddress\":\"01:00:00:00:00:01\"}",
		  "unicast" },
		{ "{\"version\":1,\"cpuCount\":1,\"cpuCountMin\":1,\"memorySize\":1,"
		  "\"memorySizeMin\":1,\"macAddress\":\"../../../../etc/x\"}",
		  "unicast" },
		{ GOOD ",\"display\":5}", "'display' is not an object" },
		{ GOOD ",\"display\":{\"width\":1}}", "'height' is missing" },
		{ GOOD ",\"display\":{\"width\":1,\"height\":1,\"unit\":\"em\"}}",
		  "unknown display unit" },
		{ GOOD ",\"displayRefit\":1}", "not a boolean" },
		{ GOOD ",\"diskFormat\":1}", "not a string" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_config config = CONFIG_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(parse(bad[i].text, &config, &err), -E_INVALID);
		if (!strstr(err.text, bad[i].message))
			fail_msg("'%s' gives '%s'", bad[i].text, err.text);
	}
}

/* What was read can be written, and what was written can be read, whatever is changed between. */
static void test_text_that_grows(void **state)
{
	auto_str text = STR_INIT, written = STR_INIT;
	auto_config config = CONFIG_INIT, again = CONFIG_INIT;
	struct error err = ERROR_INIT;
	size_t numbers = 0;

	(void)state;
	str_adds(&text, GOOD ",\"own\":[1");
	while (text.len < CONFIG_FILE_MAX / 8) {
		str_adds(&text, ",1");
		numbers++;
	}
	str_adds(&text, "]}");
	assert_true(numbers * strlen("\n    1,") < CONFIG_FILE_MAX);
	assert_int_equal(config_parse(text.ptr, text.len, &config, &err), 0);
	config.memory = config.memory_min = INT64_C(1) << 50;
	config.display_refit = 0;
	config_format(&config, &written);
	assert_int_equal(config_parse(written.ptr, written.len, &again, &err), 0);
	str_reset(&text);
	str_adds(&text, GOOD ",\"own\":[[1");
	for (size_t i = 0; i < 120000; i++)
		str_adds(&text, ",1");
	str_adds(&text, "]]}");
	assert_true(text.len < CONFIG_FILE_MAX / 4);
	assert_int_equal(config_parse(text.ptr, text.len, &again, &err), -E_TOO_BIG);
	assert_non_null(strstr(err.text, "larger than 1048576 bytes"));
}

static void test_mac(void **state)
{
	static const char *const bad[] = { "", "0a:00:00:00:00", "0a-00-00-00-00-01",
					   "0a:00:00:00:00:0g", "0a:00:00:00:00:011" };
	struct mac a = mac_random(), b = mac_random(), c;
	char text[MAC_TEXT];

	(void)state;
	assert_false(mac_equal(a, b));
	assert_int_equal(a.bytes[0] & 3, 2); /* locally administered, unicast */
	mac_format(a, text);
	assert_int_equal(mac_parse(text, &c), 0);
	assert_true(mac_equal(a, c));
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(mac_parse(bad[i], &c), -EINVAL);
	assert_true(mac_equal(a, c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	  cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bad_input), cmocka_unit_test(test_unknown_members_are_kept),
		cmocka_unit_test(test_mac),	  cmocka_unit_test(test_text_that_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
