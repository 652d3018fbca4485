/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nft.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/process.h"

enum { ANSWER_MAX = 16 * 1024 * 1024, TIME_LIMIT_MS = 10 * 1000, LOCK_FD = 3 };

static const char *find_nft(void)
{
	static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft" };

	for (size_t i = 0; i < array_size(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

int nft_run(const struct str *text, int lock, struct str *answer, struct error *err)
{
	static const char *const nothing[] = { NULL };
	const char *argv[] = { find_nft(), "-f", "-", NULL };
	struct process_fd fds[] = { { lock, LOCK_FD } };
	struct process_spec spec = {
		.argv = argv,
		.env = nothing,
		.fds = fds,
		.fd_count = array_size(fds),
		.no_new_privs = true,
	};
	auto_str errors = STR_INIT;
	int status;

	if (!argv[0])
		return error_set(err, E_MISSING_TOOL, "nft is not installed (package 'nftables')");
	status = process_run(&spec, text, answer, ANSWER_MAX, &errors, TIME_LIMIT_MS, err);
	if (status < 0)
		return status;
	if (status == 0)
		return 0;
	errors.ptr[strcspn(errors.ptr, "\n")] = '\0';
	return error_set(err, strstr(errors.ptr, "No such file") ? ENOENT : E_FAILED,
			 "nft failed: %s", errors.ptr);
}
