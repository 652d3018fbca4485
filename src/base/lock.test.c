/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/scratch.h"

static struct scratch scratch;
static int dir = -1;

static int enter_directory(void **state)
{
	(void)state;
	if (scratch_open(&scratch, scratch_place()) < 0)
		return -1;
	dir = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int leave_directory(void **state)
{
	(void)state;
	(void)close(dir);
	return scratch_close(&scratch);
}

static int try_lock(const char *name)
{
	struct error err = ERROR_INIT;

	return lock_file(dir, name, true, LOCK_TRY, &err);
}

static void a_lock_excludes_until_it_is_closed(void **state)
{
	int held = try_lock("lock");

	(void)state;
	assert_true(held >= 0);
	assert_int_equal(try_lock("lock"), -EWOULDBLOCK);
	assert_int_equal(close(held), 0);
	held = try_lock("lock");
	assert_true(held >= 0);
	assert_int_equal(fcntl(held, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(held), 0);
}

static void an_absent_file_is_made_only_when_asked(void **state)
{
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(lock_file(dir, "none", false, LOCK_TRY, &err), -ENOENT);
	assert_int_equal(fstatat(dir, "none", &st, 0), -1);
	auto_fd made = try_lock("none");
	assert_true(made >= 0);
	assert_int_equal(fstatat(dir, "none", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_link_is_not_followed(void **state)
{
	(void)state;
	assert_int_equal(symlinkat("target", dir, "link"), 0);
	assert_int_equal(try_lock("link"), -ELOOP);
}

static void a_directory_can_be_locked(void **state)
{
	struct error err = ERROR_INIT;
	auto_fd held = -1;

	(void)state;
	assert_int_equal(mkdirat(dir, "below", 0700), 0);
	held = lock_dir(dir, "below", LOCK_TRY, &err);
	assert_true(held >= 0);
	assert_int_equal(lock_dir(dir, "below", LOCK_TRY, &err), -EWOULDBLOCK);
}

/* Whoever waits for a file that is replaced meanwhile gets the lock of the new one. */
static void a_replaced_file_is_locked_anew(void **state)
{
	int held = try_lock("lock"), status;
	pid_t child;

	(void)state;
	assert_true(held >= 0);
	child = fork();
	if (child == 0) {
		struct error err = ERROR_INIT;
		int fd;

		(void)close(held); /* the duplicate would hold it, too */
		fd = lock_file(dir, "lock", true, LOCK_WAIT, &err);
		_exit(fd >= 0 && lock_still_names(fd, dir, "lock") ? 0 : 1);
	}
	clock_sleep_ms(100); /* most likely it waits by now; if not, the test is the easier one */
	assert_int_equal(unlinkat(dir, "lock", 0), 0);
	assert_false(lock_still_names(held, dir, "lock"));
	auto_fd anew = openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(anew >= 0);
	assert_int_equal(close(held), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A child that holds the record lock of "config"; it ends when *@go is closed. */
static pid_t start_holder(int (*lock)(int fd, struct error *err), int *go)
{
	int ready[2], end[2];
	pid_t child;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		struct error err = ERROR_INIT;
		int fd = openat(dir, "config", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		(void)close(end[1]);
		if (lock(fd, &err) != 1)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		(void)!read(end[0], &c, 1);
		_exit(0);
	}
	(void)close(end[0]);
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	*go = end[1];
	return child;
}

static void the_running_lock_names_its_owner(void **state)
{
	struct error err = ERROR_INIT;
	int go, status;
	pid_t child = start_holder(lock_record_try, &go);
	auto_fd fd = openat(dir, "config", O_RDWR | O_CLOEXEC);
	auto_fd readable = openat(dir, "config", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(lock_record_owner(fd), child);
	assert_int_equal(lock_record_owner(readable), child);
	assert_int_equal(lock_record_writer(readable), child);
	assert_int_equal(lock_record_try(fd, &err), 0);
	assert_int_equal(close(go), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(lock_record_owner(fd), 0);
	assert_int_equal(lock_record_try(fd, &err), 1);
	assert_int_equal(lock_record_owner(fd), 0); /* one's own is no other's */
}

static void a_reader_lets_others_read_and_shows_as_such(void **state)
{
	struct error err = ERROR_INIT;
	int go, status;
	pid_t child = start_holder(lock_record_share, &go);
	auto_fd fd = openat(dir, "config", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(lock_record_owner(fd), child);
	assert_int_equal(lock_record_writer(fd), 0);
	assert_int_equal(lock_record_try(fd, &err), 0);
	assert_int_equal(lock_record_share(fd, &err), 1);
	assert_int_equal(close(go), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Design decision 2: the lock belongs to the inode, not to the name. */
static void the_running_lock_stays_with_the_old_inode(void **state)
{
	struct error err = ERROR_INIT;
	int go, status;
	pid_t child = start_holder(lock_record_try, &go);
	auto_fd old = openat(dir, "config", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(fs_replace_file(dir, "config", "x", 1, 0600, &err), 0);
	auto_fd anew = openat(dir, "config", O_RDWR | O_CLOEXEC);
	assert_int_equal(lock_record_owner(anew), 0);
	assert_int_equal(lock_record_owner(old), child);
	assert_false(lock_still_names(old, dir, "config"));
	assert_true(lock_still_names(anew, dir, "config"));
	assert_int_equal(close(go), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* fcntl says -1 for the owner of an OFD lock, which kill() takes for everybody. */
static void a_lock_without_an_owner_has_none(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct error err = ERROR_INIT;
	auto_fd a = openat(dir, "config", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	auto_fd b = openat(dir, "config", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(fcntl(a, F_OFD_SETLK, &lock), 0);
	assert_int_equal(lock_record_try(b, &err), 0);
	assert_int_equal(lock_record_owner(b), 0);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(a_lock_excludes_until_it_is_closed),
		in_directory(an_absent_file_is_made_only_when_asked),
		in_directory(a_link_is_not_followed),
		in_directory(a_directory_can_be_locked),
		in_directory(a_replaced_file_is_locked_anew),
		in_directory(the_running_lock_names_its_owner),
		in_directory(a_reader_lets_others_read_and_shows_as_such),
		in_directory(the_running_lock_stays_with_the_old_inode),
		in_directory(a_lock_without_an_owner_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
