/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linzer-net: the network of one VM. Started by `linzer run` with a socket as
 * descriptor 3 (net/helper.h), by nobody else and without arguments.
 */

#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "build-info.h"
#include "net/keeper.h"

enum { CALLER_FD = 3, EXIT_USAGE = 64 };

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts(LINZER_VERSION) == EOF;
	if (argc != 1) {
		(void)fprintf(stderr, "linzer-net is started by 'linzer run'\n");
		return EXIT_USAGE;
	}
	(void)umask(077);
	if (chdir("/") < 0 || close_range(CALLER_FD + 1, ~0U, 0) < 0)
		return 1;
	if (keeper_main(CALLER_FD, &err) == 0)
		return 0;
	(void)fprintf(stderr, "%s\n", err.text);
	return 1;
}
