/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation (decision 2): a cached image is its own base. Nobody ever writes to its
 * disk.img, so nothing has to be frozen:
 *
 *   the file system shares extents     FICLONE of disk.img
 *   little data                        sparse copy
 *   else                               a second name of it as layer-<hex>, raw, under a new overlay
 *   another file system                sparse copy
 *
 * The shared lock that cache_open() took stays until the end: what is cloned cannot be removed.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/cache.h"
#include "store/chain.h"
#include "store/clone.h"
#include "store/home.h"
#include "store/origin.h"
#include "store/stage.h"

enum { SECTOR = 512 };

static const char origin_name[] = "origin.json";

/* Return: 1 linked; 0 that cannot be; or error. */
static int link_base(const struct vm *from, const struct vm *to, const char *layer,
		     struct error *err)
{
	if (linkat(from->dir, CHAIN_TOP, to->dir, layer, 0) == 0) {
		/* Tart and older hands made it writable */
		(void)!fchmodat(to->dir, layer, 0400, 0);
		return 1;
	}
	if (errno == EMLINK || errno == EPERM || errno == EXDEV || errno == EOPNOTSUPP)
		return 0;
	return error_errno(err, "cannot link '%s'", CHAIN_TOP);
}

/* The image's disk as the raw layer under a new overlay. Return: 1; 0 that cannot be; or error. */
static int overlay_base(const struct vm *from, const struct vm *to, uint64_t size,
			struct error *err)
{
	struct disk_chain chain = { .size = (size + SECTOR - 1) / SECTOR * SECTOR, .count = 2 };
	auto_fd overlay = -1;
	int r;

	memcpy(chain.layers[0].file, CHAIN_TOP, sizeof(CHAIN_TOP));
	chain.layers[0].qcow2 = true;
	chain_new_layer_name(chain.layers[1].file);
	chain.layers[1].length = size;
	r = link_base(from, to, chain.layers[1].file, err);
	if (r <= 0)
		return r;
	overlay = disk_make_overlay(to, CHAIN_TOP, chain.size, err);
	r = overlay < 0 ? overlay : disk_write(to, &chain, err);
	return r < 0 ? r : 1;
}

static int clone_disk(const struct vm *from, const struct vm *to, const struct vm_clone *how,
		      struct error *err)
{
	auto_fd disk = disk_open_file(from, CHAIN_TOP, O_RDONLY, err);
	struct disk_chain chain;
	struct stat st;
	int r = 0;

	if (disk < 0)
		return disk;
	if (fstat(disk, &st) < 0)
		return error_errno(err, "cannot read '%s'", CHAIN_TOP);
	chain_set_raw(&chain, (uint64_t)st.st_size);
	if (!how->raw && fs_allocated(&st) >= CLONE_SMALL_DISK) {
		r = clone_share_top(disk, from, to, &chain, err);
		if (r == 0)
			r = overlay_base(from, to, chain.size, err);
	}
	if (r == 0)
		r = clone_copy_top(disk, to, err);
	return r < 0 ? r : 0;
}

int vm_clone_image_disk(const struct home *home, const struct oci_name *source, const struct vm *to,
			struct error *err)
{
	const struct vm_clone how = { .raw = false };
	auto_vm from = VM_INIT;
	int r = cache_open(home, source, /* quiet= */ false, &from, err);

	if (r < 0)
		return r;
	if (faccessat(from.dir, "overlay-1.asif", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, E_FAILED,
				 "\"%s\" is a stacked image, whose overlays only macOS reads",
				 from.name);
	return clone_disk(&from, to, &how, err);
}

static int make_origin(const struct vm *from, const struct vm *to, const struct oci_name *source,
		       struct error *err)
{
	const char *digest = strrchr(from->path, '/') + 1; /* the name of an image's directory */
	auto_oci_name name = OCI_NAME_INIT;
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;
	int r = fs_read_file(from->dir, "manifest.json", MANIFEST_MAX, &text, &ignored);

	if (r < 0) /* one that a Tart of old pulled has none: then the clone has no origin */
		return 0;
	oci_name_with_digest(source, digest, &name);
	r = origin_write(to, &name, text.ptr, text.len, err);
	return r == -E_INVALID ? 0 : r;
}

/*
 * The origin is the same for all clones: the first one's gets a second name in the image's
 * directory, for the next ones.
 */
static int clone_origin(const struct vm *from, const struct vm *to, const struct oci_name *source,
			struct error *err)
{
	int r;

	if (faccessat(from->dir, CACHE_UNVERIFIED, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = clone_link_file(from, to, origin_name, err);
	if (r != -ENOENT)
		return r;
	r = make_origin(from, to, source, err);
	if (r == 0)
		(void)!linkat(to->dir, origin_name, from->dir, origin_name, 0);
	return r;
}

static int build(const struct home *home, const struct oci_name *source, const struct vm_clone *how,
		 const struct vm *to, struct config *config, struct error *err)
{
	auto_vm from = VM_INIT;
	int r = cache_open(home, source, /* quiet= */ false, &from, err);

	if (r == 0)
		r = vm_read_config(&from, config, err);
	if (r == 0)
		r = clone_link_file(&from, to, "nvram.bin", err);
	if (r == 0)
		r = clone_link_overlays(&from, to, err);
	if (r == 0)
		r = clone_origin(&from, to, source, err);
	if (r == 0)
		r = clone_network(&from, to, err);
	return r < 0 ? r : clone_disk(&from, to, how, err);
}

int vm_clone_image(const struct home *home, const struct oci_name *source, const char *name,
		   const struct vm_clone *how, struct error *err)
{
	auto_stage stage = STAGE_INIT;
	auto_config config = CONFIG_INIT;
	auto_str image = STR_INIT;
	int r = home_check_name(name, err);

	if (r == 0)
		r = stage_open(home, name, &stage, err);
	if (r == 0)
		r = build(home, source, how, &stage.vm, &config, err);
	if (r == 0)
		r = clone_publish(home, /* source= */ NULL, how, &stage, &config, err);
	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	oci_name_add(source, &image);
	return error_wrap(err, "cannot clone image \"%s\"", image.ptr);
}
