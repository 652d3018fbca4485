/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NFT_BATCH_H
#define NET_NFT_BATCH_H

/*
 * One transaction of nf_tables, built message by message and taken by the kernel whole
 * or not at all. nft(8) does the same from text, and wants tenths of a second for some thousand
 * rules; here are those few forms of messages and expressions of which a policy consists, for
 * what changes while a guest runs. (linux/netfilter/nf_tables.h; how a rule is put together:
 * `nft --debug=netlink`.)
 *
 * A rule is begun, gets its matches in order, then its verdict. Before an address it makes
 * sure of IPv4, without which nft(8) could not load what it lists. All that is added is said of
 * the packet in the hook's own words: out of order, of a wrong length or without the table's
 * chains and sets it is refused by the kernel, at nft_batch_commit().
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"
#include "net/netfilter.h"

struct nft_batch {
	struct netfilter *netfilter; /* borrowed */
	const char *table; /* borrowed */
	uint8_t family; /* NFPROTO_* */
	struct str bytes;
	size_t last; /* where the last message begins */
	struct nlmsghdr *message; /* the one that is being built */
	struct nlattr *expressions;
	bool is_ipv4; /* the rule has made sure of it */
	uint32_t sets; /* anonymous ones so far */
};

/* @table and @nf outlive the batch. */
void nft_batch_init(struct nft_batch *b, struct netfilter *nf, uint8_t family, const char *table);
void nft_batch_release(struct nft_batch *b);
#define auto_nft_batch cleanup_(nft_batch_release) struct nft_batch

bool nft_batch_is_empty(const struct nft_batch *b);

/* Remove the rules of @chain. */
void nft_flush_chain(struct nft_batch *b, const char *chain);
/* An element of a set of IPv4 addresses; adding one that is there is no error, removing one
 * that is not is. */
void nft_add_address(struct nft_batch *b, const char *set, struct in_addr address);
void nft_remove_address(struct nft_batch *b, const char *set, struct in_addr address);

/* Of the packet's headers. */
enum nft_field { NFT_SOURCE_ADDRESS, NFT_TARGET_ADDRESS, NFT_SOURCE_PORT, NFT_TARGET_PORT };

void nft_begin_rule(struct nft_batch *b, const char *chain);
/* Is the group of the interface it came from, or goes to, @group? Without one: neither. */
void nft_match_group(struct nft_batch *b, bool out, uint32_t group, bool is);
/* Is that address one of the host's? */
void nft_match_local(struct nft_batch *b, enum nft_field address, bool is);
void nft_match_prefix(struct nft_batch *b, enum nft_field address, struct in_addr prefix,
		      unsigned length);
void nft_match_address_in(struct nft_batch *b, enum nft_field address, const char *set);
void nft_match_protocol(struct nft_batch *b, uint8_t protocol);
void nft_match_protocol_in(struct nft_batch *b, const char *set);
/* From @first to @last, host byte order. */
void nft_match_ports(struct nft_batch *b, enum nft_field port, uint16_t first, uint16_t last);

/* What ends a rule: @chain is where to go, or NULL: return. */
void nft_end_rule_goto(struct nft_batch *b, const char *chain);
void nft_end_rule_jump(struct nft_batch *b, const char *chain);

/* Addresses in host byte order, inclusive. */
struct nft_range {
	uint32_t first, last;
	bool pass;
};
DEFINE_VEC(nft_ranges, struct nft_range)

/*
 * An anonymous map, to stand before the rule whose last expression looks
 * into it: of @ranges (in order, disjoint) those that pass return, the others go to @block.
 */
struct nft_map {
	char name[16];
	uint32_t id;
};
struct nft_map nft_add_map(struct nft_batch *b, const struct nft_ranges *ranges, const char *block);
void nft_end_rule_map(struct nft_batch *b, enum nft_field address, const struct nft_map *map);

/*
 * Let the kernel do it all; the batch is empty afterwards. Return: 0; -ENOENT where the table
 * or something in it is not there; or error.
 */
int nft_batch_commit(struct nft_batch *b, struct error *err) must_use_;

#endif
