/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/token_json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

void token_release(struct token *token)
{
	if (token->text)
		explicit_bzero(token->text, strlen(token->text));
	free(token->text);
	*token = (struct token)TOKEN_INIT;
}

/* "2026-11-26T07:58:40Z", also with a fraction or an offset (RFC 3339), -1 for all else. */
static time_t parse_time(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t when = rest && tm.tm_year < 300 ? timegm(&tm) : -1;

	if (when < 0)
		return -1;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (strcmp(rest, "Z") == 0 || strcmp(rest, "z") == 0)
		return when;
	memset(&tm, 0, sizeof(tm));
	if ((*rest != '+' && *rest != '-') || !strptime(rest, "%z", &tm))
		return -1;
	return when - tm.tm_gmtoff;
}

static bool is_token(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return len > 0 && len <= TOKEN_MAX;
}

static int read_life(const json_t *object, time_t now, time_t *expires, struct error *err)
{
	enum { LIFE_MAX = 10 * 365 * 24 * 3600 };
	int64_t life = TOKEN_LIFE;
	const char *issued = NULL;
	time_t from = -1;
	int r = json_get_int(object, "expires_in", INT64_MIN, INT64_MAX, &life, err);

	if (r < 0)
		return r;
	if (json_get_string(object, "issued_at", &issued, err) >= 0 && issued)
		from = parse_time(issued);
	if (life < 0 || life > LIFE_MAX)
		life = life < 0 ? 0 : LIFE_MAX;
	*expires = (from < 0 ? now : from) + (time_t)life;
	return 0;
}

int token_parse(const void *bytes, size_t len, time_t now, struct token *token, struct error *err)
{
	auto_json *object = NULL;
	const char *text = NULL;
	time_t expires = now;
	int r;

	if (len > TOKEN_BODY_MAX)
		return error_set(err, E_TOO_BIG, "the token is too big");
	r = json_parse_object(bytes, len, &object, err);
	if (r >= 0)
		r = json_get_string(object, "token", &text, err);
	if (r >= 0 && (!text || !*text))
		r = json_get_string(object, "access_token", &text, err);
	if (r >= 0)
		r = read_life(object, now, &expires, err);
	if (r < 0)
		return r;
	if (!text || !is_token(text))
		return error_set(err, E_INVALID, "there is no token in the answer");
	*token = (struct token){ .text = xstrdup(text), .expires = expires };
	return 0;
}
