/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_NET_SHOWN_H
#define CMD_NET_SHOWN_H

/*
 * A VM's network as `net show` and `get` print it. Of one that runs its `run` says all
 * of it (run/net_request.h); of another there is what `set` said, under the same names.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/attr.h"

struct error;
struct str;
struct vm;
struct vm_network;

/*
 * Ask the `run` of @vm. *@answer is the caller's then. Errors: E_NOT_RUNNING, those of
 * manage_ask().
 */
int net_shown_ask(const struct vm *vm, const json_t *request, unsigned timeout_ms, json_t **answer,
		  struct error *err) must_use_;
/*
 * What is known of @vm for `get`: of one that @runs what its `run` answers within some seconds,
 * else what is set: @network and the filter. NULL: nobody answered, or the filter is gone.
 * The caller's.
 */
json_t *net_shown_of(const struct vm *vm, bool runs, const struct vm_network *network) must_use_;
/* Lines of text. */
void net_shown_format(const json_t *shown, struct str *out);

#endif
