/* SPDX-License-Identifier: Apache-2.0 */

/* run.json's text. */

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "store/runtime.h"

static void add_mac(json_t *object, struct mac mac)
{
	char text[MAC_TEXT];

	mac_format(mac, text);
	(void)json_object_set_new(object, "mac", json_string(text));
}

static void add_address(json_t *object, struct in_addr address)
{
	char text[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &address, text, sizeof(text));
	(void)json_object_set_new(object, "address", json_string(text));
}

static json_t *format_cards(const struct runtime *rt)
{
	json_t *cards = json_array();

	for (size_t i = 0; i < rt->card_count; i++) {
		const struct runtime_card *card = &rt->cards[i];
		json_t *object = json_object();

		add_mac(object, card->mac);
		add_address(object, card->address);
		(void)json_object_set_new(object, "leased", json_boolean(card->leased));
		(void)json_object_set_new(object, "interface", json_string(card->interface));
		(void)json_object_set_new(object, "parent", json_string(card->parent));
		(void)json_array_append_new(cards, object);
	}
	return cards;
}

static json_t *format_ports(const struct runtime *rt)
{
	json_t *ports = json_array();

	for (size_t i = 0; i < rt->port_count; i++)
		(void)json_array_append_new(ports, json_pack("{s:i,s:i}", "host", rt->ports[i].host,
							     "guest", rt->ports[i].guest));
	return ports;
}

void runtime_format(const struct runtime *rt, struct str *out)
{
	auto_json *object = json_object();

	(void)json_object_set_new(object, "pid", json_integer(rt->pid));
	(void)json_object_set_new(object, "qemuPid", json_integer(rt->qemu_pid));
	(void)json_object_set_new(object, "started", json_integer(rt->started));
	add_mac(object, rt->mac);
	add_address(object, rt->address);
	(void)json_object_set_new(object, "leased", json_boolean(rt->leased));
	(void)json_object_set_new(object, "agentReady", json_boolean(rt->agent_ready));
	(void)json_object_set_new(object, "accel", json_string(rt->accel));
	(void)json_object_set_new(object, "interface", json_string(rt->interface));
	(void)json_object_set_new(object, "mode", json_string(rt->mode));
	(void)json_object_set_new(object, "isolated", json_boolean(rt->isolated));
	(void)json_object_set_new(object, "cards", format_cards(rt));
	(void)json_object_set_new(object, "exposed", format_ports(rt));
	json_add_pretty(out, object);
}

/* A short string into a fixed field; a longer one is malformed. */
static int copy_text(const json_t *object, const char *key, char *field, size_t size,
		     struct error *err)
{
	const char *text = "";
	int r = json_get_string(object, key, &text, err);

	if (r < 0)
		return r;
	if (strlen(text) >= size)
		return error_set(err, E_INVALID, "'%s' is too long", key);
	memcpy(field, text, strlen(text) + 1);
	return 0;
}

static int parse_numbers(const json_t *object, struct runtime *rt, struct error *err)
{
	int64_t pid = 0, qemu = 0, started = 0;
	int r = json_get_int(object, "pid", 1, INT32_MAX, &pid, err);

	if (r >= 0)
		r = json_get_int(object, "qemuPid", 0, INT32_MAX, &qemu, err);
	if (r >= 0)
		r = json_get_int(object, "started", 0, INT64_MAX, &started, err);
	if (r >= 0)
		r = json_get_bool(object, "leased", &rt->leased, err);
	if (r >= 0)
		r = json_get_bool(object, "agentReady", &rt->agent_ready, err);
	if (r >= 0)
		r = json_get_bool(object, "isolated", &rt->isolated, err);
	rt->pid = (pid_t)pid;
	rt->qemu_pid = (pid_t)qemu;
	rt->started = (time_t)started;
	return r;
}

static int parse_mac(const json_t *object, struct mac *mac, struct error *err)
{
	const char *text = "00:00:00:00:00:00";
	int r = json_get_string(object, "mac", &text, err);

	if (r >= 0 && mac_parse(text, mac) < 0)
		r = error_set(err, E_INVALID, "'mac' is not a MAC address");
	return r;
}

static int parse_address(const json_t *object, struct in_addr *address, struct error *err)
{
	const char *text = "0.0.0.0";
	int r = json_get_string(object, "address", &text, err);

	if (r >= 0 && inet_pton(AF_INET, text, address) != 1)
		r = error_set(err, E_INVALID, "'address' is not an IPv4 address");
	return r;
}

static int parse_texts(const json_t *object, struct runtime *rt, struct error *err)
{
	int r = copy_text(object, "accel", rt->accel, sizeof(rt->accel), err);

	if (r >= 0)
		r = copy_text(object, "interface", rt->interface, sizeof(rt->interface), err);
	if (r >= 0)
		r = copy_text(object, "mode", rt->mode, sizeof(rt->mode), err);
	if (r >= 0)
		r = parse_mac(object, &rt->mac, err);
	if (r >= 0)
		r = parse_address(object, &rt->address, err);
	return r;
}

/* The array @key, of at most @max objects. Return: their number, 0 where there is none; or error.
 */
static int get_list(const json_t *object, const char *key, size_t max, const json_t **list,
		    struct error *err)
{
	*list = json_object_get(object, key);
	if (!*list || json_is_null(*list))
		return 0;
	if (!json_is_array(*list))
		return error_set(err, E_INVALID, "'%s' is not an array", key);
	if (json_array_size(*list) > max)
		return error_set(err, E_INVALID, "'%s' is too long", key);
	for (size_t i = 0; i < json_array_size(*list); i++)
		if (!json_is_object(json_array_get(*list, i)))
			return error_set(err, E_INVALID, "'%s' is not made of objects", key);
	return (int)json_array_size(*list);
}

static int parse_card(const json_t *object, struct runtime_card *card, struct error *err)
{
	int r = parse_mac(object, &card->mac, err);

	if (r >= 0)
		r = parse_address(object, &card->address, err);
	if (r >= 0)
		r = json_get_bool(object, "leased", &card->leased, err);
	if (r >= 0)
		r = copy_text(object, "interface", card->interface, sizeof(card->interface), err);
	if (r >= 0)
		r = copy_text(object, "parent", card->parent, sizeof(card->parent), err);
	return r;
}

static int parse_cards(const json_t *object, struct runtime *rt, struct error *err)
{
	const json_t *list;
	int n = get_list(object, "cards", RUNTIME_CARDS_MAX, &list, err), r = n;

	for (int i = 0; r >= 0 && i < n; i++)
		r = parse_card(json_array_get(list, (size_t)i), &rt->cards[rt->card_count++], err);
	return r;
}

static int parse_ports(const json_t *object, struct runtime *rt, struct error *err)
{
	const json_t *list;
	int n = get_list(object, "exposed", RUNTIME_PORTS_MAX, &list, err), r = n;

	for (int i = 0; r >= 0 && i < n; i++) {
		const json_t *port = json_array_get(list, (size_t)i);
		int64_t host = 0, guest = 0;

		r = json_get_int(port, "host", 0, UINT16_MAX, &host, err);
		if (r >= 0)
			r = json_get_int(port, "guest", 0, UINT16_MAX, &guest, err);
		rt->ports[rt->port_count++] =
			(struct runtime_port){ (uint16_t)host, (uint16_t)guest };
	}
	return r;
}

int runtime_parse(const void *bytes, size_t len, struct runtime *rt, struct error *err)
{
	auto_json *object = NULL;
	struct runtime parsed = { 0 };
	int r = json_parse_object(bytes, len, &object, err);

	if (r >= 0)
		r = parse_numbers(object, &parsed, err);
	if (r >= 0)
		r = parse_texts(object, &parsed, err);
	if (r >= 0)
		r = parse_cards(object, &parsed, err);
	if (r >= 0)
		r = parse_ports(object, &parsed, err);
	if (r < 0)
		return r;
	*rt = parsed;
	return 0;
}
