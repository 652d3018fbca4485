/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "net/conf.h"
#include "net/filter_text.h"

enum { CHUNK = 16 * 1024 };

static struct slice as_slice(const struct str *text)
{
	return (struct slice){ (const uint8_t *)text->ptr, text->len };
}

static int check_owner(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return error_set(err, E_VALIDATION, "'%s' must be a file that only root can write",
				 path);
	return 0;
}

/* Append what @fd holds; one byte more than @max is read, so that the parser sees too much. */
static int read_all(int fd, const char *path, size_t max, struct str *text, struct error *err)
{
	ssize_t n = 1;

	while (n > 0 && text->len <= max) {
		size_t want = max + 1 - text->len;

		str_grow(text, want > CHUNK ? CHUNK : want);
		n = read(fd, text->ptr + text->len, want > CHUNK ? CHUNK : want);
		if (n > 0)
			str_set_len(text, text->len + (size_t)n);
	}
	return n < 0 ? error_errno(err, "cannot read '%s'", path) : 0;
}

/* Return: 1 read; 0 there is none; or error. */
static int load(const char *path, size_t max, struct str *text, struct error *err)
{
	auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return error_errno(err, "cannot open '%s'", path);
	if (check_owner(fd, path, err) < 0 || read_all(fd, path, max, text, err) < 0)
		return -err->code;
	return 1;
}

int net_conf_load(struct net_conf *conf, struct error *err)
{
	auto_str text = STR_INIT;
	int r = load(NET_CONF_PATH, NET_CONF_SIZE_MAX, &text, err);

	if (r <= 0)
		return r;
	if (net_conf_parse(as_slice(&text), conf, err) < 0)
		return error_wrap(err, "'" NET_CONF_PATH "'");
	return 0;
}

int net_conf_load_rules(struct policy *policy, struct error *err)
{
	auto_str text = STR_INIT;
	int r = load(NET_RULES_PATH, FILTER_TEXT_MAX, &text, err);

	if (r <= 0)
		return r;
	if (filter_text_parse(as_slice(&text), POLICY_HOST_WIDE, policy, err) < 0)
		return error_wrap(err, "'" NET_RULES_PATH "'");
	return 0;
}
