/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/zero_digest.h"

#include "oci/hash.h"

static void hash_zeroes(uint64_t length, struct digest *digest)
{
	static const uint8_t zeroes[64 * 1024];
	auto_hash hash = HASH_INIT;

	hash_begin(&hash);
	while (length) {
		size_t part = length < sizeof(zeroes) ? (size_t)length : sizeof(zeroes);

		hash_add(&hash, zeroes, part);
		length -= part;
	}
	hash_end(&hash, digest);
}

/* With the mutex. Return: NULL where it is not to be known. */
static const struct digest *find(struct zero_digests *zero, uint64_t length)
{
	size_t i = 0;

	while (i < zero->count && zero->lengths[i] != length)
		i++;
	if (i == ZERO_LENGTHS)
		return NULL;
	if (i == zero->count) {
		zero->lengths[i] = length;
		hash_zeroes(length, &zero->digests[i]);
		zero->count++;
	}
	return &zero->digests[i];
}

bool zero_is_slice(struct zero_digests *zero, const struct disk_slice *slice)
{
	const struct digest *digest;

	if (slice->length > ZERO_LENGTH_MAX)
		return false;
	(void)pthread_mutex_lock(&zero->mutex);
	digest = find(zero, slice->length);
	(void)pthread_mutex_unlock(&zero->mutex);
	return digest && digest_equal(digest, &slice->content);
}
