/* SPDX-License-Identifier: Apache-2.0 */
#include "run/dir_option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

static void check(const char *text, const char *name, const char *path, const char *tag,
		  bool read_only)
{
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	strings_add(&values, text);
	assert_int_equal(dir_options_parse(&values, &options, &err), 0);
	assert_int_equal(options.len, 1);
	if (name)
		assert_string_equal(options.items[0].name, name);
	else
		assert_null(options.items[0].name);
	assert_string_equal(options.items[0].path, path);
	assert_string_equal(options.items[0].tag, tag);
	assert_int_equal(options.items[0].read_only, read_only);
}

static void splits_name_path_and_options(void **state)
{
	(void)state;
	check("/src", NULL, "/src", DIR_DEFAULT_TAG, false);
	check("src", NULL, "src", DIR_DEFAULT_TAG, false);
	check("~/src:ro", NULL, "~/src", DIR_DEFAULT_TAG, true);
	check("build:/src", "build", "/src", DIR_DEFAULT_TAG, false);
	check("build:/src:ro", "build", "/src", DIR_DEFAULT_TAG, true);
	check("build:/src:tag=my.tag-1_x", "build", "/src", "my.tag-1_x", false);
	check("build:/src:ro,tag=t", "build", "/src", "t", true);
	check("/src:tag=t,ro", NULL, "/src", "t", true);
	check("a b:/c d", "a b", "/c d", DIR_DEFAULT_TAG, false);
}

static void only_the_last_part_is_options_and_the_first_a_name(void **state)
{
	(void)state;
	check("n:/a:b", "n", "/a:b", DIR_DEFAULT_TAG, false);
	check("n:/a:b:ro", "n", "/a:b", DIR_DEFAULT_TAG, true);
	check("n:/a:ro:b", "n", "/a:ro:b", DIR_DEFAULT_TAG, false);
	check("ro:/a", "ro", "/a", DIR_DEFAULT_TAG, false);
}

static void urls_are_told(void **state)
{
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	check("https://a.example:8443/x.tar.gz", NULL, "https://a.example:8443/x.tar.gz",
	      DIR_DEFAULT_TAG, false);
	check("n:http://a.example/x:ro,tag=t", "n", "http://a.example/x", "t", true);
	strings_add(&values, "a:http://a.example/x");
	strings_add(&values, "b:./http:");
	assert_int_equal(dir_options_parse(&values, &options, &err), 0);
	assert_true(options.items[0].is_url);
	assert_false(options.items[1].is_url);
}

static void check_shown(const char *text, const char *expected)
{
	auto_free char *shown = dir_url_shown(text);

	assert_string_equal(shown, expected);
}

static void passwords_are_not_shown(void **state)
{
	(void)state;
	check_shown("http://u:p@a.example/x@y", "http://a.example/x@y");
	check_shown("n:https://u:p@q@[::1]:80?z", "n:https://[::1]:80?z");
	check_shown("http://u@a.example#p", "http://a.example#p");
	check_shown("http://a.example/u:p@b", "http://a.example/u:p@b");
	check_shown("/home/u:p@b", "/home/u:p@b");
	check_shown("http://u:p@", "http://");
}

/* Parse up to four values, of which the others are NULL. */
static void refuse(const char *message, const char *const *texts, size_t count)
{
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < count; i++)
		strings_add(&values, texts[i]);
	assert_int_equal(dir_options_parse(&values, &options, &err), -E_USAGE);
	assert_string_equal(err.text, message);
	assert_int_equal(options.len, 0);
	assert_null(options.items);
}
#define assert_refused(message, ...)                          \
	refuse(message, (const char *const[]){ __VA_ARGS__ }, \
	       array_size(((const char *const[]){ __VA_ARGS__ })))

static void every_mistake_is_one_clear_line(void **state)
{
	(void)state;
	assert_refused("--dir : the path is empty", "");
	assert_refused("--dir :ro: the path is empty", ":ro");
	assert_refused("--dir n:: the path is empty", "n:");
	assert_refused("--dir :/src: the name before ':' is empty", ":/src");
	assert_refused("--dir /src:rw: '/src' before ':' is no name for a folder (after the path, "
		       "there are the options ro and tag=TAG)",
		       "/src:rw");
	assert_refused("--dir ..:/src: '..' before ':' is no name for a folder (after the path, "
		       "there are the options ro and tag=TAG)",
		       "..:/src");
	assert_refused("--dir /src:ro,x: no such option: 'x' (there are ro and tag=TAG)",
		       "/src:ro,x");
	assert_refused("--dir /src:tag=a,tag=b: two tags", "/src:tag=a,tag=b");
	assert_refused("--dir /src:tag=: a tag has 1 to 36 characters", "/src:tag=");
	assert_refused("--dir /src:tag=.a: a tag has letters, digits and, not first, '.', '-' and "
		       "'_', which '.a' has not",
		       "/src:tag=.a");
	assert_refused("--dir https:///x.tar.gz: this URL names no host", "https:///x.tar.gz");
	assert_refused("--dir http:x.tar.gz:ro: this URL names no host", "http:x.tar.gz:ro");
	assert_refused(
		"--dir n:https://a.example/x y: a URL holds no space and nothing that is not "
		"ASCII",
		"n:https://a.example/x y");
}

static void lengths_are_bounded(void **state)
{
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;
	auto_free char *name = str_format("%0256d:/src", 0);
	auto_free char *tag = str_format("/src:tag=%037d", 0);

	(void)state;
	strings_add(&values, name);
	assert_int_equal(dir_options_parse(&values, &options, &err), -E_USAGE);
	free(values.items[0]);
	values.items[0] = str_format("%s", tag);
	assert_int_equal(dir_options_parse(&values, &options, &err), -E_USAGE);
	free(values.items[0]);
	values.items[0] = str_format("%s", "0:/src");
	for (unsigned i = 1; i < DIR_OPTIONS_MAX; i++)
		strings_addf(&values, "%u:/src", i);
	assert_int_equal(dir_options_parse(&values, &options, &err), 0);
	dir_options_release(&options);
	strings_add(&values, "last:/src");
	assert_int_equal(dir_options_parse(&values, &options, &err), -E_USAGE);
}

static void folders_of_one_tag_are_named_and_named_once(void **state)
{
	static const char unnamed[] =
		"invalid --dir syntax: for multiple directory shares each one of them should be "
		"named";
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_refused(unnamed, "/a", "/b");
	assert_refused(unnamed, "n:/a", "/b");
	assert_refused(unnamed, "/a:tag=t", "/b", "/c:tag=t");
	assert_refused("--dir: two folders are called 'n'", "n:/a", "m:/a", "n:/b:ro");
	strings_add(&values, "/a");
	strings_add(&values, "n:/a:tag=t");
	strings_add(&values, "m:/a:tag=t");
	strings_add(&values, "n:/a:tag=u");
	assert_int_equal(dir_options_parse(&values, &options, &err), 0);
	assert_int_equal(options.len, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_name_path_and_options),
		cmocka_unit_test(urls_are_told),
		cmocka_unit_test(passwords_are_not_shown),
		cmocka_unit_test(only_the_last_part_is_options_and_the_first_a_name),
		cmocka_unit_test(every_mistake_is_one_clear_line),
		cmocka_unit_test(lengths_are_bounded),
		cmocka_unit_test(folders_of_one_tag_are_named_and_named_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
