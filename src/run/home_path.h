/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_HOME_PATH_H
#define RUN_HOME_PATH_H

#include "base/attr.h"

/* "~" and "~/..." as the shell would have it; any other path as it is. Owned by the caller. */
char *home_path_expand(const char *path) must_use_;

#endif
