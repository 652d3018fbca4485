/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DOORS_H
#define NET_DOORS_H

/*
 * Doors in the host's own firewall for our interfaces.
 *
 * Theory of operation
 *
 * An "accept" of our filter ends our chain only; a firewall that drops what it
 * forwards by default (as Docker makes it, ufw and firewalld do) would still cut every guest
 * off. So while a guest's network exists, rules of ours stand in front of the chains
 * that these three keep for others, whichever of them exist: what comes from or goes to an
 * interface "lz*" is accepted, and on the way into the host the two ports alone that the
 * guest's DNS is redirected to.
 *
 * That opens nothing. Our chains come earlier (priority filter - 10), and what they have
 * not dropped is from a guest that its policy lets out, or an answer to it; nobody outside
 * opens a flow to "lz*". And without our filter the tap is down (net/network.c).
 *
 * They are made of nothing but names of interfaces, ports and counters, for
 * iptables-nft refuses to list a table where it meets anything that it has no form for (connection
 * states, for one). They are told by their comment. A host whose iptables is the legacy
 * one is not helped: nft does not see its tables.
 *
 * A card on a Linux bridge needs them, too, where br_netfilter (which Docker loads) shows the
 * frames between a bridge's ports to the firewall: with the bridge as both ends, so that no name of
 * ours tells them. What passes there is DHCP, and what comes from or goes to the guest's address
 * once that is known: a neighbour on the same bridge that takes the address for its own is the only
 * one for whom that opens anything. These rules are told by a comment with the card's name.
 *
 * Guest's start: its own rules anew, in front. Its end: the rules that name it go. End of the
 * last, or start of the first: all go, also those of keepers that were killed. Whoever
 * loads a firewall anew takes them away; they come back with the next guest.
 */

#include <netinet/in.h>
#include <stdbool.h>

#include "base/str.h"

struct error;
struct rules_guest;

/* A port of a bridge. */
struct doors_card {
	const char *tap, *bridge;
	struct in_addr address; /* the guest's, 0: not known yet */
};

/* Ask nft for the chains that there are: bits of the doors. */
#define DOORS_LIST_CHAINS "list chains\n"
unsigned doors_read_chains(const char *answer);

enum { DOORS_COUNT = 5 };
/* Of door number @door (below DOORS_COUNT): the question for its rules, with handles. */
void doors_list(struct str *text, unsigned door);
/* Remove ours that nft's @answer names: all of them, or those of one guest's interface. */
void doors_remove(struct str *text, unsigned door, const char *answer, const char *interface);
/* Put ours in front: those for all guests (removed first, or they are there twice) and @guest's. */
void doors_add(struct str *text, unsigned door, const struct rules_guest *guest);

/* The same of a card on a bridge: nothing for the way into the host. */
void doors_remove_card(struct str *text, unsigned door, const char *answer, const char *tap);
void doors_add_card(struct str *text, unsigned door, const struct doors_card *card);

/*
 * Open the doors for @guest; close what was opened for one interface; close all. Under the lock
 * of net/network.c. A firewall that lets nobody change its table (firewalld can own it) is left
 * as it is: one line on stderr says so. Return: 0 or error.
 */
int doors_open(const struct rules_guest *guest, int lock, struct error *err) must_use_;
int doors_close(const char *interface, int lock, struct error *err) must_use_;
int doors_close_all(int lock, struct error *err) must_use_;
/* The same for a card, where the firewall sees what a bridge carries (else nothing is done); in
 * place of what was opened for it before. */
int doors_open_card(const struct doors_card *card, int lock, struct error *err) must_use_;
int doors_close_card(const char *tap, int lock, struct error *err) must_use_;

#endif
