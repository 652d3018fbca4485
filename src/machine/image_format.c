/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/image_format.h"

#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"

enum { SECTOR = 512, HEADER_SIZE = SECTOR };

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
	return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static uint64_t le64(const uint8_t *p)
{
	return (uint64_t)le32(p + 4) << 32 | le32(p);
}

static int refers(const char *what, struct error *err)
{
	return error_set(err, E_INVALID,
			 "the disk image refers to another file (%s); convert it to one file first",
			 what);
}

static int cut_off(struct error *err)
{
	return error_set(err, E_INVALID, "the disk image is cut off");
}

/* QEMU docs/interop/qcow2.txt: backing file offset at 8, incompatible features at 72 (version 3).
 */
static int check_qcow2(const uint8_t *h, unused_ uint64_t size, struct error *err)
{
	enum { EXTERNAL_DATA_FILE = 1 << 2 };

	if (be64(h + 8) != 0)
		return refers("a backing file", err);
	if (be32(h + 4) >= 3 && (be64(h + 72) & EXTERNAL_DATA_FILE))
		return refers("a data file", err);
	return 0;
}

/* QEMU block/qcow.c: struct QCowHeader, backing file offset at 8. */
static int check_qcow(const uint8_t *h, unused_ uint64_t size, struct error *err)
{
	return be64(h + 8) != 0 ? refers("a backing file", err) : 0;
}

/* QEMU docs/interop/qed_spec.txt: features at 16, bit 0 is a backing file. */
static int check_qed(const uint8_t *h, unused_ uint64_t size, struct error *err)
{
	return le64(h + 16) & 1 ? refers("a backing file", err) : 0;
}

/* VMware Virtual Disk Format 1.1, "Hosted Sparse Extent Header": capacity at 12, 0 where the
 * file is only the embedded descriptor of other files; sectors of the tables in front at 64. */
static int check_vmdk(const uint8_t *h, uint64_t size, struct error *err)
{
	if (le64(h + 12) == 0)
		return refers("VMDK extents", err);
	return le64(h + 64) > size / SECTOR ? cut_off(err) : 0;
}

static int refuse_descriptor(unused_ const uint8_t *h, unused_ uint64_t size, struct error *err)
{
	return refers("a VMDK descriptor", err);
}

/* VHD specification 1.0, "Hard Disk Footer Format": disk type at 60. */
static int check_vpc(const uint8_t *h, unused_ uint64_t size, struct error *err)
{
	enum { FIXED = 2, DYNAMIC = 3 };
	uint32_t type = be32(h + 60);

	return type == FIXED || type == DYNAMIC ? 0 : refers("a VHD parent", err);
}

/* QEMU block/vdi.c, struct VdiHeader: data at 344, block size at 376, allocated blocks at 388. */
static int check_vdi(const uint8_t *h, uint64_t size, struct error *err)
{
	uint64_t data = (uint64_t)le32(h + 388) * le32(h + 376);

	if (size >= HEADER_SIZE && data <= size && le32(h + 344) <= size - data)
		return 0;
	return cut_off(err);
}

const struct image_format image_format_raw = { "raw", false, false };
static const struct image_format bochs = { "bochs", false, false };
static const struct image_format parallels = { "parallels", false, true };
static const struct image_format qcow = { "qcow", true, false };
static const struct image_format qcow2 = { "qcow2", true, true };
static const struct image_format qed = { "qed", true, true };
static const struct image_format vdi = { "vdi", false, true };
static const struct image_format vhdx = { "vhdx", false, true };
static const struct image_format vmdk = { "vmdk", true, true };
static const struct image_format vpc = { "vpc", false, false };

#define MAGIC(offset, text) offset, sizeof(text) - 1, text

/* No two of these match the same header. */
static const struct magic {
	const struct image_format *format;
	size_t offset, len;
	const char *bytes;
	int (*check)(const uint8_t *header, uint64_t file_size, struct error *err);
} magics[] = {
	/* QEMU docs/interop/qcow2.txt; the version follows the magic */
	{ &qcow2, MAGIC(0, "QFI\xfb\0\0\0\2"), check_qcow2 },
	{ &qcow2, MAGIC(0, "QFI\xfb\0\0\0\3"), check_qcow2 },
	{ &qcow, MAGIC(0, "QFI\xfb\0\0\0\1"), check_qcow },
	/* QEMU docs/interop/qed_spec.txt */
	{ &qed, MAGIC(0, "QED\0"), check_qed },
	/* VMware Virtual Disk Format 1.1; COWD is that of ESX */
	{ &vmdk, MAGIC(0, "KDMV"), check_vmdk },
	{ &vmdk, MAGIC(0, "COWD"), NULL },
	{ &vmdk, MAGIC(0, "# Disk DescriptorFile"), refuse_descriptor },
	/* [MS-VHDX] 2.2.1 */
	{ &vhdx, MAGIC(0, "vhdxfile"), NULL },
	/* VHD specification 1.0: the footer, of which a dynamic disk has a copy in front */
	{ &vpc, MAGIC(0, "conectix"), check_vpc },
	/* QEMU block/vdi.c, VDI_SIGNATURE, little endian */
	{ &vdi, MAGIC(64, "\x7f\x10\xda\xbe"), check_vdi },
	/* QEMU docs/interop/parallels.txt */
	{ &parallels, MAGIC(0, "WithoutFreeSpace"), NULL },
	{ &parallels, MAGIC(0, "WithouFreSpacExt"), NULL },
	/* QEMU block/bochs.c, HEADER_MAGIC */
	{ &bochs, MAGIC(0, "Bochs Virtual HD Image"), NULL },
};

/* The VHD footer's checksum at 64: the complement of the sum of all its other bytes. */
static bool is_vhd_footer(const uint8_t *footer)
{
	uint32_t sum = 0;

	if (memcmp(footer, "conectix", 8) != 0)
		return false;
	for (size_t i = 0; i < SECTOR; i++)
		if (i < 64 || i >= 68)
			sum += footer[i];
	return be32(footer + 64) == ~sum;
}

static int match_footer(const uint8_t *footer, const struct image_format **format,
			struct error *err)
{
	if (memcmp(footer, "koly", 4) == 0) /* Apple's UDIF */
		return error_set(err, E_INVALID, "Apple disk images (.dmg) are not supported");
	if (!is_vhd_footer(footer))
		return *format == &image_format_raw ? 0 : cut_off(err);
	*format = &vpc;
	return check_vpc(footer, 0, err);
}

static int match_header(const uint8_t *header, uint64_t size, const struct image_format **format,
			struct error *err)
{
	for (size_t i = 0; i < array_size(magics); i++) {
		const struct magic *m = &magics[i];

		if (memcmp(header + m->offset, m->bytes, m->len) == 0) {
			*format = m->format;
			return m->check ? m->check(header, size, err) : 0;
		}
	}
	if (memcmp(header, "QFI\xfb", 4) == 0)
		return error_set(err, E_INVALID, "unknown version of qcow2");
	return 0;
}

int image_format_detect(int fd, const struct image_format **format, uint64_t *size,
			struct error *err)
{
	uint8_t header[HEADER_SIZE] = { 0 }, footer[SECTOR];
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read the disk image");
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "the disk image is not a regular file");
	*size = (uint64_t)st.st_size;
	*format = &image_format_raw;
	r = fs_pread_all(fd, header, *size < HEADER_SIZE ? (size_t)*size : HEADER_SIZE, 0, err);
	if (r == 0)
		r = match_header(header, *size, format, err);
	if (r < 0 || *size < SECTOR || (*format != &image_format_raw && *format != &vpc))
		return r;
	r = fs_pread_all(fd, footer, SECTOR, st.st_size - SECTOR, err);
	return r < 0 ? r : match_footer(footer, format, err);
}
