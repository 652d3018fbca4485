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
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "cmd/set_network.h"
#include "run/net_options.h"
#include "store/manage.h"
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

static const struct argument arguments[] = {
	{ "action", ARGUMENT_ONE, AT(action), "show or set.", COMPLETES_NOTHING },
	{ "name", ARGUMENT_ONE, AT(name), "VM name.", COMPLETES_VM },
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

static int check_lists(const struct net_args *args, struct error *err)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;

	read_lists(args, &allow, &block);
	if (net_options_check_targets(&allow, &block, err) == 0)
		return 0;
	err->code = E_USAGE;
	return -E_USAGE;
}

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct net_args *args = data;
	bool changes = args->allow.len || args->block.len || args->filter;

	(void)inv;
	if (!is_set(args) && strcmp(args->action, "show") != 0)
		return error_set(err, E_USAGE,
				 "The value '%s' is invalid for '<action>'. Please provide one of "
				 "'show' and 'set'.",
				 args->action);
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

static int ask(const struct vm *vm, const json_t *request, unsigned timeout_ms, json_t **answer,
	       struct error *err)
{
	auto_str line = STR_INIT, reply = STR_INIT;
	int r;

	if (!vm_is_run(vm))
		return error_set(err, E_NOT_RUNNING, "VM \"%s\" is not running", vm->name);
	json_add_compact(&line, request);
	r = manage_ask(vm, line.ptr, timeout_ms, &reply, err);
	return r < 0 ? r : json_parse_object(reply.ptr, reply.len, answer, err);
}

static int set(const struct vm *vm, const struct net_args *args, struct error *err)
{
	auto_json *request = json_object();
	auto_json *answer = NULL;
	int r;

	(void)json_object_set_new(request, "net", json_string("set"));
	add_lists(args, request);
	r = add_filter(args, request, err);
	return r < 0 ? r : ask(vm, request, SET_MS, &answer, err);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void add_row(struct table *table, const char *name, const char *text)
{
	table_add(table, name);
	table_add(table, text[0] ? text : "-");
}

/* One row for each of the strings of @key, the first with its name. */
static void add_list(struct table *table, const json_t *object, const char *key)
{
	const json_t *array = json_object_get(object, key);

	if (!json_array_size(array))
		add_row(table, key, "");
	for (size_t i = 0; i < json_array_size(array); i++)
		add_row(table, i ? "" : key, json_string_value(json_array_get(array, i)));
}

static long long drops_of(const json_t *card, const char *key)
{
	return json_integer_value(json_object_get(json_object_get(card, "Drops"), key));
}

static void add_card(struct table *table, const json_t *card)
{
	bool leased = json_is_true(json_object_get(card, "Leased"));

	add_row(table, "MAC", text_of(card, "MAC"));
	table_add(table, "Address");
	table_addf(table, "%s%s", text_of(card, "Address")[0] ? text_of(card, "Address") : "-",
		   leased ? "" : " (not used yet)");
	add_row(table, "Interface", text_of(card, "Interface"));
	if (text_of(card, "Parent")[0])
		add_row(table, "LAN", text_of(card, "Parent"));
	table_add(table, "Dropped");
	table_addf(table, "gate %lld, out %lld, in %lld", drops_of(card, "Gate"),
		   drops_of(card, "Out"), drops_of(card, "In"));
}

static void add_filter_text(struct str *out, const char *text)
{
	str_addf(out, "Filter%s%s", text[0] ? "\n" : " none", text);
	if (out->ptr[out->len - 1] != '\n')
		str_addc(out, '\n');
}

static void format_text(const json_t *answer, struct str *out)
{
	const json_t *cards = json_object_get(answer, "Cards");
	const char *const first[] = { "Mode", text_of(answer, "Mode") };
	auto_table table = { 0 };

	table_init(&table, first, array_size(first));
	for (size_t i = 0; i < json_array_size(cards); i++)
		add_card(&table, json_array_get(cards, i));
	add_list(&table, answer, "Exposed");
	add_list(&table, answer, "Allow");
	add_list(&table, answer, "Block");
	add_row(&table, "NoLocal", json_is_true(json_object_get(answer, "NoLocal")) ? "yes" : "no");
	table_format(&table, out);
	add_filter_text(out, text_of(answer, "Filter"));
}

static int show(const struct vm *vm, const struct net_args *args, struct error *err)
{
	auto_json *request = json_pack("{s:s}", "net", "show");
	auto_json *answer = NULL;
	auto_str out = STR_INIT;
	int r = ask(vm, request, SHOW_MS, &answer, err);

	if (r < 0)
		return r;
	if (args->format == FORMAT_JSON) {
		json_add_pretty(&out, answer);
		str_addc(&out, '\n');
	} else {
		format_text(answer, &out);
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
