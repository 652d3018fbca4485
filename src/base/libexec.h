/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIBEXEC_H
#define BASE_LIBEXEC_H

#include "base/attr.h"

/*
 * The path of one of our helper programs: what the environment's @variable says (not where we have
 * privileges that our caller has not), else in the libexec directory, else beside our own
 * executable. Owned by the caller.
 */
char *libexec_path(const char *program, const char *variable) must_use_;

#endif
