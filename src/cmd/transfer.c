/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/libexec.h"
#include "base/process.h"
#include "base/str.h"
#include "base/vec.h"
#include "cmd/command.h"

static const char program[] = "linzer-oci";
static const char variable[] = "LINZER_OCI";

int transfer_exec(struct invocation *inv, struct error *err)
{
	auto_free char *path = libexec_path(program, variable);

	(void)execv(path, inv->argv);
	return error_set(err, E_MISSING_TOOL, "cannot run '%s': %s", path, strerror(errno));
}

int transfer_pull(const struct invocation *inv, const char *name, bool insecure,
		  uint64_t concurrency, struct error *err)
{
	static const struct process_fd standard[] = { { 0, 0 }, { 1, 1 }, { 2, 2 } };
	auto_free char *path = libexec_path(program, variable);
	auto_strings argv = VEC_INIT;
	/* in a session of its own: Ctrl-C ends us, who say so, and it with us */
	struct process_spec spec = { .fds = standard,
				     .fd_count = array_size(standard),
				     .new_session = true };
	pid_t pid;
	int status = 1, r;

	strings_add(&argv, path);
	strings_add(&argv, "pull");
	strings_add(&argv, "--for-clone");
	if (insecure)
		strings_add(&argv, "--insecure");
	strings_addf(&argv, "--concurrency=%" PRIu64, concurrency);
	strings_add(&argv, "--");
	strings_add(&argv, name);
	strings_take(&argv, NULL);
	spec.argv = (const char *const *)argv.items;
	/* whatever we were called by, it is this home */
	if (setenv("TART_HOME", inv->home.path, 1) < 0)
		return error_errno(err, "cannot set TART_HOME");
	r = process_start(&spec, &pid, err);
	if (r == 0)
		r = process_wait(pid, &status, err);
	return r < 0 ? r : status;
}
