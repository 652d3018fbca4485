/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The engine's arguments, compared with golden/NAME.args: one argument a line, then
 * one line "fd THEIRS = OURS" for each descriptor. LINZER_GOLDEN=write makes the files anew:
 * read the difference before it is committed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/plan.h"
#include "machine/sample_plan.h"

enum { FDS = 64, GOLDEN_MAX = 64 * 1024 };

static int arguments(const struct launch_plan *plan, struct str *text, size_t fd_max,
		     struct error *err)
{
	auto_strings argv = VEC_INIT;
	struct process_fd fds[FDS];
	size_t count = 0;
	int r = qemu_arguments(plan, "/usr/bin/qemu", &argv, fds, &count, fd_max, err);

	for (size_t i = 0; r == 0 && i < argv.len; i++)
		str_addf(text, "%s\n", argv.items[i]);
	for (size_t i = 0; r == 0 && i < count; i++)
		str_addf(text, "fd %d = %d\n", fds[i].theirs, fds[i].ours);
	return r;
}

static void check_golden(const struct sample_plan *sample)
{
	struct launch_plan plan;
	struct error err = ERROR_INIT;
	auto_str got = STR_INIT;
	auto_str expected = STR_INIT;
	auto_free char *path = str_format("golden/%s.args", sample->name);
	const char *mode = getenv("LINZER_GOLDEN");

	sample->fill(&plan);
	assert_int_equal(arguments(&plan, &got, FDS, &err), 0);
	if (mode && strcmp(mode, "write") == 0)
		assert_int_equal(fs_replace_file(AT_FDCWD, path, got.ptr, got.len, 0644, &err), 0);
	assert_int_equal(fs_read_file(AT_FDCWD, path, GOLDEN_MAX, &expected, &err), 0);
	assert_string_equal(got.ptr, expected.ptr);
}

static void the_arguments_are_the_golden_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLE_PLANS; i++)
		check_golden(&sample_plans[i]);
}

static void assert_refused(const struct launch_plan *plan, size_t fd_max, int code)
{
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;

	assert_int_equal(arguments(plan, &text, fd_max, &err), -code);
	assert_true(err.text[0] != '\0');
}

static void too_few_descriptors_is_an_error(void **state)
{
	struct error err = ERROR_INIT;
	struct launch_plan plan;
	auto_str text = STR_INIT;

	(void)state;
	sample_plans[0].fill(&plan);
	assert_refused(&plan, 4, E_TOO_BIG);
	assert_refused(&plan, 0, E_TOO_BIG);
	assert_int_equal(arguments(&plan, &text, 5, &err), 0);
}

static void an_impossible_plan_is_refused(void **state)
{
	struct launch_plan plan;

	(void)state;
	sample_plans[0].fill(&plan);
	plan.cpus = 0;
	assert_refused(&plan, FDS, E_INVALID);
	sample_plans[0].fill(&plan);
	plan.memory = 0;
	assert_refused(&plan, FDS, E_INVALID);
	sample_plans[0].fill(&plan);
	plan.disks[0].layer_count = 0;
	assert_refused(&plan, FDS, E_INVALID);
	plan.disks[0].layer_count = PLAN_LAYERS_MAX + 1;
	assert_refused(&plan, FDS, E_INVALID);
	plan.disks[0].layer_count = 2; /* raw above raw */
	assert_refused(&plan, FDS, E_INVALID);
	sample_plans[0].fill(&plan);
	plan.nic_count = PLAN_NICS_MAX + 1;
	assert_refused(&plan, FDS, E_TOO_BIG);
}

static void a_channel_name_cannot_carry_options(void **state)
{
	static const char *const names[] = { "", "a,b=c", "a b", "\xc3\xa9" };
	struct launch_plan plan;

	(void)state;
	sample_plans[0].fill(&plan);
	plan.channel_count = 1;
	for (size_t i = 0; i < array_size(names); i++) {
		plan.channels[0] = (struct plan_channel){ .fd = 130, .name = names[i] };
		assert_refused(&plan, FDS, E_INVALID);
	}
}

static void a_folder_needs_a_plain_tag_and_shared_memory(void **state)
{
	static const char *const tags[] = { "", "a,b=c", "a b",
					    "0123456789012345678901234567890123456" };
	struct error err = ERROR_INIT;
	struct launch_plan plan;
	auto_str text = STR_INIT;

	(void)state;
	sample_plans[0].fill(&plan);
	plan.folder_count = 1;
	plan.folders[0] = (struct plan_folder){ .fd = 140, .tag = "plain" };
	assert_refused(&plan, FDS, E_INVALID);
	plan.memory_fd = 104;
	assert_int_equal(arguments(&plan, &text, FDS, &err), 0);
	for (size_t i = 0; i < array_size(tags); i++) {
		plan.folders[0].tag = tags[i];
		assert_refused(&plan, FDS, E_INVALID);
	}
	plan.folder_count = PLAN_FOLDERS_MAX + 1;
	assert_refused(&plan, FDS, E_TOO_BIG);
}

static void an_exports_name_stays_a_string(void **state)
{
	const struct plan_nbd nbd = { .dir = 0, .export = "x\"},y=\\", .tls_name = "h" };
	struct error err = ERROR_INIT;
	struct launch_plan plan;
	auto_str text = STR_INIT;

	(void)state;
	sample_plans[0].fill(&plan);
	plan.disks[0].nbd = &nbd;
	assert_refused(&plan, FDS, E_INVALID); /* files and a server */
	plan.disks[0].layer_count = 0;
	assert_int_equal(arguments(&plan, &text, FDS, &err), 0);
	assert_non_null(strstr(text.ptr, "\"export\":\"x\\\"},y=\\\\\""));
	assert_non_null(strstr(text.ptr, "\"tls-hostname\":\"h\""));
	assert_non_null(strstr(text.ptr, "tls-creds-x509,id=tls0,endpoint=client,"));
}

static void nested_arm64_on_kvm_is_refused(void **state)
{
	struct launch_plan plan;

	(void)state;
	sample_plans[0].fill(&plan);
	plan.arch = PLAN_ARM64;
	plan.accel = PLAN_KVM;
	plan.nested = true;
	assert_refused(&plan, FDS, E_FAILED);
}

static void an_overlay_takes_its_disks_modes_and_no_backing(void **state)
{
	static const struct plan_disk disk = { .sync = SYNC_NONE, .caching = CACHING_UNCACHED };
	auto_json *node = qemu_overlay_node(&disk, "overlay1", 7);
	auto_json *snapshot = qemu_snapshot("disk0", "overlay1");
	auto_str text = STR_INIT;

	(void)state;
	json_add_compact(&text, node);
	json_add_compact(&text, snapshot);
	assert_string_equal(text.ptr,
			    "{\"driver\":\"qcow2\",\"node-name\":\"overlay1\",\"read-only\":false,"
			    "\"cache\":{\"direct\":true,\"no-flush\":true},\"discard\":\"unmap\","
			    "\"detect-zeroes\":\"unmap\",\"backing\":null,"
			    "\"file\":{\"driver\":\"file\",\"node-name\":\"overlay1.file\","
			    "\"filename\":\"/dev/fdset/7\",\"read-only\":false,"
			    "\"cache\":{\"direct\":true,\"no-flush\":true},\"discard\":\"unmap\"}}"
			    "{\"node\":\"disk0\",\"overlay\":\"overlay1\"}");
}

static void add_parts(const struct launch_plan *plan, struct strings *parts, struct str *text)
{
	auto_strings argv = VEC_INIT;
	struct process_fd fds[FDS];
	size_t count = 0;
	struct error err = ERROR_INIT;

	assert_int_equal(qemu_arguments(plan, "qemu", &argv, fds, &count, FDS, &err), 0);
	qemu_machine_parts(&argv, parts);
	for (size_t i = 0; i < argv.len; i++)
		str_addf(text, "%s ", argv.items[i]);
}

static const struct sample_plan *find_sample(const char *name)
{
	for (size_t i = 0; i < SAMPLE_PLANS; i++)
		if (strcmp(sample_plans[i].name, name) == 0)
			return &sample_plans[i];
	fail_msg("no plan '%s'", name);
	return NULL;
}

/* Neither that it waits nor its version makes it another one; folders and clipboard come later. */
static void a_machine_that_waits_for_a_state_is_the_same(void **state)
{
	static const char *const names[] = { "folders", "desk", "devices" };

	(void)state;
	for (size_t i = 0; i < array_size(names); i++) {
		auto_strings before = VEC_INIT, after = VEC_INIT;
		auto_str first = STR_INIT, second = STR_INIT;
		struct launch_plan plan;

		find_sample(names[i])->fill(&plan);
		add_parts(&plan, &before, &first);
		plan.incoming = true;
		plan.machine = "pc-q35-7.2";
		add_parts(&plan, &after, &second);
		assert_null(strstr(first.ptr, "-incoming defer"));
		assert_non_null(strstr(second.ptr, "-incoming defer -S "));
		assert_non_null(strstr(second.ptr, "-machine pc-q35-7.2,"));
		assert_null(strstr(second.ptr, "vhost-user-fs"));
		assert_null(strstr(second.ptr, "vdagent"));
		assert_int_equal(before.len, after.len);
		for (size_t j = 0; j < before.len; j++)
			assert_string_equal(before.items[j], after.items[j]);
	}
}

static void a_new_cid_makes_no_other_machine(void **state)
{
	auto_strings before = VEC_INIT, after = VEC_INIT, without = VEC_INIT;
	auto_str text = STR_INIT;
	struct launch_plan plan;

	(void)state;
	find_sample("vsock")->fill(&plan);
	add_parts(&plan, &before, &text);
	plan.vsock_cid++;
	plan.vsock_fd++;
	add_parts(&plan, &after, &text);
	plan.vsock_cid = 0;
	add_parts(&plan, &without, &text);
	assert_int_equal(before.len, after.len);
	for (size_t i = 0; i < before.len; i++)
		assert_string_equal(before.items[i], after.items[i]);
	/* but a machine without the device is another one, and only by that */
	assert_int_equal(without.len + 1, before.len);
	for (size_t i = 0; i < without.len; i++)
		assert_string_equal(before.items[i], without.items[i]);
	assert_string_equal(qemu_part_name(before.items[without.len]), "--vsock");
}

static void a_part_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(qemu_part_name("-m size=1B"), "memory size");
	assert_string_equal(qemu_part_name("-machine x"), "machine");
	assert_string_equal(qemu_part_name("-device virtio-net-pci,id=nic0"), "network cards");
	assert_string_equal(qemu_part_name("-device usb-kbd"), "devices");
	assert_string_equal(qemu_part_name(""), "devices");
}

static void a_machine_type_cannot_carry_options(void **state)
{
	static const char *const types[] = { "", "q35", "virt-7.2", "pc-q35-7.2,x=y",
					     "pc-q35-7.2 " };
	struct launch_plan plan;

	(void)state;
	for (size_t i = 0; i < array_size(types); i++) {
		sample_plans[0].fill(&plan);
		plan.machine = types[i];
		assert_refused(&plan, FDS, E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_arguments_are_the_golden_ones),
		cmocka_unit_test(too_few_descriptors_is_an_error),
		cmocka_unit_test(an_impossible_plan_is_refused),
		cmocka_unit_test(a_channel_name_cannot_carry_options),
		cmocka_unit_test(a_folder_needs_a_plain_tag_and_shared_memory),
		cmocka_unit_test(an_exports_name_stays_a_string),
		cmocka_unit_test(nested_arm64_on_kvm_is_refused),
		cmocka_unit_test(an_overlay_takes_its_disks_modes_and_no_backing),
		cmocka_unit_test(a_machine_that_waits_for_a_state_is_the_same),
		cmocka_unit_test(a_new_cid_makes_no_other_machine),
		cmocka_unit_test(a_part_has_a_name),
		cmocka_unit_test(a_machine_type_cannot_carry_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
