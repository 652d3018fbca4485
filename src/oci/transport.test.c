/* SPDX-License-Identifier: Apache-2.0 */

/* What goes wrong between us and a registry. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/hash.h"
#include "oci/name.h"
#include "oci/remote.h"
#include "oci/scripted_server.h"
#include "oci/token.h"

#define CLOSE "Connection: close\r\n"
#define BEARER                                                                   \
	"HTTP/1.1 401 Unauthorized\r\n" CLOSE "Content-Length: 0\r\n"            \
	"WWW-Authenticate: Bearer realm=\"http://127.0.0.1:$PORT/token?old=1\"," \
	"service=\"the service\",scope=\"repository:a/b:pull\"\r\n\r\n"
#define BASIC                                                         \
	"HTTP/1.1 401 Unauthorized\r\n" CLOSE "Content-Length: 0\r\n" \
	"WWW-Authenticate: Basic realm=\"x\"\r\n\r\n"
#define TOKEN(text) "HTTP/1.1 200 OK\r\n" CLOSE "\r\n{\"token\":\"" text "\",\"expires_in\":300}"
#define STATUS(line) "HTTP/1.1 " line "\r\n" CLOSE "Content-Length: 0\r\n\r\n"
#define SENT_ON(line, where) \
	"HTTP/1.1 " line "\r\n" CLOSE "Content-Length: 0\r\nLocation: " where "\r\n\r\n"
#define BLOB_GET "GET /v2/a/b/blobs/sha256:"
#define USER_PASS "Authorization: Basic dXNlcjpwYXNz\r\n" /* user:pass */

enum { SIZE = 600000, HALF = 300000 };

static uint8_t bytes[SIZE];
static struct blob blob;
static struct server *server;
static bool cancelled;
static unsigned notices;

static int set_up_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 7919 >> 5);
	hash_bytes(bytes, SIZE, &blob.digest);
	blob.size = SIZE;
	(void)setenv("LINZER_RETRY_BASE_MS", "1", 1);
	(void)setenv("HOME", "/nonexistent", 1);
	(void)unsetenv("REGISTRY_AUTH_FILE");
	(void)unsetenv("DOCKER_CONFIG");
	(void)unsetenv("XDG_RUNTIME_DIR");
	(void)setenv("no_proxy", "*", 1);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	(void)setenv("TART_REGISTRY_USERNAME", "user", 1);
	(void)setenv("TART_REGISTRY_PASSWORD", "pass", 1);
	(void)setenv("LINZER_STALL_SECONDS", "30", 1);
	cancelled = false;
	notices = 0;
	return 0;
}

static void note(void *arg, const char *text)
{
	(void)arg;
	(void)text;
	__atomic_add_fetch(&notices, 1, __ATOMIC_RELAXED);
}

static bool is_cancelled(void *arg)
{
	(void)arg;
	return __atomic_load_n(&cancelled, __ATOMIC_RELAXED);
}

static struct remote *begin_chunked(const struct server_step *steps, size_t count, bool write,
				    uint64_t chunk_size)
{
	const struct remote_options options = { .insecure = true,
						.chunk_size = chunk_size,
						.notice = note,
						.cancelled = is_cancelled,
						.home = "/nonexistent" };
	char repository[] = "a/b", host[32];
	struct oci_name name = { .host = host, .repository = repository };
	struct remote *remote = NULL;
	struct error err = ERROR_INIT;

	server = server_start(steps, count);
	(void)snprintf(host, sizeof(host), "127.0.0.1:%d", server_port(server));
	assert_int_equal(remote_open(&name, &options, write, &remote, &err), 0);
	return remote;
}

#define BEGIN(steps, write) begin_chunked(steps, array_size(steps), write, 0)

static void end(struct remote *remote)
{
	const char *why = server_end(server);

	remote_free(remote);
	if (*why)
		fail_msg("%s", why);
}

static void blob_comes(struct remote *remote)
{
	auto_str got = STR_INIT;
	struct error err = ERROR_INIT;

	if (remote_get_small_blob(remote, &blob, SIZE, &got, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(got.len, SIZE);
	assert_memory_equal(got.ptr, bytes, SIZE);
	end(remote);
}

/* Its error says @why, the address, and no secret. */
static void blob_fails(struct remote *remote, int code, const char *why)
{
	auto_str got = STR_INIT;
	struct error err = ERROR_INIT;
	int r = remote_get_small_blob(remote, &blob, SIZE, &got, &err);

	end(remote);
	if (r != -code || !strstr(err.text, why))
		fail_msg("%d: '%s' does not say '%s'", r, err.text, why);
	assert_non_null(strstr(err.text, "127.0.0.1"));
	assert_null(strstr(err.text, "secret"));
	assert_null(strstr(err.text, "dXNlcjpwYXNz"));
	assert_int_equal(got.len, 0);
}

#define WHOLE "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 600000\r\nETag: \"e\"\r\n\r\n"
#define REST(range) "HTTP/1.1 206 Partial\r\n" CLOSE "Content-Range: bytes " range "\r\n\r\n"

static void a_blob_is_resumed_where_it_broke_off(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, "Range", WHOLE, bytes, HALF },
		{ BLOB_GET, "Range: bytes=300000-\r\nIf-Range: \"e\"\r\n", NULL,
		  REST("300000-599999/600000"), bytes + HALF, 1000 },
		{ BLOB_GET, "Range: bytes=301000-\r\n", "If-Range", REST("301000-599999/600000"),
		  bytes + 301000, SIZE - 301000 },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
	assert_int_equal(notices, 2);
}

static void a_registry_without_ranges_is_read_again(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, WHOLE, bytes, HALF },
		{ BLOB_GET, "Range: bytes=300000-\r\n", NULL, WHOLE, bytes, SIZE },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
}

static void progress_makes_the_count_begin_anew(void **state)
{
	struct server_step steps[8];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		steps[i] = (struct server_step){ BLOB_GET, NULL, NULL, STATUS("503 Busy") };
	steps[3] = (struct server_step){ BLOB_GET, NULL, NULL, WHOLE, bytes, HALF };
	steps[6] = (struct server_step){ BLOB_GET,     "Range: bytes=300000-\r\n",
					 NULL,	       REST("300000-599999/600000"),
					 bytes + HALF, HALF };
	blob_comes(begin_chunked(steps, 7, false, 0));
}

static void a_bad_line_is_put_up_with(void **state)
{
	enum { PIECE = 40000, COUNT = SIZE / PIECE };
	struct server_step steps[COUNT];
	char replies[COUNT][100];

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		(void)snprintf(replies[i], sizeof(replies[i]), REST("%zu-599999/600000"),
			       i * PIECE);
		steps[i] =
			(struct server_step){ BLOB_GET,		 NULL, NULL, i ? replies[i] : WHOLE,
					      bytes + i * PIECE, PIECE };
	}
	blob_comes(BEGIN(steps, false));
}

static void five_failures_are_enough(void **state)
{
	struct server_step steps[5];

	(void)state;
	for (size_t i = 0; i < 5; i++)
		steps[i] = (struct server_step){
			BLOB_GET, NULL, NULL,
			"HTTP/1.1 500 Oh\r\n" CLOSE "\r\n"
			"{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"disk\\u001b full\"}]}"
		};
	blob_fails(BEGIN(steps, false), E_FAILED,
		   "Error: UnexpectedHTTPStatusCode(when: \"pulling blob\", code: 500, details: "
		   "\"GET ");
}

static void the_rest_has_to_be_the_rest(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, WHOLE, bytes, HALF },
		{ BLOB_GET, NULL, NULL, REST("299999-599999/600000"), bytes + HALF, HALF },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_PROTOCOL, "the rest from byte 300000 was asked for");
}

static void a_part_that_nobody_asked_for_is_refused(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, REST("5-9/600000"), bytes, 5 },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_PROTOCOL, "the rest from byte 0 was asked for");
}

static void a_blob_of_another_length_is_refused_at_once(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL,
		  "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 600001\r\n\r\n", bytes, 10 },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_INVALID, "600001 bytes come instead of 600000");
}

static void a_blob_that_does_not_end_is_cut(void **state)
{
	auto_free uint8_t *more = xcalloc(SIZE + 1, 1);
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, "HTTP/1.1 200 OK\r\n" CLOSE "\r\n", more, SIZE + 1 },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_INVALID, "more than 600000 bytes come");
}

static void a_blob_of_other_bytes_is_refused(void **state)
{
	auto_free uint8_t *other = xcalloc(SIZE, 1);
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, WHOLE, other, SIZE },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_INVALID, "the digest of what came is sha256:");
}

static void a_byte_now_and_then_is_no_progress(void **state)
{
	struct server_step steps[5];
	uint64_t before = clock_ms();

	(void)state;
	(void)setenv("LINZER_STALL_SECONDS", "1", 1);
	for (size_t i = 0; i < 5; i++)
		steps[i] = (struct server_step){ BLOB_GET, NULL, NULL, "HTTP/1.1 200 OK\r\n\r\n",
						 bytes,	   SIZE, 50 };
	steps[1].reply = ""; /* not a word */
	steps[1].body_len = 0;
	steps[1].hold_ms = 60000;
	blob_fails(BEGIN(steps, false), ETIMEDOUT, "less than 1024 bytes a second for 1 seconds");
	assert_true(clock_ms() - before < 60000);
}

static void credentials_stay_with_the_registry(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, "Authorization", BEARER },
		{ "GET /token?service=the%20service&scope=repository%3Aa%2Fb%3Apull HTTP/1.1\r\n",
		  USER_PASS, NULL, TOKEN("one") },
		{ BLOB_GET, "Authorization: Bearer one\r\n", NULL,
		  SENT_ON("307 Over There", "http://localhost:$PORT/storage?sig=secret") },
		{ "GET /storage?sig=secret ", NULL, "Authorization", WHOLE, bytes, SIZE },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
}

static void storage_that_fails_is_asked_for_anew(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, SENT_ON("302 Found", "http://localhost:$PORT/s1") },
		{ "GET /s1 ", NULL, NULL, STATUS("503 Busy") },
		{ BLOB_GET, NULL, NULL, SENT_ON("302 Found", "/s2") },
		{ "GET /s2 ", NULL, NULL, WHOLE, bytes, SIZE },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
}

static void redirects_in_a_circle_end(void **state)
{
	struct server_step steps[6];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		steps[i] = (struct server_step){ "GET /", NULL, NULL,
						 SENT_ON("307 Again", "/again?token=secret") };
	blob_fails(BEGIN(steps, false), E_PROTOCOL, "more than 5 redirects");
}

static void redirects_to_files_are_refused(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, SENT_ON("307 There", "file:///etc/passwd") },
	};

	(void)state;
	blob_fails(BEGIN(steps, false), E_PROTOCOL, "not http or https");
}

static void a_token_that_expires_is_replaced(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, "Authorization", BEARER },
		{ "GET /token", NULL, NULL, TOKEN("one") },
		{ BLOB_GET, "Authorization: Bearer one\r\n", NULL, WHOLE, bytes, HALF },
		{ BLOB_GET, "Authorization: Bearer one\r\n", NULL, BEARER },
		{ "GET /token", NULL, NULL, TOKEN("two") },
		{ BLOB_GET, "Authorization: Bearer two\r\n", NULL, REST("300000-599999/600000"),
		  bytes + HALF, HALF },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
}

/* Other threads may use it up, too: what worked is worth another one, more than once. */
static void a_token_for_one_request_is_replaced_each_time(void **state)
{
	static const struct server_step again[] = {
		{ BLOB_GET, NULL, NULL, BEARER },
		{ "GET /token", NULL, NULL, NULL },
		{ BLOB_GET, "Authorization: Bearer ", NULL, WHOLE, bytes },
	};
	struct server_step steps[3 * 6];
	char answers[6][100];

	(void)state;
	for (size_t i = 0; i < array_size(steps); i++)
		steps[i] = again[i % 3];
	for (size_t i = 0; i < 6; i++) {
		(void)snprintf(answers[i], sizeof(answers[i]), TOKEN("%zu"), i);
		steps[3 * i + 1].reply = answers[i];
		steps[3 * i + 2].body_len = SIZE / 6 * (i + 1);
	}
	blob_comes(BEGIN(steps, false));
}

static void a_token_that_is_refused_ends_it(void **state)
{
	struct server_step steps[2 * TOKEN_TRIES + 1];

	(void)state;
	for (size_t i = 0; i < array_size(steps); i += 2) {
		steps[i] = (struct server_step){ BLOB_GET, NULL, NULL, BEARER };
		if (i + 1 < array_size(steps))
			steps[i + 1] =
				(struct server_step){ "GET /token", NULL, NULL, TOKEN("secret") };
	}
	blob_fails(BEGIN(steps, false), E_FAILED, "code: 401");
}

static void a_token_server_that_refuses_is_named(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, BEARER },
		{ "GET /token", NULL, NULL, STATUS("403 No") },
	};

	(void)state;
	blob_fails(
		BEGIN(steps, false), E_FAILED,
		"Error: AuthFailed(why: \"got HTTP 403 while fetching a token\", details: \"GET ");
}

/* What cannot be understood gets no credentials, and the line says whose it is. */
static void challenges_of_no_use(void **state)
{
	static const char *const challenges[] = {
		"",
		"Whatever",
		"Negotiate",
		"Digest realm=\"x\"",
		"Bearer service=\"x\"",
		"Bearer realm=\"\"",
		"Bearer realm=\"/token\"",
		"Bearer realm=\"file:///etc/passwd\"",
		"Bearer realm=\"http://[::1\"",
		"Bearer realm=\"http://127.0.0.1:$PORT/token",
	};

	(void)state;
	for (size_t i = 0; i < array_size(challenges); i++) {
		auto_free char *reply =
			str_format("HTTP/1.1 401 No\r\n" CLOSE "Content-Length: 0\r\n"
				   "WWW-Authenticate: %s\r\n\r\n",
				   challenges[i]);
		const struct server_step steps[] = { { BLOB_GET, NULL, NULL, reply } };

		blob_fails(BEGIN(steps, false), E_FAILED, "Error: AuthFailed(why: \"");
	}
}

static void a_token_is_asked_for_what_the_registry_says(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL,
		  "HTTP/1.1 401 No\r\n" CLOSE "Content-Length: 0\r\n"
		  "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:$PORT/token\","
		  "scope=\"repository:a/b:pull,push registry:catalog:*\"\r\n\r\n" },
		{ "GET /token?scope=repository%3Aa%2Fb%3Apull%2Cpush%20registry%3Acatalog%3A%2A ",
		  NULL, NULL, TOKEN("one") },
		{ BLOB_GET, "Authorization: Bearer one\r\n", NULL, WHOLE, bytes, SIZE },
	};

	(void)state;
	blob_comes(BEGIN(steps, false));
}

static void a_401_without_challenge_is_named(void **state)
{
	const struct server_step steps[] = {
		{ "GET /v2/a/b/manifests/v1 ", NULL, NULL, STATUS("401 No") },
	};
	struct remote *remote = BEGIN(steps, false);
	auto_str out = STR_INIT;
	struct digest digest;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_get_manifest(remote, "v1", &out, &digest, &err), -E_FAILED);
	assert_true(str_starts(err.text, "Error: AuthFailed(why: \"got HTTP 401, but "
					 "WWW-Authenticate header is missing\""));
	end(remote);
}

static void basic_needs_credentials(void **state)
{
	const struct server_step with[] = {
		{ BLOB_GET, NULL, "Authorization", BASIC },
		{ BLOB_GET, USER_PASS, NULL, WHOLE, bytes, SIZE },
	};
	const struct server_step without[] = {
		{ BLOB_GET, NULL, "Authorization", BASIC },
	};

	(void)state;
	blob_comes(BEGIN(with, false));
	(void)unsetenv("TART_REGISTRY_PASSWORD");
	blob_fails(BEGIN(without, false), E_FAILED, "code: 401");
}

static void a_realm_without_credentials_gives_a_token_too(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, BEARER },
		{ "GET /token", NULL, "Authorization", TOKEN("free") },
		{ BLOB_GET, "Authorization: Bearer free\r\n", NULL, WHOLE, bytes, SIZE },
	};

	(void)state;
	(void)unsetenv("TART_REGISTRY_PASSWORD");
	blob_comes(BEGIN(steps, false));
}

static void manifest_fails(const struct server_step *steps, size_t count, int code)
{
	struct remote *remote = begin_chunked(steps, count, false, 0);
	auto_str out = STR_INIT;
	struct digest digest;
	struct error err = ERROR_INIT;
	char reference[DIGEST_TEXT];
	int r;

	digest_format(&blob.digest, reference);
	r = remote_get_manifest(remote, reference, &out, &digest, &err);
	end(remote);
	if (r != -code)
		fail_msg("%d %s", r, err.text);
	assert_true(str_starts(err.text, "GET http://127.0.0.1:"));
	assert_int_equal(out.len, 0);
}

static void manifests_have_a_limit_and_a_digest(void **state)
{
	auto_free char *huge = xcalloc(MANIFEST_MAX + 1, 1);
	const struct server_step declared = {
		"GET ", "Accept: " OCI_MEDIA_MANIFEST,
		NULL,	"HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 100000000\r\n\r\n",
		huge,	10
	};
	const struct server_step endless = { "GET ", NULL,
					     NULL,   "HTTP/1.1 200 OK\r\n" CLOSE "\r\n",
					     huge,   MANIFEST_MAX + 1 };
	const struct server_step other = { "GET ", NULL, NULL,
					   "HTTP/1.1 200 OK\r\n" CLOSE
					   "Docker-Content-Digest: sha256:0\r\n\r\n{}" };

	(void)state;
	manifest_fails(&declared, 1, E_TOO_BIG);
	manifest_fails(&endless, 1, E_TOO_BIG);
	manifest_fails(&other, 1, E_INVALID);
}

static void headers_have_a_limit(void **state)
{
	auto_str flood = STR_INIT;
	struct server_step step = { "GET ", NULL, NULL, "HTTP/1.1 200 OK\r\n" };

	(void)state;
	for (int i = 0; i < 8000; i++)
		str_addf(&flood, "X-%d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", i);
	step.body = flood.ptr;
	step.body_len = flood.len;
	manifest_fails(&step, 1, E_TOO_BIG);
}

static void put_small(struct remote *remote, int code, const char *why)
{
	struct blob small = { .size = 5 };
	struct error err = ERROR_INIT;
	int r;

	hash_bytes("bytes", 5, &small.digest);
	r = remote_put_small_blob(remote, &small, "bytes", &err);
	end(remote);
	if (r != -code || !strstr(err.text, why))
		fail_msg("%d: %s", r, err.text);
}

#define ACCEPTED(where) SENT_ON("202 Accepted", where)
#define DIGEST_QUERY \
	"digest=sha256%3A277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"

static void an_upload_goes_where_it_is_sent(void **state)
{
	const struct server_step steps[] = {
		{ "POST /v2/a/b/blobs/uploads/ ", "Content-Length: 0\r\n", "Expect", BEARER },
		{ "GET /token?service=the%20service&scope=repository%3Aa%2Fb%3Apull%2Cpush ", NULL,
		  NULL, TOKEN("one") },
		{ "POST /v2/a/b/blobs/uploads/ ", "Authorization: Bearer one\r\n", NULL,
		  ACCEPTED("there?state=a%2Fb") },
		{ "PUT /v2/a/b/blobs/uploads/there?state=a%2Fb&" DIGEST_QUERY " ",
		  "Authorization: Bearer one\r\n", "Expect", STATUS("201 Created"),
		  .sent = "bytes" },
	};

	(void)state;
	put_small(BEGIN(steps, true), 0, "");
}

static void an_upload_to_another_host_has_no_credentials(void **state)
{
	const struct server_step steps[] = {
		{ "POST ", NULL, NULL, BASIC },
		{ "POST ", USER_PASS, NULL, ACCEPTED("http://localhost:$PORT/there") },
		{ "PUT /there?" DIGEST_QUERY " ", "Content-Length: 5\r\n", "Authorization",
		  STATUS("201 Created"), .sent = "bytes" },
	};

	(void)state;
	put_small(BEGIN(steps, true), 0, "");
}

static void an_upload_that_breaks_begins_anew(void **state)
{
	const struct server_step steps[] = {
		{ "POST ", NULL, NULL, ACCEPTED("/one") },
		{ "PUT /one", NULL, NULL, "" },
		{ "POST ", NULL, NULL, ACCEPTED("/two") },
		{ "PUT /two", NULL, NULL,
		  "HTTP/1.1 429 Slow\r\n" CLOSE "Retry-After: 0\r\nContent-Length: 0\r\n\r\n" },
		{ "POST ", NULL, NULL, STATUS("502 Bad") },
		{ "POST ", NULL, NULL, ACCEPTED("/three") },
		{ "PUT /three", NULL, NULL, STATUS("201 Created"), .sent = "bytes" },
	};

	(void)state;
	put_small(BEGIN(steps, true), 0, "");
}

static void an_upload_that_is_refused_is_named(void **state)
{
	const struct server_step refused[] = {
		{ "POST ", NULL, NULL,
		  "HTTP/1.1 403 No\r\n" CLOSE
		  "\r\n{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not\\u001b yours\"}]}" },
	};
	const struct server_step nowhere[] = {
		{ "POST ", NULL, NULL, STATUS("202 Accepted") },
	};

	(void)state;
	put_small(BEGIN(refused, true), E_FAILED, "/v2/a/b/blobs/uploads/: DENIED: not? yours\")");
	put_small(BEGIN(nowhere, true), E_PROTOCOL, "the answer has no Location");
}

static void chunks_follow_their_locations(void **state)
{
	const struct server_step steps[] = {
		{ "POST ", NULL, NULL, ACCEPTED("/one?x=1") },
		{ "PATCH /one?x=1 ", "Content-Range: 0-1\r\n", NULL, ACCEPTED("/two"),
		  .sent = "by" },
		{ "PATCH /two ", "Content-Range: 2-3\r\n", NULL, STATUS("201 Created"),
		  .sent = "te" },
		{ "PUT /two?" DIGEST_QUERY " ", "Content-Range: 4-4\r\n", NULL,
		  STATUS("202 Accepted"), .sent = "s" },
	};

	(void)state;
	put_small(begin_chunked(steps, array_size(steps), true, 2), 0, "");
}

static int mount(struct remote *remote)
{
	char host[32], repository[] = "other/c";
	const struct oci_name from = { .host = host, .repository = repository };
	struct error err = ERROR_INIT;
	int r;

	(void)snprintf(host, sizeof(host), "127.0.0.1:%d", server_port(server));
	r = remote_mount_blob(remote, &blob, &from, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	end(remote);
	return r;
}

static void mounting_needs_both_repositories(void **state)
{
	const struct server_step steps[] = {
		{ "POST /v2/a/b/blobs/uploads/?mount=sha256%3A", NULL, NULL, BEARER },
		{ "GET /token?service=the%20service&scope=repository%3Aa%2Fb%3Apull%2Cpush&"
		  "scope=repository%3Aother%2Fc%3Apull ",
		  NULL, NULL, TOKEN("both") },
		{ "POST /v2/a/b/blobs/uploads/?mount=sha256%3A", "&from=other%2Fc ", NULL,
		  STATUS("201 Created") },
	};

	(void)state;
	assert_int_equal(mount(BEGIN(steps, true)), 1);
}

static void what_cannot_be_mounted_is_let_be(void **state)
{
	const struct server_step begun[] = {
		{ "POST ", NULL, NULL, ACCEPTED("/upload?x=1") },
		{ "DELETE /upload?x=1 ", NULL, NULL, STATUS("204 Gone") },
	};
	const struct server_step unknown[] = {
		{ "POST ", NULL, NULL, STATUS("404 What") },
	};

	(void)state;
	assert_int_equal(mount(BEGIN(begun, true)), 0);
	assert_int_equal(mount(BEGIN(unknown, true)), 0);
}

static int cancelling_write(void *arg, const void *some, size_t len, struct error *err)
{
	(void)arg;
	(void)some;
	(void)len;
	(void)err;
	__atomic_store_n(&cancelled, true, __ATOMIC_RELAXED);
	return 0;
}

static void a_transfer_can_be_cancelled(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, WHOLE, bytes, HALF, .hold_ms = 60000 },
	};
	struct remote *remote = BEGIN(steps, false);
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(remote_get_blob(remote, &blob, cancelling_write, NULL, &err),
			 -E_CANCELLED);
	end(remote);
}

static int failing_write(void *arg, const void *some, size_t len, struct error *err)
{
	(void)some;
	(void)len;
	++*(unsigned *)arg;
	return error_set(err, ENOSPC, "the disk is full");
}

static void an_error_of_write_ends_it(void **state)
{
	const struct server_step steps[] = {
		{ BLOB_GET, NULL, NULL, WHOLE, bytes, SIZE },
	};
	struct remote *remote = BEGIN(steps, false);
	struct error err = ERROR_INIT;
	unsigned calls = 0;

	(void)state;
	assert_int_equal(remote_get_blob(remote, &blob, failing_write, &calls, &err), -ENOSPC);
	assert_true(str_ends(err.text, ": the disk is full"));
	assert_int_equal(calls, 1);
	end(remote);
}

static void a_login_is_checked(void **state)
{
	const struct server_step steps[] = {
		{ "GET /v2/ ", NULL, "Authorization", BASIC },
		{ "GET /v2/ ", "Authorization: Basic bWU6bXkgc2VjcmV0\r\n", NULL,
		  STATUS("200 OK") },
		{ "GET /v2/ ", NULL, NULL, BASIC },
		{ "GET /v2/ ", NULL, NULL, BASIC },
	};
	auto_free char *host = NULL;
	struct error err = ERROR_INIT;

	(void)state;
	server = server_start(steps, array_size(steps));
	host = str_format("127.0.0.1:%d", server_port(server));
	assert_int_equal(remote_check_login(host, true, "me", "my secret", &err), 0);
	assert_int_equal(remote_check_login(host, true, "me", "my secret", &err), -E_FAILED);
	assert_true(
		str_starts(err.text, "UnexpectedHTTPStatusCode(when: \"doing ping\", code: 401"));
	assert_null(strstr(err.text, "my secret"));
	end(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_blob_is_resumed_where_it_broke_off, set_up),
		cmocka_unit_test_setup(a_registry_without_ranges_is_read_again, set_up),
		cmocka_unit_test_setup(progress_makes_the_count_begin_anew, set_up),
		cmocka_unit_test_setup(a_bad_line_is_put_up_with, set_up),
		cmocka_unit_test_setup(five_failures_are_enough, set_up),
		cmocka_unit_test_setup(the_rest_has_to_be_the_rest, set_up),
		cmocka_unit_test_setup(a_part_that_nobody_asked_for_is_refused, set_up),
		cmocka_unit_test_setup(a_blob_of_another_length_is_refused_at_once, set_up),
		cmocka_unit_test_setup(a_blob_that_does_not_end_is_cut, set_up),
		cmocka_unit_test_setup(a_blob_of_other_bytes_is_refused, set_up),
		cmocka_unit_test_setup(a_byte_now_and_then_is_no_progress, set_up),
		cmocka_unit_test_setup(credentials_stay_with_the_registry, set_up),
		cmocka_unit_test_setup(storage_that_fails_is_asked_for_anew, set_up),
		cmocka_unit_test_setup(redirects_in_a_circle_end, set_up),
		cmocka_unit_test_setup(redirects_to_files_are_refused, set_up),
		cmocka_unit_test_setup(a_token_that_expires_is_replaced, set_up),
		cmocka_unit_test_setup(a_token_for_one_request_is_replaced_each_time, set_up),
		cmocka_unit_test_setup(a_token_that_is_refused_ends_it, set_up),
		cmocka_unit_test_setup(a_token_server_that_refuses_is_named, set_up),
		cmocka_unit_test_setup(challenges_of_no_use, set_up),
		cmocka_unit_test_setup(a_token_is_asked_for_what_the_registry_says, set_up),
		cmocka_unit_test_setup(a_401_without_challenge_is_named, set_up),
		cmocka_unit_test_setup(basic_needs_credentials, set_up),
		cmocka_unit_test_setup(a_realm_without_credentials_gives_a_token_too, set_up),
		cmocka_unit_test_setup(manifests_have_a_limit_and_a_digest, set_up),
		cmocka_unit_test_setup(headers_have_a_limit, set_up),
		cmocka_unit_test_setup(an_upload_goes_where_it_is_sent, set_up),
		cmocka_unit_test_setup(an_upload_to_another_host_has_no_credentials, set_up),
		cmocka_unit_test_setup(an_upload_that_breaks_begins_anew, set_up),
		cmocka_unit_test_setup(an_upload_that_is_refused_is_named, set_up),
		cmocka_unit_test_setup(chunks_follow_their_locations, set_up),
		cmocka_unit_test_setup(mounting_needs_both_repositories, set_up),
		cmocka_unit_test_setup(what_cannot_be_mounted_is_let_be, set_up),
		cmocka_unit_test_setup(a_transfer_can_be_cancelled, set_up),
		cmocka_unit_test_setup(an_error_of_write_ends_it, set_up),
		cmocka_unit_test_setup(a_login_is_checked, set_up),
	};

	return cmocka_run_group_tests(tests, set_up_all, NULL);
}
