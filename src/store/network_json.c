/* SPDX-License-Identifier: Apache-2.0 */

/* network.json's text. */

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "store/network.h"

bool vm_network_is_address(struct in_addr address)
{
	uint32_t host = ntohl(address.s_addr);
	uint32_t first = host >> 24;

	return first != 0 && first != IN_LOOPBACKNET && first < 224 && host >> 16 != 0xa9fe;
}

void vm_network_format(const struct vm_network *network, struct str *out)
{
	auto_json *object = json_object();
	char fixed[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &network->fixed, fixed, sizeof(fixed));
	if (network->fixed.s_addr)
		(void)json_object_set_new(object, "ip", json_string(fixed));
	if (network->no_local)
		(void)json_object_set_new(object, "noLocal", json_true());
	json_add_pretty(out, object);
	str_addc(out, '\n');
}

static int refuse_unknown(const json_t *object, struct error *err)
{
	const char *key;
	const json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value)
		if (strcmp(key, "ip") != 0 && strcmp(key, "noLocal") != 0)
			return error_set(err, E_INVALID, "'%.64s' is not known here", key);
	return 0;
}

static int parse_fixed(const json_t *object, struct in_addr *fixed, struct error *err)
{
	const char *text;
	int r = json_get_string(object, "ip", &text, err);

	if (r <= 0)
		return r;
	if (inet_pton(AF_INET, text, fixed) != 1 || !vm_network_is_address(*fixed))
		return error_set(err, E_INVALID, "'ip' is not an address that a VM can have");
	return 0;
}

int vm_network_parse(const void *bytes, size_t len, struct vm_network *network, struct error *err)
{
	auto_json *object = NULL;
	struct vm_network parsed = { 0 };
	int r;

	if (len > NETWORK_FILE_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", NETWORK_FILE_MAX);
	r = json_parse_object(bytes, len, &object, err);
	if (r == 0)
		r = refuse_unknown(object, err);
	if (r == 0)
		r = parse_fixed(object, &parsed.fixed, err);
	if (r == 0)
		r = json_get_bool(object, "noLocal", &parsed.no_local, err);
	if (r < 0)
		return r;
	*network = parsed;
	return 0;
}
