/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/connect.h"

#include <stdio.h>

#include "cmd/command.h"

static void warn(void *arg, const char *text)
{
	(void)arg;
	(void)fprintf(stderr, "%s\n", text);
}

static void tell(void *arg, const char *text)
{
	(void)arg;
	(void)printf("%s\n", text);
}

int connect_remote(const struct invocation *inv, const struct oci_name *name,
		   const struct connect_options *options, struct remote **remote, struct error *err)
{
	const struct remote_options how = {
		.insecure = options->insecure,
		.chunk_size = options->chunk_size,
		.home = inv->home.path,
		.notice = tell,
		.warning = warn,
	};

	return remote_open(name, &how, options->write, remote, err);
}
