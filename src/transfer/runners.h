/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_RUNNERS_H
#define TRANSFER_RUNNERS_H

/*
 * What linzer-oci brings to the tables of cmd/: one file per verb that talks to registries. Each
 * takes the parsed arguments of cmd/transfer_args.h and returns an exit status or error, as
 * command.run does (cli/option.h).
 */

#include "cmd/command.h"

int pull_run(struct invocation *inv, void *data, struct error *err);
int push_run(struct invocation *inv, void *data, struct error *err);
int login_run(struct invocation *inv, void *data, struct error *err);
int logout_run(struct invocation *inv, void *data, struct error *err);
int tag_run(struct invocation *inv, void *data, struct error *err);
int inspect_run(struct invocation *inv, void *data, struct error *err);

/* All of them, for command_main(). */
extern const struct command_runner transfer_runners[];

#endif
