/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_XAUTHORITY_H
#define RUN_XAUTHORITY_H

/* A user's Xauthority file (Xau(3)): the cookies of all displays that he has ever been let into. */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct str;

struct x_display {
	bool local; /* of this host, also by TCP */
	char number[8];
};

/* @text: the value of DISPLAY, "[HOST]:NUMBER[.SCREEN]". Return: is it one? */
bool x_display_parse(const char *text, struct x_display *display) must_use_;
/*
 * Append to @out those entries of the file's @len @bytes that open @display to a program of the
 * host @hostname: for a local one what has that name, for another what has an address and its
 * number. What is not whole ends the file.
 */
void xauthority_pick(const char *bytes, size_t len, const struct x_display *display,
		     const char *hostname, struct str *out);

#endif
