/* SPDX-License-Identifier: Apache-2.0 */

/* run.json's text. */

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "store/runtime.h"

void runtime_format(const struct runtime *rt, struct str *out)
{
	auto_json *object = json_object();
	char mac[MAC_TEXT];
	char address[INET_ADDRSTRLEN] = "";

	mac_format(rt->mac, mac);
	(void)inet_ntop(AF_INET, &rt->address, address, sizeof(address));
	(void)json_object_set_new(object, "pid", json_integer(rt->pid));
	(void)json_object_set_new(object, "qemuPid", json_integer(rt->qemu_pid));
	(void)json_object_set_new(object, "started", json_integer(rt->started));
	(void)json_object_set_new(object, "mac", json_string(mac));
	(void)json_object_set_new(object, "address", json_string(address));
	(void)json_object_set_new(object, "leased", json_boolean(rt->leased));
	(void)json_object_set_new(object, "agentReady", json_boolean(rt->agent_ready));
	(void)json_object_set_new(object, "accel", json_string(rt->accel));
	(void)json_object_set_new(object, "interface", json_string(rt->interface));
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
	rt->pid = (pid_t)pid;
	rt->qemu_pid = (pid_t)qemu;
	rt->started = (time_t)started;
	return r;
}

static int parse_texts(const json_t *object, struct runtime *rt, struct error *err)
{
	const char *mac = "00:00:00:00:00:00";
	const char *address = "0.0.0.0";
	int r = copy_text(object, "accel", rt->accel, sizeof(rt->accel), err);

	if (r >= 0)
		r = copy_text(object, "interface", rt->interface, sizeof(rt->interface), err);
	if (r >= 0)
		r = json_get_string(object, "mac", &mac, err);
	if (r >= 0)
		r = json_get_string(object, "address", &address, err);
	if (r < 0)
		return r;
	if (mac_parse(mac, &rt->mac) < 0)
		return error_set(err, E_INVALID, "'mac' is not a MAC address");
	if (inet_pton(AF_INET, address, &rt->address) != 1)
		return error_set(err, E_INVALID, "'address' is not an IPv4 address");
	return 0;
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
	if (r < 0)
		return r;
	*rt = parsed;
	return 0;
}
