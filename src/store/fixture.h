/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

/* For unit tests only: a home in a scratch directory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"
#include "base/vec.h"
#include "store/chain.h"
#include "store/home.h"
#include "store/vm.h"

enum { FIXTURE_DISK = 2 * 1024 * 1024 }; /* more than is copied rather than shared */

struct fixture {
	struct scratch scratch;
	char path[104]; /* of the home, beneath the scratch directory: each has a lock of its own */
	struct home home;
	struct error err;
};

static inline int fixture_open(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	assert_int_equal(scratch_open(&f->scratch, scratch_place()), 0);
	(void)snprintf(f->path, sizeof(f->path), "%s/home", f->scratch.path);
	assert_int_equal(setenv("TART_HOME", f->path, 1), 0);
	assert_int_equal(home_open(&f->home, "linzer", &f->err), 0);
	*state = f;
	return 0;
}

static inline int fixture_close(void **state)
{
	struct fixture *f = *state;

	home_release(&f->home);
	assert_int_equal(scratch_close(&f->scratch), 0);
	free(f);
	return 0;
}

#define fixture_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_open, fixture_close)

/* Assert success, showing the message of a failure. */
#define assert_ok(f, expression)                                                    \
	do {                                                                        \
		int result_ = (expression);                                         \
		if (result_ < 0)                                                    \
			fail_msg("%s: %d %s", #expression, result_, (f)->err.text); \
	} while (0)

#define assert_fails(f, code_, text_, expression)              \
	do {                                                   \
		assert_int_equal((expression), -(code_));      \
		assert_non_null(strstr((f)->err.text, text_)); \
	} while (0)

static inline void fixture_put(int dir, const char *name, const char *text)
{
	struct error err = ERROR_INIT;

	assert_int_equal(fs_replace_file(dir, name, text, strlen(text), 0600, &err), 0);
}

/* A VM with a disk of FIXTURE_DISK bytes, all of them data of @seed's. */
static inline void fixture_create(struct fixture *f, const char *name, unsigned seed)
{
	auto_free char *path = str_format("%s/disk-%s", f->path, name);
	auto_free uint32_t *data = xmalloc(FIXTURE_DISK);
	auto_fd fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct vm_create how = { .disk_file = path, .nvram_template = -1 };

	for (uint32_t i = 0; i < FIXTURE_DISK / sizeof(data[0]); i++)
		data[i] = (seed << 24) + i + 1;
	assert_ok(f, fs_pwrite_all(fd, data, FIXTURE_DISK, 0, &f->err));
	assert_int_equal(fsync(fd), 0);
	assert_ok(f, vm_create(&f->home, name, &how, &f->err));
}

static inline bool fixture_exists(struct fixture *f, const char *name)
{
	auto_free char *path = str_format("%s/%s", f->home.vms, name);

	return access(path, F_OK) == 0;
}

/* How many entries of directory @dir begin with @prefix? */
static inline unsigned fixture_count(int dir, const char *prefix)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(d)))
		n += str_starts(e->d_name, prefix) && strcmp(e->d_name, ".") != 0 &&
		     strcmp(e->d_name, "..") != 0;
	(void)closedir(d);
	return n;
}

#endif
