/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/docker_auth.h"

#include <openssl/evp.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

static const char docker_server[] = "https://index.docker.io/v1/";

const char *docker_auth_server(const char *host)
{
	return strcmp(host, "docker.io") == 0 ? docker_server : host;
}

void docker_auth_release(struct docker_auth *auth)
{
	credentials_release(&auth->credentials);
	free(auth->helper);
	auth->helper = NULL;
}

/* base64 of "user:password"; the password may hold colons. */
static int decode(const char *text, struct credentials *found, struct error *err)
{
	size_t len = strlen(text), padding = 0;
	auto_str plain = STR_INIT;
	const char *colon;
	int n;

	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	str_grow(&plain, len / 4 * 3 + 3);
	n = EVP_DecodeBlock((unsigned char *)plain.ptr, (const unsigned char *)text, (int)len);
	if (n < 0 || len % 4 || (size_t)n < padding)
		return error_set(err, E_INVALID, "'auth' is not base64");
	str_set_len(&plain, (size_t)n - padding);
	colon = strchr(plain.ptr, ':');
	if (strlen(plain.ptr) != plain.len || !colon)
		return error_set(err, E_INVALID, "'auth' is not a user and a password");
	found->user = xstrndup(plain.ptr, (size_t)(colon - plain.ptr));
	found->password = xstrdup(colon + 1);
	explicit_bzero(plain.ptr, plain.len);
	return 1;
}

static int read_entry(const json_t *entry, struct credentials *found, struct error *err)
{
	const char *auth = NULL, *user = NULL, *password = NULL, *identity = NULL;
	int r = json_get_string(entry, "auth", &auth, err);

	if (r >= 0)
		r = json_get_string(entry, "username", &user, err);
	if (r >= 0)
		r = json_get_string(entry, "password", &password, err);
	if (r >= 0)
		r = json_get_string(entry, "identitytoken", &identity, err);
	if (r < 0)
		return r;
	if (identity && *identity) {
		found->identity_token = xstrdup(identity);
		return 1;
	}
	if (auth && *auth)
		return decode(auth, found, err);
	if (!user || !*user || !password)
		return 0; /* docker leaves {} behind where a store has the password */
	found->user = xstrdup(user);
	found->password = xstrdup(password);
	return 1;
}

/* Is @key, "https://host/v1/", of @host? */
static bool names_host(const char *key, const char *host)
{
	size_t len = strlen(host);

	if (str_starts(key, "https://"))
		key += strlen("https://");
	else if (str_starts(key, "http://"))
		key += strlen("http://");
	else
		return false;
	return strncmp(key, host, len) == 0 && (key[len] == '/' || !key[len]);
}

static int find_by_url(const json_t *auths, const char *host, struct credentials *found,
		       struct error *err)
{
	const char *key;
	json_t *entry;

	json_object_foreach ((json_t *)(uintptr_t)auths, key, entry) {
		int r = names_host(key, host) ? read_entry(entry, found, err) : 0;

		if (r)
			return r;
	}
	return 0;
}

/* From "host/a/b" up to "host": the longest that there is (containers-auth.json(5)). */
static int find_auth(const json_t *auths, const char *host, const char *repository,
		     struct credentials *found, struct error *err)
{
	auto_free char *key = repository ? str_format("%s/%s", host, repository) : xstrdup(host);
	char *slash;

	while ((slash = strrchr(key, '/'))) {
		int r = read_entry(json_object_get(auths, key), found, err);

		if (r)
			return r;
		*slash = '\0';
	}
	for (int i = 0; i < 2; i++) {
		const char *name = i ? docker_auth_server(host) : key;
		int r = read_entry(json_object_get(auths, name), found, err);

		if (r)
			return r;
	}
	return find_by_url(auths, host, found, err);
}

static bool is_repetition(char c)
{
	return c == '*' || c == '+' || c == '?';
}

/*
 * Repetition counts and references back make the C library's regular expressions take time and
 * memory without end, as do repetitions of repetitions and many of them: "+" doubles what it
 * stands behind. No registry's name needs them.
 */
static bool is_tame(const char *pattern)
{
	enum { PATTERN_MAX = 256, PLUS_MAX = 4, REPETITIONS_MAX = 16 };
	unsigned plus = 0, repetitions = 0;

	if (strlen(pattern) > PATTERN_MAX || strchr(pattern, '{'))
		return false;
	for (; *pattern; pattern++) {
		plus += *pattern == '+';
		repetitions += is_repetition(*pattern);
		if (is_repetition(pattern[0]) && is_repetition(pattern[1]))
			return false;
		if (pattern[0] == '\\' && pattern[1] >= '0' && pattern[1] <= '9')
			return false;
	}
	return plus <= PLUS_MAX && repetitions <= REPETITIONS_MAX;
}

static bool matches(const char *pattern, const char *host)
{
	auto_free char *whole = str_format("^(%s)$", pattern);
	regex_t regex;
	bool found;

	if (strcmp(pattern, host) == 0)
		return true;
	if (!is_tame(pattern) || regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	found = regexec(&regex, host, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

static bool is_plain(const char *helper)
{
	return *helper && strlen(helper) <= 100 &&
	       helper[strspn(helper, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789._-")] == '\0';
}

static const char *find_helper(const json_t *object, const char *host)
{
	const json_t *helpers = json_object_get(object, "credHelpers");
	const char *server = docker_auth_server(host);
	const json_t *exact = json_object_get(helpers, host);
	const char *key;
	json_t *value;

	if (!exact)
		exact = json_object_get(helpers, server);
	if (json_is_string(exact))
		return json_string_value(exact);
	json_object_foreach ((json_t *)(uintptr_t)helpers, key, value) {
		if (json_is_string(value) && matches(key, host))
			return json_string_value(value);
	}
	return json_string_value(json_object_get(object, "credsStore"));
}

int docker_auth_find(const void *bytes, size_t len, const char *host, const char *repository,
		     struct docker_auth *found, struct error *err)
{
	auto_json *object = NULL;
	const char *helper;
	int r = json_parse_object(bytes, len, &object, err);

	if (r >= 0)
		r = find_auth(json_object_get(object, "auths"), host, repository,
			      &found->credentials, err);
	if (r)
		return r;
	helper = find_helper(object, host);
	if (!helper || !*helper)
		return 0;
	if (!is_plain(helper))
		return error_set(err, E_INVALID, "'%.100s' is not a credential helper's name",
				 helper);
	found->helper = xstrdup(helper);
	return 1;
}

int docker_auth_parse_helper(const void *bytes, size_t len, struct credentials *found,
			     struct error *err)
{
	auto_json *object = NULL;
	struct error ignored = ERROR_INIT;
	const char *user = NULL, *secret = NULL;

	/* what is wrong with the text could quote a secret */
	if (json_parse_object(bytes, len, &object, &ignored) < 0 ||
	    json_get_string(object, "Username", &user, &ignored) < 0 ||
	    json_get_string(object, "Secret", &secret, &ignored) < 0 || !user || !secret)
		return error_set(err, E_INVALID, "the answer is not a user and a secret");
	if (strcmp(user, "<token>") == 0) {
		found->identity_token = xstrdup(secret);
		return 0;
	}
	found->user = xstrdup(user);
	found->password = xstrdup(secret);
	return 0;
}

static json_t *make_entry(const char *user, const char *password)
{
	auto_str plain = STR_INIT, coded = STR_INIT;
	json_t *entry = json_object();
	int n;

	str_addf(&plain, "%s:%s", user, password);
	str_grow(&coded, (plain.len + 2) / 3 * 4);
	n = EVP_EncodeBlock((unsigned char *)coded.ptr, (const unsigned char *)plain.ptr,
			    (int)plain.len);
	str_set_len(&coded, (size_t)n);
	(void)json_object_set_new(entry, "auth", json_string(coded.ptr));
	explicit_bzero(plain.ptr, plain.len);
	explicit_bzero(coded.ptr, coded.len);
	return entry;
}

int docker_auth_edit(const void *bytes, size_t len, const char *host, const char *user,
		     const char *password, struct str *out, struct error *err)
{
	auto_json *object = NULL;
	json_t *auths;
	int r = len ? json_parse_object(bytes, len, &object, err) : 0;

	if (r < 0)
		return r;
	if (!object)
		object = json_object();
	auths = json_object_get(object, "auths");
	if (!json_is_object(auths)) {
		auths = json_object();
		(void)json_object_set_new(object, "auths", auths);
	}
	if (user)
		(void)json_object_set_new(auths, host, make_entry(user, password));
	else
		(void)json_object_del(auths, host);
	json_add_pretty(out, object);
	return 0;
}
