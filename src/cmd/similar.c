/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/similar.h"

#include <string.h>

#include "base/error.h"
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
