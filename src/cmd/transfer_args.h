/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRANSFER_ARGS_H
#define CMD_TRANSFER_ARGS_H

/* What the command lines of linzer-oci's verbs parse into: the tables are cmd/'s, transfer/ runs.
 */

#include <stdbool.h>

#include "base/vec.h"
#include "cli/option.h"

enum { CONCURRENCY_DEFAULT = 4, CONCURRENCY_MAX = 64 };

/* How many at once, from --concurrency. */
static inline unsigned concurrency_of(struct optional_number n)
{
	if (!n.given)
		return CONCURRENCY_DEFAULT;
	if (!n.unsigned_value)
		return 1;
	return n.unsigned_value < CONCURRENCY_MAX ? (unsigned)n.unsigned_value : CONCURRENCY_MAX;
}

struct pull_args {
	const char *name;
	struct optional_number concurrency;
	bool insecure, deduplicate;
	bool for_clone; /* as a part of clone: it says nothing of its name */
};

struct push_args {
	const char *local;
	struct strings remotes;
	struct strings labels;
	struct optional_number concurrency;
	struct optional_number chunk_size; /* MB (10^6) */
	struct optional_number slice_size; /* MiB */
	bool insecure, populate_cache;
};

struct login_args {
	const char *host, *user;
	bool password_stdin, insecure, no_validate;
};

struct logout_args {
	const char *host;
};

struct tag_args {
	const char *source;
	struct strings targets;
	bool insecure;
};

struct inspect_args {
	const char *name;
	int format;
	bool insecure, manifest;
};

#endif
