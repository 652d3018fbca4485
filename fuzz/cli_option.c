/* SPDX-License-Identifier: Apache-2.0 */

/* A command line, one word a line, the first the subcommand: what a caller may pass. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "cmd/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { WORDS_MAX = 256 };

static const struct command *find(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

/* A mistake is one line, but for a line of help, and nothing in it drives a terminal. */
static void check_error(const struct error *err)
{
	const char *newline = strchr(err->text, '\n');

	assert(err->code == E_USAGE && err->text[0]);
	assert(!newline || str_starts(newline, "\nHelp:  "));
	for (const char *c = err->text; *c; c++)
		assert((unsigned char)*c >= ' ' || c == newline);
}

static void parse(const struct command *command, struct strings *words)
{
	auto_free void *args = xcalloc(1, command->args_size ? command->args_size : 1);
	struct error err = ERROR_INIT;

	if (command->defaults)
		command->defaults(args);
	int r = option_parse(command, (int)words->len - 1, words->items + 1, args, &err);

	assert(r == -E_USAGE || (r >= 0 && r <= 3));
	if (r < 0)
		check_error(&err);
	option_release_args(command, args);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_strings words = VEC_INIT;
	auto_free char *text = xstrndup((const char *)bytes, len);
	char *rest = text;
	const char *word;

	while (words.len < WORDS_MAX && (word = strsep(&rest, "\n")))
		strings_add(&words, word);
	const struct command *command = words.len ? find(words.items[0]) : NULL;

	if (command)
		parse(command, &words);
	return 0;
}
