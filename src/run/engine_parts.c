/* SPDX-License-Identifier: Apache-2.0 */
#include "run/engine_parts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "run/session.h"
#include "store/home.h"

enum { HELP_MAX = 16 * 1024, HELP_MS = 20000, KEY_MAX = 8192 };

int engine_ask(const struct engine *engine, const struct identity *identity, const char *option,
	       const char *value, struct str *out, struct str *complaints, struct error *err)
{
	const char *const argv[] = { engine->program, option, value, NULL };
	const struct process_spec spec = {
		.argv = argv,
		.drop = identity->drop,
		.uid = identity->uid,
		.gid = identity->uid,
		.no_new_privs = true,
	};

	return process_run(&spec, NULL, out, HELP_MAX, complaints, HELP_MS, err);
}

bool engine_named(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *line = text; *line; line += *line == '\n') {
		size_t n = strcspn(line, "\n");

		if (n == len && memcmp(line, word, len) == 0)
			return true;
		line += n;
	}
	return false;
}

int engine_find_window(const struct engine *engine, const struct identity *identity,
		       enum plan_window *window, struct error *err)
{
	auto_str kinds = STR_INIT;
	int r = engine_ask(engine, identity, "-display", "help", &kinds, NULL, err);

	if (r < 0)
		return r;
	*window = engine_named(kinds.ptr, "gtk")   ? WINDOW_GTK
		  : engine_named(kinds.ptr, "sdl") ? WINDOW_SDL
						   : WINDOW_NONE;
	return 0;
}

static bool has_clipboard(const struct session *session)
{
	auto_str kinds = STR_INIT;
	struct error ignored = ERROR_INIT;
	int r = engine_ask(&session->engine, &session->identity, "-chardev", "help", &kinds, NULL,
			   &ignored);

	return r != 0 || strstr(kinds.ptr, "qemu-vdagent");
}

static bool has_sound_card(const struct session *session)
{
	auto_str properties = STR_INIT;
	auto_str complaints = STR_INIT;
	struct error ignored = ERROR_INIT;
	int r = engine_ask(&session->engine, &session->identity, "-device", "intel-hda,help",
			   &properties, &complaints, &ignored);

	/* "Device 'intel-hda' not found" */
	return r <= 0 || !strstr(complaints.ptr, "'intel-hda'");
}

/* Which file it is; "": nobody knows. */
static void add_key(const char *program, struct str *key)
{
	struct stat st;

	if (stat(program, &st) == 0)
		str_addf(key, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 ".%09ld\n", program,
			 (uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
			 (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* Return: a descriptor or -1. */
static int open_cache(const struct home *home)
{
	struct error ignored = ERROR_INIT;
	int fd = fs_mkdirs(home->cache, &ignored);

	if (fd == 0)
		fd = fs_open(AT_FDCWD, home->cache, O_RDONLY | O_DIRECTORY, &ignored);
	return fd < 0 ? -1 : fd;
}

static bool is_kept(int cache, const char *name, const struct str *key)
{
	auto_str kept = STR_INIT;
	struct error ignored = ERROR_INIT;

	return cache >= 0 && key->len && fs_read_file(cache, name, KEY_MAX, &kept, &ignored) == 0 &&
	       kept.len == key->len && memcmp(kept.ptr, key->ptr, key->len) == 0;
}

struct engine_parts engine_parts_find(const struct session *session)
{
	const char *name = session->plan.arch == PLAN_ARM64 ? "engine-arm64" : "engine-amd64";
	struct engine_parts parts = { true, true };
	struct error ignored = ERROR_INIT;
	auto_str key = STR_INIT;
	auto_fd cache = open_cache(session->home);

	add_key(session->engine.program, &key);
	if (is_kept(cache, name, &key))
		return parts;
	parts.clipboard = has_clipboard(session);
	parts.sound_card = has_sound_card(session);
	if (parts.clipboard && parts.sound_card && key.len && cache >= 0)
		(void)!fs_replace_file(cache, name, key.ptr, key.len, 0600, &ignored);
	return parts;
}
