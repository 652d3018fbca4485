/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_MESSAGE_H
#define NET_POLICY_MESSAGE_H

/* A policy as the packet NET_POLICY (net/helper.h) and back. */

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "net/policy.h"

/* Append the packet. Errors: E_TOO_BIG beyond NET_POLICY_SIZE_MAX or NET_NAMES_SIZE_MAX. */
int policy_message_write(const struct policy *policy, struct str *packet,
			 struct error *err) must_use_;
/*
 * The keeper's side: @bytes may be anything. @policy (empty before) owns copies.
 * No stage HOST_WIDE is taken from there. Errors: E_PROTOCOL.
 */
int policy_message_read(const void *bytes, size_t len, struct policy *policy,
			struct error *err) must_use_;

#endif
