/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

/*
 * Completion scripts for bash, zsh and fish, from the option tables. Names of VMs are
 * asked from the program itself (`list --quiet`) when the user completes.
 */

#include "cli/option.h"

struct error;
struct str;

/* @shell: "bash", "zsh" or "fish" (E_USAGE for any other and for NULL). */
int complete_add_script(struct str *out, const char *program, const char *shell,
			const struct command *const *commands, struct error *err) must_use_;

#endif
