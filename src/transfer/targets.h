/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_TARGETS_H
#define TRANSFER_TARGETS_H

/* The names that an image is to have, grouped by repository. */

#include "base/attr.h"
#include "base/vec.h"
#include "oci/name.h"

struct error;

DEFINE_VEC(oci_names, struct oci_name)

struct target {
	struct oci_names names; /* of one repository, at least one */
	struct strings references; /* their tags (or digests), in the same order */
};
DEFINE_VEC(targets, struct target)

/* Parse @texts; a name that is no image's is refused. */
int targets_parse(const struct strings *texts, struct targets *targets,
		  struct error *err) must_use_;
/* Frees what they hold, too (targets_release() only the array). */
void targets_free(struct targets *targets);
#define auto_targets cleanup_(targets_free) struct targets

/* "pushing web to ghcr.io/org/web:1...", "... to ghcr.io/org/web{:1,:latest}..." */
void target_announce(const char *local, const struct target *target);

#endif
