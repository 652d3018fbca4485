/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_URL_H
#define OCI_URL_H

/* URLs by libcurl's parser (RFC 3986): only http and https, never with a user or a fragment. */

#include <stdbool.h>

#include "base/attr.h"

struct error;
struct str;

enum { URL_MAX = 16 * 1024 }; /* signed URLs of blob storage are long */

/*
 * Append what @location means seen from @base (a Location header, RFC 9110 section 10.2.2).
 * E_PROTOCOL: malformed, too long, another scheme, or http where @base is https.
 */
int url_resolve(const char *base, const char *location, struct str *out,
		struct error *err) must_use_;
/* Same scheme, host and port? What does not parse is nobody's equal. */
bool url_same_origin(const char *a, const char *b);
bool url_is_https(const char *url);
/* Append "?key=value" or "&key=value", the value escaped. */
void url_add_query(struct str *url, const char *key, const char *value);
/* Append @value escaped for a query or form. */
void url_add_escaped(struct str *out, const char *value);
/* Remove the query. */
void url_cut_query(struct str *url);
/* Append @url as a person may see it: without its query, which can hold secrets. */
void url_add_shown(struct str *out, const char *url);

#endif
