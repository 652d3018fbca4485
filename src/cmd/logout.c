/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/command.h"
#include "cmd/transfer_args.h"

static const struct argument arguments[] = {
	{ .name = "host",
	  .offset = offsetof(struct logout_args, host),
	  .help = "The registry: host[:port]." },
	{ 0 },
};

const struct command command_logout = {
	.name = "logout",
	.summary = "Forget the credentials for a registry",
	.arguments = arguments,
	.args_size = sizeof(struct logout_args),
};
