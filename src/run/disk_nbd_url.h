/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_NBD_URL_H
#define RUN_DISK_NBD_URL_H

/*
 * NBD URLs (the NBD project's doc/uri.md):
 *
 *   nbd://HOST[:PORT][/EXPORT]             nbds: with TLS
 *   nbd+unix://[/EXPORT]?socket=PATH       nbds+unix
 *
 * EXPORT and PATH are percent-encoded; HOST may be an IPv6 address in brackets.
 */

#include <stdbool.h>

#include "base/attr.h"

struct error;

enum { NBD_NAME_MAX = 4096, NBD_SOCKET_MAX = 107 };

struct nbd_url {
	bool tls;
	char *host; /* NULL: a socket */
	char *port; /* decimal, 1 to 65535 */
	char *socket; /* path; NULL: a host */
	char *export; /* UTF-8, may be empty */
};
#define NBD_URL_INIT \
	{            \
		0    \
	}

/* Does it begin with one of the four schemes and "://"? */
bool nbd_url_is(const char *text);
/* Return: 0, @url is the caller's to release; E_FAILED with a line that says what is wrong. */
int nbd_url_parse(const char *text, struct nbd_url *url, struct error *err) must_use_;
void nbd_url_release(struct nbd_url *url);
#define auto_nbd_url cleanup_(nbd_url_release) struct nbd_url

#endif
