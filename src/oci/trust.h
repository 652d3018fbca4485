/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_TRUST_H
#define OCI_TRUST_H

/*
 * Whom TLS trusts: SSL_CERT_FILE and SSL_CERT_DIR instead of the system's authorities, as
 * with the curl program; and for a registry of one's own, as docker and podman do,
 * DIR/HOST/X.crt (more authorities, of its token server too, wherever that is) and X.cert with
 * X.key (a certificate of the client, shown to HOST alone) of DIR = /etc/docker/certs.d and
 * /etc/containers/certs.d.
 */

#include "base/str.h"

struct trust {
	const char *file, *directory; /* borrowed from the environment, or NULL */
	struct str authorities; /* PEM, the system's included; empty: file counts */
	char *certificate, *key; /* paths, or NULL */
};
#define TRUST_INIT                      \
	{                               \
		.authorities = STR_INIT \
	}

/* @host: "host[:port]". What cannot be read is passed over: then the connection fails. */
void trust_load(struct trust *trust, const char *host);
void trust_release(struct trust *trust);

#endif
