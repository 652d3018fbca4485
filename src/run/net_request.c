/* SPDX-License-Identifier: Apache-2.0 */
#include "run/net_request.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "net/policy.h"
#include "run/network.h"
#include "run/requests.h"

static json_t *format_list(const struct strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->len; i++)
		(void)json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static json_t *format_exposed(const struct network *network)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < network->exposed_count; i++)
		(void)json_array_append_new(array, json_sprintf("%u:%u", network->exposed[i].host,
								network->exposed[i].guest));
	return array;
}

static json_t *format_drops(const struct net_drops *drops)
{
	json_t *object = json_object();

	(void)json_object_set_new(object, "Gate", json_integer((json_int_t)drops->gate));
	(void)json_object_set_new(object, "Out", json_integer((json_int_t)drops->out));
	(void)json_object_set_new(object, "In", json_integer((json_int_t)drops->in));
	return object;
}

static json_t *format_card(const struct network_card *card)
{
	json_t *object = json_object();
	char mac[MAC_TEXT], address[INET_ADDRSTRLEN] = "";

	mac_format(card->mac, mac);
	if (card->address.s_addr)
		(void)inet_ntop(AF_INET, &card->address, address, sizeof(address));
	(void)json_object_set_new(object, "MAC", json_string(mac));
	(void)json_object_set_new(object, "Address", json_string(address));
	(void)json_object_set_new(object, "Leased", json_boolean(card->leased));
	(void)json_object_set_new(object, "Interface", json_string(card->interface));
	(void)json_object_set_new(object, "Parent", json_string(card->parent));
	(void)json_object_set_new(object, "Drops", format_drops(&card->drops));
	return object;
}

static json_t *format_network(const struct network *network)
{
	json_t *object = json_object(), *cards = json_array();

	for (size_t i = 0; i < network->card_count; i++)
		(void)json_array_append_new(cards, format_card(&network->cards[i]));
	(void)json_object_set_new(object, "Mode", json_string(network_mode_name(network->mode)));
	(void)json_object_set_new(object, "Isolated", json_boolean(network->isolated));
	(void)json_object_set_new(object, "NoLocal", json_boolean(network->rules.no_local));
	(void)json_object_set_new(object, "Allow", format_list(&network->rules.allow));
	(void)json_object_set_new(object, "Block", format_list(&network->rules.block));
	(void)json_object_set_new(object, "Filter",
				  json_string(network->rules.filter.ptr)); /* ASCII */
	(void)json_object_set_new(object, "Exposed", format_exposed(network));
	(void)json_object_set_new(object, "Cards", cards);
	return object;
}

static void send_network(struct request *request)
{
	auto_json *object = format_network(request_network(request));
	auto_str line = STR_INIT;

	json_add_compact(&line, object);
	request_answer(request, &line);
}

static void on_counted(void *arg, int r, const struct error *err)
{
	if (r < 0)
		request_fail(arg, err);
	else
		send_network(arg);
}

static int show(struct network *network, struct request *request, struct error *err)
{
	/* without a card there is nothing to be counted */
	if (network->card_count)
		return network_count(network, on_counted, request, err);
	send_network(request);
	return 0;
}

static void on_changed(void *arg, int r, const struct error *err)
{
	struct str done = { .ptr = (char[]){ "{}" }, .len = 2 };

	if (r < 0)
		request_fail(arg, err);
	else
		request_answer(arg, &done);
}

/* Append the strings of @key. Return: 1; 0 there is no such key; or error. */
static int read_list(const json_t *object, const char *key, struct strings *list, struct error *err)
{
	const json_t *array = json_object_get(object, key);

	if (!array)
		return 0;
	if (!json_is_array(array))
		return error_set(err, E_PROTOCOL, "'%s' is not an array", key);
	if (json_array_size(array) > POLICY_TARGETS_MAX)
		return error_set(err, E_TOO_BIG, "more than %d targets", POLICY_TARGETS_MAX);
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *target = json_string_value(json_array_get(array, i));

		if (!target)
			return error_set(err, E_PROTOCOL, "'%s' is not made of strings", key);
		strings_add(list, target);
	}
	return 1;
}

static int set(struct network *network, const json_t *object, struct request *request,
	       struct error *err)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	const json_t *text = json_object_get(object, "filter");
	auto_str filter = STR_INIT;
	struct rules_change change = { 0 };
	int allows = read_list(object, "allow", &allow, err), blocks;

	if (allows < 0)
		return allows;
	blocks = read_list(object, "block", &block, err);
	if (blocks < 0)
		return blocks;
	if (allows || blocks) {
		change.allow = &allow;
		change.block = &block;
	}
	if (text) {
		if (!json_is_string(text))
			return error_set(err, E_PROTOCOL, "'%s' is not a string", "filter");
		str_add(&filter, json_string_value(text), json_string_length(text));
		change.filter = &filter;
	}
	return network_change(network, &change, on_changed, request, err);
}

void net_request_serve(struct network *network, const struct str *line, struct request *request)
{
	auto_json *object = NULL;
	const char *verb = "";
	struct error err = ERROR_INIT;
	int r = json_parse_object(line->ptr, line->len, &object, &err);

	if (r == 0)
		r = json_get_string(object, "net", &verb, &err);
	if (r >= 0 && strcmp(verb, "show") == 0)
		r = show(network, request, &err);
	else if (r >= 0 && strcmp(verb, "set") == 0)
		r = set(network, object, request, &err);
	else if (r >= 0)
		r = error_set(&err, E_PROTOCOL, "unknown request '%.40s'", verb);
	if (r < 0)
		request_fail(request, &err);
}
