/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_AUTH_H
#define OCI_AUTH_H

/* What registries say about authentication, as values: no I/O. */

#include <stddef.h>
#include <time.h>

#include "base/attr.h"

struct error;

enum {
	CHALLENGE_MAX = 8192, /* bytes of one header */
	TOKEN_BODY_MAX = 256 * 1024, /* bytes of a token server's answer */
	TOKEN_MAX = 64 * 1024,
	TOKEN_LIFE = 60, /* seconds, where none is told (docker's token specification) */
};

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	char *realm, *service, *scope; /* NULL: not given */
};
#define CHALLENGE_INIT \
	{              \
		0      \
	}

/*
 * Take what one WWW-Authenticate header (RFC 7235 section 4.1; several challenges in it are
 * fine) offers into @best, which holds the best of the headers before: Bearer before Basic
 * before what we do not know. E_INVALID: no challenge with at least one directive in it.
 */
int challenge_parse(const char *header, struct challenge *best, struct error *err) must_use_;
void challenge_release(struct challenge *challenge);
#define auto_challenge cleanup_(challenge_release) struct challenge

struct token {
	char *text; /* printable ASCII without spaces */
	time_t expires;
};
#define TOKEN_INIT \
	{          \
		0  \
	}

/* A token server's JSON; @now: where issued_at is missing or unreadable. E_INVALID, E_TOO_BIG. */
int token_parse(const void *bytes, size_t len, time_t now, struct token *token,
		struct error *err) must_use_;
void token_release(struct token *token);
#define auto_token cleanup_(token_release) struct token

#endif
