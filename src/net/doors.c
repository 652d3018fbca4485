/* SPDX-License-Identifier: Apache-2.0 */
#include "net/doors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/nft.h"
#include "net/rules.h"

#define ACCEPT " counter accept comment \"linzer\"\n"
#define OURS " comment \"linzer\" # handle "

static const struct door {
	const char *table, *chain;
	bool input; /* to the host, not through it */
} doors[] = {
	{ "ip filter", "DOCKER-USER", false },	    { "ip filter", "ufw-before-forward", false },
	{ "ip filter", "ufw-before-input", true },  { "inet firewalld", "filter_FORWARD", false },
	{ "inet firewalld", "filter_INPUT", true },
};
_Static_assert(array_size(doors) == DOORS_COUNT, "every door is in the table");

/* Reading nft's answers: line by line, each trimmed. */

static bool next_line(const char **at, char *line, size_t size)
{
	size_t len;

	*at += strspn(*at, " \t\n");
	len = strcspn(*at, "\n");
	if (len == 0)
		return false;
	/* one that is too long is none of ours */
	(void)snprintf(line, size, "%.*s", len < size ? (int)len : 0, *at);
	*at += len;
	return true;
}

/* Is @line "KIND NAME {", whatever follows? */
static bool begins(const char *line, const char *kind, const char *name)
{
	size_t len = strlen(name);

	if (!str_starts(line, kind))
		return false;
	line += strlen(kind);
	return strncmp(line, name, len) == 0 && str_starts(line + len, " {");
}

unsigned doors_read_chains(const char *answer)
{
	char line[256];
	unsigned found = 0, here = 0; /* the doors of the table that is being listed */

	while (next_line(&answer, line, sizeof(line))) {
		if (str_starts(line, "table "))
			here = 0;
		for (unsigned i = 0; i < DOORS_COUNT; i++) {
			if (begins(line, "table ", doors[i].table))
				here |= 1U << i;
			if (begins(line, "chain ", doors[i].chain))
				found |= here & 1U << i;
		}
	}
	return found;
}

void doors_list(struct str *text, unsigned door)
{
	str_addf(text, "list chain %s %s\n", doors[door].table, doors[door].chain);
}

/* The handle of our rule on @line, or 0. */
static unsigned long read_handle(const char *line, const char *interface)
{
	const char *ours = strstr(line, OURS);
	auto_free char *from = interface ? str_format("iifname \"%s\" ", interface) : NULL;

	if (!ours || (from && !str_starts(line, from)))
		return 0;
	return strtoul(ours + strlen(OURS), NULL, 10);
}

void doors_remove(struct str *text, unsigned door, const char *answer, const char *interface)
{
	char line[256];
	unsigned long handle;

	while (next_line(&answer, line, sizeof(line)))
		if ((handle = read_handle(line, interface)))
			str_addf(text, "delete rule %s %s handle %lu\n", doors[door].table,
				 doors[door].chain, handle);
}

void doors_add(struct str *text, unsigned door, const struct rules_guest *guest)
{
	const struct door *d = &doors[door];

	if (d->input) {
		str_addf(text, "insert rule %s %s iifname \"%s\" udp dport %u" ACCEPT, d->table,
			 d->chain, guest->name, guest->dns_udp);
		str_addf(text, "insert rule %s %s iifname \"%s\" tcp dport %u" ACCEPT, d->table,
			 d->chain, guest->name, guest->dns_tcp);
		return;
	}
	str_addf(text, "insert rule %s %s iifname \"lz*\"" ACCEPT, d->table, d->chain);
	str_addf(text, "insert rule %s %s oifname \"lz*\"" ACCEPT, d->table, d->chain);
}

/* Asking and changing. */

static int ask(const char *question, int lock, struct str *answer, struct error *err)
{
	auto_str text = STR_INIT;

	str_adds(&text, question);
	return nft_run(&text, lock, answer, err);
}

/* The rules of one door that are ours go, and for a @guest there are new ones, in one transaction.
 */
static int change(unsigned door, const char *interface, const struct rules_guest *guest, int lock,
		  struct error *err)
{
	auto_str question = STR_INIT, answer = STR_INIT, text = STR_INIT;
	int r;

	doors_list(&question, door);
	r = nft_run(&question, lock, &answer, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* those for all guests are of no one's interface */
	doors_remove(&text, door, answer.ptr, guest && !doors[door].input ? NULL : interface);
	if (guest)
		doors_add(&text, door, guest);
	return text.len ? nft_run(&text, lock, NULL, err) : 0;
}

static int change_all(const char *interface, const struct rules_guest *guest, int lock,
		      struct error *err)
{
	auto_str answer = STR_INIT;
	struct error refused = ERROR_INIT;
	unsigned found;
	int r = ask(DOORS_LIST_CHAINS, lock, &answer, err);

	if (r < 0)
		return r;
	found = doors_read_chains(answer.ptr);
	for (unsigned i = 0; i < DOORS_COUNT; i++)
		if ((found & 1U << i) && change(i, interface, guest, lock, &refused) < 0)
			(void)fprintf(stderr, "linzer-net: the firewall's chain '%s': %s\n",
				      doors[i].chain, refused.text);
	return 0;
}

int doors_open(const struct rules_guest *guest, int lock, struct error *err)
{
	return change_all(guest->name, guest, lock, err);
}

int doors_close(const char *interface, int lock, struct error *err)
{
	return change_all(interface, NULL, lock, err);
}

int doors_close_all(int lock, struct error *err)
{
	return change_all(NULL, NULL, lock, err);
}
