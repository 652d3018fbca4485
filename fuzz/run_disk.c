/* SPDX-License-Identifier: Apache-2.0 */

/* The value of --disk: src/run/disk_option.c, src/run/disk_nbd_url.c. */

#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/disk_nbd_url.h"
#include "run/disk_option.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* What QEMU is told and what is connected to. */
static void check_url(const char *text)
{
	auto_nbd_url url = NBD_URL_INIT;
	auto_json *export = NULL;
	uint64_t port;
	struct error err = ERROR_INIT;
	int r = nbd_url_parse(text, &url, &err);

	if (r < 0) {
		assert(r == -E_FAILED && err.text[0] && !url.host && !url.socket && !url.export);
		return;
	}
	assert(nbd_url_is(text) && !url.host != !url.socket);
	export = json_string(url.export);
	assert(export && strlen(url.export) <= NBD_NAME_MAX);
	if (url.socket)
		assert(url.socket[0] && strlen(url.socket) <= NBD_SOCKET_MAX);
	else
		assert(url.host[0] && !strpbrk(url.host, ",=/\"\\ ") &&
		       str_to_u64(url.port, UINT16_MAX, &port) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_free char *text = xmalloc(len + 1);
	auto_disk_option option = DISK_OPTION_INIT;
	struct disk_option list = DISK_OPTION_INIT;
	struct error err = ERROR_INIT;

	(void)memcpy(text, bytes, len);
	text[len] = '\0';
	if (disk_option_parse_list(text, &list, &err) < 0)
		assert(err.code == E_FAILED && err.text[0]);
	assert(!list.path);
	err = (struct error)ERROR_INIT;
	if (disk_option_parse(text, &option, &err) < 0) {
		assert(err.code == E_FAILED && err.text[0] && !option.path);
		return 0;
	}
	assert(option.path[0] && strncmp(option.path, text, strlen(option.path)) == 0);
	check_url(option.path);
	return 0;
}
