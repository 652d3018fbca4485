/* SPDX-License-Identifier: Apache-2.0 */

/* What is kept of an answer. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "oci/http.h"

void http_response_release(struct http_response *response)
{
	free(response->location);
	free(response->retry_after);
	free(response->content_range);
	free(response->etag);
	strings_release(&response->challenges);
	str_release(&response->body);
	*response = (struct http_response)HTTP_RESPONSE_INIT;
}

/* The value of a header line "name: value\r\n", owned by the caller; NULL: another header. */
static char *header_value(const char *line, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	len -= n + 1;
	while (len && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len && strchr("\r\n \t", line[len - 1]))
		len--;
	return xstrndup(line, len);
}

void http_response_add_header(struct http_response *r, const char *line, size_t len)
{
	const struct {
		const char *name;
		char **value;
	} wanted[] = {
		{ "location", &r->location },
		{ "retry-after", &r->retry_after },
		{ "content-range", &r->content_range },
		{ "etag", &r->etag },
	};
	char *challenge = header_value(line, len, "www-authenticate");

	if (challenge)
		strings_take(&r->challenges, challenge);
	for (size_t i = 0; i < array_size(wanted); i++) {
		char *value = header_value(line, len, wanted[i].name);

		if (!value)
			continue;
		free(*wanted[i].value);
		*wanted[i].value = value;
	}
}
