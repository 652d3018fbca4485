/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/plug.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/json.h"

static size_t gone(const char *event, json_t *data)
{
	auto_json *owned = data;

	return plug_folder_gone(event, owned);
}

static json_t *device(const char *name)
{
	return json_pack("{s:s, s:s}", "device", name, "path", "/machine/peripheral/x");
}

static void test_a_folder_that_is_gone(void **state)
{
	(void)state;
	assert_int_equal(gone("DEVICE_DELETED", device("share0")), 0);
	assert_int_equal(gone("DEVICE_DELETED", device("share3")), 3);
	assert_int_equal(gone("DEVICE_UNPLUG_GUEST_ERROR", device("share0")), SIZE_MAX);
}

/* QEMU may be its guest's: no name leads out of what there is. */
static void test_what_is_no_folder(void **state)
{
	static const char *const names[] = { "",	"share",       "share-1", "share00",
					     "share0 ", "nic0",	       "folder0", "share4294967296",
					     "share99", "shareshare0", "Share0" };

	(void)state;
	for (size_t i = 0; i < array_size(names); i++)
		assert_int_equal(gone("DEVICE_DELETED", device(names[i])), SIZE_MAX);
	assert_int_equal(gone("DEVICE_DELETED", NULL), SIZE_MAX);
	assert_int_equal(gone("DEVICE_DELETED", json_pack("{s:i}", "device", 0)), SIZE_MAX);
	assert_int_equal(gone("DEVICE_DELETED", json_string("share0")), SIZE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_folder_that_is_gone),
		cmocka_unit_test(test_what_is_no_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
