/* SPDX-License-Identifier: Apache-2.0 */
#include "store/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "net/filter_text.h"
#include "store/disk.h"
#include "store/vm.h"

static const char last_name[] = "last-ip";

/* Append a regular file of the VM's. Return: 1; 0 there is none; or error. */
static int read_file(const struct vm *vm, const char *name, size_t limit, struct str *out,
		     struct error *err)
{
	auto_fd fd = disk_open_file(vm, name, O_RDONLY, err);
	struct stat st;
	int r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "%s of VM \"%s\"", name, vm->name);
	if ((uint64_t)st.st_size > limit)
		return error_set(err, E_TOO_BIG, "%s of VM \"%s\" is larger than %zu bytes", name,
				 vm->name, limit);
	str_grow(out, (size_t)st.st_size);
	r = fs_pread_all(fd, out->ptr + out->len, (size_t)st.st_size, 0, err);
	if (r < 0)
		return error_wrap(err, "%s of VM \"%s\"", name, vm->name);
	str_set_len(out, out->len + (size_t)st.st_size);
	return 1;
}

static int remove_file(const struct vm *vm, const char *name, struct error *err)
{
	if (unlinkat(vm->dir, name, 0) == 0)
		return fsync(vm->dir) == 0 ? 0 : error_errno(err, "cannot remove '%s'", name);
	return errno == ENOENT ? 0 : error_errno(err, "cannot remove '%s'", name);
}

int vm_network_read(const struct vm *vm, struct vm_network *network, struct error *err)
{
	auto_str text = STR_INIT;
	int r = read_file(vm, NETWORK_SETTINGS, NETWORK_FILE_MAX, &text, err);

	if (r < 0)
		return r;
	*network = (struct vm_network){ 0 };
	if (r > 0 && vm_network_parse(text.ptr, text.len, network, err) < 0)
		return error_wrap(err, "%s of VM \"%s\"", NETWORK_SETTINGS, vm->name);
	return 0;
}

int vm_network_write(const struct vm *vm, const struct vm_network *network, struct error *err)
{
	auto_str text = STR_INIT;

	if (!network->fixed.s_addr && !network->no_local)
		return remove_file(vm, NETWORK_SETTINGS, err);
	vm_network_format(network, &text);
	return fs_replace_file(vm->dir, NETWORK_SETTINGS, text.ptr, text.len, 0600, err);
}

int vm_filter_read(const struct vm *vm, struct str *text, struct error *err)
{
	return read_file(vm, NETWORK_FILTER, FILTER_TEXT_MAX, text, err);
}

int vm_filter_compile(const struct vm *vm, struct policy *policy, struct error *err)
{
	auto_str text = STR_INIT;
	int r = vm_filter_read(vm, &text, err);

	if (r <= 0)
		return r;
	r = filter_text_parse((struct slice){ (const uint8_t *)text.ptr, text.len }, POLICY_OWN,
			      policy, err);
	return r < 0 ? error_wrap(err, "%s of VM \"%s\"", NETWORK_FILTER, vm->name) : 1;
}

int vm_filter_write(const struct vm *vm, struct slice text, struct error *err)
{
	return fs_replace_file(vm->dir, NETWORK_FILTER, text.ptr, text.len, 0600, err);
}

int vm_filter_remove(const struct vm *vm, struct error *err)
{
	return remove_file(vm, NETWORK_FILTER, err);
}

struct in_addr vm_last_address(const struct vm *vm)
{
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;
	struct in_addr address = { 0 };

	if (read_file(vm, last_name, INET_ADDRSTRLEN, &text, &ignored) <= 0)
		return (struct in_addr){ 0 };
	text.ptr[strcspn(text.ptr, "\n")] = '\0';
	if (inet_pton(AF_INET, text.ptr, &address) != 1 || !vm_network_is_address(address))
		return (struct in_addr){ 0 };
	return address;
}

void vm_set_last_address(const struct vm *vm, struct in_addr address)
{
	struct in_addr last = vm_last_address(vm);
	struct error ignored = ERROR_INIT;
	char text[INET_ADDRSTRLEN];

	if (last.s_addr == address.s_addr || !inet_ntop(AF_INET, &address, text, sizeof(text)))
		return;
	(void)!fs_replace_file(vm->dir, last_name, text, strlen(text), 0600, &ignored);
}
