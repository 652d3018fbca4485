/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_NETWORK_COPY_H
#define STORE_NETWORK_COPY_H

/*
 * What of a VM's network goes where its copies go: into a clone as it is, into an archive as the
 * files net.rules and network.json, into an image as labels of its image config. The addresses
 * stay: two VMs cannot have one.
 *
 *   org.linzer.net-filter   the text of net.rules, at most NETWORK_LABEL_MAX bytes of UTF-8
 *   org.linzer.no-local     "true"
 *
 * What comes back from a registry or an archive is an attacker's; malformed, it is an error, so
 * that no copy loses what the original was fenced in by.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"

struct error;
struct vm;

#define LABEL_NET_FILTER "org.linzer.net-filter"
#define LABEL_NO_LOCAL "org.linzer.no-local"

enum { NETWORK_LABEL_MAX = 64 * 1024 }; /* bytes */

struct network_copy {
	bool has_filter, no_local;
	struct str filter;
};
#define NETWORK_COPY_INIT           \
	{                           \
		.filter = STR_INIT, \
	}
void network_copy_release(struct network_copy *copy);
#define auto_network_copy cleanup_(network_copy_release) struct network_copy

/* Read a VM's or a cached image's. Errors as of vm_network_read() and vm_filter_compile(). */
int network_copy_read(const struct vm *vm, struct network_copy *copy, struct error *err) must_use_;
/* Let @vm, which nobody else sees yet, have this and no other. */
int network_copy_write(const struct vm *vm, const struct network_copy *copy,
		       struct error *err) must_use_;
/* Is the filter well-formed? The error is filter_text_parse()'s. */
int network_copy_check(const struct network_copy *copy, struct error *err) must_use_;

/*
 * Add the labels to @labels, an object that has neither: E_FAILED where it has, where the filter
 * is not UTF-8 or has a NUL; E_TOO_BIG where it is too large to travel.
 */
int network_copy_add_labels(const struct network_copy *copy, json_t *labels,
			    struct error *err) must_use_;
/*
 * Read the labels of an image config's text, and check them. What is no JSON object has no labels:
 * nobody else reads it on a pull. Errors: E_INVALID, E_TOO_BIG; @copy is untouched then.
 */
int network_copy_parse_labels(const void *bytes, size_t len, struct network_copy *copy,
			      struct error *err) must_use_;

#endif
