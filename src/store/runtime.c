/* SPDX-License-Identifier: Apache-2.0 */
#include "store/runtime.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/vm.h"

static const char file_name[] = "run.json";

int runtime_write(const struct vm *vm, const struct runtime *rt, struct error *err)
{
	auto_str text = STR_INIT;

	runtime_format(rt, &text);
	return fs_replace_file(vm->dir, file_name, text.ptr, text.len, 0600, err);
}

int runtime_read(const struct vm *vm, struct runtime *rt, struct error *err)
{
	auto_str text = STR_INIT;
	struct runtime parsed = { 0 };
	pid_t owner = vm_running_pid(vm);
	int r;

	if (!owner)
		return 0;
	r = fs_read_file(vm->dir, file_name, RUNTIME_FILE_MAX, &text, err);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = runtime_parse(text.ptr, text.len, &parsed, err);
	if (r < 0)
		return error_wrap(err, "%s of VM \"%s\"", file_name, vm->name);
	if (parsed.pid != owner) /* left by one that was killed */
		return 0;
	*rt = parsed;
	return 1;
}

void runtime_remove(const struct vm *vm)
{
	(void)unlinkat(vm->dir, file_name, 0);
}
