/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "oci/name.h"
#include "store/archive.h"

struct export_args {
	const char *name, *path;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct export_args, name),
	  .help = "VM to export.",
	  .completes = COMPLETES_VM },
	{ .name = "path",
	  .kind = ARGUMENT_OPTIONAL,
	  .offset = offsetof(struct export_args, path),
	  .help = "Archive to write, overwritten without asking; - is the standard output "
		  "(default: <name>.tvm in the current directory).",
	  .completes = COMPLETES_FILE },
	{ 0 },
};

/* Is the answer yes? Whatever else it is, and no answer, means no. */
static bool may_overwrite(const char *path)
{
	char answer[sizeof("yes\n") + 1];

	(void)printf("file %s already exists, are you sure you want to overwrite it? "
		     "(yes, [no])? ",
		     path);
	(void)fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) &&
	       (strcmp(answer, "yes\n") == 0 || strcmp(answer, "yes") == 0);
}

static int export_to(struct invocation *inv, const char *name, const char *path, int fd,
		     struct error *err)
{
	struct archive_progress progress = { 0 };
	struct waiting waiting;
	int r;

	waiting_begin(&waiting, "exporting", output_ask_archive, &progress);
	r = vm_export(&inv->home, name, path, fd, &progress, err);
	waiting_end(&waiting);
	return r;
}

static int export_to_stdout(struct invocation *inv, const char *name, struct error *err)
{
	if (isatty(STDOUT_FILENO))
		return error_set(err, E_FAILED,
				 "VM export failed: the standard output is a terminal");
	(void)fputs("exporting...\n", stderr);
	return export_to(inv, name, NULL, STDOUT_FILENO, err);
}

/* What is not there is said before anything is asked or begun; of images vm_export() knows. */
static int check_there(const struct invocation *inv, const char *name, struct error *err)
{
	auto_vm vm = VM_INIT;

	return oci_name_is_remote(name) ? 0
					: vm_open(&inv->home, name, /* quiet= */ true, &vm, err);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct export_args *args = data;
	auto_free char *chosen = args->path ? NULL : str_format("%s.tvm", args->name);
	const char *path = args->path ? args->path : chosen;
	int r = check_there(inv, args->name, err);

	if (r < 0)
		return r;
	if (strcmp(path, "-") == 0)
		return export_to_stdout(inv, args->name, err);
	if (!args->path && access(path, F_OK) == 0 && !may_overwrite(path))
		return 0;
	(void)puts("exporting...");
	return export_to(inv, args->name, path, -1, err);
}

const struct command command_export = {
	.name = "export",
	.summary = "Export a VM to an archive",
	.discussion = "The archive is a .tvm file, which Tart can import, too.",
	.arguments = arguments,
	.args_size = sizeof(struct export_args),
	.run = run,
};
