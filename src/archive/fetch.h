/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARCHIVE_FETCH_H
#define ARCHIVE_FETCH_H

/* A file from the web, over HTTP or HTTPS, unless what we have of it is still what is there. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"

struct error;

#define FETCH_BYTES_MAX (UINT64_C(1) << 30) /* of the file */
enum { FETCH_REDIRECTS = 10, FETCH_VALIDATOR_MAX = 1024 /* bytes of a header's value */ };

/* What a server says of a version of a file (RFC 9110, 8.8), each empty where it does not. */
struct fetch_version {
	struct str etag, modified;
	bool no_store; /* it wants nobody to keep it */
};
#define FETCH_VERSION_INIT                              \
	{                                               \
		.etag = STR_INIT, .modified = STR_INIT, \
	}

struct fetch_source {
	const char *url;
	struct str authorities; /* certificates (PEM) to trust; empty: the system's */
};

/*
 * Write what is at @source to the empty file @fd; @known is the version that the caller has (both
 * may be empty), and becomes the one that came. Return: 1 it came; 0 @known is what is there; or
 * error: EHOSTUNREACH where nobody answered, E_TOO_BIG. $LINZER_STALL_SECONDS counts.
 */
int fetch(const struct fetch_source *source, int fd, struct fetch_version *known,
	  struct error *err) must_use_;
void fetch_version_release(struct fetch_version *version);
#define auto_fetch_version cleanup_(fetch_version_release) struct fetch_version

#endif
