/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DIR_FETCH_H
#define RUN_DIR_FETCH_H

/* `linzer-archive fetch`: the download of an archive, by a process that has nothing else. */

#include <stddef.h>

#include "base/attr.h"

struct error;
struct identity;
struct str;

struct dir_fetch {
	const char *url; /* a password in it is seen by that process and the server only */
	const char *etag, *modified; /* of what we have; "": nothing */
	int fd; /* an empty file to write to */
	const struct identity *identity; /* who does it where we are root */
};
enum { DIR_FETCH_ANSWER_MAX = 16 * 1024, DIR_FETCH_NOBODY_ANSWERED = 2 };

/*
 * $SSL_CERT_FILE, the proxy variables and $LINZER_STALL_SECONDS count. Return: the exit status of
 * linzer-archive, whose stdout is @answer and first line on stderr @errors; or error.
 */
int dir_fetch(const struct dir_fetch *fetch, struct str *answer, struct str *errors,
	      struct error *err) must_use_;

#endif
