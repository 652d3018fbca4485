/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stddef.h>

struct str;

/*
 * What a guest printed, made safe for the user's terminal: escape sequences (ECMA-48: CSI,
 * OSC and the other strings) are dropped, so are control characters but tab and newline, and
 * bytes that are not part of a UTF-8 character of two bytes or more (no C1 control).
 * The state goes on from one piece of text to the next.
 */
enum terminal_state {
	TERMINAL_TEXT,
	TERMINAL_ESCAPE, /* after ESC */
	TERMINAL_SEQUENCE, /* in CSI, up to its final byte */
	TERMINAL_STRING, /* in OSC, DCS, SOS, PM, APC, up to BEL or ESC \ */
	TERMINAL_STRING_ESCAPE,
};

struct terminal_filter {
	enum terminal_state state;
	unsigned char lead; /* the first byte of a character: 0xc2, whose second decides */
};

void terminal_filter_add(struct terminal_filter *filter, const char *bytes, size_t len,
			 struct str *out);

#endif
