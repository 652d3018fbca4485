/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 * -------------------
 *
 * The archive is an attacker's. Of what it names, three files are taken, each into the stage under
 * that very name, so no path of its is ever used, and where they are there two more, which fence
 * its network in (store/network_copy.h); all else is read over: directories, Tart's state.vzvmsave,
 * manifest.json and markers, and what a Finder may have left. A link, a path that leaves the VM,
 * and one of the five that comes twice are no honest archive's: refused.
 * disk.json and origin.json would be ours to write alone, so they are read over, too.
 *
 * The VM appears when the archive has come to its end and nothing was wrong with it.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "net/filter_text.h"
#include "store/apple_archive.h"
#include "store/apple_container.h"
#include "store/archive.h"
#include "store/chain.h"
#include "store/clone.h"
#include "store/home.h"
#include "store/network.h"
#include "store/network_copy.h"
#include "store/qcow2.h"
#include "store/sparse_file.h"
#include "store/stage.h"
#include "store/vm.h"

enum { ENTRIES_MAX = 4096 };

/* The first three every archive has. */
enum part { PART_CONFIG, PART_DISK, PART_NVRAM, PART_FILTER, PART_NETWORK, PARTS };
enum { PARTS_NEEDED = PART_NVRAM + 1 };

static const struct {
	const char *name;
	uint64_t limit; /* bytes */
} parts[PARTS] = {
	[PART_CONFIG] = { "config.json", CONFIG_FILE_MAX },
	[PART_DISK] = { CHAIN_TOP, QCOW2_SIZE_MAX },
	[PART_NVRAM] = { "nvram.bin", ARCHIVE_NVRAM_MAX },
	[PART_FILTER] = { NETWORK_FILTER, FILTER_TEXT_MAX },
	[PART_NETWORK] = { NETWORK_SETTINGS, NETWORK_FILE_MAX },
};

struct import {
	struct container_reader *in;
	struct stage stage;
	struct str texts[PARTS]; /* of those that are not put into the stage as they come */
	bool have[PARTS];
};

static void release_import(struct import *import)
{
	import->in = container_reader_free(import->in);
	for (enum part part = 0; part < PARTS; part++)
		str_release(&import->texts[part]);
	stage_release(&import->stage);
}
#define auto_import cleanup_(release_import) struct import

static int take_text(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

static int take_file(void *arg, const void *bytes, size_t len, struct error *err)
{
	return sparse_file_write(arg, bytes, len, err);
}

static int import_file(struct import *import, const char *name, uint64_t size, struct error *err)
{
	auto_fd fd = fs_open(import->stage.vm.dir, name, O_WRONLY | O_CREAT | O_EXCL, err);
	struct sparse_file file = { .fd = fd };
	int r = fd < 0 ? fd : apple_content(import->in, size, take_file, &file, err);

	return r < 0 ? r : sparse_file_finish(&file, err);
}

static int import_part(struct import *import, enum part part, const struct apple_entry *entry,
		       struct error *err)
{
	const char *name = parts[part].name;
	int r;

	if (entry->type != 'F')
		return error_set(err, E_INVALID, "'%s' in the archive is not a file", name);
	if (import->have[part])
		return error_set(err, E_INVALID, "the archive has '%s' twice", name);
	if (part == PART_DISK && !entry->size)
		return error_set(err, E_INVALID, "'%s' in the archive is empty", name);
	if (entry->size > parts[part].limit)
		return error_set(err, E_TOO_BIG, "'%s' in the archive is larger than %llu bytes",
				 name, (unsigned long long)parts[part].limit);
	import->have[part] = true;
	r = part == PART_DISK || part == PART_NVRAM
		    ? import_file(import, name, entry->size, err)
		    : apple_content(import->in, entry->size, take_text, &import->texts[part], err);
	return r < 0 ? error_wrap(err, "%s", name) : 0;
}

static bool leaves_vm(const char *path)
{
	return path[0] == '/' || strcmp(path, "..") == 0 || str_starts(path, "../") ||
	       str_ends(path, "/..") || strstr(path, "/../");
}

static int check_entry(const struct apple_entry *entry, struct error *err)
{
	if (leaves_vm(entry->path))
		return error_set(err, E_INVALID, "the archive has a path outside of it: '%.100s'",
				 entry->path);
	if (entry->type == 'L')
		return error_set(err, E_INVALID, "the archive has a link: '%.100s'", entry->path);
	return 0;
}

static int import_content(struct import *import, const struct apple_entry *entry, struct error *err)
{
	for (enum part part = 0; part < PARTS; part++)
		if (strcmp(entry->path, parts[part].name) == 0)
			return import_part(import, part, entry, err);
	return apple_content(import->in, entry->size, NULL, NULL, err);
}

static int import_entry(struct import *import, const struct apple_entry *entry, struct error *err)
{
	int r = check_entry(entry, err);

	if (r == 0)
		r = apple_content(import->in, entry->before, NULL, NULL, err);
	if (r == 0)
		r = import_content(import, entry, err);
	return r < 0 ? r : apple_content(import->in, entry->after, NULL, NULL, err);
}

static int import_entries(struct import *import, struct error *err)
{
	for (unsigned i = 0; i < ENTRIES_MAX; i++) {
		struct apple_entry entry;
		int r = apple_entry_read(import->in, &entry, err);

		if (r > 0)
			r = import_entry(import, &entry, err);
		else if (r == 0)
			return 0;
		if (r < 0)
			return r;
	}
	return error_set(err, E_TOO_BIG, "the archive has more than %d entries", ENTRIES_MAX);
}

/*
 * Where the next bytes of @fd, up to @len, are in a hole of a file, go past them and set @bytes to
 * zeroes: to read them would fill the page cache. Return: how many; 0 also for what has no holes.
 */
static size_t pass_hole(int fd, void *bytes, size_t len)
{
	off_t here = lseek(fd, 0, SEEK_CUR);
	off_t data = here < 0 ? -1 : lseek(fd, here, SEEK_DATA);
	struct stat st;
	size_t n;

	if (here >= 0 && data < 0 && errno == ENXIO && fstat(fd, &st) == 0)
		data = st.st_size; /* nothing but a hole until the end */
	if (data <= here)
		return 0;
	n = (uint64_t)(data - here) < len ? (size_t)(data - here) : len;
	if (lseek(fd, here + (off_t)n, SEEK_SET) < 0)
		return 0;
	memset(bytes, 0, n);
	return n;
}

/*
 * Read at most @len bytes of @fd, and none of a hole. A block of an archive of ours begins in the
 * page of its header, and may be a hole but for that. Return: as read().
 */
static ssize_t read_data(int fd, void *bytes, size_t len)
{
	off_t here = lseek(fd, 0, SEEK_CUR);
	off_t hole = here < 0 ? -1 : lseek(fd, here, SEEK_HOLE);

	if (hole >= 0 && lseek(fd, here, SEEK_SET) < 0)
		return -1;
	if (hole > here && (uint64_t)(hole - here) < len)
		len = (size_t)(hole - here);
	return read(fd, bytes, len);
}

/* An archive that is being read. */
struct origin {
	int fd;
	struct archive_progress *progress;
};

static ssize_t read_stream(void *arg, void *bytes, size_t len, struct error *err)
{
	const struct origin *origin = arg;
	int fd = origin->fd;
	ssize_t n = (ssize_t)pass_hole(fd, bytes, len);

	while (n == 0) {
		n = read_data(fd, bytes, len);
		if (n >= 0)
			break;
		if (errno != EINTR)
			return error_errno(err, "cannot read");
		n = 0;
	}
	origin->progress->done += (uint64_t)n;
	return n;
}

/* What cannot be read is not left out: the VM would run without its filter. */
static int import_network(struct import *import, struct error *err)
{
	const struct str *settings = &import->texts[PART_NETWORK];
	auto_network_copy copy = NETWORK_COPY_INIT;
	struct vm_network network = { 0 };

	if (import->have[PART_NETWORK] &&
	    vm_network_parse(settings->ptr, settings->len, &network, err) < 0)
		return error_wrap(err, "%s", NETWORK_SETTINGS);
	copy.no_local = network.no_local;
	copy.has_filter = import->have[PART_FILTER];
	str_add(&copy.filter, import->texts[PART_FILTER].ptr, import->texts[PART_FILTER].len);
	if (network_copy_check(&copy, err) < 0)
		return error_wrap(err, "%s", NETWORK_FILTER);
	return network_copy_write(&import->stage.vm, &copy, err);
}

static int read_archive(struct import *import, struct origin *origin, struct config *config,
			struct error *err)
{
	int r = container_reader_open(read_stream, origin, &import->in, err);

	if (r == 0)
		r = import_entries(import, err);
	if (r < 0)
		return r;
	for (enum part part = 0; part < (enum part)PARTS_NEEDED; part++)
		if (!import->have[part])
			return error_set(err, E_INVALID, "archive does not contain a runnable VM");
	r = config_parse(import->texts[PART_CONFIG].ptr, import->texts[PART_CONFIG].len, config,
			 err);
	return r < 0 ? error_wrap(err, "config.json") : import_network(import, err);
}

/* Before gigabytes are read; it is looked at anew when the VM is to appear. */
static int check_target(const struct home *home, const char *name, struct error *err)
{
	auto_vm vm = VM_INIT;
	struct error ignored = ERROR_INIT;

	if (vm_open_any(home, name, &vm, &ignored) == 0 && vm_running_pid(&vm))
		return error_set(err, E_RUNNING, "VM \"%s\" is running", name);
	return 0;
}

static int import_stream(const struct home *home, const char *name, int fd,
			 struct archive_progress *progress, struct error *err)
{
	struct origin origin = { .fd = fd, .progress = progress };
	struct stat st;
	auto_import import = { .stage = STAGE_INIT };
	auto_config config = CONFIG_INIT;
	const struct vm_clone how = { 0 };
	int r = stage_open(home, name, &import.stage, err);

	for (enum part part = 0; part < PARTS; part++)
		import.texts[part] = (struct str)STR_INIT;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		progress->total = (uint64_t)st.st_size;
	if (r == 0)
		r = read_archive(&import, &origin, &config, err);
	return r < 0 ? r : clone_publish(home, NULL, &how, &import.stage, &config, err);
}

static int import_path(const struct home *home, const char *name, const char *path,
		       struct archive_progress *progress, struct error *err)
{
	auto_fd fd = fs_open(AT_FDCWD, path, O_RDONLY | O_NOCTTY, err);

	return fd < 0 ? fd : import_stream(home, name, fd, progress, err);
}

int vm_import(const struct home *home, const char *name, const char *path, int fd,
	      struct archive_progress *progress, struct error *err)
{
	int r = home_check_name(name, err);

	if (r == 0)
		r = check_target(home, name, err);
	if (r < 0)
		return r;
	r = path ? import_path(home, name, path, progress, err)
		 : import_stream(home, name, fd, progress, err);
	return r < 0 && r != -E_RUNNING ? error_wrap(err, "VM import failed") : r;
}
