/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Numbers in nf_tables' attributes are in network byte order; what a packet is compared
 * with is in the packet's, and what the kernel knows beside it (a group, a kind of address) in
 * the machine's. Every expression works on one register.
 */

#include "net/nft_batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"

enum {
	MESSAGE_MAX = 32 * 1024,
	RANGES_EACH = 128, /* of a message: less than 200 bytes each */
	TYPE_ADDRESS = 7, /* of a set's keys, nft's own number for ipv4_addr */
	NETWORK_SOURCE = 12, /* offsets in the IPv4 header */
	NETWORK_TARGET = 16,
};

void nft_batch_init(struct nft_batch *b, struct netfilter *nf, uint8_t family, const char *table)
{
	*b = (struct nft_batch){ .netfilter = nf, .table = table, .family = family };
	b->bytes = (struct str)STR_INIT;
}

void nft_batch_release(struct nft_batch *b)
{
	str_release(&b->bytes);
}

bool nft_batch_is_empty(const struct nft_batch *b)
{
	return b->bytes.len == 0;
}

static void begin(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family)
{
	str_grow(&b->bytes, MESSAGE_MAX);
	b->last = b->bytes.len;
	b->message =
		netfilter_begin(b->netfilter, b->bytes.ptr + b->bytes.len, type, flags, family);
}

/* Attributes are padded: so is the message. */
static void end(struct nft_batch *b)
{
	str_set_len(&b->bytes, b->bytes.len + b->message->nlmsg_len);
	b->message = NULL;
}

/* Of the messages that a batch begins and ends with. */
static void set_subsystem(struct nft_batch *b)
{
	struct nfgenmsg *message = mnl_nlmsg_get_payload(b->message);

	message->res_id = htons(NFNL_SUBSYS_NFTABLES);
}

static void begin_nft(struct nft_batch *b, uint16_t message, uint16_t flags)
{
	if (nft_batch_is_empty(b)) {
		begin(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC);
		set_subsystem(b);
		end(b);
	}
	begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), flags, b->family);
}

static void put(struct nft_batch *b, uint16_t attribute, uint32_t number)
{
	mnl_attr_put_u32(b->message, attribute, htonl(number));
}

static void put_text(struct nft_batch *b, uint16_t attribute, const char *text)
{
	mnl_attr_put_strz(b->message, attribute, text);
}

/* A value as it is compared or looked up. */
static void put_value(struct nft_batch *b, uint16_t attribute, const void *value, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(b->message, attribute);

	mnl_attr_put(b->message, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(b->message, nest);
}

static void put_verdict(struct nft_batch *b, uint16_t attribute, int code, const char *chain)
{
	struct nlattr *nest = mnl_attr_nest_start(b->message, attribute);
	struct nlattr *verdict = mnl_attr_nest_start(b->message, NFTA_DATA_VERDICT);

	put(b, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		put_text(b, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(b->message, verdict);
	mnl_attr_nest_end(b->message, nest);
}

void nft_flush_chain(struct nft_batch *b, const char *chain)
{
	begin_nft(b, NFT_MSG_DELRULE, 0);
	put_text(b, NFTA_RULE_TABLE, b->table);
	put_text(b, NFTA_RULE_CHAIN, chain);
	end(b);
}

static void change_address(struct nft_batch *b, uint16_t message, uint16_t flags, const char *set,
			   struct in_addr address)
{
	struct nlattr *all, *element;

	begin_nft(b, message, flags);
	put_text(b, NFTA_SET_ELEM_LIST_TABLE, b->table);
	put_text(b, NFTA_SET_ELEM_LIST_SET, set);
	all = mnl_attr_nest_start(b->message, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(b->message, NFTA_LIST_ELEM);
	put_value(b, NFTA_SET_ELEM_KEY, &address, sizeof(address));
	mnl_attr_nest_end(b->message, element);
	mnl_attr_nest_end(b->message, all);
	end(b);
}

void nft_add_address(struct nft_batch *b, const char *set, struct in_addr address)
{
	change_address(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, address);
}

void nft_remove_address(struct nft_batch *b, const char *set, struct in_addr address)
{
	change_address(b, NFT_MSG_DELSETELEM, 0, set, address);
}

void nft_begin_rule(struct nft_batch *b, const char *chain)
{
	begin_nft(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	put_text(b, NFTA_RULE_TABLE, b->table);
	put_text(b, NFTA_RULE_CHAIN, chain);
	b->expressions = mnl_attr_nest_start(b->message, NFTA_RULE_EXPRESSIONS);
	b->is_ipv4 = false;
}

static void end_rule(struct nft_batch *b)
{
	mnl_attr_nest_end(b->message, b->expressions);
	end(b);
}

struct expression {
	struct nlattr *element, *data;
};

static struct expression begin_expression(struct nft_batch *b, const char *name)
{
	struct expression e = { .element = mnl_attr_nest_start(b->message, NFTA_LIST_ELEM) };

	put_text(b, NFTA_EXPR_NAME, name);
	e.data = mnl_attr_nest_start(b->message, NFTA_EXPR_DATA);
	return e;
}

static void end_expression(struct nft_batch *b, struct expression e)
{
	mnl_attr_nest_end(b->message, e.data);
	mnl_attr_nest_end(b->message, e.element);
}

static void load_meta(struct nft_batch *b, enum nft_meta_keys key)
{
	struct expression e = begin_expression(b, "meta");

	put(b, NFTA_META_DREG, NFT_REG_1);
	put(b, NFTA_META_KEY, key);
	end_expression(b, e);
}

static void compare(struct nft_batch *b, bool is, const void *value, size_t len)
{
	struct expression e = begin_expression(b, "cmp");

	put(b, NFTA_CMP_SREG, NFT_REG_1);
	put(b, NFTA_CMP_OP, is ? NFT_CMP_EQ : NFT_CMP_NEQ);
	put_value(b, NFTA_CMP_DATA, value, len);
	end_expression(b, e);
}

static void match_ipv4(struct nft_batch *b)
{
	static const uint8_t ipv4 = NFPROTO_IPV4;

	if (b->is_ipv4)
		return;
	load_meta(b, NFT_META_NFPROTO);
	compare(b, true, &ipv4, sizeof(ipv4));
	b->is_ipv4 = true;
}

static void load_field(struct nft_batch *b, enum nft_field field)
{
	static const struct {
		enum nft_payload_bases base;
		uint32_t offset, len;
	} fields[] = {
		[NFT_SOURCE_ADDRESS] = { NFT_PAYLOAD_NETWORK_HEADER, NETWORK_SOURCE, 4 },
		[NFT_TARGET_ADDRESS] = { NFT_PAYLOAD_NETWORK_HEADER, NETWORK_TARGET, 4 },
		[NFT_SOURCE_PORT] = { NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2 },
		[NFT_TARGET_PORT] = { NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2 },
	};
	struct expression e;

	if (fields[field].base == NFT_PAYLOAD_NETWORK_HEADER)
		match_ipv4(b);
	e = begin_expression(b, "payload");
	put(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put(b, NFTA_PAYLOAD_BASE, fields[field].base);
	put(b, NFTA_PAYLOAD_OFFSET, fields[field].offset);
	put(b, NFTA_PAYLOAD_LEN, fields[field].len);
	end_expression(b, e);
}

static void mask(struct nft_batch *b, uint32_t bits)
{
	static const uint32_t nothing;
	struct expression e = begin_expression(b, "bitwise");

	put(b, NFTA_BITWISE_SREG, NFT_REG_1);
	put(b, NFTA_BITWISE_DREG, NFT_REG_1);
	put(b, NFTA_BITWISE_LEN, sizeof(bits));
	put_value(b, NFTA_BITWISE_MASK, &bits, sizeof(bits));
	put_value(b, NFTA_BITWISE_XOR, &nothing, sizeof(nothing));
	end_expression(b, e);
}

static void look_up(struct nft_batch *b, const char *set)
{
	struct expression e = begin_expression(b, "lookup");

	put_text(b, NFTA_LOOKUP_SET, set);
	put(b, NFTA_LOOKUP_SREG, NFT_REG_1);
	end_expression(b, e);
}

void nft_match_group(struct nft_batch *b, bool out, uint32_t group, bool is)
{
	load_meta(b, out ? NFT_META_OIFGROUP : NFT_META_IIFGROUP);
	compare(b, is, &group, sizeof(group));
}

void nft_match_local(struct nft_batch *b, enum nft_field address, bool is)
{
	static const uint32_t local = RTN_LOCAL;
	struct expression e = begin_expression(b, "fib");

	put(b, NFTA_FIB_DREG, NFT_REG_1);
	put(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	put(b, NFTA_FIB_FLAGS, address == NFT_TARGET_ADDRESS ? NFTA_FIB_F_DADDR : NFTA_FIB_F_SADDR);
	end_expression(b, e);
	compare(b, is, &local, sizeof(local));
}

void nft_match_prefix(struct nft_batch *b, enum nft_field address, struct in_addr prefix,
		      unsigned length)
{
	uint32_t bits = htonl(length ? UINT32_MAX << (32 - length) : 0);
	uint32_t value = prefix.s_addr & bits;

	load_field(b, address);
	if (length < 32)
		mask(b, bits);
	compare(b, true, &value, sizeof(value));
}

void nft_match_address_in(struct nft_batch *b, enum nft_field address, const char *set)
{
	load_field(b, address);
	look_up(b, set);
}

void nft_match_protocol(struct nft_batch *b, uint8_t protocol)
{
	load_meta(b, NFT_META_L4PROTO);
	compare(b, true, &protocol, sizeof(protocol));
}

void nft_match_protocol_in(struct nft_batch *b, const char *set)
{
	load_meta(b, NFT_META_L4PROTO);
	look_up(b, set);
}

void nft_match_ports(struct nft_batch *b, enum nft_field port, uint16_t first, uint16_t last)
{
	uint16_t from = htons(first), to = htons(last);
	struct expression e;

	load_field(b, port);
	if (first == last) {
		compare(b, true, &from, sizeof(from));
		return;
	}
	e = begin_expression(b, "range");
	put(b, NFTA_RANGE_SREG, NFT_REG_1);
	put(b, NFTA_RANGE_OP, NFT_RANGE_EQ);
	put_value(b, NFTA_RANGE_FROM_DATA, &from, sizeof(from));
	put_value(b, NFTA_RANGE_TO_DATA, &to, sizeof(to));
	end_expression(b, e);
}

static void end_with(struct nft_batch *b, int code, const char *chain)
{
	struct expression e = begin_expression(b, "immediate");

	put(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	put_verdict(b, NFTA_IMMEDIATE_DATA, code, chain);
	end_expression(b, e);
	end_rule(b);
}

void nft_end_rule_goto(struct nft_batch *b, const char *chain)
{
	end_with(b, chain ? NFT_GOTO : NFT_RETURN, chain);
}

void nft_end_rule_jump(struct nft_batch *b, const char *chain)
{
	end_with(b, NFT_JUMP, chain);
}

static void put_element(struct nft_batch *b, uint32_t address, bool is_end,
			const struct nft_range *range, const char *block)
{
	struct nlattr *element = mnl_attr_nest_start(b->message, NFTA_LIST_ELEM);
	uint32_t key = htonl(address);

	if (is_end)
		put(b, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	put_value(b, NFTA_SET_ELEM_KEY, &key, sizeof(key));
	if (!is_end)
		put_verdict(b, NFTA_SET_ELEM_DATA, range->pass ? NFT_RETURN : NFT_GOTO,
			    range->pass ? NULL : block);
	mnl_attr_nest_end(b->message, element);
}

/* The end of a range is the first address behind it, unless the next one begins there. */
static bool has_end(const struct nft_ranges *ranges, size_t i)
{
	uint32_t last = ranges->items[i].last;

	return last != UINT32_MAX &&
	       (i + 1 == ranges->len || ranges->items[i + 1].first != last + 1);
}

static void add_elements(struct nft_batch *b, const struct nft_map *map,
			 const struct nft_ranges *ranges, size_t from, const char *block)
{
	struct nlattr *all;

	begin_nft(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	put_text(b, NFTA_SET_ELEM_LIST_TABLE, b->table);
	put_text(b, NFTA_SET_ELEM_LIST_SET, map->name);
	put(b, NFTA_SET_ELEM_LIST_SET_ID, map->id);
	all = mnl_attr_nest_start(b->message, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (size_t i = from; i < ranges->len && i < from + RANGES_EACH; i++) {
		const struct nft_range *range = &ranges->items[i];

		put_element(b, range->first, false, range, block);
		if (has_end(ranges, i))
			put_element(b, range->last + 1, true, range, block);
	}
	mnl_attr_nest_end(b->message, all);
	end(b);
}

struct nft_map nft_add_map(struct nft_batch *b, const struct nft_ranges *ranges, const char *block)
{
	struct nft_map map = { .name = "__map%d", .id = ++b->sets };

	begin_nft(b, NFT_MSG_NEWSET, NLM_F_CREATE);
	put_text(b, NFTA_SET_TABLE, b->table);
	put_text(b, NFTA_SET_NAME, map.name);
	put(b, NFTA_SET_ID, map.id);
	put(b, NFTA_SET_FLAGS,
	    NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_INTERVAL | NFT_SET_MAP);
	put(b, NFTA_SET_KEY_TYPE, TYPE_ADDRESS);
	put(b, NFTA_SET_KEY_LEN, sizeof(uint32_t));
	put(b, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
	put(b, NFTA_SET_DATA_LEN, 0);
	end(b);
	for (size_t i = 0; i < ranges->len; i += RANGES_EACH)
		add_elements(b, &map, ranges, i, block);
	return map;
}

void nft_end_rule_map(struct nft_batch *b, enum nft_field address, const struct nft_map *map)
{
	struct expression e;

	load_field(b, address);
	e = begin_expression(b, "lookup");
	put_text(b, NFTA_LOOKUP_SET, map->name);
	put(b, NFTA_LOOKUP_SET_ID, map->id);
	put(b, NFTA_LOOKUP_SREG, NFT_REG_1);
	put(b, NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
	end_expression(b, e);
	end_rule(b);
}

/* A transaction goes in one piece. Without privilege over the host there is the system's bound. */
static void make_room(const struct nft_batch *b)
{
	int fd = mnl_socket_get_fd(b->netfilter->socket);
	int size = (int)b->bytes.len + MESSAGE_MAX;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* The last message but the end is answered, if none failed. */
static int send_all(struct nft_batch *b)
{
	begin(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC);
	set_subsystem(b);
	end(b);
	b->netfilter->sequence--;
	make_room(b);
	return netfilter_talk(b->netfilter, b->bytes.ptr, b->bytes.len, NULL, NULL);
}

int nft_batch_commit(struct nft_batch *b, struct error *err)
{
	int r;

	if (nft_batch_is_empty(b))
		return 0;
	((struct nlmsghdr *)(void *)(b->bytes.ptr + b->last))->nlmsg_flags |= NLM_F_ACK;
	r = send_all(b);
	str_reset(&b->bytes);
	b->sets = 0;
	if (r == 0)
		return 0;
	if (r == -EMSGSIZE)
		return error_set(err, E_FAILED,
				 "the rules are too many for a socket of this user "
				 "(net.core.wmem_max)");
	return error_set(err, -r, "the filter was not changed: %s", strerror(-r));
}
