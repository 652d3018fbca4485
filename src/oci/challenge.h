/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_CHALLENGE_H
#define OCI_CHALLENGE_H

/* WWW-Authenticate, how a registry wants to be asked (RFC 7235 section 4.1): no I/O. */

#include "base/attr.h"

struct error;

enum { CHALLENGE_MAX = 8192 }; /* bytes of one header */

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
 * Take what one WWW-Authenticate header offers (several challenges in it are fine) into @best,
 * which holds the best of the headers before: Bearer before Basic before what we do not
 * know. E_INVALID: no challenge with at least one directive in it.
 */
int challenge_parse(const char *header, struct challenge *best, struct error *err) must_use_;
void challenge_release(struct challenge *challenge);
#define auto_challenge cleanup_(challenge_release) struct challenge

#endif
