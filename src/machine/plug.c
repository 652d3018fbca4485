/* SPDX-License-Identifier: Apache-2.0 */

/*
 * That a device has gone is seen by its chardev, which is busy until then.
 */

#include "machine/plug.h"

#include <errno.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "machine/display.h"
#include "machine/plan.h"
#include "machine/qmp.h"

enum { CALL_MS = 20000, LEAVE_MS = 20000, POLL_MS = 5 };

static int call(struct qmp *qmp, const char *command, json_t *arguments, int fd, struct error *err)
{
	return qmp_call(qmp, command, arguments, fd, CALL_MS, NULL, err);
}

static int plug_out(struct qmp *qmp, const char *device, const char *chardev, struct error *err)
{
	uint64_t deadline = clock_ms() + LEAVE_MS;
	int r = call(qmp, "device_del", json_pack("{s:s}", "id", device), -1, err);

	if (r < 0)
		return r;
	while ((r = call(qmp, "chardev-remove", json_pack("{s:s}", "id", chardev), -1, err)) ==
	       -E_FAILED) {
		if (clock_ms() >= deadline)
			return error_set(err, EBUSY, "the guest does not give '%s' back", device);
		clock_sleep_ms(POLL_MS);
	}
	return r;
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

int plug_folder_out(struct qmp *qmp, size_t index, struct error *err)
{
	auto_free char *device = str_format("share%zu", index);
	auto_free char *chardev = str_format("folder%zu", index);

	return plug_out(qmp, device, chardev, err);
}

int plug_folder_in(struct qmp *qmp, size_t index, const char *tag, int socket, struct error *err)
{
	auto_free char *device = str_format("share%zu", index);
	auto_free char *port = str_format("port%zu", index);
	auto_free char *chardev = str_format("folder%zu", index);
	int r = call(qmp, "getfd", json_pack("{s:s}", "fdname", chardev), socket, err);

	if (r < 0)
		return r;
	return plug_in(qmp, chardev,
		       json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", chardev,
				 "backend", "type", "socket", "data", "addr", "type", "fd", "data",
				 "str", chardev, "server", 0),
		       json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "driver", "vhost-user-fs-pci",
				 "id", device, "bus", port, "chardev", chardev, "tag", tag,
				 "queue-size", 1024),
		       err);
}

int plug_clipboard_out(struct qmp *qmp, struct error *err)
{
	return plug_out(qmp, DISPLAY_CLIPBOARD_PORT, DISPLAY_CLIPBOARD, err);
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
