/* SPDX-License-Identifier: Apache-2.0 */
#include "base/libexec.h"

#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "build-info.h"

/* The directory of our own executable. Return: owned, or NULL. */
static char *own_directory(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	return xstrdup(path);
}

char *libexec_path(const char *program, const char *variable)
{
	const char *named = secure_getenv(variable);
	auto_free char *installed = str_format("%s/%s", LINZER_LIBEXECDIR, program);
	auto_free char *beside = NULL;

	if (named && *named)
		return xstrdup(named);
	if (access(installed, F_OK) == 0)
		return take(installed);
	beside = own_directory();
	return beside ? str_format("%s/%s", beside, program) : take(installed);
}
