/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_TOKEN_JSON_H
#define OCI_TOKEN_JSON_H

/* A token server's answer (docker's token specification, RFC 6749 section 5.1): no I/O. */

#include <stddef.h>
#include <time.h>

#include "base/attr.h"

struct error;

enum {
	TOKEN_BODY_MAX = 256 * 1024, /* bytes of an answer */
	TOKEN_MAX = 64 * 1024,
	TOKEN_LIFE = 60, /* seconds, where none is told */
};

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
