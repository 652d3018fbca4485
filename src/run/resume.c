/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The memory is copied by a thread while QEMU starts, which is most of what a resume takes. The
 * copy is QEMU's to write to: the state itself is never mapped.
 *
 * Until state_consume() nothing has been done that the state could not be resumed from again: the
 * disks are not written to by an engine that waits for a state. Afterwards it is gone, also if the
 * host fails before the guest's first instruction; see store/state.c.
 */

#include "run/resume.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "machine/engine.h"
#include "machine/migrate.h"
#include "machine/plan.h"
#include "machine/plug.h"
#include "machine/qmp.h"
#include "run/disk_extra.h"
#include "run/memory.h"
#include "run/session.h"

enum { CONT_MS = 20000, LAST_WORDS_MS = 2000, CPUINFO_MAX = 4 * 1024 * 1024, UNPLUGGED_MS = 2000 };

/* It goes on as it was; what `set` has changed takes effect when it is started anew. */
static int take_config(struct session *session, struct error *err)
{
	const char *text = session->resume.state.config;
	auto_config config = CONFIG_INIT;
	int r = config_parse(text, strlen(text), &config, err);

	if (r < 0)
		return error_wrap(err, "the state's config");
	config_release(&session->config);
	session->config = config;
	config = (struct config)CONFIG_INIT;
	return 0;
}

int resume_find(struct session *session, struct error *err)
{
	struct resume *resume = &session->resume;
	int r;

	state_tidy(&session->vm);
	resume->active = state_exists(&session->vm);
	if (!resume->active)
		return 0;
	(void)puts("restoring VM state from a snapshot...");
	r = state_open(&session->vm, &resume->state, &resume->files, err);
	return r < 0 ? r : take_config(session, err);
}

static int not_as_it_was(const char *what, struct error *err)
{
	return error_set(err, E_FAILED, "not as it was when it was suspended: %s", what);
}

int resume_check_disk(struct session *session, struct error *err)
{
	const struct resume *resume = &session->resume;
	struct state_disk disk;
	int r;

	if (!resume->active)
		return 0;
	r = state_find_disk(&session->vm, &session->chain, &disk, err);
	if (r < 0)
		return r;
	return state_same_disk(&disk, &resume->state.disk)
		       ? 0
		       : not_as_it_was("the disk's content", err);
}

static void *copy_memory(void *arg)
{
	struct resume *resume = arg;

	(void)!fs_copy_sparse(resume->files.memory, resume->memory, &resume->error);
	return NULL;
}

int resume_copy_memory(struct session *session, struct error *err)
{
	struct resume *resume = &session->resume;
	int r;

	if (!resume->active)
		return 0;
	if (resume->state.memory != memory_size(session->config.memory))
		return not_as_it_was("memory size", err);
	resume->memory = session->memory;
	r = process_start_thread(&resume->copier, copy_memory, resume, err);
	resume->copying = r == 0;
	return r;
}

static int wait_for_memory(struct resume *resume, struct error *err)
{
	if (resume->copying)
		(void)pthread_join(resume->copier, NULL);
	resume->copying = false;
	if (!resume->error.code)
		return 0;
	*err = resume->error;
	return error_wrap(err, "cannot restore the guest's memory");
}

void resume_release(struct resume *resume)
{
	struct error ignored = ERROR_INIT;

	(void)!wait_for_memory(resume, &ignored);
	state_release(&resume->state);
	state_files_release(&resume->files);
}

void resume_fill_plan(struct session *session, struct launch_plan *plan)
{
	plan->memory_fd = session->memory;
	plan->incoming = session->resume.active;
	plan->machine = session->resume.active ? session->resume.state.machine : NULL;
}

/* --- what a state depends on --- */

/* The line of /proc/cpuinfo that names the host's processor; owned. */
static char *host_processor(void)
{
	static const char *const keys[] = { "model name", "CPU part" };
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;

	if (fs_read_file(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &text, &ignored) < 0)
		return str_format("unknown");
	for (size_t i = 0; i < array_size(keys); i++) {
		const char *line = strstr(text.ptr, keys[i]);
		const char *value = line ? strchr(line, ':') : NULL;

		if (value)
			return str_format("%.*s", (int)strcspn(value, "\n"), value);
	}
	return str_format("unknown");
}

/* What emulates a processor changes with QEMU's version, as the host's does with the host. */
int session_describe(struct session *session, struct state *state, struct error *err)
{
	auto_free char *version = NULL;
	auto_free char *host = NULL;
	auto_str config = STR_INIT;
	int r = migrate_describe(session->qmp, &state->machine, &version, err);

	if (r < 0)
		return r;
	host = session->plan.accel == PLAN_KVM ? host_processor() : str_format("QEMU %s", version);
	state->processor = str_format("%s, %.200s", accel_name(session->plan.accel), host);
	config_format(&session->config, &config);
	state->config = str_detach(&config);
	state->memory = memory_size(session->config.memory);
	for (size_t i = 0; i < session->parts.len; i++)
		strings_add(&state->parts, session->parts.items[i]);
	for (size_t i = 0; i < session->extra_count; i++)
		disk_extra_describe(&session->extras[i], &state->parts);
	return 0;
}

static const char *part_at(const struct strings *parts, size_t i)
{
	return i < parts->len ? parts->items[i] : "";
}

static const char *part_name(const char *part)
{
	return str_starts(part, DISK_EXTRA_PART) ? "the content of what --disk names"
						 : qemu_part_name(part);
}

/* The first part that is not the same; of the two the one that says more. */
static int compare_parts(const struct strings *now, const struct strings *then, struct error *err)
{
	size_t count = now->len > then->len ? now->len : then->len;

	for (size_t i = 0; i < count; i++) {
		const char *a = part_at(now, i), *b = part_at(then, i);

		if (strcmp(a, b) != 0)
			return not_as_it_was(part_name(now->len < then->len ? b : a), err);
	}
	return 0;
}

static int compare(struct session *session, struct error *err)
{
	const struct state *then = &session->resume.state;
	auto_state now = STATE_INIT;
	int r = session_describe(session, &now, err);

	if (r == 0)
		r = compare_parts(&now.parts, &then->parts, err);
	if (r < 0)
		return r;
	if (strcmp(now.processor, then->processor) != 0)
		return error_set(err, E_FAILED, "it was suspended on '%.200s', this is '%.200s'",
				 then->processor, now.processor);
	return 0;
}

/* --- going on --- */

int session_plug_in(struct session *session, size_t count, bool clipboard, struct error *err)
{
	struct folders *folders = &session->folders;
	int r = clipboard ? plug_clipboard_in(session->qmp, &session->plan, err) : 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = plug_folder_in(session->qmp, i, folders->shares[i].tag, folders->shares[i].qemu,
				   err);
	folders_handed(folders);
	return r;
}

/* An engine that cannot read a state says why and ends. */
static int hear_last_words(struct session *session, struct error *err)
{
	struct pollfd p = { .fd = session->qemu_errors, .events = POLLIN };
	char text[4096];
	ssize_t n;

	while (poll(&p, 1, LAST_WORDS_MS) > 0 &&
	       (n = read(session->qemu_errors, text, sizeof(text))) > 0)
		session_keep_error(session, text, (size_t)n);
	if (session->last_error[0])
		return error_set(err, E_FAILED, "%s", session->last_error);
	return -err->code;
}

static int load(struct session *session, struct error *err)
{
	int r = migrate_load(session->qmp, session->resume.files.device, err);

	return r == -EPIPE ? hear_last_words(session, err) : r;
}

static int set_link(struct session *session, bool up, struct error *err)
{
	return qmp_call(session->qmp, "set_link", json_pack("{s:s, s:b}", "name", "nic0", "up", up),
			-1, CONT_MS, NULL, err);
}

static void on_link_timer(uv_timer_t *timer)
{
	struct error err = ERROR_INIT;

	if (set_link(timer->data, /* up= */ true, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
}

/*
 * The guest uses the address that it had, without asking. If another VM has it now, the guest's
 * cable is out for a moment: then it asks.
 */
static int settle_address(struct session *session, struct error *err)
{
	struct network_card *card = &session->network.cards[0];
	struct in_addr had = session->resume.state.address;

	if (!had.s_addr || !session->network.card_count || session->network.mode == NET_BRIDGED)
		return 0;
	if (had.s_addr != card->address.s_addr) {
		(void)uv_timer_start(&session->link_timer, on_link_timer, UNPLUGGED_MS, 0);
		return set_link(session, /* up= */ false, err);
	}
	card->leased = true;
	session_show_card(session, card);
	return 0;
}

static int go_on(struct session *session, struct error *err)
{
	struct error ignored = ERROR_INIT;
	int r = state_consume(&session->vm, err);

	if (r < 0)
		return r;
	session->resume.active = false;
	r = qmp_call(session->qmp, "cont", NULL, -1, CONT_MS, NULL, err);
	/* it said no: not one instruction was executed; who kept the network is to hear of that
	   only when there is a state again */
	if (r == -E_FAILED) {
		(void)!state_put_back(&session->vm, &ignored);
		session->resume.active = true;
		return r;
	}
	caretaker_thank(&session->network);
	return r;
}

int resume_load(struct session *session, struct error *err)
{
	struct resume *resume = &session->resume;
	int r;

	if (!resume->active)
		return 0;
	r = compare(session, err);
	if (r == 0)
		r = wait_for_memory(resume, err);
	if (r == 0)
		r = load(session, err);
	if (r == 0)
		r = session_plug_in(session, session->folders.count, session->plan.clipboard, err);
	if (r < 0)
		return r;
	(void)puts("resuming VM...");
	r = settle_address(session, err);
	if (r < 0)
		return r;
	r = go_on(session, err);
	if (r < 0)
		return r;
	resume->done = true;
	state_tidy(&session->vm);
	return 0;
}

int resume_failed(const struct session *session, struct error *err)
{
	char why[sizeof(err->text)];

	if (!session->resume.active || !state_exists(&session->vm))
		return -err->code;
	(void)snprintf(why, sizeof(why), "%s", err->text);
	return error_set(
		err, err->code,
		"cannot resume VM \"%s\": %.300s; its state is kept ('linzer stop' forgets it)",
		session->vm.name, why);
}
