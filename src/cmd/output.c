/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/output.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/table.h"
#include "store/archive.h"
#include "store/runtime.h"

const char *const output_formats[] = { "text", "json", NULL };

int output_text(const struct str *text, struct error *err)
{
	errno = 0;
	if (fwrite(text->ptr, 1, text->len, stdout) == text->len && !fflush(stdout))
		return 0;
	clearerr(stdout); /* reported here */
	return error_errno(err, "failed to write to the standard output");
}

void vm_extra_read(const struct vm *vm, struct vm_extra *extra)
{
	struct error ignored = ERROR_INIT;
	struct vm_sizes sizes = { 0 };
	struct runtime rt = { 0 };
	auto_config config = CONFIG_INIT;

	*extra = (struct vm_extra){ 0 };
	if (vm_sizes(vm, true, &sizes, &ignored) >= 0)
		extra->exclusive = sizes.exclusive;
	if (vm_read_config(vm, &config, &ignored) >= 0)
		mac_format(config.mac, extra->mac);
	if (runtime_read(vm, &rt, &ignored) <= 0)
		return;
	extra->started = rt.started;
	mac_format(rt.mac, extra->mac);
	if (rt.leased)
		(void)inet_ntop(AF_INET, &rt.address, extra->address, sizeof(extra->address));
}

void vm_extra_add_json(const struct vm_extra *extra, json_t *object)
{
	auto_str started = STR_INIT;

	if (extra->started)
		clock_add_iso8601(&started, extra->started);
	(void)json_object_set_new(object, "Exclusive", json_integer((json_int_t)extra->exclusive));
	(void)json_object_set_new(object, "Started",
				  started.len ? json_string(started.ptr) : json_null());
	(void)json_object_set_new(object, "Address",
				  extra->address[0] ? json_string(extra->address) : json_null());
	(void)json_object_set_new(object, "MAC",
				  extra->mac[0] ? json_string(extra->mac) : json_null());
}

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

void vm_extra_add_cells(const struct vm_extra *extra, struct table *table)
{
	auto_str started = STR_INIT;

	if (extra->started)
		clock_add_iso8601(&started, extra->started);
	table_addf(table, "%.3f", (double)extra->exclusive / 1e9);
	table_add(table, or_dash(started.ptr));
	table_add(table, or_dash(extra->address));
	table_add(table, or_dash(extra->mac));
}

json_t *json_text(const char *text)
{
	json_t *j = json_string(text);

	if (j)
		return j;
	auto_free char *copy = xstrdup(text);

	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(copy);
}

void output_ask_archive(void *arg, uint64_t *done, uint64_t *total)
{
	const struct archive_progress *progress = arg;

	*done = progress->done;
	*total = progress->total;
}
