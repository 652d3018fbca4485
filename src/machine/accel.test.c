/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tests run in a mount namespace (an ordinary user: with a user namespace
 * around it) where /run, the cache's place, is empty, and where /dev/kvm can be
 * hidden: the host's own cache stays as it is.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "machine/engine.h"

static const char cache[] = "/run/linzer/accel";

enum { CACHE_MAX = 4096 };

static bool have_kvm(void)
{
	auto_fd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd >= 0;
}

static enum plan_accel decide(enum plan_arch arch, enum accel_choice choice)
{
	struct error err = ERROR_INIT;
	enum plan_accel accel = PLAN_TCG;

	if (accel_decide(arch, choice, &accel, &err) < 0)
		fail_msg("%s", err.text);
	return accel;
}

static int fresh_run(void **state)
{
	(void)state;
	(void)umount2("/run", MNT_DETACH);
	return mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
}

static void the_probe_measures_and_ends(void **state)
{
	auto_fd kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	auto_fd null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(accel_probe(null), 0); /* not a KVM */
	if (kvm >= 0)
		assert_true(accel_probe(kvm) > 0);
}

static void auto_agrees_with_the_probe(void **state)
{
	auto_fd kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool fast = kvm >= 0 && accel_probe(kvm) >= ACCEL_FAST_ENOUGH;

	(void)state;
	assert_int_equal(decide(PLAN_AMD64, ACCEL_AUTO), fast ? PLAN_KVM : PLAN_TCG);
}

static void read_cache(struct str *text)
{
	struct error err = ERROR_INIT;

	str_reset(text);
	assert_int_equal(fs_read_file(AT_FDCWD, cache, CACHE_MAX, text, &err), 0);
}

static void write_cache(const char *text)
{
	struct error err = ERROR_INIT;

	assert_int_equal(fs_replace_file(AT_FDCWD, cache, text, strlen(text), 0600, &err), 0);
}

/* A cache that says the contrary is believed, so it is really read. */
static void the_answer_is_cached(void **state)
{
	enum plan_accel real = decide(PLAN_AMD64, ACCEL_AUTO);
	enum plan_accel other = real == PLAN_KVM ? PLAN_TCG : PLAN_KVM;
	auto_str text = STR_INIT;

	(void)state;
	if (!have_kvm())
		return; /* nothing to cache: the device's absence decides */
	read_cache(&text);
	str_chop(&text, strlen("kvm\n"));
	str_addf(&text, "%s\n", accel_name(other));
	write_cache(text.ptr);
	assert_int_equal(decide(PLAN_AMD64, ACCEL_AUTO), other);
}

static void a_cache_that_is_not_this_boots_is_ignored(void **state)
{
	static const char *const texts[] = { "", "kvm\n", "rubbish", "boot 2792 20600 0:0 kvm\n" };
	enum plan_accel real = decide(PLAN_AMD64, ACCEL_AUTO);
	auto_str good = STR_INIT;
	auto_str now = STR_INIT;

	(void)state;
	if (!have_kvm())
		return;
	read_cache(&good);
	for (size_t i = 0; i < array_size(texts); i++) {
		write_cache(texts[i]);
		assert_int_equal(decide(PLAN_AMD64, ACCEL_AUTO), real);
		read_cache(&now);
		assert_string_equal(now.ptr, good.ptr); /* and replaced */
	}
}

static void a_cache_of_others_is_not_used(void **state)
{
	(void)state;
	assert_int_equal(mkdir("/run/linzer", 0700), 0);
	assert_int_equal(chmod("/run/linzer", 0777), 0);
	(void)decide(PLAN_AMD64, ACCEL_AUTO);
	assert_int_equal(access(cache, F_OK), -1);
	assert_int_equal(rmdir("/run/linzer"), 0);
	assert_int_equal(symlink("/tmp", "/run/linzer"), 0);
	(void)decide(PLAN_AMD64, ACCEL_AUTO);
	assert_int_equal(access("/tmp/accel", F_OK), -1);
}

static void a_foreign_guest_is_emulated(void **state)
{
	struct error err = ERROR_INIT;
	enum plan_accel accel;

	(void)state;
	assert_int_equal(decide(PLAN_ARM64, ACCEL_AUTO), PLAN_TCG);
	assert_int_equal(accel_decide(PLAN_ARM64, ACCEL_KVM, &accel, &err), -E_FAILED);
	assert_string_equal(err.text, "KVM runs guests of the host's own architecture only");
}

/* Last: hides /dev/kvm for the rest of this process. */
static void without_the_device_auto_is_tcg_and_kvm_an_error(void **state)
{
	struct error err = ERROR_INIT;
	enum plan_accel accel;

	(void)state;
	assert_int_equal(mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755"), 0);
	assert_int_equal(decide(PLAN_AMD64, ACCEL_AUTO), PLAN_TCG);
	assert_int_equal(decide(PLAN_AMD64, ACCEL_TCG), PLAN_TCG);
	assert_int_equal(accel_decide(PLAN_AMD64, ACCEL_KVM, &accel, &err), -ENOENT);
	assert_string_equal(err.text, "cannot use KVM: '/dev/kvm': No such file or directory");
}

#define with_run(f) cmocka_unit_test_setup_teardown(f, fresh_run, NULL)

static int write_text(const char *path, const char *text)
{
	struct error err = ERROR_INIT;
	auto_fd fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -1 : fs_write_all(fd, text, strlen(text), &err);
}

/* An ordinary user becomes root of a user namespace. */
static int own_namespace(void)
{
	bool root = geteuid() == 0;
	auto_free char *uids = str_format("0 %u 1\n", (unsigned)geteuid());
	auto_free char *gids = str_format("0 %u 1\n", (unsigned)getegid());

	if (unshare(CLONE_NEWNS | (root ? 0 : CLONE_NEWUSER)) < 0)
		return -1;
	if (!root && (write_text("/proc/self/uid_map", uids) < 0 ||
		      write_text("/proc/self/setgroups", "deny") < 0 ||
		      write_text("/proc/self/gid_map", gids) < 0))
		return -1;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_run(the_probe_measures_and_ends),
		with_run(auto_agrees_with_the_probe),
		with_run(the_answer_is_cached),
		with_run(a_cache_that_is_not_this_boots_is_ignored),
		with_run(a_cache_of_others_is_not_used),
		with_run(a_foreign_guest_is_emulated),
		with_run(without_the_device_auto_is_tcg_and_kvm_an_error),
	};

	if (own_namespace() < 0) {
		perror("cannot make a mount namespace");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
