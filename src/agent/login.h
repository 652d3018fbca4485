/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_LOGIN_H
#define AGENT_LOGIN_H

/*
 * The user that commands run as, and the environment that his login shell
 * gives him. Running that shell for every command would cost more than the
 * command; so it runs once (`$SHELL -lc "env -0"`), and again only when one
 * of the files that shape a login (/etc/profile, ~/.profile, /etc/environment, ...) has changed.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/vec.h"

struct error;
struct loop;
struct login;

struct login_user {
	char *name, *home, *shell;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t group_count;
	bool drop; /* become this user before exec */
};

/*
 * @name as /etc/passwd has it; where it does not have it or we are not root, ourselves.
 */
struct login *login_new(struct loop *loop, const char *name);
void login_free(struct login *login);
const struct login_user *login_user(const struct login *login);

struct login_waiter {
	void (*ready)(struct login_waiter *waiter);
	struct login_waiter *next;
	uint64_t print; /* of the files, as it may see them */
	bool waiting;
};

/* Call waiter->ready(), now or soon, when login_environment() is of today. */
void login_wait(struct login *login, struct login_waiter *waiter);
void login_cancel(struct login *login, struct login_waiter *waiter);
/* Strings "NAME=value". */
const struct strings *login_environment(const struct login *login);

/* In a child before exec: become the user. Return: 0, or -1 with errno. */
int login_become(const struct login_user *user);

#endif
