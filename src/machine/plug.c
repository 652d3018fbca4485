/* SPDX-License-Identifier: Apache-2.0 */

/*
 * That a device has gone is seen by its chardev, which is busy until then.
 */

#include "machine/plug.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "machine/display.h"
#include "machine/plan.h"
#include "machine/qmp.h"

enum { CALL_MS = 20000 };

static int call(struct qmp *qmp, const char *command, json_t *arguments, int fd, struct error *err)
{
	return qmp_call(qmp, command, arguments, fd, CALL_MS, NULL, err);
}

struct plug plug_folder(size_t index)
{
	struct plug plug;

	(void)snprintf(plug.device, sizeof(plug.device), "share%zu", index);
	(void)snprintf(plug.chardev, sizeof(plug.chardev), "folder%zu", index);
	return plug;
}

struct plug plug_clipboard(void)
{
	return (struct plug){ .device = DISPLAY_CLIPBOARD_PORT, .chardev = DISPLAY_CLIPBOARD };
}

int plug_ask_out(struct qmp *qmp, const struct plug *plug, struct error *err)
{
	return call(qmp, "device_del", json_pack("{s:s}", "id", plug->device), -1, err);
}

int plug_is_out(struct qmp *qmp, const struct plug *plug, struct error *err)
{
	int r = call(qmp, "chardev-remove", json_pack("{s:s}", "id", plug->chardev), -1, err);

	if (r == -E_FAILED)
		return 0;
	return r < 0 ? r : 1;
}

size_t plug_folder_gone(const char *event, const json_t *data)
{
	const char *device = json_string_value(json_object_get(data, "device"));

	if (strcmp(event, "DEVICE_DELETED") != 0 || !device)
		return SIZE_MAX;
	for (size_t i = 0; i < PLAN_FOLDERS_MAX; i++)
		if (strcmp(device, plug_folder(i).device) == 0)
			return i;
	return SIZE_MAX;
}

/* Consumes both. */
static int plug_in(struct qmp *qmp, const char *chardev, json_t *add_chardev, json_t *add_device,
		   struct error *err)
{
	auto_json *device = add_device;
	struct error ignored = ERROR_INIT;
	int r = call(qmp, "chardev-add", add_chardev, -1, err);

	if (r < 0)
		return r;
	r = call(qmp, "device_add", take(device), -1, err);
	if (r < 0)
		(void)!call(qmp, "chardev-remove", json_pack("{s:s}", "id", chardev), -1, &ignored);
	return r;
}

int plug_folder_in(struct qmp *qmp, size_t index, const char *tag, int socket, struct error *err)
{
	const struct plug plug = plug_folder(index);
	auto_free char *port = str_format("port%zu", index);
	int r = call(qmp, "getfd", json_pack("{s:s}", "fdname", plug.chardev), socket, err);

	if (r < 0)
		return r;
	return plug_in(qmp, plug.chardev,
		       json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", plug.chardev,
				 "backend", "type", "socket", "data", "addr", "type", "fd", "data",
				 "str", plug.chardev, "server", 0),
		       json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "driver", "vhost-user-fs-pci",
				 "id", plug.device, "bus", port, "chardev", plug.chardev, "tag",
				 tag, "queue-size", 1024),
		       err);
}

int plug_clipboard_in(struct qmp *qmp, const struct launch_plan *plan, struct error *err)
{
	return plug_in(qmp, DISPLAY_CLIPBOARD,
		       json_pack("{s:s, s:{s:s, s:{s:b, s:b}}}", "id", DISPLAY_CLIPBOARD, "backend",
				 "type", "qemu-vdagent", "data", "clipboard", 1, "mouse", 0),
		       json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "driver", "virtserialport", "id",
				 DISPLAY_CLIPBOARD_PORT, "bus", "channels.0", "nr",
				 (int)plan->channel_count + 1, "chardev", DISPLAY_CLIPBOARD, "name",
				 DISPLAY_CLIPBOARD_NAME),
		       err);
}
