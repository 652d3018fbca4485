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
 * Guest's start: its own rules anew, in front. Its end: the rules that name it go. End of the
 * last, or start of the first: all go, also those of keepers that were killed. Whoever
 * loads a firewall anew takes them away; they come back with the next guest.
 */

#include <stdbool.h>

#include "base/str.h"

struct error;
struct rules_guest;

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

/*
 * Open the doors for @guest; close what was opened for one interface; close all. Under the lock
 * of net/network.c. A firewall that lets nobody change its table (firewalld can own it) is left
 * as it is: one line on stderr says so. Return: 0 or error.
 */
int doors_open(const struct rules_guest *guest, int lock, struct error *err) must_use_;
int doors_close(const char *interface, int lock, struct error *err) must_use_;
int doors_close_all(int lock, struct error *err) must_use_;

#endif
