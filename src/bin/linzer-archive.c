/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linzer-archive: what needs libarchive. Started by linzer with its files as descriptors from
 * 3 up; one line on stderr where something fails.
 *
 *   seed NAME...               the seed of cloud-init, to 3, of files with these names, whose
 *                              content is 4, ...
 *   fetch ETAG MODIFIED        what is at the URL on stdin, which may hold a password, to 3, by
 *                              the authorities' certificates 4 (empty: the system's); its version
 *                              as JSON to stdout, or nothing where that is still the given one
 *   expand LIMIT               the compressed file 3 to 4, at most so many bytes
 *   unpack                     the archive 3 into the directory 4
 *
 * Exit status: 0; 1; or 2 where nobody answered.
 */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "archive/expand.h"
#include "archive/fetch.h"
#include "archive/jail.h"
#include "archive/seed.h"
#include "archive/unpack.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum { FIRST_FD = 3, SEED_FILES_MAX = 8, FILE_MAX = 4 * 1024 * 1024, URL_MAX = 4096 };

/* All of a regular file. */
static int read_whole(int fd, struct str *content, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read descriptor %d", fd);
	if (st.st_size > FILE_MAX)
		return error_set(err, E_TOO_BIG, "descriptor %d has too much", fd);
	str_grow(content, (size_t)st.st_size);
	str_set_len(content, (size_t)st.st_size);
	return fs_pread_all(fd, content->ptr, content->len, 0, err);
}

static int seed(int count, char **names, struct error *err)
{
	struct seed_file files[SEED_FILES_MAX];
	struct str contents[SEED_FILES_MAX];
	int r = 0, made = 0;

	if (count > SEED_FILES_MAX)
		return error_set(err, E_TOO_BIG, "at most %d files", SEED_FILES_MAX);
	while (r == 0 && made < count) {
		struct str *content = &contents[made];

		*content = (struct str)STR_INIT;
		r = read_whole(FIRST_FD + 1 + made, content, err);
		files[made] = (struct seed_file){ names[made], content->ptr, content->len };
		made++;
	}
	if (r == 0)
		r = seed_write(FIRST_FD, files, (size_t)count, err);
	for (int i = 0; i < made; i++)
		str_release(&contents[i]);
	return r;
}

static int print_version(const struct fetch_version *version, struct error *err)
{
	auto_json *object = json_pack("{s:s, s:s, s:b}", "etag", version->etag.ptr, "modified",
				      version->modified.ptr, "noStore", (int)version->no_store);
	auto_str text = STR_INIT;

	if (!object)
		return error_set(err, E_INVALID, "the server's headers are no text");
	json_add_compact(&text, object);
	return fs_write_all(STDOUT_FILENO, text.ptr, text.len, err);
}

static int fetch_file(char **words, struct error *err)
{
	auto_fetch_version version = FETCH_VERSION_INIT;
	auto_str url = STR_INIT;
	auto_str authorities = STR_INIT;
	int r = jail_shut_files(FETCH_BYTES_MAX, err);

	if (r == 0)
		r = fs_read_input("-", URL_MAX, &url, err);
	if (r == 0)
		r = read_whole(FIRST_FD + 1, &authorities, err);
	if (r < 0)
		return r;
	str_adds(&version.etag, words[0]);
	str_adds(&version.modified, words[1]);
	r = fetch(&(struct fetch_source){ url.ptr, authorities }, FIRST_FD, &version, err);
	return r > 0 ? print_version(&version, err) : r;
}

static int expand_file(const char *text, struct error *err)
{
	uint64_t limit;

	if (str_to_u64(text, INT64_MAX, &limit) < 0)
		return error_set(err, E_USAGE, "'%s' is no number of bytes", text);
	return expand(FIRST_FD, FIRST_FD + 1, limit, err);
}

static int perform(int argc, char **argv, struct error *err)
{
	if (argc > 2 && strcmp(argv[1], "seed") == 0)
		return seed(argc - 2, argv + 2, err);
	if (argc == 4 && strcmp(argv[1], "fetch") == 0)
		return fetch_file(argv + 2, err);
	if (argc == 3 && strcmp(argv[1], "expand") == 0)
		return expand_file(argv[2], err);
	if (argc == 2 && strcmp(argv[1], "unpack") == 0)
		return unpack(FIRST_FD, FIRST_FD + 1, err);
	return error_set(err, E_USAGE, "linzer-archive is started by linzer");
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;

	if (perform(argc, argv, &err) >= 0)
		return 0;
	(void)fprintf(stderr, "%s\n", err.text);
	return err.code == EHOSTUNREACH ? 2 : 1;
}
