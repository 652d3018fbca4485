/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_extra.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"
#include "oci/name.h"
#include "run/disk_file.h"
#include "run/disk_nbd.h"
#include "run/disk_nbd_url.h"
#include "run/disk_option.h"
#include "run/disk_scratch.h"
#include "store/cache.h"
#include "store/disk.h"

static int open_file(const struct disk_option *option, struct disk_extra *extra,
		     struct plan_disk *disk, struct error *err)
{
	int r = disk_file_open(option->path, option, &disk->layers[0], err);

	if (r < 0)
		return r;
	extra->fds[0] = disk->layers[0].fd;
	extra->count = disk->layer_count = 1;
	return 0;
}

static int open_clone(const struct disk_option *option, struct disk_extra *extra,
		      struct plan_disk *disk, struct error *err)
{
	struct disk_chain chain;
	int r = disk_read(&extra->scratch, &chain, err);

	if (r == 0)
		r = disk_open_layers(&extra->scratch, &chain, option->read_only, extra->fds, err);
	if (r < 0)
		return r;
	extra->count = disk->layer_count = chain.count;
	for (size_t i = 0; i < chain.count; i++)
		disk->layers[i] =
			(struct plan_layer){ .fd = extra->fds[i], .qcow2 = chain.layers[i].qcow2 };
	return 0;
}

/* "images/data" has the form of an image's name: whoever meant a file there is told. */
static int explain(const char *path, struct error *err)
{
	if (err->code != E_NOT_FOUND || access(path, F_OK) < 0)
		return -err->code;
	return error_add_line(err, "\"./%s\" is the file of that name", path);
}

static int open_image(const struct home *home, const struct disk_option *option,
		      struct disk_extra *extra, struct plan_disk *disk, struct error *err)
{
	auto_oci_name name = OCI_NAME_INIT;
	int r = oci_name_parse(option->path, &name, err);

	if (r == 0)
		r = disk_scratch_make(home, option->path, &extra->scratch, err);
	if (r == 0)
		r = vm_clone_image_disk(home, &name, &extra->scratch, err);
	if (r < 0)
		return explain(option->path, err);
	return open_clone(option, extra, disk, err);
}

static int open_nbd(const struct home *home, const struct disk_option *option,
		    struct disk_extra *extra, struct plan_disk *disk, struct error *err)
{
	int r = disk_option_check_device(option, err);

	if (r == 0)
		r = disk_scratch_make(home, option->path, &extra->scratch, err);
	if (r == 0)
		r = disk_nbd_start(option->path, extra->scratch.dir, &extra->relay, &extra->nbd,
				   err);
	disk->nbd = &extra->nbd;
	return r;
}

int disk_extra_open(const struct home *home, const char *text, struct disk_extra *extra,
		    struct plan_disk *disk, struct error *err)
{
	auto_disk_option option = DISK_OPTION_INIT;
	int r;

	*extra = (struct disk_extra){ .scratch = VM_INIT };
	*disk = (struct plan_disk){ 0 };
	r = disk_option_parse(text, &option, err);
	if (r < 0)
		return r;
	disk->read_only = option.read_only;
	if (!nbd_url_is(option.path) && !disk_file_is_device(option.path) &&
	    oci_name_is_remote(option.path)) {
		/* of a clone only :ro is meant (contract 7.4) */
		disk->caching = CACHING_CACHED;
		return open_image(home, &option, extra, disk, err);
	}
	disk->sync = option.sync;
	disk->caching = option.caching;
	return nbd_url_is(option.path) ? open_nbd(home, &option, extra, disk, err)
				       : open_file(&option, extra, disk, err);
}

int disk_extra_sync(const struct disk_extra *extra, struct error *err)
{
	if (extra->scratch.path && !extra->relay)
		return error_set(err, E_FAILED, "the disk of an image goes with its run");
	for (size_t i = 0; i < extra->count; i++)
		if (fsync(extra->fds[i]) < 0)
			return error_errno(err, "cannot sync a disk");
	return 0;
}

void disk_extra_describe(const struct disk_extra *extra, struct strings *parts)
{
	struct stat st;

	/* not its file system's number, which is another after a reboot */
	if (extra->count == 0 || fstat(extra->fds[0], &st) < 0 || st.st_nlink == 0)
		return;
	if (S_ISBLK(st.st_mode))
		strings_addf(parts, DISK_EXTRA_PART " device %ju", (uintmax_t)st.st_rdev);
	else
		strings_addf(parts, DISK_EXTRA_PART " file %ju, %jd bytes, %jd.%09ld",
			     (uintmax_t)st.st_ino, (intmax_t)st.st_size,
			     (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

void disk_extra_release(struct disk_extra *extra)
{
	disk_nbd_stop(take(extra->relay));
	for (size_t i = 0; i < extra->count; i++)
		cleanup_close_(&extra->fds[i]);
	disk_scratch_remove(&extra->scratch);
}
