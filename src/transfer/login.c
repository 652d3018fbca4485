/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"
#include "oci/credentials.h"
#include "oci/name.h"
#include "oci/remote.h"
#include "transfer/runners.h"

/*
 * Theory of operation
 * -------------------
 *
 * While a password is typed the terminal does not show it, which outlives us. So the signals that
 * end us wait until the terminal is as it was: they are blocked but while we wait for a byte, noted
 * there, and raised anew afterwards.
 */

enum { ANSWER_MAX = 8192 }; /* contract 2.7 */

static const int endings[] = { SIGINT, SIGTERM, SIGHUP };

static volatile sig_atomic_t noted;

static void note(int signal)
{
	noted = signal;
}

/* A secret does not stay in memory that is given back. */
static void wipe(struct str *s)
{
	explicit_bzero(s->ptr, s->len);
	str_release(s);
}
#define auto_secret cleanup_(wipe) struct str

static int check_host(const char *host, struct error *err)
{
	if (oci_name_is_host(host))
		return 0;
	return error_set(err, E_FAILED, "improperly formatted host \"%.200s\" was provided%s", host,
			 str_starts(host, "http://") || str_starts(host, "https://")
				 ? ", make sure that it doesn't start with http:// or https://"
				 : "");
}

/* All of the standard input, without newlines at its end. */
static int read_password(struct str *password, struct error *err)
{
	str_grow(password, 2 * ANSWER_MAX + 1); /* at once: no copy is left behind */
	for (;;) {
		ssize_t n = read(STDIN_FILENO, password->ptr + password->len, ANSWER_MAX + 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read the password");
		if (n == 0)
			break;
		str_set_len(password, password->len + (size_t)n);
		if (password->len > ANSWER_MAX)
			return error_set(err, E_TOO_BIG, "the password is longer than %d bytes",
					 ANSWER_MAX);
	}
	while (password->len && (password->ptr[password->len - 1] == '\n' ||
				 password->ptr[password->len - 1] == '\r'))
		str_chop(password, 1);
	return 0;
}

/* @mask: of signals while we wait, NULL: as it is. */
static int wait_for_byte(int tty, const sigset_t *mask, struct error *err)
{
	struct pollfd input = { .fd = tty, .events = POLLIN };

	while (ppoll(&input, 1, NULL, mask) < 0) {
		if (errno != EINTR)
			return error_errno(err, "cannot read from the terminal");
		if (noted)
			return error_set(err, E_CANCELLED, "interrupted");
	}
	return 0;
}

static int read_line(int tty, const sigset_t *mask, struct str *line, struct error *err)
{
	str_grow(line, ANSWER_MAX + 1); /* at once: no copy of a secret is left behind */
	for (;;) {
		char c;
		ssize_t n;

		if (wait_for_byte(tty, mask, err) < 0)
			return -err->code;
		n = read(tty, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read from the terminal");
		if (n == 0 || c == '\n' || c == '\r')
			return 0;
		if (line->len == ANSWER_MAX)
			return error_set(err, E_TOO_BIG, "the answer is longer than %d bytes",
					 ANSWER_MAX);
		str_addc(line, c);
	}
}

static int ask(int tty, const char *question, const sigset_t *mask, struct str *answer,
	       struct error *err)
{
	int r = fs_write_all(tty, question, strlen(question), err);

	return r < 0 ? r : read_line(tty, mask, answer, err);
}

/* What is typed is not shown. */
static int ask_silently(int tty, const char *question, const sigset_t *mask, struct str *answer,
			struct error *err)
{
	struct termios before, silent;
	int r;

	if (tcgetattr(tty, &before) < 0)
		return ask(tty, question, mask, answer, err);
	silent = before;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	silent.c_cc[VSUSP] = silent.c_cc[VQUIT] = _POSIX_VDISABLE;
	(void)tcsetattr(tty, TCSAFLUSH, &silent);
	r = ask(tty, question, mask, answer, err);
	(void)tcsetattr(tty, TCSAFLUSH, &before);
	(void)!write(tty, "\n", 1);
	return r;
}

static int ask_password(int tty, struct str *password, struct error *err)
{
	struct sigaction before[array_size(endings)], noting = { .sa_handler = note };
	sigset_t blocked, mask;
	int r;

	(void)sigemptyset(&blocked);
	for (size_t i = 0; i < array_size(endings); i++)
		(void)sigaddset(&blocked, endings[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, &mask);
	for (size_t i = 0; i < array_size(endings); i++)
		if (sigaction(endings[i], NULL, &before[i]) == 0 && before[i].sa_handler != SIG_IGN)
			(void)sigaction(endings[i], &noting, NULL);
	r = ask_silently(tty, "Password: ", &mask, password, err);
	for (size_t i = 0; i < array_size(endings); i++)
		(void)sigaction(endings[i], &before[i], NULL);
	if (noted)
		(void)raise(noted);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	return r;
}

static int ask_both(struct str *user, struct str *password, struct error *err)
{
	auto_fd tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	int r;

	if (tty < 0)
		return error_errno(err, "there is no terminal to ask for user and password on (use "
					"--username and --password-stdin)");
	r = ask(tty, "User: ", NULL, user, err);
	return r < 0 ? r : ask_password(tty, password, err);
}

static int validate(const struct login_args *args, const struct str *user,
		    const struct str *password, struct error *err)
{
	char why[sizeof(err->text)];
	int r = remote_check_login(args->host, args->insecure, user->ptr, password->ptr, err);

	if (r >= 0)
		return 0;
	memcpy(why, err->text, sizeof(why));
	return error_set(err, E_FAILED, "invalid credentials: %s", why);
}

int login_run(struct invocation *inv, void *data, struct error *err)
{
	const struct login_args *args = data;
	auto_str user = STR_INIT;
	auto_secret password = STR_INIT;
	int r = check_host(args->host, err);

	if (r == 0 && args->password_stdin) {
		str_adds(&user, args->user);
		r = read_password(&password, err);
	} else if (r == 0) {
		r = ask_both(&user, &password, err);
	}
	if (r == 0 && (strlen(user.ptr) != user.len || strlen(password.ptr) != password.len))
		r = error_set(err, E_FAILED, "user and password cannot hold NUL bytes");
	if (r == 0 && !args->no_validate)
		r = validate(args, &user, &password, err);
	return r < 0 ? r
		     : credentials_store(inv->home.path, args->host, user.ptr, password.ptr, err);
}

int logout_run(struct invocation *inv, void *data, struct error *err)
{
	const struct logout_args *args = data;

	return credentials_remove(inv->home.path, args->host, err);
}
