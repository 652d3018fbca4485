/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_option.h"

#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

struct word {
	const char *name;
	int value;
};

static const struct word sync_words[] = {
	{ "none", SYNC_NONE },
	{ "fsync", SYNC_FSYNC },
	{ "full", SYNC_FULL },
};
static const struct word caching_words[] = {
	{ "automatic", CACHING_AUTOMATIC },
	{ "cached", CACHING_CACHED },
	{ "uncached", CACHING_UNCACHED },
};

static int find_word(const struct word *words, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i].name, name) == 0)
			return words[i].value;
	return -1;
}

/* Return: 1 a known option; 0 an unknown word; or error. */
static int apply_word(const char *word, struct disk_option *option, struct error *err)
{
	int value;

	if (strcmp(word, "ro") == 0) {
		option->read_only = true;
		return 1;
	}
	if (str_starts(word, "sync=")) {
		value = find_word(sync_words, array_size(sync_words), word + strlen("sync="));
		if (value < 0)
			return error_set(err, E_FAILED,
					 "unsupported disk image synchronization mode: \"%s\"",
					 word + strlen("sync="));
		option->sync = (enum plan_sync)value;
		return 1;
	}
	if (str_starts(word, "caching=")) {
		value = find_word(caching_words, array_size(caching_words),
				  word + strlen("caching="));
		if (value < 0)
			return error_set(err, E_FAILED,
					 "unsupported disk image caching mode: \"%s\"",
					 word + strlen("caching="));
		option->caching = (enum plan_caching)value;
		return 1;
	}
	return 0;
}

/* Return: how many known options the list holds, or error. */
static int apply_list(const char *list, struct disk_option *option, struct error *err)
{
	auto_free char *copy = xstrdup(list);
	char *rest = copy, *word;
	int known = 0;

	while ((word = strsep(&rest, ","))) {
		int r = apply_word(word, option, err);

		if (r < 0)
			return r;
		known += r;
	}
	return known;
}

int disk_option_parse_list(const char *list, struct disk_option *option, struct error *err)
{
	int r = apply_list(list, option, err);

	return r < 0 ? r : 0;
}

/* @text without the empty parts at its end, "disk.img:" for one. Owned by the caller. */
static char *without_empty_parts(const char *text)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == ':')
		len--;
	return xstrndup(text, len);
}

int disk_option_parse(const char *text, struct disk_option *option, struct error *err)
{
	struct disk_option parsed = *option;
	auto_free char *whole = without_empty_parts(text);
	char *colon = strrchr(whole, ':');
	int known = 0;

	if (colon) {
		known = apply_list(colon + 1, &parsed, err);
		if (known < 0)
			return known;
	}
	if (known)
		*colon = '\0';
	parsed.path = without_empty_parts(whole);
	if (!parsed.path[0]) {
		disk_option_release(&parsed);
		return error_set(err, E_FAILED, "--disk '%s' names no disk", text);
	}
	*option = parsed;
	return 0;
}

int disk_option_check_device(const struct disk_option *option, struct error *err)
{
	if (option->sync == SYNC_FSYNC)
		return error_set(err, E_FAILED, "unsupported disk synchronization mode: \"fsync\"");
	return 0;
}

void disk_option_release(struct disk_option *option)
{
	free(take(option->path));
}
