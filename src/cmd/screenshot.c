/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QEMU draws into memory of ours, which `run` passes on: it never gets a name or a descriptor of
 * the user's file. What it drew is bounded and looked at before it becomes that file.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "store/manage.h"
#include "store/new_file.h"
#include "store/vm.h"

enum {
	DRAW_MS = 60000,
	PICTURE_MAX = 512 * 1024 * 1024, /* 8192 x 8192 pixels, hardly compressed */
	MODE_BITS = 07777,
};

struct screenshot_args {
	const char *name, *file;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct screenshot_args, name),
	  .help = "VM whose screen it is.",
	  .completes = COMPLETES_VM },
	{ .name = "file",
	  .offset = offsetof(struct screenshot_args, file),
	  .help = "PNG file to write, overwritten without asking; - is the standard output.",
	  .completes = COMPLETES_FILE },
	{ 0 },
};

static int read_picture(int memory, struct str *picture, struct error *err)
{
	static const unsigned char signature[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
	auto_free char *path = str_format("/proc/self/fd/%d", memory);
	int r = fs_read_file(AT_FDCWD, path, PICTURE_MAX, picture, err);

	if (r < 0)
		return error_wrap(err, "the picture of the screen");
	if (picture->len < sizeof(signature) ||
	    memcmp(picture->ptr, signature, sizeof(signature)) != 0)
		return error_set(err, E_PROTOCOL, "what QEMU drew is no PNG");
	return 0;
}

static int draw(const struct vm *vm, struct str *picture, struct error *err)
{
	auto_fd memory = memfd_create("screenshot", MFD_CLOEXEC);
	auto_fd theirs = -1;
	int r;

	if (memory < 0)
		return error_errno(err, "cannot make a picture");
	/* QEMU's sets of descriptors know those that can only be written to from the others */
	theirs = fs_reopen(memory, O_WRONLY, err);
	if (theirs < 0)
		return theirs;
	r = manage_request(vm, "screenshot", theirs, DRAW_MS, err);
	return r < 0 ? r : read_picture(memory, picture, err);
}

/* @mode: of the file that was there, 0: none was. */
static int replace(const char *file, mode_t mode, const struct str *picture, struct error *err)
{
	auto_new_file made = NEW_FILE_INIT;
	int r = new_file_open(file, &made, err);

	if (r == 0)
		r = fs_write_all(made.fd, picture->ptr, picture->len, err);
	if (r < 0)
		return r;
	if (mode && fchmod(made.fd, mode & MODE_BITS) < 0)
		return error_errno(err, "cannot write '%s'", file);
	return new_file_publish(&made, err);
}

/* Would a new file in its place differ from @st in more than its content? */
static bool is_replaceable(const struct stat *st)
{
	return st->st_nlink == 1 && st->st_uid == geteuid() && st->st_gid == getegid();
}

/* Did a file's directory, or a mount on the file, stand in the way? */
static bool is_about_the_place(int r)
{
	return r == -EACCES || r == -EPERM || r == -EROFS || r == -EBUSY;
}

/*
 * Over what is there: a file of ours with one name is replaced at once and keeps its mode; any
 * other (a device, a file with other names, of another user or group, in a directory that is not
 * ours to change) is written to, as cp would.
 */
static int overwrite(const char *file, const struct str *picture, struct error *err)
{
	auto_fd fd = fs_open(AT_FDCWD, file, O_WRONLY | O_NOCTTY, err);
	struct stat st;
	int r = -EPERM;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot write '%s'", file);
	if (!S_ISREG(st.st_mode))
		return fs_write_all(fd, picture->ptr, picture->len, err);
	if (is_replaceable(&st))
		r = replace(file, st.st_mode, picture, err);
	return is_about_the_place(r) ? fs_overwrite(fd, picture->ptr, picture->len, err) : r;
}

static int write_picture(const char *file, const struct str *picture, struct error *err)
{
	struct stat st;

	if (strcmp(file, "-") == 0)
		return output_text(picture, err);
	if (stat(file, &st) == 0)
		return overwrite(file, picture, err);
	return replace(file, 0, picture, err);
}

/* What can be known before the VM is asked for anything. */
static int check_file(const char *file, struct error *err)
{
	struct stat st;

	if (strcmp(file, "-") == 0)
		return isatty(STDOUT_FILENO)
			       ? error_set(err, E_FAILED, "the standard output is a terminal")
			       : 0;
	if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
		return error_set(err, EISDIR, "'%s' is a directory", file);
	if (!*file)
		return error_set(err, ENOENT, "the file has no name");
	return 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct screenshot_args *args = data;
	auto_vm vm = VM_INIT;
	auto_str picture = STR_INIT;
	int r = vm_open(&inv->home, args->name, /* quiet= */ true, &vm, err);

	if (r == 0)
		r = check_file(args->file, err);
	if (r < 0)
		return r;
	if (!vm_is_run(&vm))
		return error_set(err, E_NOT_RUNNING, "VM \"%s\" is not running", args->name);
	r = draw(&vm, &picture, err);
	return r < 0 ? r : write_picture(args->file, &picture, err);
}

const struct command command_screenshot = {
	.name = "screenshot",
	.summary = "Write a running VM's screen to a PNG file",
	.arguments = arguments,
	.args_size = sizeof(struct screenshot_args),
	.run = run,
};
