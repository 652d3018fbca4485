/* SPDX-License-Identifier: Apache-2.0 */
#include "store/network_copy.h"

#include "base/error.h"
#include "net/filter_text.h"
#include "store/network.h"
#include "store/vm.h"

void network_copy_release(struct network_copy *copy)
{
	str_release(&copy->filter);
}

static struct slice text_of(const struct network_copy *copy)
{
	return (struct slice){ (const uint8_t *)copy->filter.ptr, copy->filter.len };
}

int network_copy_read(const struct vm *vm, struct network_copy *copy, struct error *err)
{
	struct vm_network network;
	int r = vm_network_read(vm, &network, err);

	if (r < 0)
		return r;
	copy->no_local = network.no_local;
	r = vm_filter_read(vm, &copy->filter, err);
	copy->has_filter = r > 0;
	if (r >= 0 && network_copy_check(copy, err) < 0)
		return error_wrap(err, "%s of VM \"%s\"", NETWORK_FILTER, vm->name);
	return r < 0 ? r : 0;
}

int network_copy_write(const struct vm *vm, const struct network_copy *copy, struct error *err)
{
	const struct vm_network network = { .no_local = copy->no_local };
	int r = vm_network_write(vm, &network, err);

	if (r < 0)
		return r;
	return copy->has_filter ? vm_filter_write(vm, text_of(copy), err)
				: vm_filter_remove(vm, err);
}

int network_copy_check(const struct network_copy *copy, struct error *err)
{
	auto_policy policy = POLICY_INIT;

	return copy->has_filter ? filter_text_parse(text_of(copy), POLICY_OWN, &policy, err) : 0;
}
