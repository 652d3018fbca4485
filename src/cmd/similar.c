/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/similar.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"
#include "cmd/command.h"
#include "store/vm.h"

/* Is it this name that @err is about? */
static bool is_missing(const char *name, const struct error *err)
{
	struct error of_name = ERROR_INIT;

	(void)vm_not_found(name, &of_name);
	return strcmp(of_name.text, err->text) == 0;
}

/* The name that was given as @argument and does not exist, or NULL. */
static const char *missing_name(const struct argument *argument, const void *args,
				const struct error *err)
{
	const void *at = (const char *)args + argument->offset;
	const struct strings *names = at;

	if (argument->completes != COMPLETES_VM && argument->completes != COMPLETES_IMAGE)
		return NULL;
	if (argument->kind == ARGUMENT_ONE || argument->kind == ARGUMENT_OPTIONAL) {
		const char *name = *(const char *const *)at;

		return name && is_missing(name, err) ? name : NULL;
	}
	for (size_t i = 0; i < names->len; i++)
		if (is_missing(names->items[i], err))
			return names->items[i];
	return NULL;
}

static void add_similar(const struct home *home, const char *name, struct error *err)
{
	auto_strings vms = VEC_INIT;
	struct error ignored = ERROR_INIT;
	const char *similar = NULL;
	size_t best = SIZE_MAX;

	if (home_list_vms(home, &vms, &ignored) < 0)
		return;
	for (size_t i = 0; i < vms.len; i++)
		if (option_similar(name, vms.items[i], &best))
			similar = vms.items[i];
	if (similar)
		(void)error_add_line(err, "Help:  Did you mean '%s'?", similar);
}

void similar_vm_add(const struct invocation *inv, const struct command *command, const void *args,
		    struct error *err)
{
	const struct argument *argument = command->arguments;

	if (!command_by_own_name(inv))
		return;
	for (; argument && argument->name; argument++) {
		const char *name = missing_name(argument, args, err);

		if (!name)
			continue;
		add_similar(&inv->home, name, err);
		return;
	}
}

void image_name_help_add(const struct invocation *inv, struct error *err)
{
	const char *last = inv->argv[inv->argc - 1];

	if (!command_by_own_name(inv))
		return;
	if (str_starts(err->text, "the specified VM \"http://") ||
	    str_starts(err->text, "the specified VM \"https://"))
		(void)error_add_line(err, "Help:  An image's name begins with its registry's host, "
					  "without http:// or https://");
	/* a name without a host, as other programs have them */
	else if (str_starts(err->text, "failed to parse remote name: unexpected end") &&
		 !strchr(last, '/'))
		(void)error_add_line(err, "Help:  An image is called HOST/NAMESPACE[:TAG], such as "
					  "ghcr.io/you/web:1");
}

/* Is it spelled --NAME, and does it take a text? */
static bool takes_text(const struct option *options, const char *word)
{
	for (const struct option *o = options; o && o->name; o++)
		if (str_starts(word, "--") && strcmp(word + 2, o->name) == 0)
			return o->kind == OPTION_STRING || o->kind == OPTION_STRINGS;
	return false;
}

void taken_word_help_add(const struct invocation *inv, const struct command *command, int argc,
			 char *const *argv, struct error *err)
{
	if (argc < 2 || !command_by_own_name(inv) ||
	    !str_starts(err->text, "Missing expected argument") ||
	    !takes_text(command->options, argv[argc - 2]))
		return;
	(void)error_add_line(err, "Help:  '%.100s' was taken as the value of %s", argv[argc - 1],
			     argv[argc - 2]);
}
