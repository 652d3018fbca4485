/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NFT_H
#define NET_NFT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct error;
struct netfilter;

/*
 * Run `nft -f -` by absolute path and with an empty environment on @text: one
 * transaction. @lock goes with it, so that a lock that this process holds is
 * held until nft ended, even if this process is killed (-1: a question only). @answer (may be NULL)
 * gets what it prints, rules with their handles. Waits at most 10 s.
 * Return: 0; -ENOENT where @text names what is not there; or error with nft's
 * own first line.
 */
int nft_run(const struct str *text, int lock, struct str *answer, struct error *err) must_use_;

/*
 * A socket that is readable when anybody but a keeper's nft_batch changed the rules
 * of this network namespace. Return: fd or error.
 */
int nft_watch(struct error *err) must_use_;
/* Read all that it has. Was there anything? */
bool nft_read_news(int watch);
/*
 * The @number that the kernel gave the table when it was made; another one of that name has another
 * number, even if it has the same chains (somebody saved them and loaded them again). 0: there is
 * no such table. Return: 0 or error.
 */
int nft_table_number(struct netfilter *nf, uint8_t family, const char *table, uint64_t *number,
		     struct error *err) must_use_;

#endif
