/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"

static const struct option options[] = {
	{ .name = "username",
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct login_args, user),
	  .help = "User; needs --password-stdin." },
	{ .name = "password-stdin",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct login_args, password_stdin),
	  .help = "Read the password from the standard input; needs --username." },
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct login_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ .name = "no-validate",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct login_args, no_validate),
	  .help = "Store them without asking the registry." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "host",
	  .offset = offsetof(struct login_args, host),
	  .help = "The registry: host[:port]." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct login_args *args = data;

	(void)inv;
	if (!args->user != !args->password_stdin)
		return error_set(err, E_USAGE, "both --username and --password-stdin are required");
	return 0;
}

const struct command command_login = {
	.name = "login",
	.summary = "Store the credentials for a registry",
	.discussion = "Asks for user and password, tries them, and keeps them in auth.json in the "
		      "home directory, which only you can read.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct login_args),
	.validate = validate,
};
