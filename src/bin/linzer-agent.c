/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linzer-agent: runs commands in the guest for the host that it runs on.
 * Static, needs no library, no name service and no network.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/guest.h"
#include "agent/login.h"
#include "agent/loop.h"
#include "base/error.h"
#include "build-info.h"

#define DEFAULT_DEVICE "/dev/virtio-ports/org.linzer.agent"
#define DEFAULT_USER "admin"

struct options {
	const char *device;
	const char *user;
	const char *listen;
	bool vsock;
};

static const char usage[] =
	"Usage: linzer-agent [--device PATH] [--user NAME] [--no-vsock] [--listen PATH]\n"
	"\n"
	"Runs commands for the host: linzer exec, linzer ip --resolver agent.\n"
	"\n"
	"  --device PATH  the virtio-serial port (default: " DEFAULT_DEVICE ")\n"
	"  --user NAME    commands run as this user (default: " DEFAULT_USER ")\n"
	"  --no-vsock     do not listen on vsock port 8080\n"
	"  --listen PATH  also serve connections to this AF_UNIX socket\n"
	"  --version, --help\n";

static noreturn_ void leave(FILE *file, const char *text, int status)
{
	(void)fputs(text, file);
	exit(status);
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "user", required_argument, NULL, 'u' },
		{ "listen", required_argument, NULL, 'l' },
		{ "no-vsock", no_argument, NULL, 'n' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'd')
			options->device = optarg;
		else if (c == 'u')
			options->user = optarg;
		else if (c == 'l')
			options->listen = optarg;
		else if (c == 'n')
			options->vsock = false;
		else if (c == 'V')
			leave(stdout, "linzer-agent " LINZER_VERSION "\n", 0);
		else
			leave(c == 'h' ? stdout : stderr, usage, c == 'h' ? 0 : 64);
	}
	if (optind < argc)
		leave(stderr, usage, 64);
}

/* Nothing that the agent opens may become 0, 1 or 2. */
static void open_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		(void)close(fd);
}

static void warmed(struct login_waiter *waiter unused_)
{
}

int main(int argc, char **argv)
{
	struct options options = { DEFAULT_DEVICE, DEFAULT_USER, NULL, true };
	struct login_waiter warm = { .ready = warmed };
	struct error err = ERROR_INIT;
	struct loop *loop;
	struct login *login;
	struct guest *guest;

	open_standard_fds();
	parse(argc, argv, &options);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	loop = loop_new();
	login = login_new(loop, options.user);
	guest = guest_new(loop, login);
	if (options.listen && guest_serve_socket(guest, options.listen, &err) < 0) {
		(void)fprintf(stderr, "linzer-agent: %s\n", err.text);
		return 1;
	}
	guest_serve_port(guest, options.device);
	if (options.vsock)
		guest_serve_vsock(guest);
	login_wait(login, &warm);
	loop_run(loop);
	return 0;
}
