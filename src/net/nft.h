/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NFT_H
#define NET_NFT_H

#include "base/str.h"

struct error;

/*
 * Run `nft -f -` by absolute path and with an empty environment on @text: one
 * transaction. @lock goes with it, so that a lock that this process holds is
 * held until nft ended, even if this process is killed. @answer (may be NULL)
 * gets what it prints. Waits at most 10 s.
 * Return: 0; -ENOENT where @text names what is not there; or error with nft's
 * own first line.
 */
int nft_run(const struct str *text, int lock, struct str *answer, struct error *err) must_use_;

#endif
