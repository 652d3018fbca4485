/* SPDX-License-Identifier: Apache-2.0 */

/* Trees sent and received again, and streams that a guest would send to get out of its folder. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/tar.h"
#include "agent/tree_receive.h"
#include "agent/tree_send.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"

struct stage {
	struct scratch scratch;
	int dir;
	struct str stream;
	struct error err;
};

static int setup(void **state)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));

	assert_int_equal(scratch_open(&stage->scratch, scratch_place()), 0);
	stage->dir = open(stage->scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stage->stream = (struct str)STR_INIT;
	assert_true(stage->dir >= 0);
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	str_release(&stage->stream);
	(void)close(stage->dir);
	assert_int_equal(scratch_close(&stage->scratch), 0);
	free(stage);
	return 0;
}

/* ---- what lies there ---- */

static void put(struct stage *stage, const char *path, const char *text, mode_t mode)
{
	struct error err = ERROR_INIT;

	assert_int_equal(fs_replace_file(stage->dir, path, text, strlen(text), mode, &err), 0);
}

static void expect(struct stage *stage, const char *path, const char *text)
{
	auto_str found = STR_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(fs_read_file(stage->dir, path, 4096, &found, &err), 0);
	assert_string_equal(found.ptr, text);
}

static bool exists(struct stage *stage, const char *path)
{
	struct stat st;

	return fstatat(stage->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct stat look(struct stage *stage, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(stage->dir, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void expect_time(struct stage *stage, const char *path, const struct timespec *mtime)
{
	struct stat st = look(stage, path);

	assert_int_equal(st.st_mtim.tv_sec, mtime->tv_sec);
	assert_int_equal(st.st_mtim.tv_nsec, mtime->tv_nsec);
}

/* ---- streams ---- */

static void say(struct stage *stage, enum tar_kind kind, const char *path, const char *target,
		mode_t mode)
{
	const struct tar_entry entry = { kind, path, target, mode, 0, { 1000, 5 } };

	tar_add_entry(&stage->stream, &entry);
}

static void say_file(struct stage *stage, const char *path, const char *text, mode_t mode)
{
	const struct tar_entry entry = { TAR_FILE, path, "", mode, strlen(text), { 1000, 5 } };

	tar_add_entry(&stage->stream, &entry);
	str_adds(&stage->stream, text);
	tar_add_padding(&stage->stream, entry.size);
}

static int receive(struct stage *stage, enum tree_receive_kind kind, const char *name)
{
	struct tree_receive *receive = tree_receive_new(stage->dir, name, kind);
	int r;

	tar_add_end(&stage->stream);
	r = tree_receive_feed(receive, (const uint8_t *)stage->stream.ptr, stage->stream.len,
			      &stage->err);
	if (r == 0)
		r = tree_receive_finish(receive, &stage->err);
	tree_receive_free(receive);
	str_reset(&stage->stream);
	return r;
}

static void send_tree(struct stage *stage, const char *path, const char *name)
{
	auto_free char *full = str_format("%s/%s", stage->scratch.path, path);
	struct tree_send *send;
	int r;

	assert_int_equal(tree_send_new(full, name, true, &send, &stage->err), 0);
	while ((r = tree_send_next(send, &stage->stream, &stage->err)) > 0)
		;
	tree_send_free(send);
	assert_int_equal(r, 0);
}

/* ---- tests ---- */

static void a_tree_comes_back_as_it_was(void **state)
{
	struct stage *stage = *state;
	const struct timespec times[2] = { { 7, 8 }, { 1234567890, 987654321 } };

	assert_int_equal(mkdirat(stage->dir, "a", 0700), 0);
	assert_int_equal(mkdirat(stage->dir, "a/b", 0700), 0);
	put(stage, "a/b/file", "content", 0640);
	assert_int_equal(linkat(stage->dir, "a/b/file", stage->dir, "a/other", 0), 0);
	assert_int_equal(symlinkat("/nowhere", stage->dir, "a/link"), 0);
	assert_int_equal(mkfifoat(stage->dir, "a/pipe", 0600), 0);
	assert_int_equal(utimensat(stage->dir, "a/b/file", times, 0), 0);
	assert_int_equal(utimensat(stage->dir, "a/link", times, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fchmodat(stage->dir, "a/b", 0500, 0), 0);
	assert_int_equal(utimensat(stage->dir, "a/b", times, 0), 0);
	send_tree(stage, "a", "a");
	assert_int_equal(receive(stage, RECEIVE_FOLDER, "copy"), 0);

	expect(stage, "copy/b/file", "content");
	assert_int_equal(look(stage, "copy/b/file").st_mode, S_IFREG | 0640);
	expect_time(stage, "copy/b/file", &times[1]);
	assert_int_equal(look(stage, "copy/b/file").st_ino, look(stage, "copy/other").st_ino);
	assert_int_equal(look(stage, "copy/b").st_mode, S_IFDIR | 0500);
	expect_time(stage, "copy/b", &times[1]);
	assert_true(S_ISLNK(look(stage, "copy/link").st_mode));
	expect_time(stage, "copy/link", &times[1]);
	assert_false(exists(stage, "copy/pipe"));
}

/* Each folder is found before the first one is read, whose file is more than one step's. */
static void make_large_folders(struct stage *stage, unsigned count)
{
	enum { LARGE = 100000 };
	auto_free char *text = xcalloc(LARGE + 1, 1);

	memset(text, 'x', LARGE);
	assert_int_equal(mkdirat(stage->dir, "a", 0700), 0);
	for (unsigned i = 0; i < count; i++) {
		auto_free char *folder = str_format("a/%u", i);
		auto_free char *file = str_format("a/%u/file", i);

		assert_int_equal(mkdirat(stage->dir, folder, 0700), 0);
		put(stage, file, text, 0600);
	}
}

static void links_that_appear_meanwhile_are_not_followed(void **state)
{
	enum { COUNT = 3 };
	struct stage *stage = *state;
	auto_free char *full = str_format("%s/a", stage->scratch.path);
	struct tree_send *send;
	int r;

	assert_int_equal(mkdirat(stage->dir, "outside", 0700), 0);
	put(stage, "outside/file", "secret", 0600);
	make_large_folders(stage, COUNT);
	assert_int_equal(tree_send_new(full, "a", true, &send, &stage->err), 0);
	assert_int_equal(tree_send_next(send, &stage->stream, &stage->err), 1);
	for (unsigned i = 0; i < COUNT; i++) {
		auto_free char *folder = str_format("a/%u", i);
		auto_free char *moved = str_format("a/%u-moved", i);

		assert_int_equal(renameat(stage->dir, folder, stage->dir, moved), 0);
		assert_int_equal(symlinkat("../outside", stage->dir, folder), 0);
	}
	while ((r = tree_send_next(send, &stage->stream, &stage->err)) > 0)
		;
	tree_send_free(send);
	assert_true(r < 0);
	assert_null(memmem(stage->stream.ptr, stage->stream.len, "secret", 6));
}

static void a_file_takes_the_place_of_an_old_one(void **state)
{
	struct stage *stage = *state;

	put(stage, "old", "old", 0600);
	assert_int_equal(linkat(stage->dir, "old", stage->dir, "kept", 0), 0);
	say_file(stage, "./whatever", "new", 0644);
	assert_int_equal(receive(stage, RECEIVE_FILE, "old"), 0);
	expect(stage, "old", "new");
	expect(stage, "kept", "old");
}

static void a_link_is_replaced_and_not_written_through(void **state)
{
	struct stage *stage = *state;

	put(stage, "outside", "safe", 0600);
	assert_int_equal(mkdirat(stage->dir, "d", 0700), 0);
	assert_int_equal(symlinkat("../outside", stage->dir, "d/file"), 0);
	say(stage, TAR_FOLDER, ".", "", 0700);
	say_file(stage, "./file", "new", 0644);
	assert_int_equal(receive(stage, RECEIVE_FOLDER, "d"), 0);
	expect(stage, "d/file", "new");
	expect(stage, "outside", "safe");
}

static void what_is_cut_short_leaves_the_old(void **state)
{
	struct stage *stage = *state;
	struct tree_receive *receive = tree_receive_new(stage->dir, "old", RECEIVE_FILE);

	put(stage, "old", "old", 0600);
	say_file(stage, "x", "new content", 0644);
	assert_int_equal(tree_receive_feed(receive, (const uint8_t *)stage->stream.ptr,
					   stage->stream.len - TAR_BLOCK, &stage->err),
			 0);
	assert_int_equal(tree_receive_finish(receive, &stage->err), -E_INVALID);
	tree_receive_free(receive);
	expect(stage, "old", "old");
}

static void no_special_bits_and_no_devices(void **state)
{
	struct stage *stage = *state;

	say(stage, TAR_FOLDER, ".", "", 07755);
	say_file(stage, "./root-shell", "x", 06755);
	assert_int_equal(receive(stage, RECEIVE_FOLDER, "d"), 0);
	assert_int_equal(look(stage, "d").st_mode, S_IFDIR | 0755);
	assert_int_equal(look(stage, "d/root-shell").st_mode, S_IFREG | 0755);
}

/* Each ends the copy, and what lies outside is as it was. */
static void ways_out(void **state)
{
	static const struct {
		enum tar_kind kind;
		const char *path, *target;
	} ways[] = {
		{ TAR_FILE, "/etc/evil", "" },
		{ TAR_FILE, "../evil", "" },
		{ TAR_FILE, "./a/../../evil", "" },
		{ TAR_FILE, "./out/evil", "" }, /* a link to .. that the stream has made */
		{ TAR_FILE, "./there/evil", "" }, /* one that was there */
		{ TAR_FOLDER, "./out/evil", "" },
		{ TAR_SYMLINK, "./out/evil", "x" },
		{ TAR_HARD_LINK, "./mine", "../outside" },
		{ TAR_HARD_LINK, "./mine", "./out/outside" },
		{ TAR_HARD_LINK, "./mine", "/etc/passwd" },
		{ TAR_HARD_LINK, "./out/evil", "./inside" },
		{ TAR_FILE, ".", "" },
		{ TAR_FOLDER, ".", "" }, /* twice */
		{ TAR_FILE, "./sub", "" }, /* over a folder */
		{ TAR_FOLDER, "./out", "" }, /* a link is no folder */
	};

	for (size_t i = 0; i < array_size(ways); i++) {
		struct stage *stage;

		(void)teardown(state);
		(void)setup(state);
		stage = *state;
		put(stage, "outside", "safe", 0600);
		assert_int_equal(mkdirat(stage->dir, "d", 0700), 0);
		assert_int_equal(symlinkat("..", stage->dir, "d/there"), 0);
		say(stage, TAR_FOLDER, ".", "", 0700);
		say(stage, TAR_SYMLINK, "./out", "..", 0777);
		say(stage, TAR_FOLDER, "./sub", "", 0700);
		say_file(stage, "./inside", "x", 0600);
		say(stage, ways[i].kind, ways[i].path, ways[i].target, 0777);
		say_file(stage, "./after", "x", 0600);
		assert_true(receive(stage, RECEIVE_FOLDER, "d") < 0);
		expect(stage, "outside", "safe");
		assert_false(exists(stage, "evil"));
		assert_false(exists(stage, "d/mine"));
		assert_false(exists(stage, "d/after"));
	}
}

static void a_file_is_one_file(void **state)
{
	struct stage *stage = *state;

	say_file(stage, "./file", "1", 0600);
	say_file(stage, "./.bashrc", "2", 0600);
	assert_int_equal(receive(stage, RECEIVE_FILE, "file"), -E_PROTOCOL);
	assert_false(exists(stage, ".bashrc"));
	say(stage, TAR_HARD_LINK, "./file", "./outside", 0600);
	assert_int_equal(receive(stage, RECEIVE_FILE, "link"), -E_PROTOCOL);
	say(stage, TAR_FOLDER, "./file", "", 0600);
	assert_int_equal(receive(stage, RECEIVE_FILE, "folder"), -E_PROTOCOL);
	assert_int_equal(receive(stage, RECEIVE_FILE, "nothing"), -E_PROTOCOL);
}

static void contents_leave_the_folder_its_mode(void **state)
{
	struct stage *stage = *state;

	assert_int_equal(mkdirat(stage->dir, "d", 0700), 0);
	say(stage, TAR_FOLDER, ".", "", 0777);
	say_file(stage, "./file", "x", 0600);
	assert_int_equal(receive(stage, RECEIVE_CONTENTS, "d"), 0);
	assert_int_equal(look(stage, "d").st_mode, S_IFDIR | 0700);
	expect(stage, "d/file", "x");
}

/* ... of a hard link to what did not come, or of the file that it would replace. */
static void a_link_that_cannot_be_made_leaves_the_old(void **state)
{
	static const char *const targets[] = { "./gone", "./no/such", "./x/y" };
	struct stage *stage = *state;

	for (size_t i = 0; i < array_size(targets); i++) {
		assert_int_equal(mkdirat(stage->dir, "d", 0700), i ? -1 : 0);
		put(stage, "d/old", "old", 0600);
		say(stage, TAR_FOLDER, ".", "", 0700);
		say_file(stage, "./x", "x", 0600);
		say(stage, TAR_HARD_LINK, "./old", targets[i], 0600);
		assert_true(receive(stage, RECEIVE_FOLDER, "d") < 0);
		expect(stage, "d/old", "old");
	}
}

static void a_link_to_itself_changes_nothing(void **state)
{
	struct stage *stage = *state;

	say(stage, TAR_FOLDER, ".", "", 0700);
	say_file(stage, "./x", "x", 0600);
	say(stage, TAR_HARD_LINK, "./y", "./x", 0600);
	say(stage, TAR_HARD_LINK, "./y", "./x", 0600);
	say(stage, TAR_HARD_LINK, "./x", "./x", 0600);
	assert_int_equal(receive(stage, RECEIVE_FOLDER, "d"), 0);
	expect(stage, "d/y", "x");
	assert_int_equal(look(stage, "d/x").st_nlink, 2);
}

static void a_folder_repeated_takes_no_memory(void **state)
{
	struct stage *stage = *state;

	say(stage, TAR_FOLDER, ".", "", 0700);
	for (unsigned i = 0; i < 1000; i++)
		say(stage, TAR_FOLDER, "./sub", "", i % 2 ? 0700 : 0750);
	assert_int_equal(receive(stage, RECEIVE_FOLDER, "d"), 0);
	assert_int_equal(look(stage, "d/sub").st_mode, S_IFDIR | 0700);
}

static void zeroes_become_holes(void **state)
{
	struct stage *stage = *state;
	const struct tar_entry entry = { TAR_FILE, "./x", "", 0600, 1 << 20, { 0, 0 } };

	tar_add_entry(&stage->stream, &entry);
	str_grow(&stage->stream, 1 << 20);
	memset(stage->stream.ptr + stage->stream.len, 0, 1 << 20);
	str_set_len(&stage->stream, stage->stream.len + (1 << 20));
	assert_int_equal(receive(stage, RECEIVE_FILE, "holes"), 0);
	assert_int_equal(look(stage, "holes").st_size, 1 << 20);
	assert_int_equal(look(stage, "holes").st_blocks, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tree_comes_back_as_it_was),
		TEST(links_that_appear_meanwhile_are_not_followed),
		TEST(a_file_takes_the_place_of_an_old_one),
		TEST(a_link_is_replaced_and_not_written_through),
		TEST(what_is_cut_short_leaves_the_old),
		TEST(no_special_bits_and_no_devices),
		TEST(ways_out),
		TEST(a_file_is_one_file),
		TEST(contents_leave_the_folder_its_mode),
		TEST(a_link_that_cannot_be_made_leaves_the_old),
		TEST(a_link_to_itself_changes_nothing),
		TEST(a_folder_repeated_takes_no_memory),
		TEST(zeroes_become_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
