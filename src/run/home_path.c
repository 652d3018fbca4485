/* SPDX-License-Identifier: Apache-2.0 */
#include "run/home_path.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"

char *home_path_expand(const char *path)
{
	const char *home = getenv("HOME");

	if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home)
		return str_format("%s%s", home, path + 1);
	return xstrdup(path);
}
