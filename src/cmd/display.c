/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/display.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/help.h"

/* The unit at the end of @text, which is cut off. */
static bool cut_unit(char *text, enum display_unit *unit)
{
	size_t len = strlen(text);

	if (!str_ends(text, "pt") && !str_ends(text, "px"))
		return false;
	*unit = text[len - 1] == 't' ? UNIT_PT : UNIT_PX;
	text[len - 2] = '\0';
	return true;
}

/* Return: 0, *side may be 0 for "leave it"; or -ERANGE. */
static int parse_side(const char *text, uint32_t *side)
{
	uint64_t n = 0;

	if (str_to_u64(text, DISPLAY_SIDE_MAX, &n) == -ERANGE)
		return -ERANGE;
	*side = (uint32_t)n;
	return 0;
}

int display_apply(const char *text, struct config *config, struct error *err)
{
	auto_free char *copy = xstrdup(text);
	auto_str shown = STR_INIT;
	enum display_unit unit = config->display_unit;
	uint32_t width = 0;
	uint32_t height = 0;

	(void)cut_unit(copy, &unit);
	char *x = strchr(copy, 'x');

	if (x)
		*x = '\0';
	if (parse_side(copy, &width) < 0 || (x && parse_side(x + 1, &height) < 0)) {
		str_add_printable(&shown, text);
		return error_set(err, E_USAGE,
				 "The value '%s' is invalid for '--display <display>'", shown.ptr);
	}
	config->display_width = width ? width : config->display_width;
	config->display_height = height ? height : config->display_height;
	config->display_unit = unit;
	return 0;
}
