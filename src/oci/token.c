/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The first request goes without authentication; the answer 401 says what the registry wants, and
 * tokens_renew() gets it: the credentials themselves (Basic), or a token from the server named
 * in the challenge (docker's token specification, "realm"). One mutex is held while a token is
 * fetched: the other threads that got a 401 meanwhile wait and find the new token, because
 * theirs is no longer the one that is kept.
 *
 * The realm is chosen by the registry. It never gets credentials over http unless the
 * registry itself is spoken to in http, and redirects of a token server take none along
 * to another origin.
 */

#include "oci/token.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/challenge.h"
#include "oci/http.h"
#include "oci/retry.h"
#include "oci/status.h"
#include "oci/token_json.h"
#include "oci/url.h"

enum { TOKEN_REDIRECTS = 5 };

struct grant {
	char *key; /* rights and the other repository */
	char *header;
	time_t expires; /* 0: never */
	bool proved; /* the registry took it */
};
DEFINE_VEC(grants, struct grant)

struct tokens {
	struct tokens_settings settings;
	char *host, *repository, *registry, *home;
	pthread_mutex_t lock; /* of all below */
	struct grants grants;
	bool looked;
	struct credentials credentials;
};

static char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

struct tokens *tokens_new(const struct tokens_settings *settings)
{
	struct tokens *tokens = xcalloc(1, sizeof(*tokens));

	tokens->settings = *settings;
	tokens->host = copy(settings->host);
	tokens->repository = copy(settings->repository);
	tokens->registry = copy(settings->registry);
	tokens->home = copy(settings->home);
	(void)pthread_mutex_init(&tokens->lock, NULL);
	return tokens;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

struct tokens *tokens_free(struct tokens *tokens)
{
	if (!tokens)
		return NULL;
	for (size_t i = 0; i < tokens->grants.len; i++) {
		free(tokens->grants.items[i].key);
		wipe(tokens->grants.items[i].header);
	}
	grants_release(&tokens->grants);
	credentials_release(&tokens->credentials);
	(void)pthread_mutex_destroy(&tokens->lock);
	free(tokens->host);
	free(tokens->repository);
	free(tokens->registry);
	free(tokens->home);
	free(tokens);
	return NULL;
}

static void unlock(pthread_mutex_t **lock)
{
	(void)pthread_mutex_unlock(*lock);
}
#define auto_lock cleanup_(unlock) pthread_mutex_t

static pthread_mutex_t *lock(struct tokens *tokens)
{
	(void)pthread_mutex_lock(&tokens->lock);
	return &tokens->lock;
}

static struct grant *find_grant(struct tokens *tokens, const char *key)
{
	for (size_t i = 0; i < tokens->grants.len; i++)
		if (strcmp(tokens->grants.items[i].key, key) == 0)
			return &tokens->grants.items[i];
	return NULL;
}

static bool is_live(const struct grant *grant)
{
	return grant && (!grant->expires || grant->expires > time(NULL));
}

static char *make_key(const struct rights *rights)
{
	return str_format("%s %s", rights->actions, rights->from ? rights->from : "");
}

void tokens_header(struct tokens *tokens, const struct rights *rights, struct str *header)
{
	auto_lock *held = lock(tokens);
	auto_free char *key = make_key(rights);
	const struct grant *grant = find_grant(tokens, key);

	(void)held;
	str_reset(header);
	if (is_live(grant))
		str_adds(header, grant->header);
}

void tokens_prove(struct tokens *tokens, const struct rights *rights, const char *header)
{
	auto_lock *held = lock(tokens);
	auto_free char *key = make_key(rights);
	struct grant *grant = find_grant(tokens, key);

	(void)held;
	if (grant && strcmp(grant->header, header) == 0)
		grant->proved = true;
}

/* @header becomes the kept one of @key, and @result a copy of it. */
static int keep(struct tokens *tokens, const char *key, const char *header, time_t expires,
		struct str *result)
{
	struct grant *grant = find_grant(tokens, key);

	if (!grant) {
		grants_add(&tokens->grants, (struct grant){ .key = xstrdup(key) });
		grant = &tokens->grants.items[tokens->grants.len - 1];
	}
	wipe(grant->header);
	grant->header = xstrdup(header);
	grant->expires = expires;
	grant->proved = false;
	str_reset(result);
	str_adds(result, header);
	return 1;
}

static void tell_warnings(const struct tokens *tokens, char *warnings)
{
	const struct retry_policy *policy = tokens->settings.policy;
	char *rest = warnings;

	while (policy->warning && rest && *rest) {
		const char *line = strsep(&rest, "\n");

		if (*line)
			policy->warning(policy->arg, line);
	}
}

static int look_up(struct tokens *tokens, struct error *err)
{
	auto_str warnings = STR_INIT;
	const struct credentials *known = tokens->settings.known;
	int r = 0;

	if (tokens->looked)
		return 0;
	if (known) {
		tokens->credentials.user = copy(known->user);
		tokens->credentials.password = copy(known->password);
	} else {
		r = credentials_find(tokens->home, tokens->host, tokens->repository,
				     &tokens->credentials, &warnings, err);
	}
	tell_warnings(tokens, warnings.ptr);
	tokens->looked = r >= 0;
	return r < 0 ? r : 0;
}

/* RFC 7617. */
static void add_basic(const struct credentials *credentials, struct str *out)
{
	auto_str plain = STR_INIT;
	size_t room;

	str_addf(&plain, "%s:%s", credentials->user, credentials->password);
	room = (plain.len + 2) / 3 * 4;
	str_adds(out, "Basic ");
	str_grow(out, room);
	room = (size_t)EVP_EncodeBlock((unsigned char *)out->ptr + out->len,
				       (const unsigned char *)plain.ptr, (int)plain.len);
	str_set_len(out, out->len + room);
	explicit_bzero(plain.ptr, plain.len);
}

static bool has_password(const struct credentials *credentials)
{
	return credentials->user && credentials->password;
}

/*
 * What the registry asks for is what its challenge says; only whoever is to write asks for all
 * rights of the work ahead at once, instead of for each the first time that it is missing.
 */
static void add_scopes(const struct tokens *tokens, const struct challenge *challenge,
		       const struct rights *rights, struct strings *scopes)
{
	auto_free char *own =
		str_format("repository:%s:", tokens->repository ? tokens->repository : "");

	if (challenge->scope && str_starts(challenge->scope, own) &&
	    !strchr(challenge->scope, ' ') && strcmp(rights->actions, "pull") != 0)
		strings_addf(scopes, "%s%s", own, rights->actions);
	else if (challenge->scope)
		strings_add(scopes, challenge->scope);
	if (rights->from)
		strings_addf(scopes, "repository:%s:pull", rights->from);
}

static void add_parameter(struct str *form, const char *key, const char *value)
{
	if (!value)
		return;
	str_addf(form, "%s%s=", form->len ? "&" : "", key);
	url_add_escaped(form, value);
}

/* RFC 6749 section 6, as docker's token servers take it. */
static void make_form(const struct tokens *tokens, const struct challenge *challenge,
		      const struct strings *scopes, struct str *form)
{
	auto_str all = STR_INIT;

	for (size_t i = 0; i < scopes->len; i++)
		str_addf(&all, "%s%s", i ? " " : "", scopes->items[i]);
	add_parameter(form, "grant_type", "refresh_token");
	add_parameter(form, "client_id", "linzer");
	add_parameter(form, "service", challenge->service);
	add_parameter(form, "scope", all.len ? all.ptr : NULL);
	add_parameter(form, "refresh_token", tokens->credentials.identity_token);
}

static void make_url(const struct challenge *challenge, const struct strings *scopes,
		     struct str *url)
{
	str_adds(url, challenge->realm);
	url_cut_query(url);
	if (challenge->service)
		url_add_query(url, "service", challenge->service);
	for (size_t i = 0; i < scopes->len; i++)
		url_add_query(url, "scope", scopes->items[i]);
}

static bool is_redirect(const struct http_response *response)
{
	int s = response->status;

	return response->location && *response->location &&
	       (s == 301 || s == 302 || s == 303 || s == 307 || s == 308);
}

/* One try, with redirects of a GET. Return: as http_perform(). */
static int ask_once(struct tokens *tokens, struct http_request *request, const char *header,
		    struct http_response *response, struct error *err)
{
	auto_str url = STR_INIT;
	const char *first = request->url;
	int r = HTTP_DONE;

	str_adds(&url, first);
	for (int hop = 0; r == HTTP_DONE; hop++) {
		auto_str next = STR_INIT;

		request->url = url.ptr;
		request->own_realm = url_same_origin(first, url.ptr);
		request->own_host = url_same_origin(tokens->registry, url.ptr);
		request->authorization = *header && request->own_realm ? header : NULL;
		r = http_perform(tokens->settings.http, request, response, err);
		if (r != HTTP_DONE || request->source || !is_redirect(response))
			break;
		if (hop == TOKEN_REDIRECTS)
			r = error_set(err, E_PROTOCOL, "more than %d redirects", hop);
		if (r == HTTP_DONE)
			r = url_resolve(url.ptr, response->location, &next, err);
		str_release(&url);
		url = next;
		next = (struct str)STR_INIT;
	}
	request->url = first;
	request->authorization = NULL;
	return r;
}

static int refused(const struct http_request *request, const struct http_response *response,
		   struct error *err)
{
	auto_str details = STR_INIT;

	status_add_details(request, response, &details);
	return error_set(err, E_FAILED,
			 "Error: AuthFailed(why: \"got HTTP %d while fetching a token\", details: "
			 "\"%s\")",
			 response->status, details.ptr);
}

static int ask(struct tokens *tokens, struct http_request *request, const char *header,
	       struct http_response *response, struct error *err)
{
	struct retry retry = { .policy = tokens->settings.policy };
	int r;

	do {
		r = ask_once(tokens, request, header, response, err);
		if (r != HTTP_DONE)
			(void)status_wrap(err, request);
		else if (response->status != 200)
			(void)refused(request, response, err);
		if (r < 0)
			return r;
		if (r == HTTP_DONE && response->status == 200)
			return 0;
		if (r == HTTP_DONE && !retry_is_transient(response))
			return -err->code;
		r = retry_wait(&retry, response->retry_after, err);
	} while (r == 0);
	return r;
}

/* It has to be a whole address, and https where the registry's is. */
static int check_realm(const struct tokens *tokens, const struct challenge *challenge,
		       struct str *realm, const char *details, struct error *err)
{
	bool whole =
		str_starts(challenge->realm, "http://") || str_starts(challenge->realm, "https://");

	if (!whole || url_resolve(tokens->registry, challenge->realm, realm, err) < 0)
		return error_set(err, E_FAILED,
				 "Error: AuthFailed(why: \"the realm is no address to send "
				 "credentials to\", details: \"%s: %.150s\")",
				 details, challenge->realm);
	return 0;
}

static int fetch(struct tokens *tokens, const struct challenge *challenge,
		 const struct strings *scopes, struct token *token, struct error *err)
{
	const struct credentials *credentials = &tokens->credentials;
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT, form = STR_INIT, header = STR_INIT;
	struct http_source source;
	struct http_request request = { .method = "GET", .limit = TOKEN_BODY_MAX };
	int r;

	if (credentials->identity_token) {
		str_adds(&url, challenge->realm);
		make_form(tokens, challenge, scopes, &form);
		source = (struct http_source){ .bytes = form.ptr, .length = form.len };
		request.method = "POST";
		request.content_type = "application/x-www-form-urlencoded";
		request.source = &source;
	} else {
		make_url(challenge, scopes, &url);
		if (has_password(credentials))
			add_basic(credentials, &header);
	}
	request.url = url.ptr;
	r = ask(tokens, &request, header.ptr, &response, err);
	if (r >= 0 && token_parse(response.body.ptr, response.body.len, time(NULL), token, err) < 0)
		r = status_wrap(err, &request);
	explicit_bzero(form.ptr, form.len);
	explicit_bzero(header.ptr, header.len);
	explicit_bzero(response.body.ptr, response.body.len);
	return r;
}

static int renew_bearer(struct tokens *tokens, const struct rights *rights,
			struct challenge *challenge, const char *details, struct str *header,
			struct error *err)
{
	auto_free char *key = make_key(rights);
	auto_str realm = STR_INIT, value = STR_INIT;
	auto_strings scopes = VEC_INIT;
	auto_token token = TOKEN_INIT;
	int r = check_realm(tokens, challenge, &realm, details, err);

	if (r < 0)
		return r;
	free(challenge->realm);
	challenge->realm = str_detach(&realm);
	add_scopes(tokens, challenge, rights, &scopes);
	r = fetch(tokens, challenge, &scopes, &token, err);
	if (r < 0)
		return r;
	str_addf(&value, "Bearer %s", token.text);
	r = keep(tokens, key, value.ptr, token.expires, header);
	explicit_bzero(value.ptr, value.len);
	return r;
}

static int renew_basic(struct tokens *tokens, const struct rights *rights, struct str *header)
{
	auto_free char *key = make_key(rights);
	auto_str value = STR_INIT;
	int r;

	if (!has_password(&tokens->credentials))
		return 0;
	add_basic(&tokens->credentials, &value);
	r = strcmp(value.ptr, header->ptr) == 0 ? 0 : keep(tokens, key, value.ptr, 0, header);
	explicit_bzero(value.ptr, value.len);
	return r;
}

static int read_challenges(const struct http_response *response, struct challenge *best,
			   const char *details, struct error *err)
{
	struct error why = ERROR_INIT;
	const struct strings *headers = &response->challenges;

	if (!headers->len)
		return error_set(err, E_FAILED,
				 "Error: AuthFailed(why: \"got HTTP 401, but WWW-Authenticate "
				 "header is missing\", details: \"%s\")",
				 details);
	for (size_t i = 0; i < headers->len; i++)
		(void)!challenge_parse(headers->items[i], best, &why);
	if (best->scheme == CHALLENGE_BASIC || best->scheme == CHALLENGE_BEARER)
		return 0;
	return error_set(err, E_FAILED,
			 "Error: AuthFailed(why: \"got HTTP 401, but no Basic or Bearer "
			 "challenge\", details: \"%s: %.150s\")",
			 details, headers->items[0]);
}

int tokens_renew(struct tokens *tokens, const struct rights *rights,
		 const struct http_request *request, const struct http_response *response,
		 unsigned tries, struct str *header, struct error *err)
{
	auto_lock *held = lock(tokens);
	auto_free char *key = make_key(rights);
	auto_challenge challenge = CHALLENGE_INIT;
	auto_str details = STR_INIT;
	const struct grant *grant = find_grant(tokens, key);
	int r;

	(void)held;
	if (grant && !grant->proved && strcmp(grant->header, header->ptr) == 0 &&
	    tries > TOKEN_TRIES)
		return 0;
	if (is_live(grant) && strcmp(grant->header, header->ptr) != 0) {
		str_reset(header);
		str_adds(header, grant->header); /* another thread was quicker */
		return 1;
	}
	status_add_details(request, response, &details);
	r = read_challenges(response, &challenge, details.ptr, err);
	if (r >= 0)
		r = look_up(tokens, err);
	if (r < 0)
		return r;
	if (challenge.scheme == CHALLENGE_BASIC)
		return renew_basic(tokens, rights, header);
	return renew_bearer(tokens, rights, &challenge, details.ptr, header, err);
}
