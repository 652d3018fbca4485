/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/net_shown.h"

#include <arpa/inet.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/table.h"
#include "store/manage.h"
#include "store/network.h"
#include "store/vm.h"

enum { ANSWER_MS = 5000 }; /* `get` does not wait for a run that is busy */

int net_shown_ask(const struct vm *vm, const json_t *request, unsigned timeout_ms, json_t **answer,
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

static json_t *what_is_set(const struct vm *vm, const struct vm_network *network)
{
	struct error err = ERROR_INIT;
	auto_str filter = STR_INIT;
	char text[INET_ADDRSTRLEN] = "";

	if (vm_filter_read(vm, &filter, &err) < 0)
		return NULL;
	if (network->fixed.s_addr)
		(void)inet_ntop(AF_INET, &network->fixed, text, sizeof(text));
	return json_pack("{s:s, s:b, s:o}", "IP", text, "NoLocal", network->no_local, "Filter",
			 json_string(filter.len ? filter.ptr : ""));
}

json_t *net_shown_of(const struct vm *vm, bool runs, const struct vm_network *network)
{
	auto_json *request = json_pack("{s:s}", "net", "show");
	struct error err = ERROR_INIT;
	json_t *answer = NULL;

	if (!runs)
		return what_is_set(vm, network);
	return net_shown_ask(vm, request, ANSWER_MS, &answer, &err) < 0 ? NULL : answer;
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

/* One row for each of the strings of @key, the first with its name; none where it is not known. */
static void add_list(struct table *table, const json_t *object, const char *key)
{
	const json_t *array = json_object_get(object, key);

	if (array && !json_array_size(array))
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

void net_shown_format(const json_t *shown, struct str *out)
{
	const json_t *cards = json_object_get(shown, "Cards");
	/* of one that does not run the mode is not known, but what address is fixed */
	const char *key = json_object_get(shown, "Mode") ? "Mode" : "IP";
	const char *const first[] = { key, text_of(shown, key)[0] ? text_of(shown, key) : "-" };
	auto_table table = { 0 };

	table_init(&table, first, array_size(first));
	for (size_t i = 0; i < json_array_size(cards); i++)
		add_card(&table, json_array_get(cards, i));
	add_list(&table, shown, "Exposed");
	add_list(&table, shown, "Allow");
	add_list(&table, shown, "Block");
	add_row(&table, "NoLocal", json_is_true(json_object_get(shown, "NoLocal")) ? "yes" : "no");
	table_format(&table, out);
	add_filter_text(out, text_of(shown, "Filter"));
}
