/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A window is QEMU's own, in its sandbox. Where QEMU runs as another user (identity.h), it gets
 * a copy of the X server's cookies: it cannot read the user's files. It starts no process, so
 * libraries that would start a message bus or a sound server are told that there is none.
 */

#include "run/desk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "run/engine_parts.h"
#include "run/run.h"
#include "run/session.h"
#include "run/xauthority.h"

enum { COOKIES_MAX = 64 * 1024, FIRST_FD = 3 };

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* Another user's QEMU can be let into an X server only. */
bool desk_is_there(const struct identity *identity)
{
	return setting("DISPLAY") || (!identity->drop && setting("WAYLAND_DISPLAY"));
}

static bool wants_window(const struct session *session)
{
	const struct desk_options *options = &session->options->desk;

	if (options->no_graphics || !desk_is_there(&session->identity))
		return false;
	return options->graphics || !(options->vnc || options->vnc_experimental);
}

/* QEMU ends at once when its window is closed, so there is no state that could be saved. */
static void keep_open(struct session *session)
{
	session->plan.stays_open = true;
	(void)fprintf(stderr,
		      "the window of a suspendable VM cannot be closed: use 'linzer suspend %s' or "
		      "'linzer stop %s'\n",
		      session->vm.name, session->vm.name);
}

static int plan_window(struct session *session, struct error *err)
{
	static const char missing[] = "QEMU here has no window: install the package "
				      "'qemu-system-gui', or use --no-graphics";
	int r = engine_find_window(&session->engine, &session->identity, &session->plan.window,
				   err);

	if (r < 0 || session->plan.window != WINDOW_NONE)
		return r;
	if (session->options->desk.graphics)
		return error_set(err, E_MISSING_TOOL, "%s", missing);
	(void)fprintf(stderr, "%s\n", missing);
	return 0;
}

/* The user has cookies of other displays, too, which are none of a guest's business. */
static bool read_cookies(const char *path, struct str *cookies)
{
	auto_str all = STR_INIT;
	struct error ignored = ERROR_INIT;
	char hostname[HOST_NAME_MAX + 1] = "";
	struct x_display display;

	if (fs_read_file(AT_FDCWD, path, COOKIES_MAX, &all, &ignored) < 0 ||
	    !x_display_parse(getenv("DISPLAY"), &display) ||
	    gethostname(hostname, sizeof(hostname) - 1) < 0)
		return false;
	xauthority_pick(all.ptr, all.len, &display, hostname, cookies);
	return cookies->len;
}

/* What an X client needs to be let in, as a file of QEMU's user. Without it some servers do, too.
 */
static int copy_cookies(struct session *session, struct error *err)
{
	auto_free char *at_home =
		str_format("%s/.Xauthority", setting("HOME") ? getenv("HOME") : "");
	const char *path = setting("XAUTHORITY") ? getenv("XAUTHORITY") : at_home;
	auto_fd copy = -1;
	auto_str cookies = STR_INIT;
	int r;

	if (!read_cookies(path, &cookies))
		return 0;
	copy = memfd_create("cookies", MFD_CLOEXEC);
	if (copy < 0)
		return error_errno(err, "cannot copy '%s'", path);
	r = fs_write_all(copy, cookies.ptr, cookies.len, err);
	if (r < 0)
		return r;
	if (fchmod(copy, 0400) < 0 ||
	    fchown(copy, session->identity.uid, session->identity.uid) < 0)
		return error_errno(err, "cannot copy '%s'", path);
	session->desk.cookies = take_fd(&copy);
	return 0;
}

/* Where a user's PulseAudio or PipeWire has its socket, or NULL. */
static char *sound_directory(void)
{
	const char *dir = setting("XDG_RUNTIME_DIR");

	return dir ? str_format("%s/pulse", dir) : NULL;
}

/* Does somebody serve the socket in @dir? QEMU does not start where nobody does. */
static bool is_served(const char *dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/native", dir);

	return fd >= 0 && n > 0 && (size_t)n < sizeof(address.sun_path) &&
	       connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

/*
 * With a window, a user's PulseAudio or PipeWire plays; else the sound card is a dumb one: who
 * runs VMs without looking at them does not depend on a sound server.
 */
static int plan_sound(struct session *session, struct error *err)
{
	auto_free char *dir = sound_directory();
	auto_str kinds = STR_INIT;
	int r;

	session->plan.microphone = !session->options->desk.no_audio;
	if (session->plan.sound == SOUND_NO_CARD || session->options->desk.no_audio ||
	    session->plan.window == WINDOW_NONE || session->identity.drop || !dir ||
	    !is_served(dir))
		return 0;
	r = engine_ask(&session->engine, &session->identity, "-audiodev", "help", &kinds, NULL,
		       err);
	if (r < 0 || !engine_named(kinds.ptr, "pa"))
		return r < 0 ? r : 0;
	session->desk.sound = fs_open(AT_FDCWD, dir, O_PATH | O_DIRECTORY, err);
	if (session->desk.sound < 0)
		return session->desk.sound;
	session->plan.sound = SOUND_PULSE;
	session->plan.sound_fd = session->desk.sound;
	return 0;
}

/* What this QEMU has not, the VM goes without. */
static void leave_out(struct session *session)
{
	const struct engine_parts parts = engine_parts_find(session);

	if (!parts.clipboard && session->plan.clipboard) {
		session->plan.clipboard = false;
		(void)fputs("QEMU here has no 'qemu-vdagent': there is no shared clipboard\n",
			    stderr);
	}
	if (!parts.sound_card) {
		session->plan.sound = SOUND_NO_CARD;
		if (!session->options->desk.no_audio)
			(void)fputs("QEMU here has no 'intel-hda': there is no sound\n", stderr);
	}
}

int desk_plan(struct session *session, struct error *err)
{
	const struct desk_options *options = &session->options->desk;
	struct launch_plan *plan = &session->plan;
	int r = 0;

	plan->display = true;
	plan->width = session->config.display_width;
	plan->height = session->config.display_height;
	plan->keyboard = !options->no_keyboard;
	plan->pointer = !options->no_pointer;
	plan->clipboard = !options->no_clipboard;
	plan->grab_keys = options->capture_system_keys;
	plan->vnc = options->vnc_experimental;
	leave_out(session);
	if (wants_window(session))
		r = plan_window(session, err);
	if (plan->window != WINDOW_NONE && options->suspendable)
		keep_open(session);
	if (r == 0 && plan->window != WINDOW_NONE && session->identity.drop)
		r = copy_cookies(session, err);
	return r < 0 ? r : plan_sound(session, err);
}

static void add_setting(struct strings *env, const char *name)
{
	if (setting(name))
		strings_addf(env, "%s=%s", name, getenv(name));
}

/* A library that finds no bus starts one; nothing else of theirs is of use to a window. */
static void add_quiet_libraries(struct strings *env)
{
	static const char *const settings[] = {
		"DBUS_SESSION_BUS_ADDRESS=disabled:",
		"NO_AT_BRIDGE=1",
		"GSETTINGS_BACKEND=memory",
		"GIO_USE_VFS=local",
		"GTK_USE_PORTAL=0",
	};

	for (size_t i = 0; i < array_size(settings); i++)
		strings_add(env, settings[i]);
}

static void add_desktop(const struct session *session, struct strings *env, struct process_fd *fds,
			size_t *fd_count)
{
	int theirs = FIRST_FD + (int)*fd_count;

	add_setting(env, "DISPLAY");
	if (session->desk.cookies >= 0) {
		fds[(*fd_count)++] = (struct process_fd){ session->desk.cookies, theirs };
		strings_addf(env, "XAUTHORITY=/proc/self/fd/%d", theirs);
	} else if (!session->identity.drop) {
		add_setting(env, "XAUTHORITY");
		add_setting(env, "WAYLAND_DISPLAY");
	}
	add_quiet_libraries(env);
}

void desk_environment(const struct session *session, struct strings *env, struct process_fd *fds,
		      size_t *fd_count)
{
	if (session->plan.window == WINDOW_NONE)
		return;
	add_desktop(session, env, fds, fd_count);
	if (session->identity.drop)
		return;
	add_setting(env, "HOME");
	add_setting(env, "XDG_RUNTIME_DIR");
}

void desk_release(struct desk *desk)
{
	cleanup_close_(&desk->cookies);
	cleanup_close_(&desk->sound);
	desk->cookies = desk->sound = -1;
}
