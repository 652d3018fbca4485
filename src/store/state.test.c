/* SPDX-License-Identifier: Apache-2.0 */

/* A suspended VM's state: it appears and goes as a whole, and what is not whole is none. */

#include "store/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/disk.h"
#include "store/state.h"

enum { MEMORY = 1024 * 1024 };
static const char device_text[] = "the devices' state";

/* The library's, or a disk that fails. */
static bool sync_fails;

int fsync(int fd)
{
	if (!sync_fails)
		return (int)syscall(SYS_fsync, fd);
	errno = EIO;
	return -1;
}

static void fill(struct state *state)
{
	*state = (struct state)STATE_INIT;
	state->config = xstrdup("{\"a\": \"b\"}");
	state->machine = xstrdup("pc-q35-7.2");
	state->processor = xstrdup("tcg, QEMU 7.2");
	state->memory = MEMORY;
	state->disk = (struct state_disk){ .size = 20, .length = 10, .modified = -5 };
	state->address.s_addr = htonl(0xc0a84003);
	strings_add(&state->parts, "-m size=1");
	strings_add(&state->parts, "-device VGA");
}

static void write_one(struct fixture *f, const struct vm *vm)
{
	auto_state_files files = STATE_FILES_INIT;
	auto_state state = STATE_INIT;

	fill(&state);
	assert_int_equal(state_begin(vm, &files, &f->err), 0);
	assert_int_equal(fs_write_all(files.device, device_text, sizeof(device_text), &f->err), 0);
	assert_int_equal(ftruncate(files.memory, MEMORY), 0);
	assert_false(state_exists(vm));
	assert_int_equal(state_publish(vm, &files, &state, &f->err), 0);
	assert_true(state_exists(vm));
}

/* Return: as state_open(). */
static int open_one(struct fixture *f, const struct vm *vm)
{
	auto_state_files files = STATE_FILES_INIT;
	auto_state state = STATE_INIT;
	int r = state_open(vm, &state, &files, &f->err);

	if (r > 0) {
		assert_string_equal(state.machine, "pc-q35-7.2");
		assert_int_equal(state.device_size, sizeof(device_text));
		assert_true(files.device >= 0 && files.memory >= 0);
	}
	return r;
}

static void open_vm(struct fixture *f, struct vm *vm)
{
	fixture_create(f, "vm", 1);
	assert_int_equal(vm_open(&f->home, "vm", true, vm, &f->err), 0);
}

static unsigned count_states(const struct vm *vm)
{
	static const char *const names[] = { "state", "state.new", "state.used" };
	unsigned count = 0;

	for (size_t i = 0; i < array_size(names); i++)
		count += faccessat(vm->dir, names[i], F_OK, 0) == 0;
	return count;
}

static void what_is_written_is_read(void **test)
{
	auto_state state = STATE_INIT, got = STATE_INIT;
	auto_str text = STR_INIT, again = STR_INIT;
	struct error err = ERROR_INIT;

	(void)test;
	fill(&state);
	state.device_sum = UINT64_MAX;
	state_format(&state, &text);
	assert_int_equal(state_parse(text.ptr, text.len, &got, &err), 0);
	state_format(&got, &again);
	assert_string_equal(text.ptr, again.ptr);
	assert_true(state_same_disk(&state.disk, &got.disk));
	assert_int_equal(got.parts.len, 2);
	assert_int_equal(got.address.s_addr, state.address.s_addr);
}

static void a_member_less_is_an_error(void **test)
{
	static const char *const keys[] = { "version", "machine", "processor", "memory",
					    "device",  "disk",	  "config",    "parts" };
	auto_state state = STATE_INIT;
	auto_str text = STR_INIT;

	(void)test;
	fill(&state);
	state_format(&state, &text);
	for (size_t i = 0; i < array_size(keys); i++) {
		auto_state got = STATE_INIT;
		auto_str other = STR_INIT;
		struct error err = ERROR_INIT;
		auto_free char *key = str_format("\"%s\"", keys[i]);
		char *at;

		str_add(&other, text.ptr, text.len);
		at = strstr(other.ptr, key);
		assert_non_null(at);
		at[1] = 'X';
		assert_int_equal(state_parse(other.ptr, other.len, &got, &err), -E_INVALID);
		assert_null(got.machine);
	}
}

static void it_is_used_once(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;

	open_vm(f, &vm);
	assert_int_equal(open_one(f, &vm), 0);
	write_one(f, &vm);
	assert_int_equal(vm_state(&vm), VM_SUSPENDED);
	assert_int_equal(open_one(f, &vm), 1);
	assert_int_equal(state_consume(&vm, &f->err), 0);
	assert_int_equal(open_one(f, &vm), 0);
	assert_int_equal(vm_state(&vm), VM_STOPPED);
	assert_int_equal(state_put_back(&vm, &f->err), 0);
	assert_int_equal(open_one(f, &vm), 1);
	assert_int_equal(state_consume(&vm, &f->err), 0);
	state_tidy(&vm);
	assert_int_equal(count_states(&vm), 0);
}

/* The directory's fsync fails after the rename, in this program's own fsync(). */
static void one_whose_renaming_fails_is_there(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;

	open_vm(f, &vm);
	write_one(f, &vm);
	sync_fails = true;
	assert_fails(f, EIO, "", state_consume(&vm, &f->err));
	assert_fails(f, EIO, "", state_drop(&vm, &f->err));
	sync_fails = false;
	assert_int_equal(open_one(f, &vm), 1);
	assert_int_equal(state_consume(&vm, &f->err), 0);
	sync_fails = true;
	assert_fails(f, EIO, "", state_put_back(&vm, &f->err));
	sync_fails = false;
	assert_int_equal(open_one(f, &vm), 1);
}

static void what_was_begun_is_none(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;
	auto_state_files files = STATE_FILES_INIT;

	open_vm(f, &vm);
	assert_int_equal(state_begin(&vm, &files, &f->err), 0);
	assert_int_equal(count_states(&vm), 1);
	assert_int_equal(open_one(f, &vm), 0);
	state_files_release(&files);
	/* a killed one's is in nobody's way */
	write_one(f, &vm);
	assert_int_equal(open_one(f, &vm), 1);
	assert_int_equal(state_drop(&vm, &f->err), 0);
	assert_int_equal(count_states(&vm), 0);
	assert_int_equal(state_drop(&vm, &f->err), 0);
}

/* As a text that was cut within a character, which JSON cannot have: the guest would be lost. */
static void what_could_not_be_read_does_not_appear(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;
	auto_state state = STATE_INIT;
	auto_state_files files = STATE_FILES_INIT;

	open_vm(f, &vm);
	fill(&state);
	free(state.processor);
	state.processor = xstrdup("processor \xc3");
	assert_int_equal(state_begin(&vm, &files, &f->err), 0);
	assert_true(state_publish(&vm, &files, &state, &f->err) < 0);
	assert_int_equal(count_states(&vm), 0);
}

static void cut(const struct vm *vm, const char *name, off_t size)
{
	auto_free char *path = str_format("state/%s", name);
	auto_fd fd = openat(vm->dir, path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
}

static void what_is_not_whole_is_an_error_and_stays(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;
	struct {
		const char *name;
		off_t size;
	} cuts[] = { { "device", 3 },	       { "device", sizeof(device_text) + 1 },
		     { "memory", MEMORY - 1 }, { "memory", MEMORY + 4096 },
		     { "state.json", 0 },      { "state.json", 40 } };

	open_vm(f, &vm);
	for (size_t i = 0; i < array_size(cuts); i++) {
		write_one(f, &vm);
		cut(&vm, cuts[i].name, cuts[i].size);
		assert_int_equal(open_one(f, &vm), -E_INVALID);
		assert_true(state_exists(&vm));
		assert_int_equal(state_drop(&vm, &f->err), 0);
	}
}

static void another_device_file_is_seen(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;

	open_vm(f, &vm);
	write_one(f, &vm);
	auto_fd fd = openat(vm.dir, "state/device", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fs_pwrite_all(fd, "T", 1, 0, &f->err), 0);
	assert_int_equal(open_one(f, &vm), -E_INVALID);
}

/* A link or a FIFO of whoever wrote the directory leads nowhere and makes nobody wait. */
static void only_plain_files_are_opened(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;

	open_vm(f, &vm);
	write_one(f, &vm);
	assert_int_equal(unlinkat(vm.dir, "state/memory", 0), 0);
	assert_int_equal(symlinkat("../disk.img", vm.dir, "state/memory"), 0);
	assert_true(open_one(f, &vm) < 0);
	assert_int_equal(unlinkat(vm.dir, "state/memory", 0), 0);
	assert_int_equal(mkfifoat(vm.dir, "state/memory", 0600), 0);
	assert_true(open_one(f, &vm) < 0);
}

static void the_disk_is_known_under_an_empty_overlay(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct state_disk before, after;

	open_vm(f, &vm);
	assert_int_equal(disk_read(&vm, &chain, &f->err), 0);
	assert_int_equal(state_find_disk(&vm, &chain, &before, &f->err), 0);
	assert_int_equal(disk_freeze(&vm, &chain, NULL, NULL, &f->err), 0);
	assert_int_equal(chain.count, 2);
	assert_int_equal(state_find_disk(&vm, &chain, &after, &f->err), 0);
	assert_true(state_same_disk(&before, &after));
	after.modified++;
	assert_false(state_same_disk(&before, &after));
}

static void a_clone_has_a_state_and_a_disk_that_fit(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT, copy = VM_INIT, raw = VM_INIT;
	auto_config ours = CONFIG_INIT, theirs = CONFIG_INIT;
	struct disk_chain chain;
	struct state_disk before, after;

	open_vm(f, &vm);
	write_one(f, &vm);
	assert_int_equal(disk_read(&vm, &chain, &f->err), 0);
	assert_int_equal(state_find_disk(&vm, &chain, &before, &f->err), 0);
	assert_int_equal(vm_clone(&f->home, "vm", "copy", &(struct vm_clone){ 0 }, &f->err), 0);
	assert_int_equal(vm_open(&f->home, "copy", true, &copy, &f->err), 0);
	assert_int_equal(open_one(f, &copy), 1);
	assert_int_equal(disk_read(&copy, &chain, &f->err), 0);
	assert_int_equal(state_find_disk(&copy, &chain, &after, &f->err), 0);
	assert_true(state_same_disk(&before, &after));
	assert_int_equal(disk_read(&vm, &chain, &f->err), 0);
	assert_int_equal(state_find_disk(&vm, &chain, &after, &f->err), 0);
	assert_true(state_same_disk(&before, &after));
	assert_int_equal(vm_read_config(&vm, &ours, &f->err), 0);
	assert_int_equal(vm_read_config(&copy, &theirs, &f->err), 0);
	assert_true(mac_equal(ours.mac, theirs.mac));
	assert_int_equal(
		vm_clone(&f->home, "vm", "raw", &(struct vm_clone){ .raw = true }, &f->err), 0);
	assert_int_equal(vm_open(&f->home, "raw", true, &raw, &f->err), 0);
	assert_int_equal(open_one(f, &raw), 0);
}

static void its_disk_is_not_changed(void **test)
{
	struct fixture *f = *test;
	auto_vm vm = VM_INIT;

	open_vm(f, &vm);
	write_one(f, &vm);
	assert_int_equal(vm_resize_disk(&vm, UINT64_C(1) << 30, &f->err), -E_FAILED);
	assert_int_equal(vm_flatten_disk(&vm, &f->err), -E_FAILED);
	assert_int_equal(open_one(f, &vm), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_member_less_is_an_error),
		fixture_test(it_is_used_once),
		fixture_test(one_whose_renaming_fails_is_there),
		fixture_test(what_was_begun_is_none),
		fixture_test(what_could_not_be_read_does_not_appear),
		fixture_test(what_is_not_whole_is_an_error_and_stays),
		fixture_test(another_device_file_is_seen),
		fixture_test(only_plain_files_are_opened),
		fixture_test(the_disk_is_known_under_an_empty_overlay),
		fixture_test(a_clone_has_a_state_and_a_disk_that_fit),
		fixture_test(its_disk_is_not_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
