/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/copy_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void arguments(void **state unused_)
{
	static const struct {
		const char *argument, *vm, *path;
	} rows[] = {
		{ "vm:/a", "vm", "/a" },
		{ "vm:a/b", "vm", "./a/b" },
		{ "vm:", "vm", "./." },
		{ "vm:~", "vm", "./." },
		{ "vm:~/x", "vm", "./x" },
		{ "vm:~x", "vm", "./~x" },
		{ "vm:-", "vm", "./-" },
		{ "vm:a:b", "vm", "./a:b" },
		{ "./vm:a", NULL, "./vm:a" },
		{ "/vm:a", NULL, "/vm:a" },
		{ "d/vm:a", NULL, "d/vm:a" },
		{ "vm", NULL, "vm" },
		{ ".", NULL, "." },
		{ ":a", NULL, ":a" },
		{ "", NULL, "" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		auto_copy_place place = COPY_PLACE_INIT;

		copy_place_parse(rows[i].argument, &place);
		assert_int_equal(place.vm == NULL, rows[i].vm == NULL);
		if (rows[i].vm)
			assert_string_equal(place.vm, rows[i].vm);
		assert_string_equal(place.path, rows[i].path);
	}
}

static void parents_and_names(void **state unused_)
{
	static const struct {
		const char *path, *parent, *name;
	} rows[] = {
		{ "a", ".", "a" },	{ "/a", "/", "a" },    { "a/b", "a", "b" },
		{ "a//b//", "a", "b" }, { "/a/b", "/a", "b" }, { "/", "/", "" },
		{ "//a", "/", "a" },	{ "x/..", "x", ".." },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		auto_free char *parent = copy_parent(rows[i].path);
		auto_free char *name = copy_name(rows[i].path);

		assert_string_equal(parent, rows[i].parent);
		assert_string_equal(name, rows[i].name);
	}
}

/* docker cp's table. */
static void targets(void **state unused_)
{
	static const struct {
		const char *from, *to;
		enum copy_kind kind;
		bool folder;
		const char *dir, *name; /* NULL: refused */
	} rows[] = {
		{ "s/f", "d/n", COPY_NOTHING, false, "d", "n" },
		{ "s/f", "d/n/", COPY_NOTHING, false, NULL, NULL },
		{ "s/f", "d/n", COPY_FILE, false, "d", "n" },
		{ "s/f", "d/n/", COPY_FILE, false, NULL, NULL },
		{ "s/f", "d/n", COPY_FOLDER, false, "d/n", "f" },
		{ "s/f", "d/n", COPY_NO_PARENT, false, NULL, NULL },
		{ "s/g", "d/n", COPY_NOTHING, true, "d", "n" },
		{ "s/g", "d/n/", COPY_NOTHING, true, "d", "n" },
		{ "s/g", "d/n", COPY_FILE, true, NULL, NULL },
		{ "s/g", "d/n", COPY_FOLDER, true, "d/n", "g" },
		{ "s/g/", "d/n", COPY_FOLDER, true, "d/n", "g" },
		{ "s/g/.", "d/n", COPY_FOLDER, true, "d/n", "." },
		{ "s/g/.", "d/n", COPY_NOTHING, true, "d", "n" },
		{ ".", "d/n", COPY_FOLDER, true, "d/n", "." },
		{ "/", "d/n", COPY_FOLDER, true, "d/n", "." },
		{ "s/g", "d/n", COPY_NO_PARENT, true, NULL, NULL },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		auto_copy_target target = COPY_TARGET_INIT;
		struct error err = ERROR_INIT;
		int r = copy_target_find(rows[i].from, rows[i].folder, rows[i].to, rows[i].kind,
					 &target, &err);

		assert_int_equal(r, rows[i].dir ? 0 : -E_FAILED);
		if (!rows[i].dir)
			continue;
		assert_string_equal(target.dir, rows[i].dir);
		assert_string_equal(target.name, rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments),
		cmocka_unit_test(parents_and_names),
		cmocka_unit_test(targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
