/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/scratch.h"
#include "oci/hash.h"
#include "oci/layout_index.h"
#include "oci/name.h"
#include "oci/remote.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ENTRY(hex, name)                                                                 \
	"{\"mediaType\":\"x\",\"digest\":\"sha256:" hex "\",\"size\":7,\"annotations\":" \
	"{\"org.opencontainers.image.ref.name\":\"" name "\",\"other\":\"kept\"}}"
#define UNNAMED(hex) "{\"mediaType\":\"x\",\"digest\":\"sha256:" hex "\",\"size\":7}"
#define INDEX(manifests) "{\"schemaVersion\":2,\"manifests\":[" manifests "],\"own\":1}"

static struct scratch scratch;
static char path[200]; /* a directory of the test's own */

static int set_up(void **state)
{
	static int count;

	(void)state;
	if (!count && scratch_open(&scratch, scratch_place()) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/%d", scratch.path, count++);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return scratch_close(&scratch);
}

static int open_layout(bool write, struct remote **remote, struct error *err)
{
	const struct remote_options options = { .home = scratch.path };
	const struct oci_name name = { .repository = path };

	return remote_open(&name, &options, write, remote, err);
}

static struct remote *must_open(bool write)
{
	struct remote *remote = NULL;
	struct error err = ERROR_INIT;

	if (open_layout(write, &remote, &err) < 0)
		fail_msg("%s", err.text);
	return remote;
}

static struct blob blob_of(const char *text)
{
	struct blob blob = { .size = strlen(text) };

	hash_bytes(text, strlen(text), &blob.digest);
	return blob;
}

static char *blob_path(const struct blob *blob)
{
	char digest[DIGEST_TEXT];

	digest_format(&blob->digest, digest);
	return str_format("%s/blobs/sha256/%s", path, digest + strlen("sha256:"));
}

static void write_file(const char *where, const char *text)
{
	struct error err = ERROR_INIT;

	if (fs_replace_file(AT_FDCWD, where, text, strlen(text), 0600, &err) < 0)
		fail_msg("%s", err.text);
}

/* An image that skopeo takes for one. */
static void put_image(struct remote *remote, const char *tag, const char *layer, struct str *text)
{
	static const char config[] =
		"{\"architecture\":\"arm64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
		"\"diff_ids\":[]},\"config\":{\"Labels\":{\"a\":\"b\"}}}";
	struct blob blobs[] = { blob_of(config), blob_of(layer) };
	char digests[2][DIGEST_TEXT];
	struct error err = ERROR_INIT;

	digest_format(&blobs[0].digest, digests[0]);
	digest_format(&blobs[1].digest, digests[1]);
	str_addf(text,
		 "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_MANIFEST "\",\"config\":"
		 "{\"mediaType\":\"" OCI_MEDIA_CONFIG
		 "\",\"size\":%zu,\"digest\":\"%s\"},\"layers\":"
		 "[{\"mediaType\":\"application/vnd.cirruslabs.tart.disk.v2\",\"size\":%zu,"
		 "\"digest\":\"%s\"}]}",
		 strlen(config), digests[0], strlen(layer), digests[1]);
	if (remote_put_small_blob(remote, &blobs[0], config, &err) < 0 ||
	    remote_put_small_blob(remote, &blobs[1], layer, &err) < 0 ||
	    remote_put_manifest(remote, tag, OCI_MEDIA_MANIFEST, text->ptr, text->len, &err) < 0)
		fail_msg("%s", err.text);
}

static void check_manifest(struct remote *remote, const char *reference, const char *text)
{
	auto_str got = STR_INIT;
	struct digest digest, wanted;
	struct error err = ERROR_INIT;

	if (remote_get_manifest(remote, reference, &got, &digest, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(got.ptr, text);
	hash_bytes(text, strlen(text), &wanted);
	assert_true(digest_equal(&digest, &wanted));
}

static void an_image_comes_back(void **state)
{
	struct remote *remote = must_open(true);
	auto_str text = STR_INIT, got = STR_INIT;
	struct blob blob = blob_of("layer");
	char digest[DIGEST_TEXT];
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_has_blob(remote, &blob, &err), 0);
	put_image(remote, "v1", "layer", &text);
	assert_int_equal(remote_has_blob(remote, &blob, &err), 1);
	remote_free(remote);
	remote = must_open(false);
	check_manifest(remote, "v1", text.ptr);
	assert_int_equal(remote_get_small_blob(remote, &blob, 5, &got, &err), 0);
	assert_string_equal(got.ptr, "layer");
	assert_int_equal(remote_get_small_blob(remote, &blob, 4, &got, &err), -E_TOO_BIG);
	assert_int_equal(remote_mount_blob(remote, &blob, NULL, &err), 0);
	blob = blob_of(text.ptr);
	digest_format(&blob.digest, digest);
	check_manifest(remote, digest, text.ptr);
	remote_free(remote);
}

static void a_tag_moves_and_the_old_manifest_stays(void **state)
{
	struct remote *remote = must_open(true);
	auto_str old = STR_INIT, new = STR_INIT;
	char digest[DIGEST_TEXT];
	struct blob blob;

	(void)state;
	put_image(remote, "v1", "old", &old);
	put_image(remote, "v1", "new", &new);
	check_manifest(remote, "v1", new.ptr);
	blob = blob_of(old.ptr);
	digest_format(&blob.digest, digest);
	check_manifest(remote, digest, old.ptr);
	remote_free(remote);
}

static void *put_many(void *arg)
{
	struct remote *remote = must_open(true);

	for (int i = 0; i < 10; i++) {
		auto_free char *tag = str_format("%s-%d", (const char *)arg, i);
		auto_str text = STR_INIT;

		put_image(remote, tag, "the same", &text);
	}
	remote_free(remote);
	return NULL;
}

static void writers_at_once_lose_no_name(void **state)
{
	static char names[4][2] = { "a", "b", "c", "d" };
	pthread_t threads[4];
	struct remote *remote;
	auto_str out = STR_INIT;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, put_many, names[i]), 0);
	for (size_t i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	remote = must_open(false);
	for (int i = 0; i < 40; i++) {
		auto_free char *tag = str_format("%s-%d", names[i % 4], i / 4);
		struct digest digest;
		struct error err = ERROR_INIT;

		if (remote_get_manifest(remote, tag, &out, &digest, &err) < 0)
			fail_msg("%s", err.text);
	}
	remote_free(remote);
}

static void get_fails(struct remote *remote, const struct blob *blob, const char *why)
{
	auto_str got = STR_INIT;
	struct error err = ERROR_INIT;

	assert_true(remote_get_small_blob(remote, blob, 1000, &got, &err) < 0);
	assert_true(str_starts(err.text, "oci:"));
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
	assert_int_equal(got.len, 0);
}

static void a_broken_blob_is_refused(void **state)
{
	struct remote *remote = must_open(true);
	auto_str text = STR_INIT, got = STR_INIT;
	struct blob blob = blob_of("layer");
	auto_free char *file = blob_path(&blob);
	struct digest digest;
	struct error err = ERROR_INIT;

	(void)state;
	put_image(remote, "v1", "layer", &text);
	write_file(file, "LAYER");
	get_fails(remote, &blob, "the digest of blob");
	write_file(file, "layer and more");
	get_fails(remote, &blob, "14 bytes instead of 5");
	assert_int_equal(unlink(file), 0);
	get_fails(remote, &blob, "No such file");
	blob = blob_of(text.ptr);
	free(take(file));
	file = blob_path(&blob);
	text.ptr[0] = ' ';
	write_file(file, text.ptr);
	assert_int_equal(remote_get_manifest(remote, "v1", &got, &digest, &err), -E_INVALID);
	remote_free(remote);
}

static void links_are_not_followed(void **state)
{
	struct remote *remote = must_open(true);
	auto_str text = STR_INIT, got = STR_INIT;
	struct blob blob = blob_of("layer");
	auto_free char *file = blob_path(&blob);
	auto_free char *outside = str_format("%s-outside", path);
	auto_free char *index = str_format("%s/index.json", path);
	auto_free char *blobs = str_format("%s/blobs", path);
	struct digest digest;
	struct error err = ERROR_INIT;

	(void)state;
	put_image(remote, "v1", "layer", &text);
	write_file(outside, "layer");
	assert_int_equal(unlink(file), 0);
	assert_int_equal(symlink(outside, file), 0);
	get_fails(remote, &blob, "symbolic links");
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkfifo(file, 0600), 0);
	get_fails(remote, &blob, "not a regular file");
	assert_int_equal(unlink(index), 0);
	assert_int_equal(symlink(outside, index), 0);
	assert_int_equal(remote_get_manifest(remote, "v1", &got, &digest, &err), -ELOOP);
	remote_free(remote);
	assert_int_equal(rename(blobs, outside), -1); /* a file is there */
	assert_int_equal(unlink(outside), 0);
	assert_int_equal(rename(blobs, outside), 0);
	assert_int_equal(symlink(outside, blobs), 0);
	assert_true(open_layout(false, &remote, &err) < 0);
}

static void what_is_no_layout_is_left_alone(void **state)
{
	auto_free char *file = str_format("%s/file", path);
	auto_free char *marker = str_format("%s/oci-layout", path);
	struct remote *remote = NULL;
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(open_layout(false, &remote, &err) < 0); /* reading makes nothing */
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(open_layout(false, &remote, &err), -E_INVALID);
	write_file(file, "something");
	assert_int_equal(open_layout(true, &remote, &err), -E_FAILED);
	assert_int_equal(access(marker, F_OK), -1);
	write_file(marker, "{\"imageLayoutVersion\": \"2.0.0\"}");
	assert_int_equal(open_layout(false, &remote, &err), -E_INVALID);
	assert_null(remote);
}

static void what_a_killed_writer_left_goes(void **state)
{
	struct remote *remote = must_open(true);
	auto_free char *left = str_format("%s/blobs/sha256/.linzer-0011", path);
	auto_free char *used = str_format("%s/blobs/sha256/.linzer-2233", path);
	struct error err = ERROR_INIT;
	auto_fd lock = -1;

	(void)state;
	remote_free(remote);
	write_file(left, "half");
	lock = lock_file(AT_FDCWD, used, true, LOCK_WAIT, &err);
	assert_true(lock >= 0);
	remote = must_open(true);
	assert_int_equal(access(left, F_OK), -1);
	assert_int_equal(access(used, F_OK), 0);
	remote_free(remote);
}

static void a_blob_that_is_not_what_it_should_be_is_not_kept(void **state)
{
	struct remote *remote = must_open(true);
	struct blob blob = blob_of("layer");
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_put_small_blob(remote, &blob, "LAYER", &err), -E_INVALID);
	assert_int_equal(remote_has_blob(remote, &blob, &err), 0);
	remote_free(remote);
}

static int find(const char *index_text, const char *reference, struct layout_entry *entry)
{
	auto_json *index = NULL;
	struct error err = ERROR_INIT;

	if (layout_index_parse(index_text, strlen(index_text), &index, &err) < 0)
		fail_msg("%s", err.text);
	return layout_index_find(index, reference, entry, &err);
}

static void names_are_found(void **state)
{
	struct layout_entry entry = { 0 };

	(void)state;
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1") "," ENTRY(HEX_B, "v2")), "v2", &entry), 1);
	assert_int_equal(entry.digest.bytes[0], 0xbb);
	assert_int_equal(entry.size, 7);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1")), "v2", &entry), 0);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1")), "sha256:" HEX_A, &entry), 1);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "localhost/x:v1")), "v1", &entry), 1);
	/* the name itself counts more than its end */
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "x:v1") "," ENTRY(HEX_B, "v1")), "v1", &entry), 1);
	assert_int_equal(entry.digest.bytes[0], 0xbb);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1") "," ENTRY(HEX_B, "v1")), "v1", &entry),
			 -E_INVALID);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1") "," ENTRY(HEX_A, "v1")), "v1", &entry), 1);
}

static void a_single_manifest_without_name_is_the_latest(void **state)
{
	struct layout_entry entry = { 0 };

	(void)state;
	assert_int_equal(find(INDEX(UNNAMED(HEX_A)), "latest", &entry), 1);
	assert_int_equal(find(INDEX(UNNAMED(HEX_A)), "v1", &entry), 0);
	assert_int_equal(find(INDEX(ENTRY(HEX_A, "v1")), "latest", &entry), 0);
	assert_int_equal(find(INDEX(UNNAMED(HEX_A) "," UNNAMED(HEX_B)), "latest", &entry), 0);
	assert_int_equal(find(INDEX(), "latest", &entry), 0);
}

/* One more, and nobody could read the index any more. */
static void a_full_index_is_left_alone(void **state)
{
	struct remote *remote = must_open(true);
	auto_str index = STR_INIT, now = STR_INIT, text = STR_INIT;
	struct error err = ERROR_INIT;
	auto_free char *file = str_format("%s/index.json", path);

	(void)state;
	put_image(remote, "v1", "layer", &text);
	str_adds(&index, "{\"schemaVersion\":2,\"manifests\":[{}");
	for (size_t i = 1; i < LAYOUT_MANIFESTS_MAX; i++)
		str_adds(&index, ",{}");
	str_adds(&index, "]}");
	assert_int_equal(fs_replace_file(AT_FDCWD, file, index.ptr, index.len, 0600, &err), 0);
	assert_int_equal(remote_put_manifest(remote, "v2", OCI_MEDIA_MANIFEST, text.ptr, text.len,
					     &err),
			 -E_TOO_BIG);
	assert_non_null(strstr(err.text, "more than 16384 manifests"));
	assert_int_equal(fs_read_file(AT_FDCWD, file, LAYOUT_INDEX_MAX, &now, &err), 0);
	assert_string_equal(now.ptr, index.ptr);
	remote_free(remote);
}

static void strangers_in_an_index_are_kept(void **state)
{
	static const char before[] =
		INDEX(ENTRY(HEX_A, "v1") "," UNNAMED(HEX_B) "," ENTRY(HEX_A, "v2"));
	static const char after[] =
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"digest\":"
		"\"sha256:" HEX_A "\",\"size\":7,\"annotations\":{\"other\":\"kept\"}},{"
		"\"mediaType\":\"x\",\"digest\":"
		"\"sha256:" HEX_B "\",\"size\":7,\"annotations\":"
		"{\"org.opencontainers.image.ref.name\":\"v1\"}}," ENTRY(HEX_A,
									 "v2") "],\"own\":1}";
	struct layout_entry entry = { .size = 7 };
	auto_json *index = NULL;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(digest_parse("sha256:" HEX_B, &entry.digest), 0);
	assert_int_equal(layout_index_parse(before, strlen(before), &index, &err), 0);
	layout_index_set(index, "v1", "x", &entry);
	json_add_compact(&text, index);
	assert_string_equal(text.ptr, after);
	layout_index_set(index, "sha256:" HEX_B, "x", &entry); /* nothing to do */
	str_reset(&text);
	json_add_compact(&text, index);
	assert_string_equal(text.ptr, after);
}

static void skopeo_fails_not(const char *const *argv, struct str *out)
{
	const struct process_spec spec = { .argv = argv };
	auto_str errors = STR_INIT;
	struct error err = ERROR_INIT;
	int r = process_run(&spec, NULL, out, 1024 * 1024, &errors, 60000, &err);

	if (r != 0)
		fail_msg("%s%s", err.text, errors.ptr);
}

static void skopeo_reads_what_we_write(void **state)
{
	struct remote *remote = must_open(true);
	auto_free char *image = str_format("oci:%s:v1", path);
	auto_free char *to = str_format("dir:%s-copy", path);
	const char *const inspect[] = { "/usr/bin/skopeo", "inspect", image, NULL };
	const char *const copy[] = {
		"/usr/bin/skopeo", "copy", "--insecure-policy", image, to, NULL
	};
	auto_str text = STR_INIT, out = STR_INIT;

	(void)state;
	put_image(remote, "v0", "older layer", &text);
	str_reset(&text);
	put_image(remote, "v1", "layer", &text);
	remote_free(remote);
	skopeo_fails_not(inspect, &out);
	assert_non_null(strstr(out.ptr, "\"a\": \"b\""));
	skopeo_fails_not(copy, NULL);
}

static void we_read_what_skopeo_writes(void **state)
{
	struct remote *remote = must_open(true);
	auto_str text = STR_INIT;
	auto_free char *from = str_format("oci:%s:v1", path);
	auto_free char *to = str_format("oci:%s-copy:other", path);
	auto_free char *named = str_format("oci:%s-copy:localhost/x/y:third", path);
	auto_free char *unnamed = str_format("oci:%s-single", path);
	const char *targets[] = { to, named, unnamed };

	(void)state;
	put_image(remote, "v1", "layer", &text);
	remote_free(remote);
	for (size_t i = 0; i < 3; i++)
		skopeo_fails_not((const char *const[]){ "/usr/bin/skopeo", "copy",
							"--insecure-policy", from, targets[i],
							NULL },
				 NULL);
	(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "-copy");
	remote = must_open(false);
	check_manifest(remote, "other", text.ptr);
	check_manifest(remote, "third", text.ptr);
	remote_free(remote);
	(void)snprintf(path + strlen(path) - strlen("copy"), sizeof(path) - strlen(path) + 4,
		       "single");
	remote = must_open(false);
	check_manifest(remote, "latest", text.ptr);
	remote_free(remote);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_image_comes_back, set_up),
		cmocka_unit_test_setup(a_tag_moves_and_the_old_manifest_stays, set_up),
		cmocka_unit_test_setup(writers_at_once_lose_no_name, set_up),
		cmocka_unit_test_setup(a_broken_blob_is_refused, set_up),
		cmocka_unit_test_setup(links_are_not_followed, set_up),
		cmocka_unit_test_setup(what_is_no_layout_is_left_alone, set_up),
		cmocka_unit_test_setup(what_a_killed_writer_left_goes, set_up),
		cmocka_unit_test_setup(a_blob_that_is_not_what_it_should_be_is_not_kept, set_up),
		cmocka_unit_test(names_are_found),
		cmocka_unit_test(a_single_manifest_without_name_is_the_latest),
		cmocka_unit_test(strangers_in_an_index_are_kept),
		cmocka_unit_test_setup(a_full_index_is_left_alone, set_up),
		cmocka_unit_test_setup(skopeo_reads_what_we_write, set_up),
		cmocka_unit_test_setup(we_read_what_skopeo_writes, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, tear_down);
}
