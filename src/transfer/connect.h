/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_CONNECT_H
#define TRANSFER_CONNECT_H

/* Remotes as the verbs want them: with our credentials file, and telling of retries. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/remote.h"

struct error;
struct invocation;
struct oci_name;

struct connect_options {
	bool insecure;
	bool write;
	uint64_t chunk_size; /* bytes; 0: none */
};

int connect_remote(const struct invocation *inv, const struct oci_name *name,
		   const struct connect_options *options, struct remote **remote,
		   struct error *err) must_use_;

static inline void remote_cleanup_(struct remote **remote)
{
	*remote = remote_free(*remote);
}
#define auto_remote cleanup_(remote_cleanup_) struct remote

#endif
