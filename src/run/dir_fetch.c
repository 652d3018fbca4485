/* SPDX-License-Identifier: Apache-2.0 */
#include "run/dir_fetch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/libexec.h"
#include "base/process.h"
#include "base/str.h"
#include "base/vec.h"
#include "run/identity.h"

enum { ARCHIVE_FD = 3, AUTHORITIES_FD = 4 };

/* All that the fetching process learns of its caller's environment (curl(1), resolv.conf(5)). */
static const char *const passed_on[] = {
	"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",   "ALL_PROXY",
	"no_proxy",   "NO_PROXY",    "LOCALDOMAIN", "RES_OPTIONS", "LINZER_STALL_SECONDS",
};

static void make_environment(struct strings *environment)
{
	strings_add(environment, "LC_ALL=C.UTF-8");
	for (size_t i = 0; i < array_size(passed_on); i++) {
		const char *value = getenv(passed_on[i]);

		if (value)
			strings_addf(environment, "%s=%s", passed_on[i], value);
	}
	strings_take(environment, NULL);
}

/* Opened here, for whoever fetches may not be allowed to. */
static int open_authorities(struct error *err)
{
	const char *path = getenv("SSL_CERT_FILE");

	return fs_open(AT_FDCWD, path && *path ? path : "/dev/null", O_RDONLY, err);
}

int dir_fetch(const struct dir_fetch *fetch, struct str *answer, struct str *errors,
	      struct error *err)
{
	auto_free char *program = libexec_path("linzer-archive", "LINZER_ARCHIVE");
	const char *const argv[] = { program, "fetch", fetch->etag, fetch->modified, NULL };
	auto_strings environment = VEC_INIT;
	auto_str url = STR_INIT; /* on stdin: a command line is everybody's to read */
	auto_fd authorities = open_authorities(err);
	const struct process_fd fds[] = { { fetch->fd, ARCHIVE_FD },
					  { authorities, AUTHORITIES_FD } };
	int r;

	if (authorities < 0)
		return authorities;
	make_environment(&environment);
	str_adds(&url, fetch->url);
	r = process_run(&(struct process_spec){ .argv = argv,
						.env = (const char *const *)environment.items,
						.fds = fds,
						.fd_count = array_size(fds),
						.uid = fetch->identity->uid,
						.gid = fetch->identity->uid,
						.drop = fetch->identity->drop,
						.no_new_privs = true },
			&url, answer, DIR_FETCH_ANSWER_MAX, errors, /* timeout_ms= */ 0, err);
	errors->ptr[strcspn(errors->ptr, "\n")] = '\0';
	return r;
}
