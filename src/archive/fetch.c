/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/fetch.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/fs.h"
#include "build-info.h"

enum { CONNECT_SECONDS = 30, STALL_SECONDS = 60, STALL_SECONDS_MAX = 24 * 3600, STALL_RATE = 1024 };

struct transfer {
	CURL *curl;
	int fd;
	uint64_t bytes;
	struct fetch_version came;
	struct curl_slist *headers;
	char reason[CURL_ERROR_SIZE];
	struct error *err;
	int failed; /* by us */
};

void fetch_version_release(struct fetch_version *version)
{
	str_release(&version->etag);
	str_release(&version->modified);
}

static void release(struct transfer *t)
{
	curl_easy_cleanup(t->curl);
	curl_slist_free_all(t->headers);
	fetch_version_release(&t->came);
}

static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isprint((unsigned char)text[i]))
			return false;
	return len <= FETCH_VALIDATOR_MAX;
}

/* If the header line is one of @name ("etag:"): keep its value. */
static void keep(const char *line, size_t len, const char *name, struct str *value)
{
	size_t skip = strlen(name);

	if (len < skip || strncasecmp(line, name, skip) != 0)
		return;
	while (skip < len && isspace((unsigned char)line[skip]))
		skip++;
	while (len > skip && isspace((unsigned char)line[len - 1]))
		len--;
	str_reset(value);
	if (is_plain(line + skip, len - skip))
		str_add(value, line + skip, len - skip);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	auto_str control = STR_INIT;
	size_t len = size * n;

	if (len > 5 && memcmp(line, "HTTP/", 5) == 0) { /* what came before was a redirect's */
		str_reset(&t->came.etag);
		str_reset(&t->came.modified);
		t->came.no_store = false;
	}
	keep(line, len, "etag:", &t->came.etag);
	keep(line, len, "last-modified:", &t->came.modified);
	keep(line, len, "cache-control:", &control);
	t->came.no_store |= strcasestr(control.ptr, "no-store") != NULL;
	return len;
}

static int too_big(struct error *err)
{
	return error_set(err, E_TOO_BIG, "it has more than %" PRIu64 " bytes", FETCH_BYTES_MAX);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	long status = 0;

	(void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return len; /* a page for people */
	t->failed = len > FETCH_BYTES_MAX - t->bytes ? too_big(t->err)
						     : fs_write_all(t->fd, bytes, len, t->err);
	t->bytes += len;
	return t->failed < 0 ? 0 : len;
}

/* Also of what nobody reads: the page beside an error, or beside a redirect. */
static int on_progress(void *arg, curl_off_t size, curl_off_t came, curl_off_t unused,
		       curl_off_t sent)
{
	(void)arg;
	(void)size;
	(void)unused;
	(void)sent;
	return (uint64_t)came > FETCH_BYTES_MAX;
}

static void add_condition(struct transfer *t, const char *name, const struct str *value)
{
	auto_free char *line = str_format("%s: %s", name, value->ptr);

	if (value->len)
		t->headers = curl_slist_append(t->headers, line);
}

static long stall_seconds(void)
{
	const char *text = getenv("LINZER_STALL_SECONDS");
	uint64_t seconds = STALL_SECONDS;

	if (text && str_to_u64(text, STALL_SECONDS_MAX, &seconds) == 0 && seconds)
		return (long)seconds;
	return STALL_SECONDS;
}

static void set_limits(CURL *curl, const char *url)
{
	/* a redirect does not lead from HTTPS to HTTP, and never to a file */
	const char *further = str_starts(url, "https:") ? "https" : "http,https";

	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, further);
	(void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)FETCH_REDIRECTS);
	(void)curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)FETCH_BYTES_MAX);
	(void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	(void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, stall_seconds());
	(void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_RATE);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
}

static void prepare(struct transfer *t, const struct fetch_source *source)
{
	struct curl_blob authorities = { source->authorities.ptr, source->authorities.len,
					 CURL_BLOB_NOCOPY };

	set_limits(t->curl, source->url);
	(void)curl_easy_setopt(t->curl, CURLOPT_URL, source->url);
	(void)curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "linzer/" LINZER_VERSION);
	(void)curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
	(void)curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->reason);
	if (authorities.len)
		(void)curl_easy_setopt(t->curl, CURLOPT_CAINFO_BLOB, &authorities);
}

static int broken(const struct transfer *t, CURLcode code, struct error *err)
{
	const char *why = t->reason[0] ? t->reason : curl_easy_strerror(code);

	if (t->failed < 0)
		return t->failed;
	if (code == CURLE_FILESIZE_EXCEEDED || code == CURLE_ABORTED_BY_CALLBACK)
		return too_big(err);
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
	    code == CURLE_COULDNT_RESOLVE_PROXY)
		return error_set(err, EHOSTUNREACH, "%s", why);
	return error_set(err, E_FAILED, "%s", why);
}

static int conclude(struct transfer *t, struct fetch_version *known, struct error *err)
{
	bool conditional = known->etag.len || known->modified.len;
	long status = 0;

	(void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 304 && conditional)
		return 0;
	if (status != 200)
		return error_set(err, E_FAILED, "the server answered with status %ld", status);
	fetch_version_release(known);
	*known = t->came;
	t->came = (struct fetch_version)FETCH_VERSION_INIT;
	return 1;
}

int fetch(const struct fetch_source *source, int fd, struct fetch_version *known, struct error *err)
{
	cleanup_(release) struct transfer t = { .fd = fd, .came = FETCH_VERSION_INIT, .err = err };
	CURLcode code;

	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	t.curl = curl_easy_init();
	if (!t.curl)
		return error_set(err, ENOMEM, "cannot start a transfer");
	add_condition(&t, "If-None-Match", &known->etag);
	add_condition(&t, "If-Modified-Since", &known->modified);
	prepare(&t, source);
	code = curl_easy_perform(t.curl);
	return code == CURLE_OK ? conclude(&t, known, err) : broken(&t, code, err);
}
