/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The grammar of WWW-Authenticate is ambiguous for a comma: behind it comes either another
 * directive ("name = value") or another challenge ("scheme name = value"). So a word is read
 * first, and what follows it decides. A quoted value may hold commas and escapes.
 */

#include "oci/auth.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

struct parser {
	const char *at;
	struct challenge current;
	unsigned directives; /* of the current challenge */
	unsigned complete; /* challenges with directives */
	struct challenge *best;
};

void challenge_release(struct challenge *challenge)
{
	free(challenge->realm);
	free(challenge->service);
	free(challenge->scope);
	*challenge = (struct challenge)CHALLENGE_INIT;
}

static void skip(struct parser *p, const char *characters)
{
	p->at += strspn(p->at, characters);
}

/* RFC 9110 section 5.6.2; "/" and ":" only make broken servers readable. */
static bool is_word(char c)
{
	return c > ' ' && c < 0x7f && !strchr("(),;<=>?@[\\]{}\"", c);
}

static char *read_word(struct parser *p)
{
	const char *start = p->at;

	while (*p->at && is_word(*p->at))
		p->at++;
	return xstrndup(start, (size_t)(p->at - start));
}

static char *read_quoted(struct parser *p)
{
	auto_str value = STR_INIT;

	for (p->at++; *p->at && *p->at != '"'; p->at++) {
		if (*p->at == '\\' && p->at[1])
			p->at++;
		str_addc(&value, *p->at);
	}
	if (*p->at)
		p->at++;
	return str_detach(&value);
}

static char *read_value(struct parser *p)
{
	const char *start = p->at;

	if (*p->at == '"')
		return read_quoted(p);
	p->at += strcspn(p->at, ", \t");
	return xstrndup(start, (size_t)(p->at - start));
}

/* The challenge that ends here replaces a worse one. */
static void finish(struct parser *p)
{
	bool usable = p->current.scheme != CHALLENGE_BEARER || p->current.realm;

	p->complete += p->directives > 0;
	if (p->directives && usable && p->current.scheme > p->best->scheme) {
		challenge_release(p->best);
		*p->best = p->current;
		p->current = (struct challenge)CHALLENGE_INIT;
	}
	challenge_release(&p->current);
	p->directives = 0;
}

static void begin(struct parser *p, const char *scheme)
{
	finish(p);
	if (strcasecmp(scheme, "Bearer") == 0)
		p->current.scheme = CHALLENGE_BEARER;
	else if (strcasecmp(scheme, "Basic") == 0)
		p->current.scheme = CHALLENGE_BASIC;
	else
		p->current.scheme = CHALLENGE_OTHER;
}

static void add_directive(struct parser *p, const char *name, char *value)
{
	char **field = NULL;

	if (strcasecmp(name, "realm") == 0)
		field = &p->current.realm;
	else if (strcasecmp(name, "service") == 0)
		field = &p->current.service;
	else if (strcasecmp(name, "scope") == 0)
		field = &p->current.scope;
	p->directives++;
	if (field && !*field)
		*field = value;
	else
		free(value);
}

static int parse_element(struct parser *p)
{
	auto_free char *word = read_word(p);

	if (!*word)
		return -1;
	skip(p, " \t");
	if (*p->at != '=') {
		begin(p, word);
		return 0;
	}
	if (p->current.scheme == CHALLENGE_NONE)
		return -1;
	p->at++;
	skip(p, " \t");
	add_directive(p, word, read_value(p));
	return 0;
}

int challenge_parse(const char *header, struct challenge *best, struct error *err)
{
	struct parser p = { .at = header, .best = best };
	int r = strlen(header) > CHALLENGE_MAX ? -1 : 0;

	skip(&p, ", \t");
	while (r == 0 && *p.at) {
		r = parse_element(&p);
		skip(&p, ", \t");
	}
	if (r < 0)
		p.directives = 0; /* half of a challenge is none */
	finish(&p);
	if (!p.complete)
		return error_set(err, E_INVALID, "MalformedHeader: WWW-Authenticate: %.100s",
				 header);
	return 0;
}

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
	time_t expires;
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
