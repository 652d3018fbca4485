/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_HASH_H
#define OCI_HASH_H

/* SHA-256 by libcrypto, which uses what the processor has for it. */

#include "oci/digest.h"

struct hash {
	void *context; /* EVP_MD_CTX */
};
#define HASH_INIT \
	{         \
		0 \
	}

/* Begin (anew). */
void hash_begin(struct hash *hash);
void hash_add(struct hash *hash, const void *bytes, size_t len);
/* The digest of all that was added; begin anew before adding more. */
void hash_end(struct hash *hash, struct digest *digest);
void hash_release(struct hash *hash);
#define auto_hash cleanup_(hash_release) struct hash

/* The digest of @len bytes. */
void hash_bytes(const void *bytes, size_t len, struct digest *digest);

#endif
