/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <endian.h>

static int make(struct fixture *f, char **path)
{
	int fd;

	*path = str_format("%s/x.qcow2", f->path);
	fd = open(*path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

static void run(const char *const *argv)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stdout);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* QEMU finds nothing wrong with what we write, at any size; and sees the size. */
static void test_sizes(void **state)
{
	struct fixture *f = *state;
	static const uint64_t sizes[] = { 512,
					  20000000000,
					  UINT64_C(4) << 40,
					  (UINT64_C(4) << 40) + 512,
					  UINT64_C(65535) * 1000000000,
					  QCOW2_SIZE_MAX };

	for (size_t i = 0; i < array_size(sizes); i++) {
		auto_free char *path = NULL;
		auto_fd fd = make(f, &path);
		auto_free char *last =
			str_format("write %llu 512", (unsigned long long)sizes[i] - 512);
		const char *check[] = { "qemu-img", "check", "-f", "qcow2", path, NULL };
		const char *write[] = { "qemu-io", "-f", "qcow2", "-c", last, path, NULL };
		struct qcow2_header header;
		struct stat st;

		assert_ok(f, qcow2_write_empty(fd, sizes[i], &f->err));
		assert_int_equal(qcow2_is_empty(fd, &f->err), 1);
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(fs_allocated(&st) <= 32 * 1024);
		assert_ok(f, qcow2_read_header(fd, &header, &f->err));
		assert_int_equal(header.size, sizes[i]);
		run(check);
		run(write);
		run(check);
		assert_int_equal(qcow2_is_empty(fd, &f->err), 0);
	}
}

static void test_grow(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = NULL;
	auto_fd fd = make(f, &path);
	const char *write[] = {
		"qemu-io", "-f", "qcow2", "-c", "write 29999999488 512", path, NULL
	};
	const char *check[] = { "qemu-img", "check", "-f", "qcow2", path, NULL };

	assert_ok(f, qcow2_write_empty(fd, 20000000000, &f->err));
	assert_ok(f, qcow2_grow(fd, 30000000000, &f->err));
	run(write);
	run(check);
	assert_fails(f, E_TOO_BIG, "flattened", qcow2_grow(fd, 20000000000, &f->err));
	assert_fails(f, E_TOO_BIG, "flattened", qcow2_grow(fd, UINT64_C(5) << 40, &f->err));
	assert_fails(f, E_TOO_BIG, "cannot have", qcow2_write_empty(fd, 513, &f->err));
}

static void test_bad_headers(void **state)
{
	struct fixture *f = *state;
	static const struct {
		off_t offset;
		uint32_t value;
		const char *message;
	} bad[] = {
		{ 0, 0x7f454c46, "not a qcow2" },
		{ 4, 2, "version 2" },
		{ 8, 1, "backing" },
		{ 12, 1024, "backing" },
		{ 20, 60, "malformed" },
		{ 20, 3, "malformed" },
		{ 24, 0x7fffffff, "virtual size" },
		{ 32, 1, "encrypted" },
		{ 36, 0, "L1 table" },
		{ 36, 0xffffffff, "L1 table" },
		{ 40, 0x7fffffff, "L1 table" },
		{ 44, 7, "L1 table" },
		{ 60, 1, "snapshots" },
		{ 72, 0x80000000, "incompatible" },
		{ 76, 4, "incompatible" },
		{ 76, 2, "corrupt" },
		{ 96, 99, "malformed" },
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		auto_free char *path = NULL;
		auto_fd fd = make(f, &path);
		uint32_t value = htobe32(bad[i].value);
		struct qcow2_header header;

		assert_ok(f, qcow2_write_empty(fd, 1 << 20, &f->err));
		assert_ok(f, fs_pwrite_all(fd, &value, sizeof(value), bad[i].offset, &f->err));
		if (qcow2_read_header(fd, &header, &f->err) >= 0 ||
		    !strstr(f->err.text, bad[i].message))
			fail_msg("%zu: %s", i, f->err.text);
		assert_true(qcow2_is_empty(fd, &f->err) < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_sizes),
		fixture_test(test_grow),
		fixture_test(test_bad_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
