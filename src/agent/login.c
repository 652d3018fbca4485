/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/login.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/loop.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	ENVIRONMENT_MAX = 256 * 1024,
	CAPTURE_MS = 10000, /* a profile that takes longer is done without */
	CAPTURE_FD = 3,
	GROUPS_MAX = 256,
};

struct login {
	struct loop *loop;
	struct login_user user;
	struct strings environment;
	uint64_t fingerprint; /* of the files that shaped it */
	bool known;

	pid_t shell; /* running, 0: none */
	uint64_t shell_fingerprint;
	struct watch output;
	struct str captured;
	struct timer timeout;
	struct login_waiter *waiters;
};

/* ---- who ---- */

static bool find_user(const char *name, uid_t uid, struct login_user *user)
{
	FILE *file = fopen("/etc/passwd", "re");
	struct passwd *p;

	if (!file)
		return false;
	while ((p = fgetpwent(file)))
		if (name ? strcmp(p->pw_name, name) == 0 : p->pw_uid == uid)
			break;
	if (p) {
		user->name = xstrdup(p->pw_name);
		user->home = xstrdup(*p->pw_dir ? p->pw_dir : "/");
		user->shell = xstrdup(*p->pw_shell ? p->pw_shell : "/bin/sh");
		user->uid = p->pw_uid;
		user->gid = p->pw_gid;
	}
	(void)fclose(file);
	return p != NULL;
}

static bool is_member(const struct group *g, const char *name)
{
	for (char **m = g->gr_mem; *m; m++)
		if (strcmp(*m, name) == 0)
			return true;
	return false;
}

static void find_groups(struct login_user *user)
{
	FILE *file = fopen("/etc/group", "re");
	struct group *g;

	user->groups = xcalloc(GROUPS_MAX, sizeof(gid_t));
	user->groups[user->group_count++] = user->gid;
	if (!file)
		return;
	while ((g = fgetgrent(file)) && user->group_count < GROUPS_MAX)
		if (g->gr_gid != user->gid && is_member(g, user->name))
			user->groups[user->group_count++] = g->gr_gid;
	(void)fclose(file);
}

static void find_ourselves(struct login_user *user)
{
	if (find_user(NULL, getuid(), user))
		return;
	user->name = str_format("%u", getuid());
	user->home = xstrdup("/");
	user->shell = xstrdup("/bin/sh");
	user->uid = getuid();
	user->gid = getgid();
}

static void shell_output(struct watch *watch, uint32_t events);
static void shell_timeout(struct timer *timer);

struct login *login_new(struct loop *loop, const char *name)
{
	struct login *login = xcalloc(1, sizeof(*login));

	login->loop = loop;
	login->environment = (struct strings)VEC_INIT;
	login->captured = (struct str)STR_INIT;
	login->output = (struct watch){ .fd = -1, .ready = shell_output };
	login->timeout.fire = shell_timeout;
	login->user.drop = geteuid() == 0 && find_user(name, 0, &login->user);
	if (login->user.drop)
		find_groups(&login->user);
	else
		find_ourselves(&login->user);
	return login;
}

const struct login_user *login_user(const struct login *login)
{
	return &login->user;
}

const struct strings *login_environment(const struct login *login)
{
	return &login->environment;
}

int login_become(const struct login_user *user)
{
	if (!user->drop)
		return 0;
	if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0)
		return -1;
	return setuid(user->uid);
}

/* ---- has anything changed? ---- */

static void mix(uint64_t *hash, uint64_t value)
{
	*hash = (*hash ^ value) * 0x100000001b3; /* FNV-1a, by words */
}

static void mix_file(uint64_t *hash, int dir, const char *path)
{
	struct stat st = { 0 };

	if (fstatat(dir, path, &st, 0) < 0)
		st = (struct stat){ 0 };
	mix(hash, st.st_ino);
	mix(hash, (uint64_t)st.st_size);
	mix(hash, (uint64_t)st.st_ctim.tv_sec);
	mix(hash, (uint64_t)st.st_ctim.tv_nsec);
}

static void mix_directory(uint64_t *hash, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	uint64_t sum = 0;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		uint64_t one = 0;

		mix_file(&one, dirfd(dir), entry->d_name);
		sum += one; /* the order of entries does not count */
	}
	(void)closedir(dir);
	mix(hash, sum);
}

static uint64_t fingerprint(const struct login *login)
{
	static const char *const files[] = { "/etc/environment", "/etc/default/locale",
					     "/etc/profile",	 "/etc/bash.bashrc",
					     "/etc/zsh/zshenv",	 "/etc/zsh/zprofile",
					     "/etc/login.defs" };
	static const char *const home_files[] = { ".profile", ".bash_profile", ".bash_login",
						  ".bashrc",  ".zshenv",       ".zprofile" };
	uint64_t hash = 0xcbf29ce484222325;
	int home = open(login->user.home, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < array_size(files); i++)
		mix_file(&hash, AT_FDCWD, files[i]);
	mix_directory(&hash, "/etc/profile.d");
	for (size_t i = 0; home >= 0 && i < array_size(home_files); i++)
		mix_file(&hash, home, home_files[i]);
	if (home >= 0)
		(void)close(home);
	return hash;
}

/* ---- the environment ---- */

static bool names(const char *entry, const char *name, size_t len)
{
	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* Add "NAME=value", replacing what has that name. @entry becomes ours. */
static void set_variable(struct strings *env, char *entry)
{
	size_t len = strcspn(entry, "=");

	for (size_t i = 0; i < env->len; i++) {
		if (!names(env->items[i], entry, len))
			continue;
		free(env->items[i]);
		env->items[i] = entry;
		return;
	}
	strings_take(env, entry);
}

/* One line of /etc/environment, as pam_env reads it: [export] NAME=value, quotes taken off. */
static void add_line(struct strings *env, char *line)
{
	char *value;
	size_t n;

	line += strspn(line, " \t");
	if (str_starts(line, "export "))
		line += strlen("export ");
	line[strcspn(line, "#\n")] = '\0';
	value = strchr(line, '=');
	if (!value || value == line)
		return;
	*value++ = '\0';
	n = strlen(value);
	while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		value[--n] = '\0';
	if (n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value) {
		value[n - 1] = '\0';
		value++;
	}
	set_variable(env, str_format("%s=%s", line, value));
}

static void add_file(struct strings *env, const char *path)
{
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;
	char *rest, *line;

	if (fs_read_file(AT_FDCWD, path, ENVIRONMENT_MAX, &text, &ignored) < 0 || !text.len)
		return;
	rest = text.ptr;
	while ((line = strsep(&rest, "\n")))
		add_line(env, line);
}

/* What sshd and PAM give a login shell to start with. */
static void add_basics(const struct login_user *user, struct strings *env)
{
	set_variable(env, str_format("PATH=%s", user->uid ? "/usr/local/bin:/usr/bin:/bin:"
							    "/usr/local/games:/usr/games"
							  : "/usr/local/sbin:/usr/local/bin:"
							    "/usr/sbin:/usr/bin:/sbin:/bin"));
	add_file(env, "/etc/environment");
	add_file(env, "/etc/default/locale");
	set_variable(env, str_format("HOME=%s", user->home));
	set_variable(env, str_format("USER=%s", user->name));
	set_variable(env, str_format("LOGNAME=%s", user->name));
	set_variable(env, str_format("SHELL=%s", user->shell));
}

static bool is_of_the_shell(const char *entry)
{
	return names(entry, "_", 1) || names(entry, "SHLVL", 5) || names(entry, "PWD", 3) ||
	       names(entry, "OLDPWD", 6);
}

/* Take what the shell printed, if it is an environment. */
static void use_captured(struct login *login)
{
	struct strings env = VEC_INIT;
	const char *p = login->captured.ptr, *end = p + login->captured.len;

	add_basics(&login->user, &env);
	for (bool first = true; p < end; p += strlen(p) + 1) {
		if (!strchr(p, '=') || *p == '=')
			continue;
		if (first)
			strings_release(&env);
		first = false;
		if (!is_of_the_shell(p))
			set_variable(&env, xstrdup(p));
	}
	strings_release(&login->environment);
	login->environment = env;
}

/* ---- asking the shell ---- */

/* Not those who came after a file was changed that the shell may have read before. */
static void call_waiters(struct login *login)
{
	struct login_waiter *waiter = login->waiters;

	while (waiter) {
		if (waiter->print != login->fingerprint) {
			waiter = waiter->next;
			continue;
		}
		login_cancel(login, waiter);
		waiter->ready(waiter);
		waiter = login->waiters; /* the call may have changed the list */
	}
}

static void end_shell(struct login *login)
{
	loop_watch(login->loop, &login->output, 0);
	(void)close(login->output.fd);
	login->output.fd = -1;
	loop_timer_stop(login->loop, &login->timeout);
	(void)kill(-login->shell, SIGKILL);
	(void)waitpid(login->shell, NULL, 0);
	login->shell = 0;
}

static void ask(struct login *login, uint64_t print);

static void shell_done(struct login *login)
{
	end_shell(login);
	use_captured(login);
	login->fingerprint = login->shell_fingerprint;
	login->known = true;
	call_waiters(login);
	if (login->waiters && !login->shell)
		ask(login, fingerprint(login));
}

static void shell_output(struct watch *watch, uint32_t events unused_)
{
	struct login *login = (struct login *)((char *)watch - offsetof(struct login, output));
	char buffer[4096];
	ssize_t n = read(watch->fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && login->captured.len + (size_t)n <= ENVIRONMENT_MAX)
		str_add(&login->captured, buffer, (size_t)n);
	else
		shell_done(login);
}

static void shell_timeout(struct timer *timer)
{
	struct login *login = (struct login *)((char *)timer - offsetof(struct login, timeout));

	str_reset(&login->captured);
	shell_done(login);
}

static noreturn_ void child(const struct login *login, int out)
{
	struct strings env = VEC_INIT;
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	(void)setsid();
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	out = fcntl(out, F_DUPFD, CAPTURE_FD + 1);
	for (int fd = 0; fd <= 2; fd++)
		(void)dup2(null, fd);
	if (dup2(out, CAPTURE_FD) < 0)
		_exit(127);
	(void)close_range(CAPTURE_FD + 1, ~0U, 0);
	if (login_become(&login->user) < 0)
		_exit(127);
	if (chdir(login->user.home) < 0 && chdir("/") < 0)
		_exit(127);
	add_basics(&login->user, &env);
	strings_take(&env, NULL);
	(void)execle(login->user.shell, login->user.shell, "-lc", "exec /usr/bin/env -0 >&3", NULL,
		     env.items);
	_exit(127);
}

static void start_shell(struct login *login, uint64_t print)
{
	int pipe_fds[2];

	str_reset(&login->captured);
	login->shell_fingerprint = print;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	login->shell = fork();
	if (login->shell == 0)
		child(login, pipe_fds[1]);
	(void)close(pipe_fds[1]);
	login->output.fd = pipe_fds[0];
	if (login->shell < 0) {
		(void)close(take_fd(&login->output.fd));
		login->shell = 0;
		return;
	}
	loop_watch(login->loop, &login->output, EPOLLIN);
	loop_timer(login->loop, &login->timeout, CAPTURE_MS);
}

/* For all who wait. */
static void ask(struct login *login, uint64_t print)
{
	for (struct login_waiter *waiter = login->waiters; waiter; waiter = waiter->next)
		waiter->print = print;
	login->known = false;
	start_shell(login, print);
	if (login->shell)
		return;
	use_captured(login); /* no process to be had: the command will say so */
	login->fingerprint = print;
	call_waiters(login);
}

void login_wait(struct login *login, struct login_waiter *waiter)
{
	waiter->print = fingerprint(login);
	if (login->known && login->fingerprint == waiter->print) {
		waiter->ready(waiter);
		return;
	}
	waiter->waiting = true;
	waiter->next = login->waiters;
	login->waiters = waiter;
	if (!login->shell)
		ask(login, waiter->print);
}

void login_cancel(struct login *login, struct login_waiter *waiter)
{
	struct login_waiter **at = &login->waiters;

	if (!waiter->waiting)
		return;
	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	waiter->waiting = false;
}

void login_free(struct login *login)
{
	if (login->shell)
		end_shell(login);
	strings_release(&login->environment);
	str_release(&login->captured);
	free(login->user.name);
	free(login->user.home);
	free(login->user.shell);
	free(login->user.groups);
	free(login);
}
