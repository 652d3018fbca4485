/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The main of a fuzzer that is not linked with libFuzzer: feeds every file of
 * the directories given as arguments to it once. A directory without a file
 * is an error, so that a lost corpus does not pass as tested.
 */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { INPUT_LIMIT = 16 * 1024 * 1024 };

/* The bytes go into a block of just their size, so that a sanitizer sees an overrun. */
static void feed(const struct str *input)
{
	auto_free uint8_t *exact = xmalloc(input->len);

	memcpy(exact, input->ptr, input->len);
	(void)LLVMFuzzerTestOneInput(exact, input->len);
}

static int replay_file(DIR *dir, const char *name)
{
	struct error err = ERROR_INIT;
	auto_str input = STR_INIT;

	if (fs_read_file(dirfd(dir), name, INPUT_LIMIT, &input, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	feed(&input);
	return 0;
}

/* Return: the number of files fed, or -1. */
static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	int fed = 0;

	if (!dir) {
		perror(path);
		return -1;
	}
	while (fed >= 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			fed = replay_file(dir, entry->d_name) < 0 ? -1 : fed + 1;
	(void)closedir(dir);
	return fed;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int fed = replay_directory(argv[i]);

		if (fed <= 0) {
			(void)fprintf(stderr, "%s: nothing replayed\n", argv[i]);
			return 1;
		}
		(void)printf("%s: %d inputs\n", argv[i], fed);
	}
	return argc > 1 ? 0 : 1;
}
