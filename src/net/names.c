/* SPDX-License-Identifier: Apache-2.0 */
#include "net/names.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "net/dns.h"
#include "net/dns_answer.h"
#include "net/upstream.h"

enum {
	LIST_HEAD = offsetof(struct talker_names, names),
	/* the list may change while the keeper is asked: then once more */
	TRIES_MAX = 3,
};

void names_init(struct names *n, int keeper, int sock)
{
	n->keeper = keeper;
	n->sock = sock;
	n->known = false;
}

/* Find the names in the packet of @len bytes. Return: false where it is no list. */
static bool index_list(struct names *n, size_t len)
{
	const struct talker_names *list = &n->list;
	size_t at = 0;

	if (len < LIST_HEAD || len > sizeof(*list) || list->count > POLICY_NAMES_MAX ||
	    list->only > 1 || list->reserved != 0)
		return false;
	len -= LIST_HEAD;
	for (unsigned i = 0; i < list->count; i++) {
		n->items[i] = n->list.names + at;
		at += strnlen(n->items[i], len - at) + 1;
		if (at > len)
			return false;
	}
	return at == len;
}

bool names_refresh(struct names *n)
{
	for (;;) {
		ssize_t len = recv(n->sock, &n->list, sizeof(n->list), MSG_DONTWAIT | MSG_TRUNC);

		if (len < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!index_list(n, (size_t)len))
			return false;
		n->known = true;
	}
}

/* Return: the index of the query's name, or -1. */
static int find(const struct names *n, struct slice query)
{
	const struct strings all = {
		.items = (char **)(uintptr_t)n->items,
		.len = n->list.count,
	};
	char name[DNS_NAME_MAX];

	return dns_question_name(query, name) ? policy_find_name(&all, name) : -1;
}

/* What becomes of a name that is not in the list. */
static enum names_verdict judge_other(const struct names *n)
{
	return n->list.only ? NAMES_REFUSE : NAMES_PASS;
}

enum names_verdict names_judge_query(const struct names *n, struct slice query)
{
	return find(n, query) >= 0 ? NAMES_PASS : judge_other(n);
}

/* Return: does the filter know them all? */
static bool tell(const struct names *n, int name, const struct dns_addresses *a)
{
	struct talker_request request = {
		.kind = TALKER_NAMED,
		.name = (uint16_t)name,
		.list = n->list.list,
		.ttl = a->ttl,
	};

	for (unsigned i = 0; i < a->count; i += request.count) {
		unsigned left = a->count - i;

		request.count = left < TALKER_ADDRESSES_MAX ? left : TALKER_ADDRESSES_MAX;
		memset(request.addresses, 0, sizeof(request.addresses));
		memcpy(request.addresses, a->items + i, request.count * sizeof(a->items[0]));
		if (!upstream_ask(n->keeper, &request, NULL))
			return false;
	}
	return true;
}

enum names_verdict names_judge_answer(struct names *n, struct slice query, struct slice answer)
{
	struct dns_addresses addresses;

	dns_answer_addresses(answer, &addresses);
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		uint32_t list;
		int name;

		if (!names_refresh(n))
			return NAMES_FAIL;
		list = n->list.list;
		name = find(n, query);
		if (name < 0)
			return judge_other(n);
		if (tell(n, name, &addresses))
			return NAMES_PASS;
		if (!names_refresh(n) || n->list.list == list)
			return NAMES_FAIL;
	}
	return NAMES_FAIL;
}
