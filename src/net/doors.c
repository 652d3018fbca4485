/* SPDX-License-Identifier: Apache-2.0 */
#include "net/doors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "net/nft.h"
#include "net/prefix.h"
#include "net/rules.h"

#define ACCEPT " counter accept comment \"linzer\"\n"
#define OURS " comment \"linzer\" # handle "
/* There where br_netfilter is. */
#define BRIDGES "/proc/sys/net/bridge/bridge-nf-call-iptables"

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

/* The handle of the rule on @line whose end begins so, or 0. */
static unsigned long read_handle(const char *line, const char *ending)
{
	const char *ours = strstr(line, ending);

	return ours ? strtoul(ours + strlen(ending), NULL, 10) : 0;
}

static void add_delete(struct str *text, unsigned door, unsigned long handle)
{
	if (handle)
		str_addf(text, "delete rule %s %s handle %lu\n", doors[door].table,
			 doors[door].chain, handle);
}

void doors_remove(struct str *text, unsigned door, const char *answer, const char *interface)
{
	auto_free char *from = interface ? str_format("iifname \"%s\" ", interface) : NULL;
	char line[256];

	while (next_line(&answer, line, sizeof(line)))
		if (!from || str_starts(line, from))
			add_delete(text, door, read_handle(line, OURS));
}

void doors_remove_card(struct str *text, unsigned door, const char *answer, const char *tap)
{
	auto_free char *ending = str_format(" comment \"linzer %s\" # handle ", tap);
	char line[256];

	while (next_line(&answer, line, sizeof(line)))
		add_delete(text, door, read_handle(line, ending));
}

void doors_add_card(struct str *text, unsigned door, const struct doors_card *card)
{
	static const char *const always[] = { "udp sport 67 udp dport 68",
					      "udp sport 68 udp dport 67" };
	static const char *const fields[] = { "daddr", "saddr" };
	const struct door *d = &doors[door];
	auto_free char *head = str_format("insert rule %s %s iifname \"%s\" oifname \"%s\"",
					  d->table, d->chain, card->bridge, card->bridge);
	auto_free char *tail = str_format("counter accept comment \"linzer %s\"", card->tap);

	if (d->input)
		return;
	for (size_t i = 0; i < array_size(always); i++)
		str_addf(text, "%s %s %s\n", head, always[i], tail);
	for (size_t i = 0; card->address.s_addr && i < array_size(fields); i++)
		str_addf(text, "%s ip %s %s %s\n", head, fields[i], dotted(card->address).text,
			 tail);
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

/* What is to be changed: rules of a routed guest or of a card; without new ones the old go. */
struct change {
	const char *interface; /* NULL: those of all routed guests */
	const struct rules_guest *guest;
	const char *tap; /* of a card, else NULL */
	const struct doors_card *card;
};

static void rewrite(struct str *text, unsigned door, const char *answer, const struct change *c)
{
	if (c->tap) {
		doors_remove_card(text, door, answer, c->tap);
		if (c->card)
			doors_add_card(text, door, c->card);
		return;
	}
	/* those for all guests are of no one's interface */
	doors_remove(text, door, answer, c->guest && !doors[door].input ? NULL : c->interface);
	if (c->guest)
		doors_add(text, door, c->guest);
}

/* The rules of one door, in one transaction. */
static int change(unsigned door, const struct change *c, int lock, struct error *err)
{
	auto_str question = STR_INIT, answer = STR_INIT, text = STR_INIT;
	int r;

	doors_list(&question, door);
	r = nft_run(&question, lock, &answer, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rewrite(&text, door, answer.ptr, c);
	return text.len ? nft_run(&text, lock, NULL, err) : 0;
}

static int change_all(const struct change *c, int lock, struct error *err)
{
	auto_str answer = STR_INIT;
	struct error refused = ERROR_INIT;
	unsigned found;
	int r = ask(DOORS_LIST_CHAINS, lock, &answer, err);

	if (r < 0)
		return r;
	found = doors_read_chains(answer.ptr);
	for (unsigned i = 0; i < DOORS_COUNT; i++)
		if ((found & 1U << i) && change(i, c, lock, &refused) < 0)
			(void)fprintf(stderr, "linzer-net: the firewall's chain '%s': %s\n",
				      doors[i].chain, refused.text);
	return 0;
}

int doors_open(const struct rules_guest *guest, int lock, struct error *err)
{
	const struct change c = { .interface = guest->name, .guest = guest };

	return change_all(&c, lock, err);
}

int doors_close(const char *interface, int lock, struct error *err)
{
	const struct change c = { .interface = interface };

	return change_all(&c, lock, err);
}

int doors_close_all(int lock, struct error *err)
{
	return doors_close(NULL, lock, err);
}

int doors_open_card(const struct doors_card *card, int lock, struct error *err)
{
	const struct change c = { .tap = card->tap, .card = card };

	return access(BRIDGES, F_OK) == 0 && rules_is_plain_name(card->bridge)
		       ? change_all(&c, lock, err)
		       : 0;
}

int doors_close_card(const char *tap, int lock, struct error *err)
{
	const struct change c = { .tap = tap };

	return access(BRIDGES, F_OK) == 0 ? change_all(&c, lock, err) : 0;
}
