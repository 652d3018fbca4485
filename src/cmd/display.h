/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_DISPLAY_H
#define CMD_DISPLAY_H

#include "store/config.h"

struct error;

/*
 * Apply "WIDTHxHEIGHT[pt|px]" (contract 2.4) to @config: a number that is none
 * or 0 leaves what was there, and so does a missing unit. A number
 * above DISPLAY_SIDE_MAX is E_USAGE, and nothing is changed.
 */
enum { DISPLAY_SIDE_MAX = 65535 };
int display_apply(const char *text, struct config *config, struct error *err) must_use_;

#endif
