/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/url.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/str.h"

static void cleanup_url_(CURLU **url)
{
	curl_url_cleanup(*url);
}
#define auto_url cleanup_(cleanup_url_) CURLU

static void cleanup_part_(char **part)
{
	curl_free(*part);
}
#define auto_part cleanup_(cleanup_part_) char

static CURLU *parse(const char *text)
{
	CURLU *url = curl_url();

	if (url && strlen(text) <= URL_MAX &&
	    curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK)
		return url;
	curl_url_cleanup(url);
	return NULL;
}

static char *part(CURLU *url, CURLUPart which)
{
	char *text = NULL;

	(void)curl_url_get(url, which, &text, CURLU_DEFAULT_PORT);
	return text;
}

static bool has_scheme(CURLU *url, const char *scheme)
{
	auto_part *text = part(url, CURLUPART_SCHEME);

	return text && strcasecmp(text, scheme) == 0;
}

bool url_is_https(const char *text)
{
	auto_url *url = parse(text);

	return url && has_scheme(url, "https");
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which)
{
	auto_part *of_a = part(a, which);
	auto_part *of_b = part(b, which);

	return of_a && of_b && strcasecmp(of_a, of_b) == 0;
}

bool url_same_origin(const char *a, const char *b)
{
	auto_url *first = parse(a);
	auto_url *second = parse(b);

	return first && second && same_part(first, second, CURLUPART_SCHEME) &&
	       same_part(first, second, CURLUPART_HOST) && same_part(first, second, CURLUPART_PORT);
}

int url_resolve(const char *base, const char *location, struct str *out, struct error *err)
{
	auto_url *url = parse(base);
	auto_part *text = NULL;
	bool secure = url && has_scheme(url, "https");

	if (!url || strlen(location) > URL_MAX ||
	    curl_url_set(url, CURLUPART_URL, location, 0) != CURLUE_OK)
		return error_set(err, E_PROTOCOL, "the address that it is sent on to is malformed");
	if (!has_scheme(url, "https") && !has_scheme(url, "http"))
		return error_set(err, E_PROTOCOL,
				 "the address that it is sent on to is not http or https");
	if (secure && !has_scheme(url, "https"))
		return error_set(err, E_PROTOCOL,
				 "is sent on from https to http, which is refused");
	(void)curl_url_set(url, CURLUPART_USER, NULL, 0);
	(void)curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
	(void)curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
	if (curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK || strlen(text) > URL_MAX)
		return error_set(err, E_PROTOCOL, "the address that it is sent on to is malformed");
	str_adds(out, text);
	return 0;
}

/* RFC 3986 section 2.3: what needs no escape */
static bool unreserved(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && strchr("-._~", c));
}

void url_add_escaped(struct str *out, const char *value)
{
	for (; *value; value++) {
		if (unreserved(*value))
			str_addc(out, *value);
		else
			str_addf(out, "%%%02X", (unsigned char)*value);
	}
}

void url_add_query(struct str *url, const char *key, const char *value)
{
	str_addc(url, strchr(url->ptr, '?') ? '&' : '?');
	str_addf(url, "%s=", key);
	url_add_escaped(url, value);
}

void url_cut_query(struct str *url)
{
	str_set_len(url, strcspn(url->ptr, "?#"));
}

void url_add_shown(struct str *out, const char *url)
{
	enum { SHOWN_MAX = 200 };
	size_t len = strcspn(url, "?#");

	str_add(out, url, len < SHOWN_MAX ? len : SHOWN_MAX);
	if (len > SHOWN_MAX)
		str_adds(out, "...");
}
