/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pasta.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "net/holder.h"
#include "net/host_addresses.h"

enum { WORDS_MAX = 4096, SETTING_MAX = 64 };

/*
 * -i is only asked for a MAC and an address, which are given: so a host without
 * a way out is no error. The address is of 192.0.0.0/29 (RFC 7335), where no
 * guest has anything to look for. Without --no-map-gw the gateway would be the
 * host's loopback, without -t none and so on each port that anybody listens at
 * would be mirrored to the other side (both tried).
 */
static const char *const command[] = {
	"pasta",
	"--quiet",
	"--foreground",
	"--ipv4-only",
	"--config-net",
	"--no-map-gw",
	"--no-dhcp",
	"--no-dhcpv6",
	"--no-ndp",
	"--no-ra",
	"--tcp-ports",
	"none",
	"--udp-ports",
	"none",
	"--tcp-ns",
	"none",
	"--udp-ns",
	"none",
	"--interface",
	"lo",
	"--mac-addr",
	"02:4c:5a:00:00:01",
	"--ns-ifname",
	HOLDER_UPLINK,
	"--address",
	"192.0.0.2",
	"--netmask",
	"29",
	"--gateway",
	"192.0.0.1",
	/* AppArmor lets pasta start what is in /usr/bin only */
	"--",
	"/usr/bin/env",
};
enum { COMMAND_LEN = array_size(command), ARGUMENTS = 5 };

/* A file in memory that cannot grow: nobody reads it once pasta runs. */
static int make_words(struct error *err)
{
	auto_fd fd = memfd_create("pasta", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, WORDS_MAX) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return error_errno(err, "cannot make a file in memory");
	return take_fd(&fd);
}

static int check_tun(struct error *err)
{
	if (access("/dev/net/tun", R_OK | W_OK) == 0)
		return 0;
	if (errno == EACCES)
		return error_set(err, EACCES,
				 "only root may open '/dev/net/tun': run 'chmod 0666 "
				 "/dev/net/tun' as root");
	return error_set(err, E_MISSING_TOOL,
			 "there is no /dev/net/tun: load the kernel module 'tun'");
}

static int find_ourselves(char path[PATH_MAX], struct error *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (n < 0)
		return error_errno(err, "cannot find linzer-net itself");
	path[n] = '\0';
	return 0;
}

static int execute(struct pasta *p, const char *dir, const char *pools, int listener, int host,
		   struct error *err)
{
	char self[PATH_MAX];
	const char *argv[COMMAND_LEN + ARGUMENTS];
	const char *const arguments[ARGUMENTS] = { self, "--hold", dir, pools, NULL };
	const struct process_fd fds[] = { { listener, 0 }, { host, 1 }, { p->words, 2 } };
	const struct process_spec spec = {
		.argv = argv,
		.fds = fds,
		.fd_count = array_size(fds),
		.outlive = true,
		.new_session = true,
	};
	int r = find_ourselves(self, err);

	if (r < 0)
		return r;
	memcpy(argv, command, sizeof(command));
	memcpy(argv + COMMAND_LEN, arguments, sizeof(arguments));
	r = process_start(&spec, &p->pid, err);
	if (r == -E_MISSING_TOOL)
		return error_set(err, E_MISSING_TOOL,
				 "a network without root needs pasta (package 'passt') or, once, "
				 "'make install-caps' and to be in the group 'linzer'");
	return r;
}

int pasta_start(struct pasta *p, const char *dir, const char *pools, int listener,
		struct error *err)
{
	auto_fd host = -1;
	int r = check_tun(err);

	if (r < 0)
		return r;
	p->words = make_words(err);
	if (p->words < 0)
		return p->words;
	host = host_addresses_open(err);
	return host < 0 ? host : execute(p, dir, pools, listener, host, err);
}

/* Is the setting there, and @value? */
static bool setting_is(const char *path, const char *value)
{
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;

	if (fs_read_file(AT_FDCWD, path, SETTING_MAX, &text, &ignored) < 0)
		return false;
	text.ptr[strcspn(text.ptr, "\n")] = '\0';
	return strcmp(text.ptr, value) == 0;
}

/* What root has to set before an ordinary user may make a namespace, or NULL. */
static const char *find_restriction(void)
{
	static const struct {
		const char *path, *closed, *hint;
	} settings[] = {
		{ "/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000" },
		{ "/proc/sys/kernel/unprivileged_userns_clone", "0",
		  "kernel.unprivileged_userns_clone=1" },
		{ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		  "kernel.apparmor_restrict_unprivileged_userns=0" },
	};

	for (size_t i = 0; i < array_size(settings); i++)
		if (setting_is(settings[i].path, settings[i].closed))
			return settings[i].hint;
	return NULL;
}

/* The last line of @text that is not about pasta's own log, or NULL. */
static const char *last_line(char *text)
{
	char *line, *last = NULL;

	while ((line = strsep(&text, "\n")))
		if (line[0] && !strstr(line, "syslog"))
			last = line;
	return last;
}

int pasta_explain(struct pasta *p, struct error *err)
{
	const char *hint = find_restriction(), *line;
	char words[WORDS_MAX + 1] = { 0 };

	/* where it did not end by itself */
	(void)kill(p->pid, SIGKILL);
	(void)waitpid(p->pid, NULL, 0);
	if (pread(p->words, words, WORDS_MAX, 0) > 0 && (line = last_line(words)))
		error_set(err, err->code, "pasta failed: %s", line);
	if (hint)
		return error_wrap(
			err,
			"this host restricts user namespaces (root can run 'sysctl -w %s' "
			"or 'make install-caps' and add you to the group 'linzer')",
			hint);
	return -err->code;
}

void pasta_release(struct pasta *p)
{
	cleanup_close_(&p->words);
	p->words = -1;
}
