/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* libcrypto fails only when memory runs out, which ends the program elsewhere, too */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

void hash_begin(struct hash *hash)
{
	if (!hash->context)
		hash->context = EVP_MD_CTX_new();
	must(hash->context != NULL);
	must(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL));
}

void hash_add(struct hash *hash, const void *bytes, size_t len)
{
	must(EVP_DigestUpdate(hash->context, bytes, len));
}

void hash_end(struct hash *hash, struct digest *digest)
{
	must(EVP_DigestFinal_ex(hash->context, digest->bytes, NULL));
}

void hash_release(struct hash *hash)
{
	EVP_MD_CTX_free(hash->context);
	hash->context = NULL;
}

void hash_bytes(const void *bytes, size_t len, struct digest *digest)
{
	auto_hash hash = HASH_INIT;

	hash_begin(&hash);
	hash_add(&hash, bytes, len);
	hash_end(&hash, digest);
}
