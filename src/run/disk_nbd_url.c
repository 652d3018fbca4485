/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_nbd_url.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

static const char default_port[] = "10809"; /* IANA's */

struct scheme {
	const char *prefix;
	bool tls, socket;
};
static const struct scheme schemes[] = {
	{ "nbd://", false, false },
	{ "nbds://", true, false },
	{ "nbd+unix://", false, true },
	{ "nbds+unix://", true, true },
};

static const struct scheme *find_scheme(const char *text)
{
	for (size_t i = 0; i < array_size(schemes); i++)
		if (strncasecmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
			return &schemes[i];
	return NULL;
}

bool nbd_url_is(const char *text)
{
	return find_scheme(text) != NULL;
}

static int hex_value(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Return: the text behind @len bytes of percent-encoding, owned; NULL: malformed, or not UTF-8. */
static char *decode(const char *text, size_t len)
{
	auto_str out = STR_INIT;
	auto_json *probe = NULL;

	str_grow(&out, len);
	for (size_t i = 0; i < len; i++) {
		int high = -1, low = -1;

		if (text[i] != '%') {
			str_addc(&out, text[i]);
			continue;
		}
		if (i + 2 < len) {
			high = hex_value(text[i + 1]);
			low = hex_value(text[i + 2]);
		}
		if (high < 0 || low < 0 || (high | low) == 0)
			return NULL;
		str_addc(&out, (char)(high << 4 | low));
		i += 2;
	}
	str_adds(&out, "");
	probe = json_string(out.ptr); /* it gets into QEMU's JSON */
	return probe ? str_detach(&out) : NULL;
}

static int parse_export(const char *path, size_t len, struct nbd_url *url, struct error *err)
{
	if (len && *path == '/') {
		path++;
		len--;
	}
	url->export = decode(path, len);
	if (!url->export || strlen(url->export) > NBD_NAME_MAX)
		return error_set(err, E_FAILED, "the export's name is malformed");
	return 0;
}

/* Only sockets have one. */
static int parse_query(const char *query, struct nbd_url *url, struct error *err)
{
	static const char key[] = "socket=";

	if (!str_starts(query, key) || strchr(query, '&'))
		return error_set(err, E_FAILED, "\"?socket=PATH\" is wanted");
	url->socket = decode(query + strlen(key), strlen(query + strlen(key)));
	if (!url->socket || !url->socket[0] || strlen(url->socket) > NBD_SOCKET_MAX)
		return error_set(err, E_FAILED, "the socket's path is malformed or too long");
	return 0;
}

static int parse_port(const char *text, size_t len, struct nbd_url *url, struct error *err)
{
	uint64_t port;

	url->port = len ? xstrndup(text, len) : xstrdup(default_port);
	if (str_to_u64(url->port, UINT16_MAX, &port) < 0 || port == 0)
		return error_set(err, E_FAILED, "the port is no number of 1 to 65535");
	return 0;
}

static bool host_is_plain(const char *host, bool brackets)
{
	const char *others = brackets ? ":.%_-" : "._-";

	for (const char *c = host; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr(others, *c))
			return false;
	return *host != '\0';
}

static int parse_authority(const char *text, size_t len, struct nbd_url *url, struct error *err)
{
	auto_free char *whole = xstrndup(text, len);
	bool brackets = whole[0] == '[';
	char *host = brackets ? whole + 1 : whole, *rest = strchr(host, brackets ? ']' : ':');

	if (brackets && !rest)
		return error_set(err, E_FAILED, "the host is malformed");
	if (rest)
		*rest++ = '\0';
	if (brackets && *rest && *rest++ != ':')
		return error_set(err, E_FAILED, "the host is malformed");
	if (!host_is_plain(host, brackets))
		return error_set(err, E_FAILED, "the host is malformed");
	url->host = xstrdup(host);
	return rest ? parse_port(rest, strlen(rest), url, err) : parse_port("", 0, url, err);
}

static int parse(const struct scheme *scheme, const char *text, struct nbd_url *url,
		 struct error *err)
{
	const char *start = text + strlen(scheme->prefix);
	const char *path = start + strcspn(start, "/?");
	const char *query = path + strcspn(path, "?");
	int r;

	url->tls = scheme->tls;
	if (strchr(start, '#'))
		return error_set(err, E_FAILED, "it has a fragment");
	r = parse_export(path, (size_t)(query - path), url, err);
	if (r < 0)
		return r;
	if (scheme->socket)
		return parse_query(*query ? query + 1 : query, url, err);
	if (*query)
		return error_set(err, E_FAILED, "it has a query");
	return parse_authority(start, (size_t)(path - start), url, err);
}

int nbd_url_parse(const char *text, struct nbd_url *url, struct error *err)
{
	const struct scheme *scheme = find_scheme(text);
	auto_nbd_url parsed = NBD_URL_INIT;
	int r = scheme ? parse(scheme, text, &parsed, err)
		       : error_set(err, E_FAILED, "it begins with none of NBD's schemes");

	if (r < 0)
		return error_wrap(err, "NBD URL '%s'", text);
	*url = parsed;
	parsed = (struct nbd_url)NBD_URL_INIT;
	return 0;
}

void nbd_url_release(struct nbd_url *url)
{
	free(take(url->host));
	free(take(url->port));
	free(take(url->socket));
	free(take(url->export));
}
