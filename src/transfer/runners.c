/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/runners.h"

#include "cmd/command.h"

const struct command_runner transfer_runners[] = {
	{ &command_pull, pull_run },
	{ &command_push, push_run },
	{ &command_login, login_run },
	{ &command_logout, logout_run },
	{ &command_tag, tag_run },
	{ &command_inspect, inspect_run },
	{ 0 },
};
