/* SPDX-License-Identifier: Apache-2.0 */

/* The labels of an image that fence its network in. */

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "store/network_copy.h"

static int add_filter(const struct network_copy *copy, json_t *labels, struct error *err)
{
	json_t *text;

	if (copy->filter.len > NETWORK_LABEL_MAX)
		return error_set(err, E_TOO_BIG,
				 "the network filter is %zu bytes, and an image can carry %d",
				 copy->filter.len, NETWORK_LABEL_MAX);
	text = memchr(copy->filter.ptr, '\0', copy->filter.len)
		       ? NULL
		       : json_stringn(copy->filter.ptr, copy->filter.len);
	if (!text)
		return error_set(err, E_FAILED, "the network filter is not UTF-8 text");
	(void)json_object_set_new(labels, LABEL_NET_FILTER, text);
	return 0;
}

int network_copy_add_labels(const struct network_copy *copy, json_t *labels, struct error *err)
{
	static const char *const ours[] = { LABEL_NET_FILTER, LABEL_NO_LOCAL };

	for (size_t i = 0; i < array_size(ours); i++)
		if (json_object_get(labels, ours[i]))
			return error_set(err, E_FAILED,
					 "label '%s' is set by the VM's own network settings",
					 ours[i]);
	if (copy->no_local)
		(void)json_object_set_new(labels, LABEL_NO_LOCAL, json_string("true"));
	return copy->has_filter ? add_filter(copy, labels, err) : 0;
}

static int parse_filter(const json_t *label, struct network_copy *copy, struct error *err)
{
	if (!label)
		return 0;
	if (!json_is_string(label))
		return error_set(err, E_INVALID, "not a string");
	if (json_string_length(label) > NETWORK_LABEL_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", NETWORK_LABEL_MAX);
	str_add(&copy->filter, json_string_value(label), json_string_length(label));
	copy->has_filter = true;
	return network_copy_check(copy, err);
}

static int parse_no_local(const json_t *label, struct network_copy *copy, struct error *err)
{
	if (!label)
		return 0;
	if (!json_is_string(label) || strcmp(json_string_value(label), "true") != 0)
		return error_set(err, E_INVALID, "not \"true\"");
	copy->no_local = true;
	return 0;
}

static int parse_labels(const json_t *root, struct network_copy *copy, struct error *err)
{
	const json_t *labels = json_object_get(json_object_get(root, "config"), "Labels");

	if (parse_filter(json_object_get(labels, LABEL_NET_FILTER), copy, err) < 0)
		return error_wrap(err, "label '%s'", LABEL_NET_FILTER);
	if (parse_no_local(json_object_get(labels, LABEL_NO_LOCAL), copy, err) < 0)
		return error_wrap(err, "label '%s'", LABEL_NO_LOCAL);
	return 0;
}

int network_copy_parse_labels(const void *bytes, size_t len, struct network_copy *copy,
			      struct error *err)
{
	static const char ours[] = "org.linzer.";
	auto_network_copy parsed = NETWORK_COPY_INIT;
	auto_json *root = NULL;
	struct error ignored = ERROR_INIT;
	int r = 0;

	if (json_parse_object(bytes, len, &root, &ignored) == 0)
		r = parse_labels(root, &parsed, err);
	else if (memmem(bytes, len, ours, strlen(ours))) /* labels were meant, and are not read */
		r = error_set(err, E_INVALID, "%.200s", ignored.text);
	if (r < 0)
		return r;
	network_copy_release(copy);
	*copy = parsed;
	parsed = (struct network_copy)NETWORK_COPY_INIT;
	return 0;
}
