/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "store/archive.h"

struct import_args {
	const char *path, *name;
};

static const struct argument arguments[] = {
	{ .name = "path",
	  .offset = offsetof(struct import_args, path),
	  .help = "Archive to import; - is the standard input.",
	  .completes = COMPLETES_FILE },
	{ .name = "name",
	  .offset = offsetof(struct import_args, name),
	  .help = "Name of the new VM." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct import_args *args = data;

	(void)inv;
	if (strchr(args->name, '/'))
		return error_set(err, E_USAGE, "<name> should be a local name");
	return 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct import_args *args = data;
	const char *path = strcmp(args->path, "-") == 0 ? NULL : args->path;
	struct archive_progress progress = { 0 };
	struct waiting waiting;
	int r;

	(void)puts("importing...");
	waiting_begin(&waiting, "importing", output_ask_archive, &progress);
	r = vm_import(&inv->home, args->name, path, STDIN_FILENO, &progress, err);
	waiting_end(&waiting);
	return r;
}

const struct command command_import = {
	.name = "import",
	.summary = "Import a VM from an archive",
	.discussion = "The archive is a .tvm file of export's or of Tart's. "
		      "A stopped VM of that name is replaced.",
	.arguments = arguments,
	.args_size = sizeof(struct import_args),
	.validate = validate,
	.run = run,
};
