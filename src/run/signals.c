/* SPDX-License-Identifier: Apache-2.0 */
#include "run/signals.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "base/attr.h"

static const int endings[] = { SIGINT, SIGTERM, SIGHUP };

static bool is_ignored(int signal_number)
{
	struct sigaction old;

	return sigaction(signal_number, NULL, &old) == 0 && old.sa_handler == SIG_IGN;
}

void signals_hear(void)
{
	sigset_t none;

	/* `stop` needs SIGINT */
	if (is_ignored(SIGINT))
		(void)signal(SIGINT, SIG_DFL);
	if (is_ignored(SIGTERM))
		(void)signal(SIGTERM, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static pid_t process; /* of signals_stop_start() */

static void on_ending(int signal_number)
{
	static const char text[] = "Stopping VM...\n";

	(void)signal_number;
	/* a child that was just forked has nothing to say */
	if (getpid() == process)
		(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(0);
}

void signals_stop_start(void)
{
	const struct sigaction action = { .sa_handler = on_ending };

	process = getpid();
	for (size_t i = 0; i < array_size(endings); i++)
		if (!is_ignored(endings[i]))
			(void)sigaction(endings[i], &action, NULL);
}

void signals_hold(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < array_size(endings); i++)
		(void)sigaddset(&set, endings[i]);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}
