/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: a name is read from left to right by one cursor; a failure is reported at
 * the character where the cursor stands. A separator ('-', '.', '_') is only ever taken together
 * with the alphanumerical run that it follows, so that no part begins with one or has two in a
 * row, and ".." cannot come to be.
 */
#include "oci/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/digest.h"

enum { PORT_MAX = 65535 };

static const char layout_prefix[] = "oci:";

struct cursor {
	const char *text; /* the whole name */
	const char *at;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_separator(char c)
{
	return c == '.' || c == '-' || c == '_';
}

static int unexpected(const struct cursor *c, struct error *err)
{
	size_t n = (size_t)(c->at - c->text) + 1;

	if (!*c->at)
		return error_set(err, E_FAILED,
				 "failed to parse remote name: unexpected end (character %zu)", n);
	if ((unsigned char)*c->at >= 0x80) /* a part of a character alone would be no text */
		return error_set(err, E_FAILED,
				 "failed to parse remote name: not ASCII (character %zu)", n);
	return error_set(err, E_FAILED,
			 "failed to parse remote name: unexpected '%c' (character %zu)", *c->at, n);
}

/* At least one letter or digit. */
static bool skip_alnum(struct cursor *c)
{
	const char *start = c->at;

	while (is_alnum(*c->at))
		c->at++;
	return c->at > start;
}

/* alnum { "-" alnum }, joined by dots */
static bool skip_host_name(struct cursor *c)
{
	while (skip_alnum(c)) {
		if (*c->at != '-' && *c->at != '.')
			return true;
		c->at++;
	}
	return false;
}

/* ":" and the digits of a port, where there are any. */
static bool skip_port(struct cursor *c)
{
	const char *start = c->at;
	unsigned port = 0;

	if (*c->at != ':')
		return true;
	for (c->at++; is_digit(*c->at); c->at++) {
		port = port * 10 + (unsigned)(*c->at - '0');
		if (port > PORT_MAX)
			return false;
	}
	return c->at > start + 1;
}

/* { alnum [separator] }, joined by slashes */
static bool skip_namespace(struct cursor *c)
{
	for (;;) {
		if (!skip_alnum(c))
			return false;
		while (is_separator(*c->at)) {
			c->at++;
			if (!skip_alnum(c))
				break;
		}
		if (*c->at != '/')
			return true;
		c->at++;
	}
}

/* alnum { separator alnum } */
static bool skip_tag(struct cursor *c)
{
	const char *start = c->at;

	while (skip_alnum(c)) {
		if (!is_separator(*c->at))
			return c->at - start <= OCI_TAG_MAX;
		c->at++;
	}
	return false;
}

static bool is_tag(const char *text)
{
	struct cursor c = { text, text };

	return skip_tag(&c) && !*c.at;
}

static bool is_digest(const char *text)
{
	struct digest ignored;

	return digest_parse(text, &ignored) == 0;
}

static int unknown_reference(struct error *err)
{
	return error_set(err, E_FAILED, "failed to parse remote name: unknown reference format");
}

/* ":tag", "@sha256:hex" or nothing, then the end. */
static int parse_reference(struct cursor *c, struct oci_name *name, struct error *err)
{
	const char *start = c->at + 1;

	if (*c->at == '@') {
		if (!is_digest(start))
			return unknown_reference(err);
		name->digest = xstrdup(start);
		return 0;
	}
	if (!*c->at) {
		name->tag = xstrdup("latest");
		return 0;
	}
	if (*c->at != ':')
		return unexpected(c, err);
	c->at++;
	if (!skip_tag(c) || *c->at)
		return unexpected(c, err);
	name->tag = xstrdup(start);
	return 0;
}

static int parse_registry(const char *text, struct oci_name *name, struct error *err)
{
	struct cursor c = { text, text };
	const char *start;

	if (!skip_host_name(&c) || !skip_port(&c) || *c.at != '/')
		return unexpected(&c, err);
	name->host = xstrndup(text, (size_t)(c.at - text));
	start = ++c.at;
	if (!skip_namespace(&c))
		return unexpected(&c, err);
	name->repository = xstrndup(start, (size_t)(c.at - start));
	return parse_reference(&c, name, err);
}

/* Append the components of @path to the absolute path @out, resolving "." and "..". */
static void add_components(struct str *out, const char *path)
{
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && memcmp(path, "..", 2) == 0) {
			while (out->len && out->ptr[out->len - 1] != '/')
				str_chop(out, 1);
			if (out->len)
				str_chop(out, 1);
		} else if (n && !(n == 1 && *path == '.')) {
			str_addc(out, '/');
			str_add(out, path, n);
		}
		path += n + (path[n] == '/');
	}
}

static int absolute_directory(const char *text, const char *dir, char **absolute, struct error *err)
{
	auto_free char *here = *dir == '/' ? NULL : getcwd(NULL, 0);
	auto_str path = STR_INIT;

	if (*dir != '/' && !here)
		return error_errno(err, "cannot resolve '%s': no current directory", text);
	if (here)
		add_components(&path, here);
	add_components(&path, dir);
	if (!path.len)
		str_addc(&path, '/');
	for (const char *c = path.ptr; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return error_set(err, E_FAILED,
					 "failed to parse remote name: a control character in the "
					 "directory '%s' (character %zu)",
					 path.ptr, strlen(layout_prefix) + 1);
	*absolute = str_detach(&path);
	return 0;
}

/*
 * What follows the directory at @text. Return: the length of the directory's text. A directory
 * whose name ends in "@sha256" is none, so that a digest cut short is no tag.
 */
static size_t split_layout(const char *text, struct oci_name *name)
{
	const char *last = strrchr(text, '/');
	const char *at = strrchr(last ? last : text, '@');
	const char *colon = strrchr(last ? last : text, ':');

	if (at && is_digest(at + 1)) {
		name->digest = xstrdup(at + 1);
		return (size_t)(at - text);
	}
	if (colon && is_tag(colon + 1)) {
		name->tag = xstrdup(colon + 1);
		return (size_t)(colon - text);
	}
	name->tag = xstrdup("latest");
	return strlen(text);
}

static int parse_layout(const char *text, struct oci_name *name, struct error *err)
{
	const char *start = text + strlen(layout_prefix);
	size_t n = split_layout(start, name);
	auto_free char *dir = xstrndup(start, n);
	int r;

	if (!n)
		return error_set(err, E_FAILED,
				 "failed to parse remote name: no directory (character %zu)",
				 strlen(layout_prefix) + 1);
	r = absolute_directory(text, dir, &name->repository, err);
	if (r == 0 && str_ends(name->repository, "@sha256"))
		r = unknown_reference(err);
	return r;
}

int oci_name_parse(const char *text, struct oci_name *name, struct error *err)
{
	auto_oci_name parsed = OCI_NAME_INIT;
	auto_str canonical = STR_INIT;
	int r;

	if (strnlen(text, OCI_NAME_MAX + 1) > OCI_NAME_MAX)
		return error_set(err, E_FAILED,
				 "failed to parse remote name: too long (character %d)",
				 OCI_NAME_MAX + 1);
	r = str_starts(text, layout_prefix) ? parse_layout(text, &parsed, err)
					    : parse_registry(text, &parsed, err);
	if (r < 0)
		return r;
	oci_name_add(&parsed, &canonical);
	if (canonical.len > OCI_NAME_MAX)
		return error_set(err, E_FAILED,
				 "failed to parse remote name: too long (character %d)",
				 OCI_NAME_MAX + 1);
	*name = parsed;
	/* NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
	parsed = (struct oci_name)OCI_NAME_INIT;
	return 0;
}

bool oci_name_is_remote(const char *text)
{
	auto_oci_name name = OCI_NAME_INIT;
	struct error ignored = ERROR_INIT;

	return oci_name_parse(text, &name, &ignored) == 0;
}

void oci_name_release(struct oci_name *name)
{
	free(name->host);
	free(name->repository);
	free(name->tag);
	free(name->digest);
	*name = (struct oci_name)OCI_NAME_INIT;
}

static char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

void oci_name_copy(const struct oci_name *from, struct oci_name *to)
{
	*to = (struct oci_name){
		.host = copy(from->host),
		.repository = copy(from->repository),
		.tag = copy(from->tag),
		.digest = copy(from->digest),
	};
}

void oci_name_with_digest(const struct oci_name *from, const char *digest, struct oci_name *to)
{
	*to = (struct oci_name){
		.host = copy(from->host),
		.repository = copy(from->repository),
		.digest = xstrdup(digest),
	};
}

bool oci_name_same_repository(const struct oci_name *a, const struct oci_name *b)
{
	if (!a->host != !b->host || (a->host && strcmp(a->host, b->host) != 0))
		return false;
	return strcmp(a->repository, b->repository) == 0;
}

const char *oci_name_reference(const struct oci_name *name)
{
	return name->digest ? name->digest : name->tag;
}

void oci_name_add_repository(const struct oci_name *name, struct str *out)
{
	str_adds(out, name->host ? name->host : layout_prefix);
	if (name->host)
		str_addc(out, '/');
	str_adds(out, name->repository);
}

void oci_name_add(const struct oci_name *name, struct str *out)
{
	oci_name_add_repository(name, out);
	str_addc(out, name->digest ? '@' : ':');
	str_adds(out, oci_name_reference(name));
}

bool oci_name_is_host(const char *host)
{
	struct cursor c = { host, host };

	return skip_host_name(&c) && skip_port(&c) && !*c.at;
}
