/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/scratch.h"
#include "base/str.h"
#include "machine/engine.h"

/* A root directory of the test's own, with what make_file() puts there. */
static struct scratch scratch;

static int setup(void **state)
{
	*state = scratch.path;
	return scratch_open(&scratch, scratch_place());
}

static int teardown(void **state)
{
	(void)state;
	return scratch_close(&scratch);
}

static void make_file(const char *root, const char *path, mode_t mode)
{
	struct error err = ERROR_INIT;
	auto_free char *full = str_format("%s%s", root, path);
	auto_free char *dir = str_format("%.*s", (int)(strrchr(full, '/') - full), full);

	assert_int_equal(fs_mkdirs(dir, &err), 0);
	assert_int_equal(fs_replace_file(AT_FDCWD, full, "x", 1, mode, &err), 0);
}

static void make_ovmf(const char *root)
{
	make_file(root, "/usr/share/OVMF/OVMF_CODE_4M.fd", 0644);
	make_file(root, "/usr/share/OVMF/OVMF_VARS_4M.fd", 0644);
}

static void the_first_program_of_the_path_is_taken(void **state)
{
	const char *root = *state;
	struct error err = ERROR_INIT;
	auto_engine engine = ENGINE_INIT;
	auto_free char *path = str_format("bin::%s/none:%s/a:%s/b:%s/c", root, root, root, root);
	auto_free char *expected = str_format("%s/b/qemu-system-x86_64", root);

	make_ovmf(root);
	make_file(root, "/a/qemu-system-x86_64", 0644); /* not executable */
	make_file(root, "/b/qemu-system-x86_64", 0755);
	make_file(root, "/c/qemu-system-x86_64", 0755);
	assert_int_equal(engine_find_in(PLAN_AMD64, path, root, &engine, &err), 0);
	assert_string_equal(engine.program, expected);
	assert_true(str_ends(engine.firmware_vars, "/usr/share/OVMF/OVMF_VARS_4M.fd"));
}

static void assert_missing(enum plan_arch arch, const char *root, const char *text)
{
	struct error err = ERROR_INIT;
	auto_engine engine = ENGINE_INIT;
	auto_free char *path = str_format("%s/bin", root);

	assert_int_equal(engine_find_in(arch, path, root, &engine, &err), -E_MISSING_TOOL);
	assert_string_equal(err.text, text);
	assert_null(engine.program);
}

static void a_missing_engine_names_its_package(void **state)
{
	assert_missing(PLAN_AMD64, *state,
		       "'qemu-system-x86_64' is not installed: install the package "
		       "'qemu-system-x86'");
	assert_missing(PLAN_ARM64, *state,
		       "'qemu-system-aarch64' is not installed: install the package "
		       "'qemu-system-arm'");
}

static void missing_firmware_names_its_package(void **state)
{
	make_file(*state, "/bin/qemu-system-x86_64", 0755);
	make_file(*state, "/bin/qemu-system-aarch64", 0755);
	assert_missing(PLAN_ARM64, *state,
		       "the UEFI firmware is not installed: install the package "
		       "'qemu-efi-aarch64'");
	/* half a pair is none */
	make_file(*state, "/usr/share/OVMF/OVMF_CODE_4M.fd", 0644);
	assert_missing(PLAN_AMD64, *state,
		       "the UEFI firmware is not installed: install the package 'ovmf'");
}

static void firmware_of_another_distribution_is_found(void **state)
{
	const char *root = *state;
	struct error err = ERROR_INIT;
	auto_engine engine = ENGINE_INIT;
	auto_free char *path = str_format("%s/bin", root);

	make_file(root, "/bin/qemu-system-x86_64", 0755);
	make_file(root, "/usr/share/edk2/ovmf/OVMF_CODE.fd", 0644);
	make_file(root, "/usr/share/edk2/ovmf/OVMF_VARS.fd", 0644);
	assert_int_equal(engine_find_in(PLAN_AMD64, path, root, &engine, &err), 0);
	assert_true(str_ends(engine.firmware_code, "/usr/share/edk2/ovmf/OVMF_CODE.fd"));
}

static void this_host_has_both_engines(void **state)
{
	struct error err = ERROR_INIT;
	auto_engine amd64 = ENGINE_INIT;
	auto_engine arm64 = ENGINE_INIT;

	(void)state;
	assert_int_equal(engine_find(PLAN_AMD64, &amd64, &err), 0);
	assert_int_equal(engine_find(PLAN_ARM64, &arm64, &err), 0);
}

#define with_root(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(the_first_program_of_the_path_is_taken),
		with_root(a_missing_engine_names_its_package),
		with_root(missing_firmware_names_its_package),
		with_root(firmware_of_another_distribution_is_found),
		cmocka_unit_test(this_host_has_both_engines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
