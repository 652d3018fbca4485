/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/copy_place.h"

#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

static char *guest_path(const char *path)
{
	if (path[0] == '~' && (path[1] == '/' || !path[1]))
		path += path[1] ? 2 : 1;
	if (*path == '/')
		return xstrdup(path);
	return str_format("./%s", *path ? path : ".");
}

void copy_place_parse(const char *argument, struct copy_place *place)
{
	size_t n = strcspn(argument, ":/");

	if (argument[n] != ':' || !n || argument[0] == '.') {
		place->path = xstrdup(argument);
		return;
	}
	place->vm = xstrndup(argument, n);
	place->path = guest_path(argument + n + 1);
}

void copy_place_release(struct copy_place *place)
{
	free(place->vm);
	free(place->path);
}

void copy_target_release(struct copy_target *target)
{
	free(target->dir);
	free(target->name);
}

/* Without the slashes at its end. */
static size_t length_of(const char *path)
{
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	return n;
}

static size_t name_at(const char *path)
{
	size_t n = length_of(path);

	while (n && path[n - 1] != '/')
		n--;
	return n;
}

char *copy_name(const char *path)
{
	size_t at = name_at(path);

	return xstrndup(path + at, length_of(path) - at);
}

char *copy_parent(const char *path)
{
	size_t n = name_at(path);

	if (!n)
		return xstrdup(*path == '/' ? "/" : ".");
	while (n > 1 && path[n - 1] == '/')
		n--;
	return xstrndup(path, n);
}

bool copy_is_contents(const char *path)
{
	auto_free char *name = copy_name(path);

	return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int refuse(struct error *err, const char *what, const char *path)
{
	return error_set(err, E_FAILED, "'%s' %s", path, what);
}

int copy_target_find(const char *from, bool folder, const char *to, enum copy_kind kind,
		     struct copy_target *target, struct error *err)
{
	bool slash = str_ends(to, "/");

	if (kind == COPY_FOLDER) {
		target->dir = xstrdup(to);
		target->name = folder && copy_is_contents(from) ? xstrdup(".") : copy_name(from);
		return 0;
	}
	if (kind == COPY_NO_PARENT)
		return refuse(err, "is in no folder that exists", to);
	if (kind == COPY_FILE && (folder || slash))
		return refuse(err, "is there and no folder", to);
	if (kind == COPY_NOTHING && !folder && (slash || copy_is_contents(to)))
		return refuse(err, "is no folder that exists", to);
	target->dir = copy_parent(to);
	target->name = copy_name(to);
	return 0;
}
