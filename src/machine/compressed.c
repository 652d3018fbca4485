/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/compressed.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/libexec.h"
#include "base/str.h"
#include "machine/sandbox.h"

enum {
	MAGIC_MAX = 6,
	MEMORY_LIMIT = 1024 * 1024 * 1024, /* bytes; zstd --ultra wants 128 MiB and more */
	CPU_SECONDS = 2 * 3600,
	WAIT_FACTOR = 4, /* wall time to processor time */
};

static const struct {
	size_t len;
	char bytes[MAGIC_MAX + 1];
} magics[] = {
	{ 3, "\x1f\x8b\x08" }, /* gzip, RFC 1952 */
	{ 3, "BZh" },
	{ 6, "\xfd"
	     "7zXZ" },
	{ 4, "\x28\xb5\x2f\xfd" }, /* zstd, RFC 8878 */
};

bool compressed_detect(int fd)
{
	char head[MAGIC_MAX];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	for (size_t i = 0; i < array_size(magics); i++)
		if (n >= (ssize_t)magics[i].len &&
		    memcmp(head, magics[i].bytes, magics[i].len) == 0)
			return true;
	return false;
}

static int failed(int status, struct str *errors, struct error *err)
{
	errors->ptr[strcspn(errors->ptr, "\n")] = '\0';
	if (status == 128 + SIGXFSZ || status == 128 + SIGXCPU || status == 128 + SIGKILL)
		return error_set(err, E_TOO_BIG, "it is too much to decompress");
	if (status >= 128)
		return error_set(err, E_INVALID, "linzer-archive was ended by signal %d",
				 status - 128);
	return error_set(err, strstr(errors->ptr, strerror(ENOSPC)) ? ENOSPC : E_INVALID, "%s",
			 *errors->ptr ? errors->ptr : "linzer-archive failed");
}

int compressed_expand(int from, int to, uint64_t limit, struct error *err)
{
	auto_free char *program = libexec_path("linzer-archive", "LINZER_ARCHIVE");
	char most[24];
	const char *const argv[] = { program, "expand", most, NULL };
	const struct sandbox_file files[] = { { from, false }, { to, true } };
	auto_str errors = STR_INIT;
	int status;

	(void)snprintf(most, sizeof(most), "%" PRIu64, limit);
	status = sandbox_run(&(struct sandbox_spec){ .argv = argv,
						     .files = files,
						     .file_count = array_size(files),
						     .cpu_seconds = CPU_SECONDS,
						     .memory = MEMORY_LIMIT,
						     .file_size = limit,
						     .timeout_ms = UINT64_C(1000) * CPU_SECONDS *
								   WAIT_FACTOR },
			     NULL, 0, &errors, err);
	return status > 0 ? failed(status, &errors, err) : status;
}
