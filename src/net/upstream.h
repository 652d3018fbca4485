/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_UPSTREAM_H
#define NET_UPSTREAM_H

#include "net/talker.h"

/*
 * Ask the keeper for a fresh socket to resolver @number: its port is new, so
 * an answer cannot be forged by who does not see the query.
 * Return: the descriptor, or -1 where there is none to be had.
 */
int upstream_get(int keeper, enum talker_request_kind kind, unsigned number) must_use_;

#endif
