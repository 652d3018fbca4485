/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NFT_H
#define NET_NFT_H

#include <stdbool.h>

#include "base/str.h"

struct error;

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
 * A socket that is readable when anybody changed the rules of this network
 * namespace. Return: fd or error.
 */
int nft_watch(struct error *err) must_use_;
enum nft_news { NFT_NOTHING, NFT_TABLE_REMOVED, NFT_NEWS_LOST };
/* Read what it has: was a table of this name removed? With news lost, it may have been. */
enum nft_news nft_read_news(int watch, const char *name) must_use_;

#endif
