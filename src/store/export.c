/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "oci/name.h"
#include "store/apple_archive.h"
#include "store/apple_container.h"
#include "store/archive.h"
#include "store/cache.h"
#include "store/chain.h"
#include "store/disk.h"
#include "store/disk_reader.h"
#include "store/network.h"
#include "store/network_copy.h"
#include "store/new_file.h"
#include "store/sparse_file.h"
#include "store/vm.h"

static const uint16_t file_mode = 0644;
static const uint16_t directory_mode = 0755;

/* What is exported. */
struct source {
	struct vm vm;
	int lock; /* its .lock; a cached image has none */
};

static void release_source(struct source *source)
{
	cleanup_close_(&source->lock);
	vm_release(&source->vm);
}
#define auto_source cleanup_(release_source) struct source

static struct timespec time_of(const struct statx_timestamp *when)
{
	return (struct timespec){ .tv_sec = when->tv_sec, .tv_nsec = when->tv_nsec };
}

static int read_attributes(const struct vm *vm, const char *name, uint16_t mode,
			   struct apple_attributes *attributes, struct error *err)
{
	struct statx st;

	if (statx(vm->dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
		  STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return error_errno(err, "%s", name);
	*attributes = (struct apple_attributes){
		.uid = st.stx_uid,
		.gid = st.stx_gid,
		.mode = mode,
		.modified = time_of(&st.stx_mtime),
		.created = time_of(st.stx_mask & STATX_BTIME ? &st.stx_btime : &st.stx_mtime),
		.changed = time_of(&st.stx_ctime),
	};
	return 0;
}

/* It is as old as the config: our looking at it changes the directory's own times. */
static int add_root(const struct vm *vm, struct container_writer *out, struct error *err)
{
	struct apple_attributes attributes = { 0 };
	auto_str header = STR_INIT;
	int r = read_attributes(vm, "config.json", directory_mode, &attributes, err);

	if (r < 0)
		return r;
	apple_entry_add_directory(&header, "", &attributes);
	return container_writer_write(out, header.ptr, header.len, err);
}

/* The header of the file @name, whose @size bytes are to follow. */
static int add_file(const struct vm *vm, const char *name, uint64_t size,
		    struct container_writer *out, struct error *err)
{
	struct apple_attributes attributes = { 0 };
	auto_str header = STR_INIT;
	int r = read_attributes(vm, name, file_mode, &attributes, err);

	if (r < 0)
		return r;
	apple_entry_add_file(&header, name, &attributes, size);
	return container_writer_write(out, header.ptr, header.len, err);
}

static int add_bytes(const struct vm *vm, const char *name, const struct str *bytes,
		     struct container_writer *out, struct error *err)
{
	int r = add_file(vm, name, bytes->len, out, err);

	return r < 0 ? r : container_writer_write(out, bytes->ptr, bytes->len, err);
}

static int add_config(const struct vm *vm, struct container_writer *out, struct error *err)
{
	auto_config config = CONFIG_INIT;
	auto_str text = STR_INIT;
	int r = vm_read_config(vm, &config, err);

	if (r < 0)
		return r;
	config_format(&config, &text);
	return add_bytes(vm, "config.json", &text, out, err);
}

/* An archive that is being written. */
struct target {
	struct container_writer *out;
	struct archive_progress *progress;
};

/* Fill what is next in the container with bytes of the disk: all zeroes, or read. */
static int add_range(const struct disk_reader *disk, uint64_t offset, uint64_t end, bool zeroes,
		     const struct target *target, struct error *err)
{
	while (offset < end) {
		void *room = NULL;
		size_t n = 0;
		int r = container_writer_room(target->out, &room, &n, err);

		if (r < 0)
			return r;
		n = n < end - offset ? n : (size_t)(end - offset);
		if (zeroes)
			memset(room, 0, n);
		else
			r = disk_reader_read(disk, room, n, offset, err);
		if (r < 0)
			return r;
		container_writer_add(target->out, n);
		target->progress->done += n;
		offset += n;
	}
	return 0;
}

static int add_content(const struct disk_reader *disk, const struct target *target,
		       struct error *err)
{
	uint64_t size = disk_reader_size(disk);
	uint64_t offset = 0;

	while (offset < size) {
		uint64_t start = size;
		uint64_t end = size;
		int r = disk_reader_next_data(disk, offset, &start, &end, err);

		if (r == 0)
			start = end = size;
		if (r >= 0)
			r = add_range(disk, offset, start, true, target, err);
		if (r == 0)
			r = add_range(disk, start, end, false, target, err);
		if (r < 0)
			return r;
		offset = end;
	}
	return 0;
}

static int add_disk(const struct vm *vm, const struct target *target, struct error *err)
{
	auto_disk_reader *disk = NULL;
	int r = disk_reader_open(vm, &disk, err);

	if (r == 0)
		r = add_file(vm, CHAIN_TOP, disk_reader_size(disk), target->out, err);
	if (r < 0)
		return r;
	target->progress->total = disk_reader_size(disk);
	return add_content(disk, target, err);
}

static int add_nvram(const struct vm *vm, struct container_writer *out, struct error *err)
{
	auto_str bytes = STR_INIT;
	int r = fs_read_file(vm->dir, "nvram.bin", ARCHIVE_NVRAM_MAX, &bytes, err);

	return r < 0 ? r : add_bytes(vm, "nvram.bin", &bytes, out, err);
}

/* The same two files that a VM has, without an address; Tart takes them along and ignores them. */
static int add_network(const struct vm *vm, struct container_writer *out, struct error *err)
{
	auto_network_copy copy = NETWORK_COPY_INIT;
	auto_str settings = STR_INIT;
	int r = network_copy_read(vm, &copy, err);

	if (r == 0 && copy.has_filter)
		r = add_bytes(vm, NETWORK_FILTER, &copy.filter, out, err);
	if (r < 0 || !copy.no_local)
		return r;
	vm_network_format(&(struct vm_network){ .no_local = true }, &settings);
	return add_bytes(vm, NETWORK_SETTINGS, &settings, out, err);
}

static int write_archive(const struct vm *vm, container_write_fn write, void *arg,
			 struct archive_progress *progress, struct error *err)
{
	auto_container_writer *out = container_writer_new(write, arg);
	const struct target target = { .out = out, .progress = progress };
	int r = add_root(vm, out, err);

	if (r == 0)
		r = add_config(vm, out, err);
	if (r == 0)
		r = add_disk(vm, &target, err);
	if (r == 0)
		r = add_nvram(vm, out, err);
	if (r == 0)
		r = add_network(vm, out, err);
	return r < 0 ? r : container_writer_finish(out, err);
}

static int write_stream(void *arg, const void *bytes, size_t len, struct error *err)
{
	return fs_write_all(*(const int *)arg, bytes, len, err);
}

static int write_file(void *arg, const void *bytes, size_t len, struct error *err)
{
	return sparse_file_write(arg, bytes, len, err);
}

static int export_to_file(const struct vm *vm, const char *path, struct archive_progress *progress,
			  struct error *err)
{
	auto_new_file file = NEW_FILE_INIT;
	struct sparse_file sparse = { .fd = -1 };
	int r = new_file_open(path, &file, err);

	sparse.fd = file.fd;
	if (r == 0)
		r = write_archive(vm, write_file, &sparse, progress, err);
	if (r == 0)
		r = sparse_file_finish(&sparse, err);
	return r < 0 ? r : new_file_publish(&file, err);
}

static int export_to_path(const struct vm *vm, const char *path, struct archive_progress *progress,
			  struct error *err)
{
	auto_fd fd = -1;
	struct stat st;

	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return export_to_file(vm, path, progress, err);
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return error_errno(err, "cannot write '%s'", path);
	}
	fd = fs_open(AT_FDCWD, path, O_WRONLY | O_NOCTTY, err); /* a device, a FIFO */
	return fd < 0 ? fd : write_archive(vm, write_stream, &fd, progress, err);
}

static int open_image(const struct home *home, const char *name, struct vm *vm, struct error *err)
{
	auto_oci_name parsed = OCI_NAME_INIT;
	int r = oci_name_parse(name, &parsed, err);

	return r < 0 ? r : cache_open(home, &parsed, /* quiet= */ false, vm, err);
}

static int open_vm(const struct home *home, const char *name, struct source *source,
		   struct error *err)
{
	int r = vm_open(home, name, /* quiet= */ false, &source->vm, err);

	if (r == 0)
		r = source->lock = vm_lock(&source->vm, err);
	if (r < 0)
		return r;
	if (vm_running_pid(&source->vm))
		return error_set(err, E_RUNNING, "VM \"%s\" is running", name);
	return disk_wait_unused(&source->vm, err);
}

int vm_export(const struct home *home, const char *name, const char *path, int fd,
	      struct archive_progress *progress, struct error *err)
{
	auto_source source = { .vm = VM_INIT, .lock = -1 };
	int r = oci_name_is_remote(name) ? open_image(home, name, &source.vm, err)
					 : open_vm(home, name, &source, err);

	if (r < 0)
		return r;
	r = path ? export_to_path(&source.vm, path, progress, err)
		 : write_archive(&source.vm, write_stream, &fd, progress, err);
	return r < 0 ? error_wrap(err, "VM export failed") : 0;
}
