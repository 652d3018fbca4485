/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A thread that wants an exchange takes an idle handle of the pool, or makes one, and gives it
 * back afterwards; so there are as many as threads ever ran at once, and each keeps its own
 * connection. Handles share nothing.
 *
 * Whether a transfer is alive is judged here and not by CURLOPT_LOW_SPEED_TIME, because
 * two waits are not the peer's fault or to be suffered longer: the time that write() takes
 * (a slow disk), and the time between the last byte of an upload and the answer (a
 * registry that copies it to its storage). Bytes of a window of stall_ms are counted;
 * fewer than STALL_RATE a second end the transfer. There is no limit on the whole.
 */

#include "oci/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "build-info.h"
#include "oci/failure.h"
#include "oci/trust.h"

enum {
	STALL_SECONDS = 60,
	STALL_SECONDS_MAX = 24 * 3600,
	STALL_RATE = 1024, /* bytes per second that count as alive */
	ANSWER_FACTOR = 10, /* how much longer the answer to an upload may take */
	CONNECT_SECONDS = 30,
	RECEIVE_BUFFER = 256 * 1024,
	SEND_BUFFER = 512 * 1024,
	LARGE_UPLOAD = 256 * 1024,
};

struct handle {
	CURL *curl;
	struct handle *next;
};

struct http {
	pthread_mutex_t lock; /* of idle */
	struct handle *idle;
	struct trust trust;
	char *agent;
	uint64_t stall_ms;
	bool (*cancelled)(void *arg);
	void *arg;
};

/* One exchange. */
struct transfer {
	const struct http *http;
	CURL *curl;
	const struct http_request *request;
	struct http_response *response;
	struct error *err;
	int failed; /* the error that ended it, and is not to be tried again */
	bool begun, stalled, enough;
	size_t header_bytes;
	uint64_t sent; /* bytes of the source */
	uint64_t window_ms, window_bytes; /* where the present window of the stall watch began */
};

static void global_init(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *user_agent(void)
{
	struct utsname u;

	if (uname(&u) < 0)
		memcpy(u.machine, "?", 2);
	return str_format("linzer/" LINZER_VERSION " (Linux %s) Tart-compatible", u.machine);
}

struct http *http_new(const struct http_settings *settings)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *stall = getenv("LINZER_STALL_SECONDS");
	struct http *http = xcalloc(1, sizeof(*http));
	uint64_t seconds = STALL_SECONDS;

	(void)pthread_once(&once, global_init);
	(void)pthread_mutex_init(&http->lock, NULL);
	if (!stall || str_to_u64(stall, STALL_SECONDS_MAX, &seconds) < 0 || !seconds)
		seconds = STALL_SECONDS;
	http->stall_ms = seconds * 1000;
	http->agent = user_agent();
	http->trust = (struct trust)TRUST_INIT;
	trust_load(&http->trust, settings->host);
	http->cancelled = settings->cancelled;
	http->arg = settings->arg;
	return http;
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	while (http->idle) {
		struct handle *first = http->idle;

		http->idle = first->next;
		curl_easy_cleanup(first->curl);
		free(first);
	}
	trust_release(&http->trust);
	(void)pthread_mutex_destroy(&http->lock);
	free(http->agent);
	free(http);
	return NULL;
}

bool http_cancelled(const struct http *http)
{
	return http->cancelled && http->cancelled(http->arg);
}

static struct handle *take_handle(struct http *http)
{
	struct handle *handle;

	(void)pthread_mutex_lock(&http->lock);
	handle = http->idle;
	if (handle)
		http->idle = handle->next;
	(void)pthread_mutex_unlock(&http->lock);
	if (handle)
		return handle;
	handle = xcalloc(1, sizeof(*handle));
	handle->curl = curl_easy_init();
	if (!handle->curl)
		abort(); /* out of memory */
	return handle;
}

static void give_handle(struct http *http, struct handle *handle)
{
	curl_easy_reset(handle->curl); /* connections stay */
	(void)pthread_mutex_lock(&http->lock);
	handle->next = http->idle;
	http->idle = handle;
	(void)pthread_mutex_unlock(&http->lock);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;

	t->header_bytes += len;
	if (t->header_bytes > HTTP_HEADERS_MAX) {
		t->failed = error_set(t->err, E_TOO_BIG, "more than %d bytes of headers",
				      HTTP_HEADERS_MAX);
		return 0;
	}
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		http_response_release(t->response); /* what came before was a 1xx */
	http_response_add_header(t->response, line, len);
	return len;
}

static void read_status(struct transfer *t)
{
	long status = 0;
	curl_off_t length = -1;

	(void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->response->status = (int)status;
	t->response->length = length;
}

static bool wanted_by_sink(const struct transfer *t)
{
	return t->request->write && (t->response->status == 200 || t->response->status == 206);
}

/* Headers are complete: once, before the first byte of the body or at the end of none. */
static int begin_body(struct transfer *t)
{
	if (t->begun)
		return 0;
	t->begun = true;
	t->window_ms = clock_ms(); /* it may have been waited for with more patience */
	read_status(t);
	if (t->response->status < 300 && !wanted_by_sink(t) && t->request->limit &&
	    t->response->length > (int64_t)t->request->limit)
		return error_set(t->err, E_TOO_BIG, "%lld bytes are more than the limit of %zu",
				 (long long)t->response->length, t->request->limit);
	return wanted_by_sink(t) && t->request->begin
		       ? t->request->begin(t->request->arg, t->response, t->err)
		       : 0;
}

static int keep_body(struct transfer *t, const char *bytes, size_t len)
{
	struct str *body = &t->response->body;
	bool good = t->response->status < 300;
	size_t limit = good && t->request->limit ? t->request->limit : HTTP_PROBLEM_MAX;

	if (len <= limit - body->len) {
		str_add(body, bytes, len);
		return 0;
	}
	if (good && t->request->limit)
		return error_set(t->err, E_TOO_BIG, "more than the limit of %zu bytes", limit);
	t->enough = true; /* nobody reads that much of an error: the rest stays where it is */
	return -1;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	int r = begin_body(t);

	if (r >= 0 && wanted_by_sink(t)) {
		uint64_t before = clock_ms();

		r = t->request->write(t->request->arg, bytes, len, t->err);
		t->window_ms += clock_ms() - before;
	} else if (r >= 0) {
		r = keep_body(t, bytes, len);
	}
	if (r < 0 && !t->enough)
		t->failed = r;
	return r < 0 ? 0 : len;
}

static size_t on_read(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct http_source *source = t->request->source;
	uint64_t left = source->length - t->sent;
	size_t len = size * n < left ? size * n : (size_t)left;
	int r = 0;

	if (source->bytes)
		memcpy(bytes, (const char *)source->bytes + source->offset + t->sent, len);
	else if (len)
		r = fs_pread_all(source->fd, bytes, len, (off_t)(source->offset + t->sent), t->err);
	if (r < 0) {
		t->failed = r;
		return CURL_READFUNC_ABORT;
	}
	t->sent += len;
	return len;
}

/* A kept connection turned out to be closed: libcurl begins anew on another. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request->source->length)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static uint64_t patience_ms(const struct transfer *t)
{
	const struct http_source *source = t->request->source;
	bool waits = source && source->length && t->sent == source->length && !t->begun;

	return waits ? t->http->stall_ms * ANSWER_FACTOR : t->http->stall_ms;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct transfer *t = arg;
	uint64_t bytes = (uint64_t)down + (uint64_t)up, now = clock_ms();

	(void)down_total;
	(void)up_total;
	if (http_cancelled(t->http)) {
		t->failed = error_set(t->err, E_CANCELLED, "cancelled");
		return 1;
	}
	if (now < t->window_ms + patience_ms(t))
		return 0;
	t->stalled = bytes - t->window_bytes < t->http->stall_ms / 1000 * STALL_RATE;
	t->window_ms = now;
	t->window_bytes = bytes;
	return t->stalled ? 1 : 0;
}

static void set_method(CURL *curl, struct transfer *t)
{
	const struct http_request *request = t->request;

	if (strcmp(request->method, "HEAD") == 0)
		(void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else if (request->source)
		(void)curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	else
		(void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	if (strcmp(request->method, "HEAD") != 0)
		(void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	if (!request->source)
		return;
	/* the windows and frames of HTTP/2 quadruple what an upload costs (libcurl 7.88) */
	if (request->source->length >= LARGE_UPLOAD)
		(void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->source->length);
	(void)curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER);
	(void)curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	(void)curl_easy_setopt(curl, CURLOPT_READDATA, t);
	(void)curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
	(void)curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
}

static void set_trust(CURL *curl, const struct http *http, const struct http_request *request)
{
	const struct trust *trust = &http->trust;
	struct curl_blob blob = { .data = trust->authorities.ptr,
				  .len = trust->authorities.len,
				  .flags = CURL_BLOB_NOCOPY };

	if (trust->file)
		(void)curl_easy_setopt(curl, CURLOPT_CAINFO, trust->file);
	if (trust->directory)
		(void)curl_easy_setopt(curl, CURLOPT_CAPATH, trust->directory);
	if (blob.len && (request->own_host || request->own_realm))
		(void)curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
	if (trust->certificate && request->own_host) {
		(void)curl_easy_setopt(curl, CURLOPT_SSLCERT, trust->certificate);
		(void)curl_easy_setopt(curl, CURLOPT_SSLKEY, trust->key);
	}
}

static void set_transfer(CURL *curl, struct transfer *t, char *why)
{
	(void)curl_easy_setopt(curl, CURLOPT_URL, t->request->url);
	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_USERAGENT, t->http->agent);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	(void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
	(void)curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
	auto_free char *line = value ? str_format("%s: %s", name, value) : NULL;
	struct curl_slist *longer = line ? curl_slist_append(list, line) : list;

	if (!longer)
		abort(); /* out of memory */
	return longer;
}

static struct curl_slist *make_headers(const struct http_request *request)
{
	/* an empty header is one that libcurl is not to send of its own accord */
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	list = add_header(list, "Accept", request->accept);
	list = add_header(list, "Content-Type", request->content_type);
	list = add_header(list, "Authorization", request->authorization);
	list = add_header(list, "Range", request->range);
	list = add_header(list, "If-Range", request->if_range);
	return add_header(list, "Content-Range", request->content_range);
}

static int outcome(struct transfer *t, CURLcode code, const char *why)
{
	if (t->failed < 0)
		return t->failed;
	if (code == CURLE_OK) {
		int r = begin_body(t);

		return r < 0 ? r : HTTP_DONE;
	}
	if (t->enough)
		return HTTP_DONE;
	if (!t->stalled)
		return failure_explain(t->curl, code, why, t->err) ? -t->err->code : HTTP_BROKEN;
	(void)error_set(t->err, ETIMEDOUT, "less than %d bytes a second for %llu seconds",
			STALL_RATE, (unsigned long long)(t->http->stall_ms / 1000));
	return HTTP_BROKEN;
}

/* A peer that closes must not end the program: TLS writes without MSG_NOSIGNAL. */
static CURLcode perform_without_sigpipe(CURL *curl)
{
	const struct timespec now = { 0 };
	sigset_t pipe, old, pending;
	CURLcode code;

	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipe, &old);
	code = curl_easy_perform(curl);
	(void)sigpending(&pending);
	if (sigismember(&pending, SIGPIPE) == 1 && sigismember(&old, SIGPIPE) == 0)
		(void)sigtimedwait(&pipe, NULL, &now);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return code;
}

int http_perform(struct http *http, const struct http_request *request,
		 struct http_response *response, struct error *err)
{
	struct handle *handle = take_handle(http);
	struct curl_slist *headers = make_headers(request);
	char why[CURL_ERROR_SIZE] = "";
	struct transfer t = { .http = http,
			      .curl = handle->curl,
			      .request = request,
			      .response = response,
			      .err = err,
			      .window_ms = clock_ms() };
	CURLcode code;
	int r;

	http_response_release(response);
	set_transfer(handle->curl, &t, why);
	set_method(handle->curl, &t);
	set_trust(handle->curl, http, request);
	(void)curl_easy_setopt(handle->curl, CURLOPT_HTTPHEADER, headers);
	code = perform_without_sigpipe(handle->curl);
	r = outcome(&t, code, why);
	curl_slist_free_all(headers);
	give_handle(http, handle);
	return r;
}
