/* SPDX-License-Identifier: Apache-2.0 */

/* What of a VM's network its clones and images have, and what a registry may not make of it. */

#include "store/fixture.h"

#include <arpa/inet.h>

#include "oci/manifest.h"
#include "store/network.h"
#include "store/network_copy.h"

static const char rules[] = "block out to 10.0.0.0/8 # \"private\"\npass any\n";

static void set_filter(struct network_copy *copy, const char *text)
{
	str_reset(&copy->filter);
	str_adds(&copy->filter, text);
	copy->has_filter = true;
}

/* The image config that a push makes of it. */
static void format(const struct network_copy *copy, struct str *out)
{
	json_t *labels = json_object();
	struct error err = ERROR_INIT;

	assert_int_equal(network_copy_add_labels(copy, labels, &err), 0);
	image_config_format("amd64", "linux", "raw", labels, out);
	json_decref(labels);
}

static int parse(const char *text, struct network_copy *copy, struct error *err)
{
	return network_copy_parse_labels(text, strlen(text), copy, err);
}

static void labels_carry_filter_and_no_local(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		auto_network_copy sent = NETWORK_COPY_INIT, got = NETWORK_COPY_INIT;
		struct error err = ERROR_INIT;
		auto_str text = STR_INIT;

		sent.no_local = i & 1;
		if (i & 2)
			set_filter(&sent, rules);
		format(&sent, &text);
		assert_int_equal(parse(text.ptr, &got, &err), 0);
		assert_int_equal(got.no_local, sent.no_local);
		assert_int_equal(got.has_filter, sent.has_filter);
		assert_string_equal(got.filter.ptr, sent.filter.ptr);
		assert_int_equal(!!strstr(text.ptr, "org.linzer."), i > 0);
	}
}

static void a_filter_of_the_largest_size_travels(void **state)
{
	auto_network_copy sent = NETWORK_COPY_INIT, got = NETWORK_COPY_INIT;
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;
	json_t *labels = json_object();

	(void)state;
	set_filter(&sent, "#");
	while (sent.filter.len < NETWORK_LABEL_MAX)
		str_addc(&sent.filter, '"');
	format(&sent, &text);
	assert_int_equal(parse(text.ptr, &got, &err), 0);
	assert_int_equal(got.filter.len, NETWORK_LABEL_MAX);
	str_addc(&sent.filter, '"');
	assert_int_equal(network_copy_add_labels(&sent, labels, &err), -E_TOO_BIG);
	assert_non_null(strstr(err.text, "65537"));
	assert_int_equal(json_object_size(labels), 0);
	json_decref(labels);
}

static void a_filter_that_is_no_text_does_not_travel(void **state)
{
	static const char *const bad[] = { "# \xff\n", "# \xc3(\n" };
	auto_network_copy copy = NETWORK_COPY_INIT;
	struct error err = ERROR_INIT;
	json_t *labels = json_object();

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		set_filter(&copy, bad[i]);
		assert_int_equal(network_copy_add_labels(&copy, labels, &err), -E_FAILED);
	}
	set_filter(&copy, "# ");
	str_addc(&copy.filter, '\0');
	assert_int_equal(network_copy_add_labels(&copy, labels, &err), -E_FAILED);
	json_decref(labels);
}

static void a_label_of_the_users_is_not_taken_for_the_vms(void **state)
{
	static const char *const ours[] = { LABEL_NET_FILTER, LABEL_NO_LOCAL };
	const struct network_copy nothing = NETWORK_COPY_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(ours); i++) {
		struct error err = ERROR_INIT;
		json_t *labels = json_pack("{s:s}", ours[i], "");

		assert_int_equal(network_copy_add_labels(&nothing, labels, &err), -E_FAILED);
		assert_non_null(strstr(err.text, ours[i]));
		json_decref(labels);
	}
}

static void malformed_labels_are_refused(void **state)
{
	static const struct {
		const char *label, *says;
	} bad[] = {
		{ "\"org.linzer.net-filter\":\"pass any\\nblok any\"", "line 2, column 1" },
		{ "\"org.linzer.net-filter\":\"pass\\u0000any\"", "" },
		{ "\"org.linzer.net-filter\":7", "net-filter" },
		{ "\"org.linzer.net-filter\":null", "net-filter" },
		{ "\"org.linzer.net-filter\":[\"block any\"]", "net-filter" },
		{ "\"org.linzer.no-local\":true", "no-local" },
		{ "\"org.linzer.no-local\":\"false\"", "no-local" },
		{ "\"org.linzer.no-local\":\"\"", "no-local" },
		{ "\"org.linzer.no-local\":\"true\",\"org.linzer.no-local\":\"true\"", "" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_free char *text = str_format("{\"config\":{\"Labels\":{%s}}}", bad[i].label);
		auto_network_copy copy = NETWORK_COPY_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(parse(text, &copy, &err), -E_INVALID);
		assert_non_null(strstr(err.text, bad[i].says));
		assert_true(!copy.has_filter && !copy.no_local && !copy.filter.len);
	}
}

static void a_label_beyond_its_limit_is_refused(void **state)
{
	auto_network_copy copy = NETWORK_COPY_INIT;
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;

	(void)state;
	str_adds(&text, "{\"config\":{\"Labels\":{\"org.linzer.net-filter\":\"");
	for (unsigned i = 0; i <= NETWORK_LABEL_MAX; i++)
		str_addc(&text, '#');
	str_adds(&text, "\"}}}");
	assert_int_equal(parse(text.ptr, &copy, &err), -E_TOO_BIG);
}

static void an_image_of_others_has_no_filter(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"nonsense",
		"{\"config\":null}",
		"{\"config\":[]}",
		"{\"config\":{\"Labels\":null}}",
		"{\"config\":{\"Labels\":{\"org.cirruslabs.tart.disk.format\":\"raw\"}}}",
		"{\"org.linzer.no-local\":\"true\"}", /* not where labels are */
	};

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		auto_network_copy copy = NETWORK_COPY_INIT;
		struct error err = ERROR_INIT;

		set_filter(&copy, rules);
		assert_int_equal(parse(texts[i], &copy, &err), 0);
		assert_true(!copy.has_filter && !copy.no_local && !copy.filter.len);
	}
}

static void labels_in_what_is_no_json_are_not_overlooked(void **state)
{
	static const char text[] = "{\"config\":{\"Labels\":{\"org.linzer.no-local\":\"true\"}}";
	auto_network_copy copy = NETWORK_COPY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse(text, &copy, &err), -E_INVALID);
}

static void make_vm(struct fixture *f, const char *name, struct vm *vm)
{
	fixture_create(f, name, 1);
	assert_ok(f, vm_open(&f->home, name, true, vm, &f->err));
}

static void a_copy_has_no_address(void **state)
{
	struct fixture *f = *state;
	const struct vm_network settings = { .fixed = { inet_addr("192.168.64.7") },
					     .no_local = true };
	auto_network_copy copy = NETWORK_COPY_INIT;
	struct vm_network got;
	auto_vm from = VM_INIT, to = VM_INIT;

	make_vm(f, "from", &from);
	make_vm(f, "to", &to);
	assert_ok(f, vm_network_write(&from, &settings, &f->err));
	vm_set_last_address(&from, settings.fixed);
	assert_ok(f, network_copy_read(&from, &copy, &f->err));
	assert_ok(f, network_copy_write(&to, &copy, &f->err));
	assert_ok(f, vm_network_read(&to, &got, &f->err));
	assert_true(got.no_local && !got.fixed.s_addr);
	assert_int_equal(vm_last_address(&to).s_addr, 0);
}

static void clone(struct fixture *f, const char *from, const char *to)
{
	assert_ok(f, vm_clone(&f->home, from, to, &(struct vm_clone){ 0 }, &f->err));
}

static void a_clone_has_a_filter_of_its_own(void **state)
{
	struct fixture *f = *state;
	auto_str text = STR_INIT, left = STR_INIT;
	auto_vm vm = VM_INIT, copy = VM_INIT;

	make_vm(f, "vm", &vm);
	fixture_put(vm.dir, NETWORK_FILTER, rules);
	clone(f, "vm", "copy");
	assert_ok(f, vm_open(&f->home, "copy", true, &copy, &f->err));
	assert_int_equal(vm_filter_read(&copy, &text, &f->err), 1);
	assert_string_equal(text.ptr, rules);
	/* also if somebody writes into the file, as an editor may */
	auto_fd fd = openat(vm.dir, NETWORK_FILTER, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(vm_filter_read(&copy, &left, &f->err), 1);
	assert_string_equal(left.ptr, rules);
}

static void what_cannot_be_copied_is_not_left_out(void **state)
{
	static const char *const names[] = { NETWORK_SETTINGS, NETWORK_FILTER };
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, "vm", &vm);
	for (size_t i = 0; i < array_size(names); i++) {
		assert_int_equal(symlinkat("nowhere", vm.dir, names[i]), 0);
		assert_fails(f, E_INVALID, names[i],
			     vm_clone(&f->home, "vm", "copy", &(struct vm_clone){ 0 }, &f->err));
		assert_false(fixture_exists(f, "copy"));
		assert_int_equal(unlinkat(vm.dir, names[i], 0), 0);
	}
}

static void what_is_malformed_is_not_copied(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	make_vm(f, "vm", &vm);
	fixture_put(vm.dir, NETWORK_FILTER, "blok any");
	assert_fails(f, E_INVALID, "net.rules of VM \"vm\": line 1, column 1",
		     vm_clone(&f->home, "vm", "copy", &(struct vm_clone){ 0 }, &f->err));
	fixture_put(vm.dir, NETWORK_FILTER, "block any");
	fixture_put(vm.dir, NETWORK_SETTINGS, "{\"noLocal\":1}");
	assert_fails(f, E_INVALID, "network.json of VM \"vm\": 'noLocal'",
		     vm_clone(&f->home, "vm", "copy", &(struct vm_clone){ 0 }, &f->err));
	assert_false(fixture_exists(f, "copy"));
}

static void a_renamed_vm_keeps_all(void **state)
{
	struct fixture *f = *state;
	const struct vm_network settings = { .fixed = { inet_addr("192.168.64.7") } };
	struct vm_network got;
	auto_str text = STR_INIT;
	auto_vm vm = VM_INIT, renamed = VM_INIT;

	make_vm(f, "vm", &vm);
	fixture_put(vm.dir, NETWORK_FILTER, rules);
	assert_ok(f, vm_network_write(&vm, &settings, &f->err));
	assert_ok(f, vm_rename(&f->home, "vm", "renamed", &f->err));
	assert_ok(f, vm_open(&f->home, "renamed", true, &renamed, &f->err));
	assert_ok(f, vm_network_read(&renamed, &got, &f->err));
	assert_int_equal(got.fixed.s_addr, settings.fixed.s_addr);
	assert_int_equal(vm_filter_read(&renamed, &text, &f->err), 1);
}

static void what_replaces_a_vm_has_nothing_of_it(void **state)
{
	struct fixture *f = *state;
	auto_vm old = VM_INIT, plain = VM_INIT, now = VM_INIT;
	auto_str text = STR_INIT;

	make_vm(f, "vm", &old);
	fixture_put(old.dir, NETWORK_FILTER, rules);
	make_vm(f, "plain", &plain);
	clone(f, "plain", "vm");
	assert_ok(f, vm_open(&f->home, "vm", true, &now, &f->err));
	assert_int_equal(vm_filter_read(&now, &text, &f->err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_carry_filter_and_no_local),
		cmocka_unit_test(a_filter_of_the_largest_size_travels),
		cmocka_unit_test(a_filter_that_is_no_text_does_not_travel),
		cmocka_unit_test(a_label_of_the_users_is_not_taken_for_the_vms),
		cmocka_unit_test(malformed_labels_are_refused),
		cmocka_unit_test(a_label_beyond_its_limit_is_refused),
		cmocka_unit_test(an_image_of_others_has_no_filter),
		cmocka_unit_test(labels_in_what_is_no_json_are_not_overlooked),
		fixture_test(a_copy_has_no_address),
		fixture_test(a_clone_has_a_filter_of_its_own),
		fixture_test(what_cannot_be_copied_is_not_left_out),
		fixture_test(what_is_malformed_is_not_copied),
		fixture_test(a_renamed_vm_keeps_all),
		fixture_test(what_replaces_a_vm_has_nothing_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
