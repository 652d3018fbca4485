/* SPDX-License-Identifier: Apache-2.0 */

/*
 * linzer-net: the network of one VM. Started by `linzer run` with a socket as
 * descriptor 3 (net/helper.h), by nobody else and without arguments; with
 * --hold by itself (net/holder.h).
 */

#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "build-info.h"
#include "net/holder.h"
#include "net/keeper.h"

enum { CALLER_FD = 3, HOLD_ARGUMENTS = 4, EXIT_USAGE = 64 };

static int hold(const char *dir, const char *pools)
{
	struct error err = ERROR_INIT;

	if (chdir("/") < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
		return 1;
	if (holder_main(dir, pools, &err) == 0)
		return 0;
	(void)fprintf(stderr, "%s\n", err.text);
	return 1;
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts(LINZER_VERSION) == EOF;
	if (argc == HOLD_ARGUMENTS && strcmp(argv[1], "--hold") == 0)
		return hold(argv[2], argv[3]);
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
