/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_UPSTREAM_H
#define NET_UPSTREAM_H

#include "net/talker.h"

/*
 * Ask the keeper, and wait for its answer; a descriptor that comes with it goes
 * to *fd (else -1), where @fd is not NULL. Return: did it do that?
 */
bool upstream_ask(int keeper, const struct talker_request *request, int *fd) must_use_;
/*
 * Ask for a fresh socket, @kind one of TALKER_WANTS_*, to resolver or exposed
 * port @number. To a resolver its port is new, so an answer cannot be forged by
 * who does not see the query.
 * Return: the descriptor, or -1 where there is none to be had.
 */
int upstream_get(int keeper, enum talker_request_kind kind, unsigned number) must_use_;

#endif
