/* SPDX-License-Identifier: Apache-2.0 */
#include "run/cloud_init.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

void cloud_init_release(struct cloud_init *cloud)
{
	str_release(&cloud->user_data);
	str_release(&cloud->network_config);
	strings_release(&cloud->keys);
	cloud->wanted = false;
}

static int read_file(const char *path, size_t limit, struct str *text, struct error *err)
{
	int r = fs_read_input(path, limit, text, err);

	if (r == 0 && text->len == 0)
		r = error_set(err, E_INVALID, "%s: it is empty", fs_input_name(path));
	return r;
}

static bool is_key_type(const char *word)
{
	return str_starts(word, "ssh-") || str_starts(word, "ecdsa-") || str_starts(word, "sk-");
}

/* Is there somewhere a type of key with the key behind it, as base64 of "\0\0\0..."? */
static bool holds_key(const char *line)
{
	auto_free char *copy = xstrdup(line);
	char *rest = copy, *word;
	bool type = false;

	while ((word = strsep(&rest, " \t"))) {
		if (type && str_starts(word, "AAAA"))
			return true;
		type = is_key_type(word);
	}
	return false;
}

static bool is_printable(const char *line)
{
	for (; *line; line++)
		if (iscntrl((unsigned char)*line) && *line != '\t')
			return false;
	return true;
}

static int add_key(char *line, size_t number, struct strings *keys, struct error *err)
{
	size_t len = strlen(line);

	while (len && isspace((unsigned char)line[len - 1]))
		line[--len] = '\0';
	while (isspace((unsigned char)*line))
		line++;
	if (*line == '\0' || *line == '#')
		return 0;
	if (strstr(line, "PRIVATE KEY-----"))
		return error_set(err, E_INVALID,
				 "this is a private key: name the public one, in a file that ends "
				 "with .pub");
	if (!is_printable(line) || !holds_key(line))
		return error_set(err, E_INVALID, "line %zu is no public key", number);
	strings_add(keys, line);
	return 0;
}

int cloud_init_parse_keys(const struct str *text, struct strings *keys, struct error *err)
{
	auto_free char *copy = xstrndup(text->ptr, text->len);
	char *rest = copy, *line;
	size_t before = keys->len, number = 0;
	int r = 0;

	if (strlen(text->ptr) != text->len)
		return error_set(err, E_INVALID, "this is no text");
	while (r == 0 && (line = strsep(&rest, "\n")))
		r = add_key(line, ++number, keys, err);
	if (r == 0 && keys->len == before)
		r = error_set(err, E_INVALID, "there is no public key in it");
	return r;
}

static int read_keys(const char *path, struct strings *keys, struct error *err)
{
	auto_str text = STR_INIT;
	int r = read_file(path, CLOUD_INIT_KEY_FILE_MAX, &text, err);

	if (r < 0)
		return r;
	r = cloud_init_parse_keys(&text, keys, err);
	return r < 0 ? error_wrap(err, "%s", path) : 0;
}

/* Standard input is one file's alone. */
static int check_inputs(const char *const *paths, size_t count, struct error *err)
{
	size_t inputs = 0;

	for (size_t i = 0; i < count; i++)
		inputs += paths[i] && strcmp(paths[i], "-") == 0;
	if (inputs > 1)
		return error_set(err, E_FAILED,
				 "only one file can be '-', which is the standard input");
	return 0;
}

int cloud_init_read(struct cloud_init *cloud, const char *user_data, const char *network_config,
		    const char *ssh_key, struct error *err)
{
	const char *const paths[] = { user_data, network_config, ssh_key };
	int r = check_inputs(paths, array_size(paths), err);

	cloud->wanted = user_data || network_config || ssh_key;
	if (r < 0)
		return r;
	if (user_data && read_file(user_data, CLOUD_INIT_FILE_MAX, &cloud->user_data, err) < 0)
		return error_wrap(err, "--cloud-init");
	if (network_config &&
	    read_file(network_config, CLOUD_INIT_FILE_MAX, &cloud->network_config, err) < 0)
		return error_wrap(err, "--cloud-init-network");
	if (ssh_key && read_keys(ssh_key, &cloud->keys, err) < 0)
		return error_wrap(err, "--ssh-key");
	return 0;
}
