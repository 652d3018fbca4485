/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_KEEPER_H
#define NET_KEEPER_H

#include "base/attr.h"

struct error;

/*
 * The keeper of one guest's network, all its life: reads one NET_START from
 * the SOCK_SEQPACKET socket @run, makes the network, starts the talker, and
 * removes it all when @run closes, the talker ends or SIGTERM comes. What
 * fails is told to @run as NET_FAILED.
 * Return: 0 after an orderly life, or error.
 */
int keeper_main(int run, struct error *err) must_use_;

#endif
