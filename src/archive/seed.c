/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include "base/error.h"

static void free_writer(struct archive **archive)
{
	(void)archive_write_free(*archive);
}

static void free_entry(struct archive_entry **entry)
{
	archive_entry_free(*entry);
}

static int failed(struct archive *archive, struct error *err)
{
	const char *why = archive_error_string(archive);

	return error_set(err, E_FAILED, "cannot make the seed: %s", why ? why : "no reason given");
}

static int add_file(struct archive *archive, const struct seed_file *file, struct error *err)
{
	cleanup_(free_entry) struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, file->name);
	archive_entry_set_filetype(entry, S_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_size(entry, (la_int64_t)file->len);
	archive_entry_set_mtime(entry, 0, 0);
	if (archive_write_header(archive, entry) != ARCHIVE_OK)
		return failed(archive, err);
	if (archive_write_data(archive, file->bytes, file->len) != (la_ssize_t)file->len)
		return failed(archive, err);
	return 0;
}

int seed_write(int fd, const struct seed_file *files, size_t count, struct error *err)
{
	/* "zisofs" and "pad" would only make it larger */
	static const char options[] = "volume-id=cidata,rockridge=useful,joliet,!pad";
	cleanup_(free_writer) struct archive *archive = archive_write_new();
	int r = 0;

	if (archive_write_set_format_iso9660(archive) != ARCHIVE_OK ||
	    archive_write_set_options(archive, options) != ARCHIVE_OK ||
	    archive_write_open_fd(archive, fd) != ARCHIVE_OK)
		return failed(archive, err);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_file(archive, &files[i], err);
	if (r == 0 && archive_write_close(archive) != ARCHIVE_OK)
		r = failed(archive, err);
	return r;
}
