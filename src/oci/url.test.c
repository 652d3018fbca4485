/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/url.h"

static void locations_are_resolved(void **state)
{
	static const struct {
		const char *base, *location, *url;
	} cases[] = {
		{ "http://a:5000/v2/x/blobs/uploads/", "/v2/y?_state=a%2Fb%3D&c",
		  "http://a:5000/v2/y?_state=a%2Fb%3D&c" },
		{ "https://a/v2/x/blobs/uploads/", "u-1", "https://a/v2/x/blobs/uploads/u-1" },
		{ "https://a/v2/x", "https://b.c:8443/z?q=1", "https://b.c:8443/z?q=1" },
		{ "https://a/v2/x", "//b/z", "https://b/z" },
		{ "https://a/v2/x?old=1", "?new=2", "https://a/v2/x?new=2" },
		{ "http://a/v2/x", "https://b/z", "https://b/z" },
		{ "https://a/", "https://user:secret@b/z#f", "https://b/z" },
		{ "https://a/", "http://b/z", NULL },
		{ "https://a/", "file:///etc/passwd", NULL },
		{ "http://a/", "ftp://b/z", NULL },
		{ "http://a/", "http://b:99999/", NULL },
		{ "http://a/", "http://b c/", NULL },
		{ "http://a/", "http://", NULL },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;
		int r = url_resolve(cases[i].base, cases[i].location, &out, &err);

		if (r != (cases[i].url ? 0 : -E_PROTOCOL))
			fail_msg("%s: %s%s", cases[i].location, out.ptr, err.text);
		assert_string_equal(out.ptr, cases[i].url ? cases[i].url : "");
	}
}

static void origins_are_compared(void **state)
{
	(void)state;
	assert_true(url_same_origin("https://a/x", "https://A:443/y?z"));
	assert_true(url_same_origin("http://a:80/", "http://a"));
	assert_false(url_same_origin("https://a/", "http://a/"));
	assert_false(url_same_origin("https://a/", "https://a:444/"));
	assert_false(url_same_origin("https://a/", "https://a.b/"));
	assert_false(url_same_origin("", ""));
}

static void queries_are_added_and_hidden(void **state)
{
	auto_str url = STR_INIT, shown = STR_INIT;

	(void)state;
	str_adds(&url, "https://a/b");
	url_add_query(&url, "k", "sha256:a/b c&d");
	url_add_query(&url, "l", "1");
	assert_string_equal(url.ptr, "https://a/b?k=sha256%3Aa%2Fb%20c%26d&l=1");
	url_add_shown(&shown, url.ptr);
	assert_string_equal(shown.ptr, "https://a/b");
	url_cut_query(&url);
	assert_string_equal(url.ptr, "https://a/b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locations_are_resolved),
		cmocka_unit_test(origins_are_compared),
		cmocka_unit_test(queries_are_added_and_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
