/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"
#include "cli/table.h"
#include "cmd/doctor.h"
#include "machine/convert.h"
#include "store/home.h"
#include "store/qcow2.h"
#include "store/stage.h"

enum { BLOCK = 65536, HOLE = 16 * BLOCK };

/* What is expected of a file system, as far as it was seen. */
struct abilities {
	bool reflink, links, holes;
};

/* A file "a" of one block and a hole; as a VM's config it can be locked. */
static int make_file(int dir, struct error *err)
{
	static const char bytes[BLOCK] = { 1 };
	auto_fd fd = -1;
	int r = fs_replace_file(dir, "a", bytes, sizeof(bytes), 0600, err);

	if (r < 0)
		return r;
	fd = fs_open(dir, "a", O_RDWR, err);
	if (fd < 0)
		return fd;
	r = lock_record_try(fd, err);
	if (r < 0)
		return error_wrap(err, "files cannot be locked");
	if (ftruncate(fd, HOLE) < 0 || fsync(fd) < 0)
		return error_errno(err, "cannot write a file");
	return 0;
}

static int try_abilities(int dir, struct abilities *can, struct error *err)
{
	auto_fd from = fs_open(dir, "a", O_RDONLY, err);
	auto_fd to = from < 0 ? -1 : fs_open(dir, "b", O_RDWR | O_CREAT, err);
	struct stat st;
	int r;

	if (from < 0 || to < 0)
		return -err->code;
	r = fs_reflink(from, to, err);
	if (r < 0)
		return r;
	can->reflink = r > 0;
	can->links = linkat(dir, "a", dir, "c", 0) == 0;
	can->holes = fstat(from, &st) == 0 && fs_allocated(&st) < HOLE;
	return 0;
}

static int try_home(const struct home *home, struct abilities *can, struct error *err)
{
	auto_stage stage = STAGE_INIT;
	int r = stage_open(home, "doctor", &stage, err);

	if (r == 0)
		r = make_file(stage.vm.dir, err);
	return r < 0 ? r : try_abilities(stage.vm.dir, can, err);
}

static const char *write_advice(int code)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
		return "make room ('linzer prune', 'linzer list --long'), or set TART_HOME to a "
		       "place that has more";
	case EACCES:
	case EPERM:
	case EROFS:
		return "make it yours and writable, or set TART_HOME to a directory that is";
	default:
		return "set TART_HOME to a directory on a local disk";
	}
}

static void add_abilities(struct doctor *doctor, const struct home *home,
			  const struct abilities *can)
{
	static const char check[] = "home";

	if (!can->reflink && !can->links)
		doctor_add(doctor, check, DOCTOR_WARN, write_advice(0),
			   "'%s': neither shared blocks nor hard links: VMs cannot be cloned",
			   home->path);
	else if (!can->holes)
		doctor_add(doctor, check, DOCTOR_WARN, write_advice(0),
			   "'%s': no sparse files: each disk takes all of its size", home->path);
	else
		doctor_add(doctor, check, DOCTOR_OK, NULL, "'%s': clones share %s", home->path,
			   can->reflink ? "blocks (reflink)"
					: "layers of their disks (no reflink here)");
}

/* Less than the system of a small guest writes while it is set up. */
static const uint64_t little = UINT64_C(5) * 1000 * 1000 * 1000;

static void check_space(struct doctor *doctor, const struct home *home)
{
	static const char check[] = "free space";
	auto_str free_text = STR_INIT;
	struct statvfs fs;
	uint64_t space;

	if (statvfs(home->vms, &fs) < 0) {
		doctor_add(doctor, check, DOCTOR_WARN, NULL, "it cannot be seen: %s",
			   strerror(errno));
		return;
	}
	space = (uint64_t)fs.f_bavail * fs.f_frsize;
	size_add(&free_text, space);
	doctor_add(doctor, check, space < little ? DOCTOR_WARN : DOCTOR_OK,
		   space < little ? write_advice(ENOSPC) : NULL, "%s", free_text.ptr);
}

void doctor_check_home(struct doctor *doctor, const struct home *home)
{
	struct abilities can = { 0 };
	struct error err = ERROR_INIT;

	if (try_home(home, &can, &err) < 0)
		doctor_add(doctor, "home", DOCTOR_FAIL, write_advice(err.code), "'%s': %s",
			   home->path, err.text);
	else
		add_abilities(doctor, home, &can);
	check_space(doctor, home);
}

enum { TRIED_SIZE = 1024 * 1024 };

/* An empty image there and back. */
static int convert_image(int dir, struct error *err)
{
	auto_fd from = fs_open(dir, "from", O_RDWR | O_CREAT, err);
	auto_fd to = from < 0 ? -1 : fs_open(dir, "to", O_RDWR | O_CREAT, err);
	uint64_t size;
	int r;

	if (from < 0 || to < 0)
		return -err->code;
	r = qcow2_write_empty(from, TRIED_SIZE, err);
	return r < 0 ? r : convert_to_raw(from, to, TRIED_SIZE, &size, err);
}

static int try_images(const struct home *home, struct error *err)
{
	auto_stage stage = STAGE_INIT;
	int r = stage_open(home, "doctor", &stage, err);

	return r < 0 ? r : convert_image(stage.vm.dir, err);
}

static const char *sandbox_advice(int code)
{
	return code == ENOSYS ? "boot a kernel of 5.13 or newer with 'landlock' among its lsm="
			      : NULL;
}

void doctor_check_images(struct doctor *doctor, const struct home *home)
{
	struct error err = ERROR_INIT;

	if (try_images(home, &err) < 0)
		doctor_add(doctor, "disk images", DOCTOR_WARN, sandbox_advice(err.code),
			   "no foreign image becomes a disk: %s", err.text);
	else
		doctor_add(doctor, "disk images", DOCTOR_OK, NULL,
			   "qemu-img reads foreign ones in its sandbox (Landlock)");
}
