/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RTNL_REQUEST_H
#define NET_RTNL_REQUEST_H

/* One rtnetlink request and its answer: what the files rtnl*.c have in common. */

#include <libmnl/libmnl.h>
#include <stddef.h>
#include <stdint.h>

#include "net/rtnl.h"

enum { RTNL_REQUEST_MAX = 512 };

struct rtnl_request {
	char bytes[RTNL_REQUEST_MAX];
	struct nlmsghdr *header;
};

/* Begin a request whose fixed part is @fixed bytes. Return: the fixed part, zeroed. */
void *rtnl_begin(struct rtnl *nl, struct rtnl_request *r, uint16_t type, uint16_t flags,
		 size_t fixed);
/* Send, and give each message of the answer to @each. Return: 0 or -errno. */
int rtnl_talk(struct rtnl *nl, struct rtnl_request *r, mnl_cb_t each, void *arg) must_use_;
/* Send what changes something; @what: for "cannot ...". */
int rtnl_do(struct rtnl *nl, struct rtnl_request *r, const char *what, struct error *err) must_use_;

struct rtnl_dump {
	uint16_t type; /* of the request */
	const void *fixed; /* its fixed part, which begins with the family */
	size_t fixed_size; /* bytes */
	mnl_cb_t each;
	void *arg;
};

/* List all; *@len is that of the vector which it fills, @what: for "cannot list the ...". */
int rtnl_list(struct rtnl *nl, const struct rtnl_dump *dump, size_t *len, const char *what,
	      struct error *err) must_use_;

/* The attribute's value, if it has that size. */
void rtnl_read_u32(const struct nlattr *a, uint32_t *value);

#endif
