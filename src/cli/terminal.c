/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <string.h>

#include "base/str.h"

enum { ESC = 0x1b, BEL = 0x07, CAN = 0x18, SUB = 0x1a, C1_LEAD = 0xc2 };

/* Plain text: C1 controls are U+0080..U+009F, in UTF-8 0xc2 0x80 to 0xc2 0x9f. */
static void add_text(struct terminal_filter *f, unsigned char c, struct str *out)
{
	if (f->lead) {
		f->lead = 0;
		if (c >= 0x80 && c < 0xa0)
			return;
		if (c >= 0xa0 && c < 0xc0)
			str_addc(out, (char)C1_LEAD);
	}
	if (c == ESC)
		f->state = TERMINAL_ESCAPE;
	else if (c == C1_LEAD)
		f->lead = c;
	else if (c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f))
		str_addc(out, (char)c);
}

static enum terminal_state after_escape(unsigned char c)
{
	if (c == '[')
		return TERMINAL_SEQUENCE;
	if (strchr("]PX^_", c) && c)
		return TERMINAL_STRING;
	if (c == ESC)
		return TERMINAL_ESCAPE;
	/* 0x20-0x2f: intermediate bytes, more to come */
	return c >= ' ' && c < '0' ? TERMINAL_ESCAPE : TERMINAL_TEXT;
}

static enum terminal_state in_sequence(unsigned char c)
{
	if (c == ESC)
		return TERMINAL_ESCAPE;
	/* the final byte; what cannot stand in a sequence ends it as well */
	return c >= ' ' && c < '@' ? TERMINAL_SEQUENCE : TERMINAL_TEXT;
}

static enum terminal_state in_string(unsigned char c)
{
	if (c == ESC)
		return TERMINAL_STRING_ESCAPE;
	/* a newline ends it too: a guest must not hide the rest of its log */
	return c == BEL || c == CAN || c == SUB || c == '\n' ? TERMINAL_TEXT : TERMINAL_STRING;
}

void terminal_filter_add(struct terminal_filter *f, const char *bytes, size_t len, struct str *out)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		switch (f->state) {
		case TERMINAL_TEXT:
			add_text(f, c, out);
			continue;
		case TERMINAL_ESCAPE:
			f->state = after_escape(c);
			break;
		case TERMINAL_SEQUENCE:
			f->state = in_sequence(c);
			break;
		case TERMINAL_STRING:
			f->state = in_string(c);
			break;
		case TERMINAL_STRING_ESCAPE:
			f->state = c == '\\' ? TERMINAL_TEXT : after_escape(c);
			break;
		}
		if (c == '\n')
			str_addc(out, '\n');
	}
}
