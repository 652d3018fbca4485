/* SPDX-License-Identifier: Apache-2.0 */
#include "store/runtime.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/vec.h"
#include "store/home.h"
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

static bool has_mac(const struct runtime *rt, struct mac mac)
{
	for (size_t i = 0; i < rt->card_count; i++)
		if (mac_equal(rt->cards[i].mac, mac))
			return true;
	return false;
}

int runtime_mac_in_use(const struct home *home, struct mac mac, const char *except,
		       struct error *err)
{
	auto_strings names = VEC_INIT;
	int r = home_list_vms(home, &names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.len; i++) {
		auto_vm vm = VM_INIT;
		struct runtime rt;
		struct error ignored = ERROR_INIT;

		/* one that is broken or went meanwhile has no address */
		if (strcmp(names.items[i], except) != 0 &&
		    vm_open(home, names.items[i], /* quiet= */ true, &vm, &ignored) == 0 &&
		    runtime_read(&vm, &rt, &ignored) == 1 && has_mac(&rt, mac))
			return 1;
	}
	return 0;
}
