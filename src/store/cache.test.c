/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <sys/file.h>

#include "base/clock.h"
#include "base/lock.h"
#include "store/cache.h"
#include "store/origin.h"

#define HEX(c) "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define ONE HEX("11")
#define TWO HEX("22")

static const char config[] = "{\"version\":1,\"os\":\"linux\",\"arch\":\"amd64\",\"cpuCountMin\":1,"
			     "\"cpuCount\":1,\"memorySizeMin\":1073741824,"
			     "\"memorySize\":1073741824,\"macAddress\":\"7a:00:00:00:00:01\"}";

/* A file system without RENAME_NOREPLACE, such as ZFS before 2.2. */
static bool no_flags;
int __real_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
	if (!no_flags || !flags)
		return __real_renameat2(a, b, c, d, flags);
	errno = EINVAL;
	return -1;
}

static struct oci_name parse(const char *text)
{
	struct oci_name name = OCI_NAME_INIT;
	struct error err = ERROR_INIT;

	if (oci_name_parse(text, &name, &err) < 0)
		fail_msg("%s", err.text);
	return name;
}

static struct digest digest_of(const char *text)
{
	struct digest digest;

	assert_int_equal(digest_parse(text, &digest), 0);
	return digest;
}

/* A directory with an image's files, as a pull makes one. Its path is the caller's. */
static char *build(struct fixture *f, const char *disk)
{
	static int number;
	char *path = str_format("%s/pulls-%d", f->home.cache, number++);
	auto_fd dir = -1;

	assert_int_equal(mkdir(path, 0700), 0);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixture_put(dir, "config.json", config);
	fixture_put(dir, "nvram.bin", "nvram");
	if (disk)
		fixture_put(dir, "disk.img", disk);
	return path;
}

static void publish(struct fixture *f, const char *text, const char *digest, const char *disk)
{
	auto_oci_name name = parse(text);
	struct digest d = digest_of(digest);
	auto_free char *path = build(f, disk);

	assert_ok(f, cache_publish(&f->home, &name, &d, path, &f->err));
	assert_int_equal(access(path, F_OK), -1);
}

static void link_as(struct fixture *f, const char *text, const char *digest)
{
	auto_oci_name name = parse(text);
	struct digest d = digest_of(digest);

	assert_ok(f, cache_link(&f->home, &name, &d, &f->err));
}

static int find(struct fixture *f, const char *text, char found[DIGEST_TEXT])
{
	auto_oci_name name = parse(text);
	struct digest digest;
	int r = cache_find(&f->home, &name, &digest, &f->err);

	assert_true(r >= 0);
	if (r > 0)
		digest_format(&digest, found);
	return r;
}

static void assert_listed(struct fixture *f, const char *expected)
{
	auto_cache_entries entries = { 0 };
	auto_str text = STR_INIT;

	assert_ok(f, cache_list(&f->home, &entries, &f->err));
	for (size_t i = 0; i < entries.len; i++) {
		oci_name_add(&entries.items[i].name, &text);
		str_addc(&text, ' ');
		assert_int_equal(access(entries.items[i].path, F_OK), 0);
	}
	assert_string_equal(text.ptr, expected);
}

static void an_image_appears_and_is_found(void **state)
{
	struct fixture *f = *state;
	char found[DIGEST_TEXT];
	struct stat st;
	auto_free char *disk = str_format("%s/OCIs/h%%3A5/a/b/" ONE "/disk.img", f->home.cache);

	assert_int_equal(find(f, "h:5/a/b", found), 0);
	publish(f, "h:5/a/b", ONE, "disk");
	assert_int_equal(find(f, "h:5/a/b", found), 0);
	assert_int_equal(find(f, "h:5/a/b@" ONE, found), 1);
	link_as(f, "h:5/a/b:t", ONE);
	assert_int_equal(find(f, "h:5/a/b:t", found), 1);
	assert_string_equal(found, ONE);
	assert_int_equal(stat(disk, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	assert_listed(f, "h:5/a/b:t h:5/a/b@" ONE " ");
}

static void a_tag_moves_and_what_it_leaves_goes(void **state)
{
	struct fixture *f = *state;
	char found[DIGEST_TEXT];

	publish(f, "h/a", ONE, "one");
	link_as(f, "h/a:t", ONE);
	publish(f, "h/a", TWO, "two");
	link_as(f, "h/a:t", TWO);
	assert_int_equal(find(f, "h/a:t", found), 1);
	assert_string_equal(found, TWO);
	assert_listed(f, "h/a:t h/a@" TWO " ");
	link_as(f, "h/a@" TWO, TWO); /* as `pull` by digest */
	publish(f, "h/a", ONE, "one");
	link_as(f, "h/a:t", ONE);
	assert_listed(f, "h/a:t h/a@" ONE " h/a@" TWO " ");
}

static void one_that_is_there_is_kept(void **state)
{
	struct fixture *f = *state;
	auto_str text = STR_INIT;
	auto_vm vm = VM_INIT;
	auto_oci_name name = parse("h/a@" ONE);

	publish(f, "h/a", ONE, "first");
	publish(f, "h/a", ONE, "second");
	assert_ok(f, cache_open(&f->home, &name, true, &vm, &f->err));
	assert_ok(f, fs_read_file(vm.dir, "disk.img", 100, &text, &f->err));
	assert_string_equal(text.ptr, "first");
}

static void one_that_is_not_whole_is_replaced(void **state)
{
	struct fixture *f = *state;
	char found[DIGEST_TEXT];

	publish(f, "h/a/b", ONE, NULL);
	assert_int_equal(find(f, "h/a/b@" ONE, found), 0);
	publish(f, "h/a/b", ONE, "disk");
	assert_int_equal(find(f, "h/a/b@" ONE, found), 1);
}

static void what_is_missing_cannot_be_tagged(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a:t");
	struct digest d = digest_of(ONE);

	assert_fails(f, E_NOT_FOUND, "\"h/a:t\" does not exist",
		     cache_link(&f->home, &name, &d, &f->err));
	publish(f, "h/a", ONE, NULL);
	assert_fails(f, E_NOT_FOUND, "", cache_link(&f->home, &name, &d, &f->err));
}

static void a_repository_and_a_tag_in_one_place(void **state)
{
	struct fixture *f = *state;
	auto_oci_name below = parse("h/a/t:x"), tag = parse("h/b:c");
	struct digest d = digest_of(TWO);
	auto_free char *path = NULL;

	publish(f, "h/a", ONE, "disk");
	link_as(f, "h/a:t", ONE);
	path = build(f, "disk");
	assert_fails(f, E_FAILED, "'t' is the tag of another image",
		     cache_publish(&f->home, &below, &d, path, &f->err));
	publish(f, "h/b/c", TWO, "disk");
	link_as(f, "h/b/c:latest", TWO);
	publish(f, "h/b", TWO, "disk");
	assert_fails(f, E_FAILED, "a part of the name of another image",
		     cache_link(&f->home, &tag, &d, &f->err));
	assert_listed(f, "h/a:t h/a@" ONE " h/b/c:latest h/b/c@" TWO " h/b@" TWO " ");
}

static void an_open_image_cannot_be_removed(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a@" ONE);
	auto_str removed = STR_INIT;
	auto_vm vm = VM_INIT;
	char found[DIGEST_TEXT];

	publish(f, "h/a", ONE, "disk");
	assert_ok(f, cache_open(&f->home, &name, false, &vm, &f->err));
	assert_string_equal(vm.name, "h/a@" ONE);
	assert_fails(f, E_RUNNING, "is in use", cache_delete(&f->home, &name, &f->err));
	assert_ok(f, cache_gc(&f->home, &f->err));
	assert_ok(f, cache_prune(&f->home, -1, -1, true, &removed, &f->err));
	assert_string_equal(removed.ptr, "");
	assert_int_equal(find(f, "h/a@" ONE, found), 1);
	vm_release(&vm);
	assert_ok(f, cache_prune(&f->home, -1, -1, true, &removed, &f->err));
	assert_int_equal(find(f, "h/a@" ONE, found), 0);
	assert_fails(f, E_NOT_FOUND, "does not exist",
		     cache_open(&f->home, &name, true, &vm, &f->err));
}

static void what_its_maker_holds_is_not_collected(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = build(f, "disk");
	auto_oci_name name = parse("h/a:t");
	struct digest d = digest_of(ONE);
	auto_fd lock = lock_dir(AT_FDCWD, path, LOCK_WAIT, &f->err);
	char found[DIGEST_TEXT];

	assert_true(lock >= 0);
	assert_ok(f, cache_publish(&f->home, &name, &d, path, &f->err));
	assert_ok(f, cache_gc(&f->home, &f->err)); /* another's */
	assert_ok(f, cache_link(&f->home, &name, &d, &f->err));
	assert_int_equal(find(f, "h/a:t", found), 1);
}

static void a_cache_may_be_on_any_file_system(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a:t");

	no_flags = true;
	publish(f, "h/a", ONE, "disk");
	link_as(f, "h/a:t", ONE);
	assert_listed(f, "h/a:t h/a@" ONE " ");
	assert_ok(f, cache_delete(&f->home, &name, &f->err));
	assert_listed(f, "");
	no_flags = false;
}

/* What a killed pull leaves between the image's appearing and its tag's. */
static void one_that_has_no_tag_yet_is_not_collected(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a:u");
	char found[DIGEST_TEXT];

	publish(f, "h/a", ONE, "disk");
	assert_ok(f, cache_gc(&f->home, &f->err)); /* another's */
	assert_int_equal(find(f, "h/a@" ONE, found), 1);
	link_as(f, "h/a:t", ONE);
	link_as(f, "h/a:u", ONE);
	assert_ok(f, cache_delete(&f->home, &name, &f->err));
	assert_int_equal(find(f, "h/a@" ONE, found), 1);
	name.tag[0] = 't';
	assert_ok(f, cache_delete(&f->home, &name, &f->err));
	assert_int_equal(find(f, "h/a@" ONE, found), 0);
}

/* A pull moves the tag and its gc removes the image, after the reader has looked where the tag is.
 */
static void a_tag_that_moves_names_something(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a:t");
	auto_free char *one = str_format("%s/OCIs/h/a/" ONE, f->home.cache);
	auto_fd remover = -1;
	pid_t reader;
	int status;

	publish(f, "h/a", ONE, "one");
	link_as(f, "h/a:t", ONE);
	remover = lock_dir(AT_FDCWD, one, LOCK_WAIT, &f->err);
	assert_true(remover >= 0);
	reader = fork();
	assert_true(reader >= 0);
	if (reader == 0) {
		auto_vm vm = VM_INIT;

		(void)close(take_fd(&remover)); /* the lock is the parent's alone */
		_exit(cache_open(&f->home, &name, true, &vm, &f->err) == 0 && str_ends(vm.path, TWO)
			      ? 0
			      : 1);
	}
	clock_sleep_ms(300); /* it waits for the lock of the first */
	publish(f, "h/a", TWO, "two");
	link_as(f, "h/a:t", TWO);
	assert_ok(f, fs_remove_tree(AT_FDCWD, one, &f->err));
	(void)close(take_fd(&remover));
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
}

static const char manifest[] =
	"{\"config\":{\"digest\":\"" ONE "\",\"size\":1},\"layers\":["
	"{\"mediaType\":\"application/vnd.cirruslabs.tart.config.v1\",\"digest\":\"" ONE
	"\",\"size\":1},"
	"{\"mediaType\":\"application/vnd.cirruslabs.tart.disk.v2\",\"digest\":\"" ONE
	"\",\"size\":1,\"annotations\":{\"org.cirruslabs.tart.uncompressed-size\":\"42\","
	"\"org.cirruslabs.tart.uncompressed-content-digest\":\"" TWO "\"}},\n"
	"{\"mediaType\":\"application/vnd.cirruslabs.tart.nvram.v1\",\"digest\":\"" ONE
	"\",\"size\":1}]}";

static void an_origin_is_read_as_it_was_written(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a@" TWO);
	auto_origin origin = ORIGIN_INIT;
	auto_vm vm = VM_INIT;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	assert_int_equal(origin_read(&vm, &origin, &f->err), 0);
	assert_ok(f, origin_write(&vm, &name, manifest, strlen(manifest), &f->err));
	assert_int_equal(origin_read(&vm, &origin, &f->err), 1);
	assert_string_equal(origin.name.repository, "a");
	assert_string_equal(origin.name.digest, TWO);
	assert_int_equal(origin.manifest.disk_size, 42);
}

static void an_origin_that_lies_is_none(void **state)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{}",
		"{\"version\":2}",
		"{\"version\":1,\"name\":\"h/a\",\"digest\":\"" ONE "\",\"manifest\":\"{}\"}",
		"{\"version\":1,\"name\":\"h/a\",\"digest\":\"tag\",\"manifest\":\"{}\"}",
		"{\"version\":1,\"name\":7}",
	};
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	for (size_t i = 0; i < array_size(texts); i++) {
		struct origin origin = ORIGIN_INIT;

		fixture_put(vm.dir, "origin.json", texts[i]);
		assert_int_equal(origin_read(&vm, &origin, &f->err), 0);
	}
	assert_fails(f, E_INVALID, "not UTF-8",
		     origin_write(&vm, &(struct oci_name)OCI_NAME_INIT, "\xff", 1, &f->err));
}

static void a_clone_of_an_image_is_a_vm(void **state)
{
	struct fixture *f = *state;
	auto_oci_name name = parse("h/a:t");
	struct vm_clone how = { 0 };
	auto_vm vm = VM_INIT;
	auto_str text = STR_INIT;

	assert_fails(f, E_NOT_FOUND, "\"h/a:t\" does not exist",
		     vm_clone_image(&f->home, &name, "vm", &how, &f->err));
	publish(f, "h/a", ONE, "disk");
	link_as(f, "h/a:t", ONE);
	assert_ok(f, vm_clone_image(&f->home, &name, "vm", &how, &f->err));
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	assert_ok(f, fs_read_file(vm.dir, "disk.img", 100, &text, &f->err));
	assert_string_equal(text.ptr, "disk");
	how.no_clobber = true;
	assert_fails(f, E_FAILED, "already exists",
		     vm_clone_image(&f->home, &name, "vm", &how, &f->err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(an_image_appears_and_is_found),
		fixture_test(a_tag_moves_and_what_it_leaves_goes),
		fixture_test(one_that_is_there_is_kept),
		fixture_test(one_that_is_not_whole_is_replaced),
		fixture_test(what_is_missing_cannot_be_tagged),
		fixture_test(a_repository_and_a_tag_in_one_place),
		fixture_test(an_open_image_cannot_be_removed),
		fixture_test(what_its_maker_holds_is_not_collected),
		fixture_test(a_cache_may_be_on_any_file_system),
		fixture_test(one_that_has_no_tag_yet_is_not_collected),
		fixture_test(a_tag_that_moves_names_something),
		fixture_test(an_origin_is_read_as_it_was_written),
		fixture_test(an_origin_that_lies_is_none),
		fixture_test(a_clone_of_an_image_is_a_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
