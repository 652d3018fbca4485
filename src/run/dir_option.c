/* SPDX-License-Identifier: Apache-2.0 */
#include "run/dir_option.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

static const char tag_word[] = "tag=";

static void release_one(struct dir_option *option)
{
	free(take(option->name));
	free(take(option->path));
	free(take(option->tag));
}

/* Does the comma list hold an option, so that it is a list of options? */
static bool is_list(const char *list)
{
	auto_free char *copy = xstrdup(list);
	char *rest = copy, *word;

	while ((word = strsep(&rest, ",")))
		if (strcmp(word, "ro") == 0 || str_starts(word, tag_word))
			return true;
	return false;
}

/* The tag becomes part of QEMU's arguments and of a path of the guest: nothing special is in it. */
static int check_tag(const char *tag, struct error *err)
{
	size_t len = strlen(tag);

	if (len == 0 || len > DIR_TAG_MAX)
		return error_set(err, E_USAGE, "a tag has 1 to %d characters", DIR_TAG_MAX);
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)tag[i]) && (i == 0 || !strchr(".-_", tag[i])))
			return error_set(err, E_USAGE,
					 "a tag has letters, digits and, not first, '.', '-' and "
					 "'_', which '%s' has not",
					 tag);
	return 0;
}

static int apply_word(const char *word, struct dir_option *option, struct error *err)
{
	if (strcmp(word, "ro") == 0) {
		option->read_only = true;
		return 0;
	}
	if (!str_starts(word, tag_word))
		return error_set(err, E_USAGE, "no such option: '%s' (there are ro and tag=TAG)",
				 word);
	if (option->tag)
		return error_set(err, E_USAGE, "two tags");
	option->tag = xstrdup(word + strlen(tag_word));
	return check_tag(option->tag, err);
}

static int apply_list(const char *list, struct dir_option *option, struct error *err)
{
	auto_free char *copy = xstrdup(list);
	char *rest = copy, *word;
	int r = 0;

	while (r == 0 && (word = strsep(&rest, ",")))
		r = apply_word(word, option, err);
	return r;
}

static int check_name(const char *name, struct error *err)
{
	if (*name == '\0')
		return error_set(err, E_USAGE, "the name before ':' is empty");
	if (strlen(name) > DIR_NAME_MAX)
		return error_set(err, E_USAGE, "a name has at most %d bytes", DIR_NAME_MAX);
	if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, E_USAGE,
				 "'%s' before ':' is no name for a folder (after the path, there "
				 "are the options ro and tag=TAG)",
				 name);
	return 0;
}

static bool is_url(const char *text)
{
	return str_starts(text, "http:") || str_starts(text, "https:");
}

static int check_url(const char *url, struct error *err)
{
	const char *host = strchr(url, ':') + 1;

	if (!str_starts(host, "//") || host[2] == '\0' || strchr("/:?#", host[2]))
		return error_set(err, E_USAGE, "this URL names no host");
	if (strlen(url) > DIR_URL_MAX)
		return error_set(err, E_USAGE, "a URL has at most %d bytes", DIR_URL_MAX);
	for (; *url; url++)
		if (!isgraph((unsigned char)*url))
			return error_set(err, E_USAGE,
					 "a URL holds no space and nothing that is not ASCII");
	return 0;
}

/* What is left when the options are off: [NAME:]PATH. */
static int split_name(const char *text, struct dir_option *option, struct error *err)
{
	const char *colon = is_url(text) ? NULL : strchr(text, ':');
	int r = 0;

	if (colon) {
		option->name = xstrndup(text, (size_t)(colon - text));
		r = check_name(option->name, err);
	}
	option->path = xstrdup(colon ? colon + 1 : text);
	option->is_url = is_url(option->path);
	if (r == 0 && option->is_url)
		r = check_url(option->path, err);
	if (r == 0 && *option->path == '\0')
		return error_set(err, E_USAGE, "the path is empty");
	return r;
}

char *dir_url_shown(const char *text)
{
	const char *host = strstr(text, "://"), *at = NULL;

	if (host)
		for (const char *c = host += 3; *c && !strchr("/?#", *c); c++)
			if (*c == '@')
				at = c;
	return at ? str_format("%.*s%s", (int)(host - text), text, at + 1) : xstrdup(text);
}

static int parse_one(const char *text, struct dir_option *option, struct error *err)
{
	const char *colon = strrchr(text, ':');
	bool list = colon && is_list(colon + 1);
	auto_free char *place = list ? xstrndup(text, (size_t)(colon - text)) : xstrdup(text);
	int r = list ? apply_list(colon + 1, option, err) : 0;

	if (r == 0)
		r = split_name(place, option, err);
	if (r == 0 && !option->tag)
		option->tag = xstrdup(DIR_DEFAULT_TAG);
	if (r < 0) {
		auto_free char *shown = dir_url_shown(text);

		return error_wrap(err, "--dir %s", shown);
	}
	return 0;
}

static int check_pair(const struct dir_option *one, const struct dir_option *other,
		      struct error *err)
{
	if (strcmp(one->tag, other->tag) != 0)
		return 0;
	if (!one->name || !other->name)
		return error_set(err, E_USAGE,
				 "invalid --dir syntax: for multiple directory shares each one of "
				 "them should be named");
	if (strcmp(one->name, other->name) == 0)
		return error_set(err, E_USAGE, "--dir: two folders are called '%s'", one->name);
	return 0;
}

static int check_together(const struct dir_options *options, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < options->len; i++)
		for (size_t j = 0; r == 0 && j < i; j++)
			r = check_pair(&options->items[j], &options->items[i], err);
	return r;
}

int dir_options_parse(const struct strings *values, struct dir_options *options, struct error *err)
{
	auto_dir_options parsed = DIR_OPTIONS_INIT;
	int r = 0;

	if (values->len > DIR_OPTIONS_MAX)
		return error_set(err, E_USAGE, "--dir: at most %d folders", DIR_OPTIONS_MAX);
	parsed.items = xcalloc(values->len, sizeof(parsed.items[0]));
	while (r == 0 && parsed.len < values->len) {
		size_t i = parsed.len++;

		r = parse_one(values->items[i], &parsed.items[i], err);
	}
	if (r == 0)
		r = check_together(&parsed, err);
	if (r < 0)
		return r;
	*options = parsed;
	parsed = (struct dir_options)DIR_OPTIONS_INIT;
	return 0;
}

void dir_options_release(struct dir_options *options)
{
	for (size_t i = 0; i < options->len; i++)
		release_one(&options->items[i]);
	free(options->items);
	*options = (struct dir_options)DIR_OPTIONS_INIT;
}
