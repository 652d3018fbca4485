/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a guest may have of the host's table of connections, which all guests and the host share.
 *
 * The kernel counts open flows (ct count) in a list, and looks through all of it for those that
 * ended, up to once a tick: 10,000 flows make each new one cost 100 us. So they are dealt out
 * at random over many short lists, each an element of a dynamic set with the list's number as its
 * key. The set has room for all numbers: it cannot be full, which would let a flow pass. A guest
 * near its bound meets a full list now and then before all are.
 *
 * The same once more for all guests together: the sum of their own bounds is more than there is.
 *
 * The kernel does not count a TCP flow that is closed, and keeps it for a while. So how
 * fast they begin is bounded, too, and how long they are kept is 10 s (else 120).
 */

#include "net/rules.h"

#define INET "inet " RULES_TABLE
#define CLOSED "closed" /* object that says how long a closed TCP flow is kept */
#define ALL "everybodys"

enum {
	LIST = 32, /* flows in one list of a guest */
	ALL_LIST = 64, /* ... of all guests */
	GUEST_MAX = 32768, /* flows; as Softnet's table */
	LISTS_MAX = GUEST_MAX / LIST,
	ALL_MAX = 1 << 22, /* so that the set "everybodys" has room for its lists */
	KERNELS_MAX = 262144, /* of a host with much memory, where the kernel is told no number */
};

_Static_assert(ALL_MAX / ALL_LIST == 65536, "the kernel rounds the set's size up");

static uint32_t between(uint32_t low, uint32_t value, uint32_t high)
{
	return value < low ? low : value > high ? high : value;
}

/* One guest: an eighth of the table. All: half; what closed TCP has for 10 s is a sixth more. */
struct rules_bound rules_bound_of(uint32_t max)
{
	uint32_t table = max ? max : KERNELS_MAX;
	uint32_t all_rate = between(4, table / 64, 65536);

	return (struct rules_bound){
		.flows = between(LIST, table / 8, GUEST_MAX),
		.all_flows = between(ALL_LIST, table / 2, ALL_MAX - ALL_LIST),
		.rate = all_rate / 4,
		.all_rate = all_rate,
	};
}

static void declare(struct str *text, const char *name)
{
	str_adds(text, "add ct timeout " INET " " CLOSED
		       " { protocol tcp; l3proto ip; policy = { time_wait: 10, close: 10 }; }\n");
	str_addf(text,
		 "add set " INET " f-%1$s { type mark; size %2$d; flags dynamic; }\n"
		 "add chain " INET " b-%1$s\n"
		 "flush chain " INET " b-%1$s\n"
		 "add element " INET " bounds { \"%1$s\" : goto b-%1$s }\n",
		 name, LISTS_MAX);
}

/* What is refused counts as the guest's policy's refusals do. */
void rules_add_bound(struct str *text, const char *name, const struct rules_bound *b)
{
	declare(text, name);
	str_addf(text, "add limit " INET " begun { rate over %u/second burst %u packets; }\n",
		 b->all_rate, b->all_rate);
	str_addf(text,
		 "add rule " INET " b-%1$s meta l4proto tcp "
		 "limit rate over %2$u/second burst %2$u packets goto od-%1$s\n"
		 "add rule " INET " b-%1$s add @f-%1$s "
		 "{ numgen random mod %3$u ct count over %4$d } goto od-%1$s\n"
		 "add rule " INET " b-%1$s meta l4proto tcp limit name \"begun\" goto od-%1$s\n"
		 "add rule " INET " b-%1$s add @" ALL
		 " { numgen random mod %5$u ct count over %6$d } goto od-%1$s\n"
		 "add rule " INET " b-%1$s meta l4proto tcp ct timeout set \"" CLOSED "\"\n",
		 name, b->rate, b->flows / LIST, LIST, b->all_flows / ALL_LIST, ALL_LIST);
}

void rules_remove_bound(struct str *text, const char *name)
{
	declare(text, name);
	str_addf(text,
		 "delete element " INET " bounds { \"%1$s\" }\n"
		 "delete chain " INET " b-%1$s\n"
		 "delete set " INET " f-%1$s\n",
		 name);
}
