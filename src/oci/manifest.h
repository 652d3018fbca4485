/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_MANIFEST_H
#define OCI_MANIFEST_H

/*
 * The manifest of a VM image (contract 5.2): a strict order of the VM's config, the slices of its
 * disk, of a stacked image the slices of each overlay, and the NVRAM. The bytes are an
 * attacker's: sizes are checked one by one and in their sum.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/digest.h"

struct error;
struct str;

#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_MEDIA_CONFIG "application/vnd.oci.image.config.v1+json"

enum {
	MANIFEST_MAX = 16 * 1024 * 1024, /* bytes of text */
	MANIFEST_SLICES_MAX = 65536,
	MANIFEST_OVERLAYS_MAX = 64,
	MANIFEST_SMALL_BLOB_MAX = 64 * 1024 * 1024, /* NVRAM */
	MANIFEST_CONFIG_MAX = 1024 * 1024, /* VM config and image config */
};
/* A disk; also of one slice and of one compressed blob. */
#define MANIFEST_DISK_MAX (UINT64_C(1) << 46)

struct blob {
	struct digest digest;
	uint64_t size; /* bytes as stored in the registry */
};

struct disk_slice { /* base/str.h has another kind of slice */
	struct blob blob; /* as it travels, compressed */
	struct digest content; /* of the plain bytes */
	uint64_t offset; /* in the file that it is a part of */
	uint64_t length; /* plain bytes, > 0 */
};

/* An overlay of a stacked image: a file of its own, whose format we do not read. */
struct overlay {
	struct disk_slice *slices; /* borrowed: within manifest.slices */
	size_t count;
	uint64_t size; /* plain bytes */
	struct digest file; /* of the whole file */
};

struct manifest {
	struct blob image_config, vm_config, nvram;
	struct disk_slice *slices; /* the disk's, in order, then those of the overlays */
	size_t slice_count; /* all of them */
	size_t disk_slices; /* those of the disk, >= 1 */
	uint64_t disk_size; /* the sum of the disk's slices */
	bool has_disk_file; /* of a stacked image: */
	struct digest disk_file; /* the whole disk file, under the overlays */
	struct overlay *overlays; /* bottom first */
	size_t overlay_count; /* > 0: stacked */
	uint64_t declared_size; /* annotation uncompressed-disk-size; 0: none */
	uint64_t block_size; /* annotation disk.block-size of a stacked image; 0: none */
	char upload_time[32]; /* annotation, "" where there is none; only printable characters */
};
#define MANIFEST_INIT          \
	{                      \
		.slices = NULL \
	}

/*
 * Parse and check @len bytes. E_TOO_BIG beyond a limit; else E_INVALID. Tart 2.32 picks the layers
 * by their types and so does this for an image with a disk alone: the config and the NVRAM, exactly
 * one of each, may stand anywhere, and layers of types that nobody knows are ignored. Later ones
 * are strict and so is this for a stacked image, which only they know. Either way each slice has
 * both of its annotations; sizes, lengths and their sums are numbers within the limits. A layer of
 * type disk.v1 is E_FAILED with the contract's text. An image index or another media type is
 * E_INVALID and says what it is. Whatever is refused, @manifest stays as it was.
 */
int manifest_parse(const void *bytes, size_t len, struct manifest *manifest,
		   struct error *err) must_use_;
void manifest_release(struct manifest *manifest);
#define auto_manifest cleanup_(manifest_release) struct manifest

/*
 * Append the text of a manifest, compact, in the strict order of later Tarts, as push sends it. The
 * size that it declares is declared_size, else disk_size; no time where upload_time is "".
 */
void manifest_format(const struct manifest *manifest, struct str *out);

/* The sum of all compressed sizes of the disk's slices (what "pulling disk" announces). */
uint64_t manifest_compressed_size(const struct manifest *manifest);

/*
 * The image config (contract 5.3). @labels: a JSON object of strings, borrowed (struct json_t *),
 * or NULL; the label of the disk's format is set over it.
 */
struct json_t;
void image_config_format(const char *architecture, const char *os, const char *disk_format,
			 const struct json_t *labels, struct str *out);

#endif
