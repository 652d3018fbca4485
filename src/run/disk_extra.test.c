/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_extra.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"

/* A suspended VM finds it as it was, so that nothing speaks against a suspend. */
static void a_file_is_synced(void **state)
{
	struct scratch scratch;
	struct error err = ERROR_INIT;
	struct disk_extra extra;
	struct plan_disk disk;

	(void)state;
	assert_int_equal(scratch_open(&scratch, scratch_place()), 0);
	auto_free char *path = str_format("%s/disk", scratch.path);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(disk_extra_open(NULL, path, &extra, &disk, &err), 0);
	assert_int_equal(disk_extra_sync(&extra, &err), 0);
	disk_extra_release(&extra);
	assert_int_equal(scratch_close(&scratch), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
