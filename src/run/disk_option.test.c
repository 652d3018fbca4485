/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void check(const char *text, const char *path, bool read_only, enum plan_sync sync,
		  enum plan_caching caching)
{
	auto_disk_option option = DISK_OPTION_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(disk_option_parse(text, &option, &err), 0);
	assert_string_equal(option.path, path);
	assert_int_equal(option.read_only, read_only);
	assert_int_equal(option.sync, sync);
	assert_int_equal(option.caching, caching);
}

static void splits_path_and_options(void **state)
{
	(void)state;
	check("/a/b.img", "/a/b.img", false, SYNC_FULL, CACHING_CACHED);
	check("/a/b.img:ro", "/a/b.img", true, SYNC_FULL, CACHING_CACHED);
	check("/a/b.img:sync=none,caching=uncached,ro", "/a/b.img", true, SYNC_NONE,
	      CACHING_UNCACHED);
	check("x:sync=fsync", "x", false, SYNC_FSYNC, CACHING_CACHED);
	check("x:caching=automatic", "x", false, SYNC_FULL, CACHING_AUTOMATIC);
}

static void keeps_unknown_last_part_in_path(void **state)
{
	(void)state;
	check("/a:b", "/a:b", false, SYNC_FULL, CACHING_CACHED);
	check("/a:b:ro", "/a:b", true, SYNC_FULL, CACHING_CACHED);
	check("/a:ro,whatever", "/a", true, SYNC_FULL, CACHING_CACHED);
}

static void refuses_unknown_values(void **state)
{
	auto_disk_option option = DISK_OPTION_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(disk_option_parse("/a:sync=often", &option, &err), -E_FAILED);
	assert_string_equal(err.text, "unsupported disk image synchronization mode: \"often\"");
	assert_int_equal(disk_option_parse_list("caching=x", &option, &err), -E_FAILED);
	assert_string_equal(err.text, "unsupported disk image caching mode: \"x\"");
	assert_null(option.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_path_and_options),
		cmocka_unit_test(keeps_unknown_last_part_in_path),
		cmocka_unit_test(refuses_unknown_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
