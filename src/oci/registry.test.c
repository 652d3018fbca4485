/* SPDX-License-Identifier: Apache-2.0 */

/* A repository in a real registry: Debian's docker-registry, on a free port of this host. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/scratch.h"
#include "oci/hash.h"
#include "oci/name.h"
#include "oci/remote.h"

enum { BLOB = 3 * 1024 * 1024 + 17, CHUNK = 1024 * 1024 };

static struct scratch scratch;
static pid_t registry;
static int port;

static int connect_to_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static int free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&address, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return -1;
	return ntohs(address.sin_port);
}

static int start_registry(void)
{
	auto_free char *config = str_format("%s/config.yml", scratch.path);
	const char *const argv[] = { "/usr/bin/docker-registry", "serve", config, NULL };
	const struct process_spec spec = { .argv = argv };
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	port = free_port();
	str_addf(&text,
		 "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
		 "storage: {filesystem: {rootdirectory: %s/storage}, delete: {enabled: true}}\n"
		 "http: {addr: '127.0.0.1:%d'}\n",
		 scratch.path, port);
	if (fs_replace_file(AT_FDCWD, config, text.ptr, text.len, 0600, &err) < 0 ||
	    process_start(&spec, &registry, &err) < 0)
		return -1;
	for (int i = 0; i < 600 && connect_to_port() < 0; i++)
		clock_sleep_ms(50);
	return connect_to_port();
}

static int set_up(void **state)
{
	(void)state;
	(void)setenv("LINZER_RETRY_BASE_MS", "1", 1);
	return scratch_open(&scratch, scratch_place()) < 0 ? -1 : start_registry();
}

static int tear_down(void **state)
{
	(void)state;
	if (registry > 0) {
		(void)kill(registry, SIGKILL);
		(void)waitpid(registry, NULL, 0);
	}
	return scratch_close(&scratch);
}

static struct remote *open_repository(const char *repository, uint64_t chunk_size)
{
	auto_free char *text = str_format("127.0.0.1:%d/%s", port, repository);
	const struct remote_options options = { .insecure = true,
						.chunk_size = chunk_size,
						.home = scratch.path };
	auto_oci_name name = OCI_NAME_INIT;
	struct error err = ERROR_INIT;
	struct remote *remote = NULL;

	assert_int_equal(oci_name_parse(text, &name, &err), 0);
	assert_int_equal(remote_open(&name, &options, true, &remote, &err), 0);
	return remote;
}

static void make_blob(uint8_t *bytes, size_t len, uint32_t seed, struct blob *blob)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	hash_bytes(bytes, len, &blob->digest);
	blob->size = len;
}

static void check_blob(struct remote *remote, const struct blob *blob, const uint8_t *bytes)
{
	auto_str got = STR_INIT;
	struct error err = ERROR_INIT;

	if (remote_get_small_blob(remote, blob, BLOB, &got, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(got.len, blob->size);
	assert_memory_equal(got.ptr, bytes, got.len);
}

static void a_blob_travels_in_one_put(void **state)
{
	struct remote *remote = open_repository("one/put", 0);
	auto_free uint8_t *bytes = xmalloc(BLOB);
	struct error err = ERROR_INIT;
	struct blob blob;

	(void)state;
	make_blob(bytes, BLOB, 1, &blob);
	assert_int_equal(remote_has_blob(remote, &blob, &err), 0);
	if (remote_put_small_blob(remote, &blob, bytes, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(remote_has_blob(remote, &blob, &err), 1);
	check_blob(remote, &blob, bytes);
	blob.size++; /* the registry's size is not the one that is meant */
	assert_int_equal(remote_has_blob(remote, &blob, &err), 0);
	remote_free(remote);
}

static void a_file_travels_in_chunks(void **state)
{
	struct remote *remote = open_repository("many/chunks", CHUNK);
	auto_free uint8_t *bytes = xmalloc(BLOB);
	auto_free char *path = str_format("%s/blob", scratch.path);
	auto_fd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct error err = ERROR_INIT;
	struct blob blob;

	(void)state;
	make_blob(bytes, BLOB, 2, &blob);
	assert_int_equal(fs_write_all(fd, bytes, BLOB, &err), 0);
	if (remote_put_blob(remote, &blob, fd, &err) < 0)
		fail_msg("%s", err.text);
	check_blob(remote, &blob, bytes);
	remote_free(remote);
}

static void an_empty_blob_travels(void **state)
{
	struct remote *remote = open_repository("empty", 0);
	struct error err = ERROR_INIT;
	struct blob blob;

	(void)state;
	make_blob(NULL, 0, 0, &blob);
	if (remote_put_small_blob(remote, &blob, "", &err) < 0)
		fail_msg("%s", err.text);
	check_blob(remote, &blob, (const uint8_t *)"");
	remote_free(remote);
}

static void a_blob_is_mounted_from_another_repository(void **state)
{
	struct remote *from = open_repository("mount/from", 0),
		      *to = open_repository("mount/to", 0);
	auto_oci_name name = OCI_NAME_INIT;
	auto_free char *text = str_format("127.0.0.1:%d/mount/from", port);
	uint8_t bytes[1000];
	struct error err = ERROR_INIT;
	struct blob blob, other;

	(void)state;
	make_blob(bytes, sizeof(bytes), 3, &blob);
	make_blob(bytes, 999, 4, &other);
	assert_int_equal(oci_name_parse(text, &name, &err), 0);
	make_blob(bytes, sizeof(bytes), 3, &blob);
	assert_int_equal(remote_put_small_blob(from, &blob, bytes, &err), 0);
	assert_int_equal(remote_mount_blob(to, &blob, &name, &err), 1);
	check_blob(to, &blob, bytes);
	assert_int_equal(remote_mount_blob(to, &other, &name, &err), 0); /* it is nowhere */
	remote_free(from);
	remote_free(to);
}

static void put_manifest(struct remote *remote, const char *tag, struct str *text)
{
	static const char config[] = "{}";
	char digest[DIGEST_TEXT];
	struct error err = ERROR_INIT;
	struct blob blob = { .size = 2 };

	hash_bytes(config, 2, &blob.digest);
	digest_format(&blob.digest, digest);
	str_addf(text,
		 "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_MANIFEST "\",\"config\":"
		 "{\"mediaType\":\"" OCI_MEDIA_CONFIG "\",\"size\":2,\"digest\":\"%s\"},"
		 "\"layers\":[]}",
		 digest);
	if (remote_put_small_blob(remote, &blob, config, &err) < 0 ||
	    remote_put_manifest(remote, tag, OCI_MEDIA_MANIFEST, text->ptr, text->len, &err) < 0)
		fail_msg("%s", err.text);
}

static void a_manifest_travels(void **state)
{
	struct remote *remote = open_repository("a/manifest", 0);
	auto_str text = STR_INIT, by_tag = STR_INIT, by_digest = STR_INIT;
	struct digest digest, wanted;
	char reference[DIGEST_TEXT];
	struct error err = ERROR_INIT;

	(void)state;
	put_manifest(remote, "v1", &text);
	assert_int_equal(remote_get_manifest(remote, "v1", &by_tag, &digest, &err), 0);
	assert_string_equal(by_tag.ptr, text.ptr);
	hash_bytes(text.ptr, text.len, &wanted);
	assert_true(digest_equal(&digest, &wanted));
	digest_format(&digest, reference);
	assert_int_equal(remote_get_manifest(remote, reference, &by_digest, &digest, &err), 0);
	assert_string_equal(by_digest.ptr, text.ptr);
	remote_free(remote);
}

static void what_is_missing_is_named(void **state)
{
	struct remote *remote = open_repository("no/such", 0);
	auto_str out = STR_INIT;
	auto_free char *wanted = str_format(
		"Error: UnexpectedHTTPStatusCode(when: \"pulling manifest\", code: 404, details: "
		"\"GET http://127.0.0.1:%d/v2/no/such/manifests/v1: MANIFEST_UNKNOWN: manifest "
		"unknown\")",
		port);
	struct digest digest;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_get_manifest(remote, "v1", &out, &digest, &err), -E_FAILED);
	assert_string_equal(err.text, wanted);
	assert_int_equal(out.len, 0);
	remote_free(remote);
}

static void a_login_without_need_is_accepted(void **state)
{
	auto_free char *host = str_format("127.0.0.1:%d", port);
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_check_login(host, true, "user", "password", &err), 0);
}

static void a_registry_that_is_not_there_is_tried_and_named(void **state)
{
	auto_free char *host = str_format("127.0.0.1:%d", free_port());
	auto_free char *start = str_format("GET http://%s/v2/: ", host);
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(remote_check_login(host, true, "user", "password", &err) < 0);
	assert_true(str_starts(err.text, start));
	assert_true(str_ends(err.text, ": Connection refused"));
}

struct sharer {
	struct remote *remote;
	struct blob blob;
	const uint8_t *bytes;
	unsigned right;
};

static void *get_and_look(void *arg)
{
	struct sharer *sharer = arg;

	for (int i = 0; i < 5; i++) {
		auto_str got = STR_INIT;
		struct error err = ERROR_INIT;

		if (remote_get_small_blob(sharer->remote, &sharer->blob, BLOB, &got, &err) == 0 &&
		    remote_has_blob(sharer->remote, &sharer->blob, &err) == 1 &&
		    memcmp(got.ptr, sharer->bytes, sharer->blob.size) == 0)
			__atomic_add_fetch(&sharer->right, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void threads_share_a_repository(void **state)
{
	auto_free uint8_t *bytes = xmalloc(BLOB);
	struct sharer sharer = { .remote = open_repository("shared", 0), .bytes = bytes };
	struct error err = ERROR_INIT;
	pthread_t threads[8];

	(void)state;
	make_blob(bytes, BLOB, 9, &sharer.blob);
	assert_int_equal(remote_put_small_blob(sharer.remote, &sharer.blob, bytes, &err), 0);
	for (size_t i = 0; i < array_size(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_look, &sharer), 0);
	for (size_t i = 0; i < array_size(threads); i++)
		(void)pthread_join(threads[i], NULL);
	assert_int_equal(sharer.right, 5 * array_size(threads));
	remote_free(sharer.remote);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_blob_travels_in_one_put),
		cmocka_unit_test(a_file_travels_in_chunks),
		cmocka_unit_test(an_empty_blob_travels),
		cmocka_unit_test(a_blob_is_mounted_from_another_repository),
		cmocka_unit_test(a_manifest_travels),
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(threads_share_a_repository),
		cmocka_unit_test(a_login_without_need_is_accepted),
		cmocka_unit_test(a_registry_that_is_not_there_is_tried_and_named),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
