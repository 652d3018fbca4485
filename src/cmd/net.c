/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The network of a running VM: what its `run` knows of it, and another policy
 * for it (run/net_request.h).
 */

#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/net_shown.h"
#include "cmd/output.h"
#include "cmd/set_network.h"
#include "run/net_options.h"
#include "store/vm.h"

enum { SHOW_MS = 30000, SET_MS = 120000 }; /* the keepers of a host take their turns */

struct net_args {
	const char *action, *name, *filter;
	struct strings allow, block;
	int format;
};

#define AT(member) offsetof(struct net_args, member)

static const struct option options[] = {
	{ "format", 0, OPTION_CHOICE, AT(format), NULL,
	  "show: output format: text (default) or json.", output_formats, 0 },
	{ "allow", 0, OPTION_STRINGS, AT(allow), "list",
	  "set: the networks, @host and names that are open from now on (--net-softnet).", NULL,
	  0 },
	{ "block", 0, OPTION_STRINGS, AT(block), "list",
	  "set: the networks that are closed from now on (--net-softnet).", NULL, 0 },
	{ "filter", 0, OPTION_STRING, AT(filter), "file",
	  "set: the filter rules in this file, - for standard input, off for none.", NULL, 0 },
	{ 0 },
};

static const char *const actions[] = { "show", "set", NULL };

static const struct argument arguments[] = {
	{ "action", ARGUMENT_ONE, AT(action), "show or set.", COMPLETES_NOTHING, actions },
	{ "name", ARGUMENT_ONE, AT(name), "VM name.", COMPLETES_VM, NULL },
	{ 0 },
};

static bool is_set(const struct net_args *args)
{
	return strcmp(args->action, "set") == 0;
}

static void read_lists(const struct net_args *args, struct strings *allow, struct strings *block)
{
	for (size_t i = 0; i < args->allow.len; i++)
		net_options_add_targets(allow, args->allow.items[i]);
	for (size_t i = 0; i < args->block.len; i++)
		net_options_add_targets(block, args->block.items[i]);
}

/* The lists' errors name the options of `run`. */
static void name_own_options(struct error *err)
{
	static const char runs[] = "--net-softnet-";
	size_t len = strlen(runs);
	char *at = strstr(err->text, runs);

	if (at)
		memmove(at + 2, at + len, strlen(at + len) + 1);
}

static int check_lists(const struct net_args *args, struct error *err)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;

	read_lists(args, &allow, &block);
	if (net_options_check_targets(&allow, &block, err) == 0)
		return 0;
	name_own_options(err);
	err->code = E_USAGE;
	return -E_USAGE;
}

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct net_args *args = data;
	bool changes = args->allow.len || args->block.len || args->filter;

	(void)inv;
	if (is_set(args) && !changes)
		return error_set(err, E_USAGE, "set wants --allow, --block or --filter");
	if (!is_set(args) && changes)
		return error_set(err, E_USAGE, "--allow, --block and --filter are for set");
	return check_lists(args, err);
}

/* --allow and --block: one that is not given is empty then. */
static void add_lists(const struct net_args *args, json_t *request)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	const struct strings *lists[] = { &allow, &block };
	static const char *const keys[] = { "allow", "block" };

	if (!args->allow.len && !args->block.len)
		return;
	read_lists(args, &allow, &block);
	for (size_t i = 0; i < array_size(lists); i++) {
		json_t *array = json_array();

		for (size_t j = 0; j < lists[i]->len; j++)
			(void)json_array_append_new(array, json_string(lists[i]->items[j]));
		(void)json_object_set_new(request, keys[i], array);
	}
}

static int add_filter(const struct net_args *args, json_t *request, struct error *err)
{
	const struct network_options options_of_set = { .filter = args->filter, .local = -1 };
	auto_network_change change = NETWORK_CHANGE_INIT;
	int r = network_change_prepare(&options_of_set, &change, err);

	if (r < 0 || change.filter == FILTER_KEEP)
		return r;
	/* what was prepared is ASCII */
	(void)json_object_set_new(request, "filter", json_string(change.text.ptr));
	return 0;
}

static int set(const struct vm *vm, const struct net_args *args, struct error *err)
{
	auto_json *request = json_object();
	auto_json *answer = NULL;
	int r;

	(void)json_object_set_new(request, "net", json_string("set"));
	add_lists(args, request);
	r = add_filter(args, request, err);
	return r < 0 ? r : net_shown_ask(vm, request, SET_MS, &answer, err);
}

static int show(const struct vm *vm, const struct net_args *args, struct error *err)
{
	auto_json *request = json_pack("{s:s}", "net", "show");
	auto_json *answer = NULL;
	auto_str out = STR_INIT;
	int r = net_shown_ask(vm, request, SHOW_MS, &answer, err);

	if (r < 0)
		return r;
	if (args->format == FORMAT_JSON) {
		json_add_pretty(&out, answer);
		str_addc(&out, '\n');
	} else {
		net_shown_format(answer, &out);
	}
	return output_text(&out, err);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct net_args *args = data;
	auto_vm vm = VM_INIT;
	int r = vm_open(&inv->home, args->name, /* quiet= */ true, &vm, err);

	if (r < 0)
		return r;
	return is_set(args) ? set(&vm, args, err) : show(&vm, args, err);
}

const struct command command_net = {
	.name = "net",
	.summary = "Show a running VM's network, or change its rules",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct net_args),
	.validate = validate,
	.run = run,
};
