/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/call_filter.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"

int call_filter_rule(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned count,
		     const struct scmp_arg_cmp *arguments)
{
	int number = seccomp_syscall_resolve_name(name);

	return number < 0 ? 0 : seccomp_rule_add_array(filter, action, number, count, arguments);
}

static void release_filter(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

/* Write the filter as BPF to the file @fd. */
static int export_filter(uint32_t otherwise, call_filter_rules *add, int fd, struct error *err)
{
	cleanup_(release_filter) scmp_filter_ctx filter = seccomp_init(otherwise);
	int r = filter ? add(filter) : -ENOMEM;

	if (r == 0)
		r = seccomp_export_bpf(filter, fd);
	if (r < 0)
		return error_set(err, -r, "cannot make a filter of system calls: %s", strerror(-r));
	return 0;
}

int call_filter_make(uint32_t otherwise, call_filter_rules *add, struct sock_filter *code,
		     size_t room, struct sock_fprog *program, struct error *err)
{
	auto_fd fd = memfd_create("filter", MFD_CLOEXEC);
	struct stat st;
	int r = fd < 0 ? error_errno(err, "cannot make a memory file")
		       : export_filter(otherwise, add, fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot make a filter of system calls");
	if (st.st_size > (off_t)(room * sizeof(*code)))
		return error_set(err, E_TOO_BIG, "the filter of system calls is too long");
	program->len = (unsigned short)((size_t)st.st_size / sizeof(*code));
	program->filter = code;
	return fs_pread_all(fd, code, (size_t)st.st_size, 0, err);
}
