/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For tests: the agent's half of `run` without a VM. Listens on PORT, where a
 * linzer-agent connects as to its virtio-serial port, and relays CONTROL to it. Prints
 * "ready", "lost" and "hangup"; after a hang-up it waits for the next agent. STOCK: a Unix socket
 * that is what vsock would lead to.
 *
 * Usage: agent-relay-stand-in PORT CONTROL [STOCK]
 */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/dial.h"
#include "agent/relay.h"
#include "base/attr.h"
#include "base/error.h"

static struct relay *relay;

static struct sockaddr_un socket_name(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	return name;
}

static int listen_on(const char *path)
{
	struct sockaddr_un name = socket_name(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 256) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void on_event(void *arg unused_, enum relay_event event)
{
	static const char *const names[] = {
		[RELAY_READY] = "ready", [RELAY_LOST] = "lost", [RELAY_HANGUP] = "hangup"
	};

	(void)puts(names[event]);
	(void)fflush(stdout);
	if (event == RELAY_HANGUP)
		relay_close(take(relay));
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct dial_address stock = { .len = 0 };
	int port;

	if (argc != 3 && argc != 4)
		return 64;
	if (argc == 4) {
		*(struct sockaddr_un *)&stock.name = socket_name(argv[3]);
		stock.len = sizeof(struct sockaddr_un);
	}
	port = listen_on(argv[1]);
	for (;;) {
		uv_loop_t loop;
		int control = listen_on(argv[2]);
		int serial = accept4(port, NULL, NULL, SOCK_CLOEXEC);

		if (serial < 0 || uv_loop_init(&loop) < 0)
			return 1;
		if (relay_new(&loop, serial, control, &stock, on_event, NULL, &relay, &err) < 0) {
			(void)fprintf(stderr, "%s\n", err.text);
			return 1;
		}
		(void)uv_run(&loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&loop);
	}
}
