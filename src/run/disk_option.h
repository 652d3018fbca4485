/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_OPTION_H
#define RUN_DISK_OPTION_H

/*
 * The grammar of --disk PATH[:OPTIONS] and --root-disk-opts OPTIONS
 * (contract 7.1, 7.4): a comma list of ro, sync=none|fsync|full and
 * caching=automatic|cached|uncached; unknown words are ignored.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "machine/plan.h"

struct error;

struct disk_option {
	char *path; /* owned; NULL for --root-disk-opts */
	bool read_only;
	enum plan_sync sync;
	enum plan_caching caching;
};
#define DISK_OPTION_INIT                                     \
	{                                                    \
		.sync = SYNC_FULL, .caching = CACHING_CACHED \
	}

/*
 * The last ':'-part is the option list if it holds at least one known
 * option, else it belongs to the path; empty parts at the end are dropped. Values that are not
 * known, and no path at all, are E_FAILED with the contract's text.
 */
int disk_option_parse(const char *text, struct disk_option *option, struct error *err) must_use_;
/* The option list alone. */
int disk_option_parse_list(const char *list, struct disk_option *option,
			   struct error *err) must_use_;
/* What is no file, a block device or an NBD server, knows sync=none and full only: else E_FAILED.
 */
int disk_option_check_device(const struct disk_option *option, struct error *err) must_use_;
void disk_option_release(struct disk_option *option);
#define auto_disk_option cleanup_(disk_option_release) struct disk_option

#endif
