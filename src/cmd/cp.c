/* SPDX-License-Identifier: Apache-2.0 */

/*
 * cp: files and folders into a running VM and out of it.
 *
 * Built on exec, so that any agent will do: a tar in the guest writes or reads the stream, and
 * agent/tree_receive.h or agent/tree_send.h is the other end. A command before it asks the guest
 * what is at its end, since that decides what becomes of what (cmd/copy_place.h).
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/client.h"
#include "agent/tree_receive.h"
#include "agent/tree_send.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/copy_place.h"
#include "cmd/guest_command.h"
#include "store/vm.h"

enum {
	ANSWER_MAX = 2 * PATH_MAX,
	COMPLAINT_MAX = 300, /* bytes of what the guest's tar says that are kept */
};

/* What is at $1, whose folder is $2: a letter, and where a link leads to. */
static const char what_is_there[] =
	"if [ -n \"$3\" ] && [ -L \"$1\" ]; then echo f\n"
	"elif [ -d \"$1\" ]; then echo d\n"
	"elif [ -L \"$1\" ] && [ -e \"$1\" ]; then echo f; readlink -f \"$1\"\n"
	"elif [ -e \"$1\" ] || [ -L \"$1\" ]; then echo f\n"
	"elif [ -d \"$2\" ]; then echo n\n"
	"else echo p; fi";

/* $2 in the folder $1. GNU's tar keeps parts of a second in POSIX's format alone. */
static const char write_stream[] =
	"unset CDPATH; cd \"$1\" || exit 1\n"
	"case $(tar --version 2>/dev/null) in\n"
	"*GNU*) exec tar --format=posix --pax-option=delete=atime,delete=ctime -cf - \"$2\" ;;\n"
	"*) exec tar -cf - \"$2\" ;; esac";

/* Into the folder $1, which is made where it is missing; a file is $2 there. */
static const char read_stream[] =
	"if [ -n \"$2\" ] && [ -d \"$1/$2\" ]; then echo \"'$1/$2' is a folder\" >&2; exit 1; fi\n"
	"unset CDPATH; [ -d \"$1\" ] || mkdir \"$1\" || exit 1\n"
	"cd \"$1\" && exec tar -xpof -";

struct cp_args {
	const char *from, *to;
};

static const struct argument arguments[] = {
	{ .name = "source",
	  .offset = offsetof(struct cp_args, from),
	  .help = "File or folder, name:path in a VM; x/. is what is in the folder x.",
	  .completes = COMPLETES_FILE },
	{ .name = "destination",
	  .offset = offsetof(struct cp_args, to),
	  .help = "Where it goes: into a folder that exists, else this is its new name.",
	  .completes = COMPLETES_FILE },
	{ 0 },
};

/* One command in the guest, and what is at this end of it. */
struct copy {
	const struct vm *vm;
	struct str complaint; /* the beginning of it */
	struct str *answer; /* or */
	struct tree_receive *receive; /* or */
	struct tree_send *send;
	_Atomic uint64_t bytes; /* copied */
};

static int on_output(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	struct copy *copy = arg;

	if (copy->answer) {
		if (copy->answer->len + len > ANSWER_MAX)
			return error_set(err, E_PROTOCOL, "the guest's answer is too long");
		str_add(copy->answer, bytes, len);
	}
	if (!copy->receive)
		return 0;
	copy->bytes += len;
	return tree_receive_feed(copy->receive, bytes, len, err);
}

static int on_input(void *arg, struct str *out, struct error *err)
{
	struct copy *copy = arg;
	int r = tree_send_next(copy->send, out, err);

	copy->bytes += out->len;
	return r;
}

static void on_complaint(void *arg, const uint8_t *bytes, size_t len)
{
	struct copy *copy = arg;
	size_t room = COMPLAINT_MAX - copy->complaint.len;

	str_add(&copy->complaint, bytes, len < room ? len : room);
}

/* The command failed: say why, by the first line that it has said. */
static int guest_failed(const struct copy *copy, int code, struct error *err)
{
	const char *said = copy->complaint.ptr;

	if (!*said)
		return error_set(err, E_FAILED, "the command in the VM failed with exit code %d",
				 code);
	return error_set(err, E_FAILED, "in the VM: %.*s", (int)strcspn(said, "\n"), said);
}

static void ask_copied(void *arg, uint64_t *done, uint64_t *total)
{
	const struct copy *copy = arg;

	*done = copy->bytes;
	*total = 0;
}

/* Run @script with $1, $2 and $3. Return: 0 if it succeeded, or error. */
static int run_script(struct copy *copy, const char *script, const char *one, const char *two,
		      const char *three, struct error *err)
{
	const char *argv[] = { "sh", "-c", script, "sh", one, two, three, NULL };
	const struct client_streams streams = { on_input, on_output, on_complaint, copy };
	struct client_exec how = { .argv = argv,
				   .streams = &streams,
				   .interactive = copy->send != NULL };
	struct waiting waiting;
	int r;

	waiting_begin(&waiting, "copying", ask_copied, copy);
	r = guest_command_run(copy->vm, &how, err);
	waiting_end(&waiting);
	return r > 0 ? guest_failed(copy, r, err) : r;
}

static void copy_release(struct copy *copy)
{
	str_release(&copy->complaint);
	tree_receive_free(copy->receive);
	tree_send_free(copy->send);
}

#define auto_copy cleanup_(copy_release) struct copy

static void tell_left_out(uint64_t count)
{
	if (count)
		(void)dprintf(STDERR_FILENO, "Not copied: %llu devices, pipes or sockets\n",
			      (unsigned long long)count);
}

/* ---- what is there ---- */

/*
 * In the guest. @link: a link counts as itself, and *path stays; else *path becomes what it leads
 * to. The answer is the guest's and decides about nothing but what it is asked for next: what a
 * source is called decides about a name here, so that is never taken from it.
 */
static int look_there(const struct vm *vm, char **path, bool link, enum copy_kind *kind,
		      struct error *err)
{
	auto_free char *parent = copy_parent(*path);
	auto_str answer = STR_INIT;
	auto_copy copy = { .vm = vm, .complaint = STR_INIT, .answer = &answer };
	int r = run_script(&copy, what_is_there, *path, parent, link ? "link" : "", err);

	if (r < 0)
		return r;
	if (answer.len < 2 || !strchr("dfnp", answer.ptr[0]) || answer.ptr[1] != '\n')
		return error_set(err, E_PROTOCOL, "the guest does not say what '%s' is", *path);
	*kind = answer.ptr[0] == 'd'   ? COPY_FOLDER
		: answer.ptr[0] == 'f' ? COPY_FILE
		: answer.ptr[0] == 'n' ? COPY_NOTHING
				       : COPY_NO_PARENT;
	if (!link && answer.ptr[2] == '/' && answer.ptr[answer.len - 1] == '\n') {
		free(*path);
		*path = xstrndup(answer.ptr + 2, answer.len - 3);
	}
	return 0;
}

/* Here, as a source. */
static int look_here(const char *path, bool *folder, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_errno(err, "cannot copy '%s'", path);
	*folder = S_ISDIR(st.st_mode);
	if (!*folder && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return error_set(err, E_FAILED, "'%s' is no file, folder or link", path);
	return 0;
}

/* Here, as a destination; a link's *path becomes what it leads to. */
static int look_at_destination(char **path, enum copy_kind *kind, struct error *err)
{
	auto_free char *parent = copy_parent(*path);
	char *real;
	struct stat st;

	if (stat(*path, &st) < 0) {
		bool link = lstat(*path, &st) == 0; /* to nothing: it is replaced */
		bool beside = stat(parent, &st) == 0 && S_ISDIR(st.st_mode);

		*kind = link ? COPY_FILE : beside ? COPY_NOTHING : COPY_NO_PARENT;
		return 0;
	}
	*kind = S_ISDIR(st.st_mode) ? COPY_FOLDER : COPY_FILE;
	if (*kind == COPY_FOLDER)
		return 0;
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_FAILED, "'%s' is no file and no folder", *path);
	real = realpath(*path, NULL);
	if (!real)
		return error_errno(err, "cannot copy to '%s'", *path);
	free(*path);
	*path = real;
	return 0;
}

/* ---- out of the VM ---- */

/* A folder is read from within, so that nothing depends on what the guest calls it. */
static int read_from_guest(struct copy *copy, const char *from, bool folder, struct error *err)
{
	auto_free char *parent = copy_parent(from);
	auto_free char *name = copy_name(from);
	auto_free char *inside = str_format("./%s", name);

	return run_script(copy, write_stream, folder ? from : parent, folder ? "." : inside, "",
			  err);
}

static int receive(const struct vm *vm, const char *from, bool folder,
		   const struct copy_target *target, struct error *err)
{
	/* first, so that it is closed last: what is not whole is removed from there */
	auto_fd dir = open(target->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_copy copy = { .vm = vm, .complaint = STR_INIT };
	struct error later = ERROR_INIT;
	enum tree_receive_kind kind = !folder		       ? RECEIVE_FILE
				      : copy_is_contents(from) ? RECEIVE_CONTENTS
							       : RECEIVE_FOLDER;
	int r;

	if (dir < 0)
		return error_errno(err, "cannot open '%s'", target->dir);
	copy.receive = tree_receive_new(dir, target->name, kind);
	r = read_from_guest(&copy, from, folder, err);
	/* what did come gets its modes even where the rest did not */
	if (tree_receive_finish(copy.receive, &later) < 0 && r == 0) {
		*err = later;
		r = -later.code;
	}
	if (r == 0)
		tell_left_out(tree_receive_left_out(copy.receive));
	return r;
}

static int copy_out(const struct vm *vm, struct copy_place *from, struct copy_place *to,
		    struct error *err)
{
	auto_copy_target target = COPY_TARGET_INIT;
	enum copy_kind there = COPY_NOTHING, here = COPY_NOTHING;
	int r = look_there(vm, &from->path, /* link= */ true, &there, err);

	if (r < 0)
		return r;
	if (there != COPY_FILE && there != COPY_FOLDER)
		return error_set(err, E_FAILED, "there is no '%s' in VM \"%s\"", from->path,
				 vm->name);
	r = look_at_destination(&to->path, &here, err);
	if (r == 0)
		r = copy_target_find(from->path, there == COPY_FOLDER, to->path, here, &target,
				     err);
	return r < 0 ? r : receive(vm, from->path, there == COPY_FOLDER, &target, err);
}

/* ---- into the VM ---- */

static int send_tree(const struct vm *vm, const char *from, bool folder,
		     const struct copy_target *target, struct error *err)
{
	auto_copy copy = { .vm = vm, .complaint = STR_INIT };
	auto_free char *inside = str_format("%s/%s", target->dir, target->name);
	bool itself = strcmp(target->name, ".") != 0;
	int r = tree_send_new(from, target->name, itself, &copy.send, err);

	if (r == 0)
		r = run_script(&copy, read_stream, folder ? inside : target->dir,
			       folder ? "" : target->name, "", err);
	if (r == 0)
		tell_left_out(tree_send_left_out(copy.send));
	return r;
}

static int copy_in(const struct vm *vm, struct copy_place *from, struct copy_place *to,
		   struct error *err)
{
	auto_copy_target target = COPY_TARGET_INIT;
	enum copy_kind there = COPY_NOTHING;
	bool folder;
	int r = look_here(from->path, &folder, err);

	if (r == 0)
		r = look_there(vm, &to->path, /* link= */ false, &there, err);
	if (r == 0)
		r = copy_target_find(from->path, folder, to->path, there, &target, err);
	return r < 0 ? r : send_tree(vm, from->path, folder, &target, err);
}

static int run(struct invocation *inv, void *p, struct error *err)
{
	const struct cp_args *args = p;
	auto_copy_place from = COPY_PLACE_INIT;
	auto_copy_place to = COPY_PLACE_INIT;
	auto_vm vm = VM_INIT;
	int r;

	copy_place_parse(args->from, &from);
	copy_place_parse(args->to, &to);
	if (!from.vm == !to.vm)
		return error_set(err, E_FAILED, "%s of the two must be in a VM, as NAME:PATH",
				 from.vm ? "only one" : "one");
	r = guest_command_open(inv, from.vm ? from.vm : to.vm, &vm, err);
	if (r < 0)
		return r;
	return from.vm ? copy_out(&vm, &from, &to, err) : copy_in(&vm, &from, &to, err);
}

const struct command command_cp = {
	.name = "cp",
	.summary = "Copy files into a running VM or out of it",
	.discussion = "Keeps modes, times and links. Needs an agent and tar in the VM; what is "
		      "copied belongs to the agent's user there, and to you here.",
	.arguments = arguments,
	.args_size = sizeof(struct cp_args),
	.run = run,
};
