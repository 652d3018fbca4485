/* SPDX-License-Identifier: Apache-2.0 */

/* network.json, net.rules and last-ip: what is written is read again, and nothing fails open. */

#include "store/fixture.h"

#include <arpa/inet.h>

#include "net/filter_text.h"
#include "store/network.h"

static struct in_addr address(const char *text)
{
	struct in_addr parsed;

	assert_int_equal(inet_pton(AF_INET, text, &parsed), 1);
	return parsed;
}

static struct slice slice_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

/* A VM "vm"; the caller releases it. */
static void make_vm(struct fixture *f, struct vm *vm)
{
	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, vm, &f->err));
}

static int parse(const char *text, struct vm_network *network, struct error *err)
{
	return vm_network_parse(text, strlen(text), network, err);
}

static void settings_are_read_as_they_were_written(void **state)
{
	static const char *const addresses[] = { "0.0.0.0", "192.168.64.7", "10.1.0.0",
						 "223.255.255.255" };
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < 2 * array_size(addresses); i++) {
		const struct vm_network written = { .fixed = address(addresses[i / 2]),
						    .no_local = i % 2 };
		struct vm_network read = { 0 };
		auto_str text = STR_INIT;

		vm_network_format(&written, &text);
		assert_int_equal(vm_network_parse(text.ptr, text.len, &read, &err), 0);
		assert_int_equal(read.fixed.s_addr, written.fixed.s_addr);
		assert_int_equal(read.no_local, written.no_local);
	}
}

static void malformed_settings_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{",
		"{} {}",
		"{\"ip\":7}",
		"{\"ip\":\"\"}",
		"{\"ip\":\"192.168.64\"}",
		"{\"ip\":\"192.168.64.7/24\"}",
		"{\"ip\":\"127.0.0.1\"}",
		"{\"ip\":\"169.254.169.254\"}",
		"{\"ip\":\"224.0.0.1\"}",
		"{\"ip\":\"255.255.255.255\"}",
		"{\"ip\":\"0.0.0.0\"}",
		"{\"noLocal\":1}",
		"{\"noLocal\":\"true\"}",
		"{\"noLocal\":true,\"noLocal\":false}",
		"{\"nolocal\":true}", /* a mistake that would open what was to be closed */
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct vm_network network = { .no_local = true };
		struct error err = ERROR_INIT;

		assert_int_equal(parse(bad[i], &network, &err), -E_INVALID);
		assert_true(err.text[0] && !strchr(err.text, '\n'));
		assert_true(network.no_local);
	}
}

static void settings_beyond_their_limit_are_refused(void **state)
{
	auto_str text = STR_INIT;
	struct vm_network network;
	struct error err = ERROR_INIT;

	(void)state;
	str_adds(&text, "{}");
	while (text.len < NETWORK_FILE_MAX)
		str_addc(&text, ' ');
	assert_int_equal(vm_network_parse(text.ptr, text.len, &network, &err), 0);
	str_addc(&text, ' ');
	assert_int_equal(vm_network_parse(text.ptr, text.len, &network, &err), -E_TOO_BIG);
}

static void a_vm_without_files_has_no_settings(void **state)
{
	struct fixture *f = *state;
	struct vm_network network = { .no_local = true, .fixed = { 1 } };
	auto_policy policy = POLICY_INIT;
	auto_str text = STR_INIT;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	assert_ok(f, vm_network_read(&vm, &network, &f->err));
	assert_true(!network.no_local && !network.fixed.s_addr);
	assert_int_equal(vm_filter_read(&vm, &text, &f->err), 0);
	assert_int_equal(vm_filter_compile(&vm, &policy, &f->err), 0);
	assert_int_equal(policy.rules.len, 0);
	assert_int_equal(vm_last_address(&vm).s_addr, 0);
}

static void settings_that_set_nothing_leave_no_file(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	assert_ok(f, vm_network_write(&vm, &(struct vm_network){ .no_local = true }, &f->err));
	assert_int_equal(fixture_count(vm.dir, NETWORK_SETTINGS), 1);
	assert_ok(f, vm_network_write(&vm, &(struct vm_network){ 0 }, &f->err));
	assert_int_equal(fixture_count(vm.dir, NETWORK_SETTINGS), 0);
	assert_ok(f, vm_network_write(&vm, &(struct vm_network){ 0 }, &f->err));
}

static void a_filter_is_kept_as_it_was_given(void **state)
{
	static const char rules[] = "# mine \xff\r\nblock out to 1.1.1.1";
	struct fixture *f = *state;
	auto_str text = STR_INIT;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	assert_ok(f, vm_filter_write(&vm, slice_of(rules), &f->err));
	assert_int_equal(vm_filter_read(&vm, &text, &f->err), 1);
	assert_string_equal(text.ptr, rules);
	assert_ok(f, vm_filter_remove(&vm, &f->err));
	assert_int_equal(vm_filter_read(&vm, &text, &f->err), 0);
	assert_ok(f, vm_filter_remove(&vm, &f->err));
}

static void a_filter_becomes_rules_of_the_vms_own_stage(void **state)
{
	struct fixture *f = *state;
	auto_policy policy = POLICY_INIT;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	assert_ok(f, vm_filter_write(&vm, slice_of("block out to 1.1.1.1\n"), &f->err));
	assert_int_equal(vm_filter_compile(&vm, &policy, &f->err), 1);
	assert_true(policy.rules.len > 0);
	for (size_t i = 0; i < policy.rules.len; i++)
		assert_int_equal(policy.rules.items[i].stage, POLICY_OWN);
}

static void a_malformed_filter_is_an_error_with_its_place(void **state)
{
	struct fixture *f = *state;
	auto_policy policy = POLICY_INIT;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	assert_ok(f, vm_filter_write(&vm, slice_of("pass any\nblok any\n"), &f->err));
	assert_fails(f, E_INVALID, "net.rules of VM \"vm\": line 2, column 1",
		     vm_filter_compile(&vm, &policy, &f->err));
}

static void a_file_that_is_none_is_an_error(void **state)
{
	static const char *const names[] = { NETWORK_SETTINGS, NETWORK_FILTER };
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	for (size_t i = 0; i < 2 * array_size(names); i++) {
		const char *name = names[i / 2];
		auto_policy policy = POLICY_INIT;
		struct vm_network network;

		if (i % 2)
			assert_int_equal(symlinkat("nowhere", vm.dir, name), 0);
		else
			assert_int_equal(mkdirat(vm.dir, name, 0700), 0);
		assert_fails(f, E_INVALID, name,
			     i / 2 ? vm_filter_compile(&vm, &policy, &f->err)
				   : vm_network_read(&vm, &network, &f->err));
		assert_int_equal(unlinkat(vm.dir, name, i % 2 ? 0 : AT_REMOVEDIR), 0);
	}
}

static void a_file_beyond_its_limit_is_an_error(void **state)
{
	struct fixture *f = *state;
	auto_policy policy = POLICY_INIT;
	auto_str text = STR_INIT;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	auto_fd fd = openat(vm.dir, NETWORK_FILTER, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, FILTER_TEXT_MAX), 0);
	assert_int_equal(vm_filter_read(&vm, &text, &f->err), 1);
	assert_int_equal(ftruncate(fd, FILTER_TEXT_MAX + 1), 0);
	assert_fails(f, E_TOO_BIG, "net.rules of VM \"vm\"",
		     vm_filter_compile(&vm, &policy, &f->err));
}

static void the_last_address_is_remembered(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	vm_set_last_address(&vm, address("192.168.64.9"));
	assert_int_equal(vm_last_address(&vm).s_addr, address("192.168.64.9").s_addr);
	vm_set_last_address(&vm, address("192.168.64.10"));
	assert_int_equal(vm_last_address(&vm).s_addr, address("192.168.64.10").s_addr);
}

static void a_last_address_that_cannot_be_read_is_none(void **state)
{
	static const char *const bad[] = { "", "x", "127.0.0.1\n", "1.2.3.4.5.6.7.8.9.10.11" };
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, &vm);
	for (size_t i = 0; i < array_size(bad); i++) {
		fixture_put(vm.dir, "last-ip", bad[i]);
		assert_int_equal(vm_last_address(&vm).s_addr, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_are_read_as_they_were_written),
		cmocka_unit_test(malformed_settings_are_refused),
		cmocka_unit_test(settings_beyond_their_limit_are_refused),
		fixture_test(a_vm_without_files_has_no_settings),
		fixture_test(settings_that_set_nothing_leave_no_file),
		fixture_test(a_filter_is_kept_as_it_was_given),
		fixture_test(a_filter_becomes_rules_of_the_vms_own_stage),
		fixture_test(a_malformed_filter_is_an_error_with_its_place),
		fixture_test(a_file_that_is_none_is_an_error),
		fixture_test(a_file_beyond_its_limit_is_an_error),
		fixture_test(the_last_address_is_remembered),
		fixture_test(a_last_address_that_cannot_be_read_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
