/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The grammar of WWW-Authenticate is ambiguous for a comma: behind it comes either another
 * directive ("name = value") or another challenge ("scheme name = value"). So a word is read
 * first, and what follows it decides. A quoted value may hold commas and escapes.
 */

#include "oci/challenge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
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

/* NULL: it does not end. */
static char *read_quoted(struct parser *p)
{
	auto_str value = STR_INIT;

	for (p->at++; *p->at && *p->at != '"'; p->at++) {
		if (*p->at == '\\' && p->at[1])
			p->at++;
		str_addc(&value, *p->at);
	}
	if (!*p->at)
		return NULL;
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
	char *value;

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
	value = read_value(p);
	if (!value)
		return -1;
	add_directive(p, word, value);
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
