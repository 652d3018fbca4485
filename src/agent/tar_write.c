/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What every tar reads: ustar, with GNU's headers for names that do not fit and a pax header for
 * the parts of a second, which a tar that does not know them (busybox's) skips.
 */

#include <stdio.h>
#include <string.h>

#include "agent/tar.h"
#include "base/str.h"

struct header {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12], mtime[12];
	char sum[8];
	char type;
	char target[100];
	char magic[8];
	char user[32], group[32];
	char major[8], minor[8];
	char prefix[155];
	char rest[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

enum { OCTAL_SIZE_MAX = 33 /* bits: 11 digits */ };

/* @len bytes of big-endian two's complement behind the bit that says so (GNU). */
static void put_binary(char *field, size_t len, int64_t value)
{
	for (size_t i = len; i-- > 0; value >>= 8)
		field[i] = (char)(value & 0xff);
	field[0] = (char)(field[0] | (char)0x80);
}

static void put_number(char *field, size_t len, int64_t value)
{
	char digits[24];

	if (value < 0 || value >> OCTAL_SIZE_MAX) {
		put_binary(field, len, value);
		return;
	}
	(void)snprintf(digits, sizeof(digits), "%0*llo", (int)len - 1, (unsigned long long)value);
	memcpy(field, digits, len); /* with the NUL */
}

static void add_header(struct str *out, struct header *header)
{
	unsigned sum = 0;

	memcpy(header->magic,
	       "ustar\0"
	       "00",
	       sizeof(header->magic));
	put_number(header->uid, sizeof(header->uid), 0);
	put_number(header->gid, sizeof(header->gid), 0);
	memset(header->sum, ' ', sizeof(header->sum));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += ((const unsigned char *)header)[i];
	(void)snprintf(header->sum, sizeof(header->sum), "%06o", sum);
	str_add(out, header, sizeof(*header));
}

/* A header of its own, and its content, which say more about the next entry. */
static void add_extension(struct str *out, char type, const char *name, const char *text,
			  size_t len)
{
	struct header header = { .type = type };

	(void)snprintf(header.name, sizeof(header.name), "%s", name);
	put_number(header.mode, sizeof(header.mode), 0);
	put_number(header.size, sizeof(header.size), (int64_t)len);
	put_number(header.mtime, sizeof(header.mtime), 0);
	add_header(out, &header);
	str_add(out, text, len);
	tar_add_padding(out, len);
}

static void add_fraction(struct str *out, const struct timespec *mtime)
{
	long long seconds = mtime->tv_sec;
	long nanoseconds = mtime->tv_nsec;
	const char *sign = seconds < 0 ? "-" : "";
	char text[64];
	int len;

	if (seconds < 0) { /* -1.25 s is -2 s and 0.75 */
		seconds = -(seconds + 1);
		nanoseconds = 1000000000 - nanoseconds;
	}
	/* " mtime=" and the newline are 8 bytes, the length before it 2 */
	len = snprintf(text, sizeof(text), "%s%lld.%09ld", sign, seconds, nanoseconds);
	len = snprintf(text, sizeof(text), "%d mtime=%s%lld.%09ld\n", len + 10, sign, seconds,
		       nanoseconds);
	add_extension(out, 'x', "pax", text, (size_t)len);
}

/* GNU's long name, which every tar knows and which counts with its NUL. */
static void add_long(struct str *out, char type, const char *text, char *field, size_t size)
{
	size_t len = strlen(text);

	if (len > size)
		add_extension(out, type, "././@LongLink", text, len + 1);
	memcpy(field, text, len < size ? len : size);
}

void tar_add_entry(struct str *out, const struct tar_entry *entry)
{
	static const char types[] = {
		[TAR_FILE] = '0', [TAR_FOLDER] = '5', [TAR_SYMLINK] = '2', [TAR_HARD_LINK] = '1'
	};
	struct header header = { .type = types[entry->kind] };

	if (entry->mtime.tv_nsec)
		add_fraction(out, &entry->mtime);
	add_long(out, 'L', entry->path, header.name, sizeof(header.name));
	add_long(out, 'K', entry->target, header.target, sizeof(header.target));
	put_number(header.mode, sizeof(header.mode), entry->mode);
	put_number(header.size, sizeof(header.size), (int64_t)entry->size);
	put_number(header.mtime, sizeof(header.mtime), entry->mtime.tv_sec);
	add_header(out, &header);
}

void tar_add_padding(struct str *out, uint64_t size)
{
	static const char zeroes[TAR_BLOCK];

	str_add(out, zeroes, (size_t)(-size % TAR_BLOCK));
}

void tar_add_end(struct str *out)
{
	static const char zeroes[2 * TAR_BLOCK];

	str_add(out, zeroes, sizeof(zeroes));
}
