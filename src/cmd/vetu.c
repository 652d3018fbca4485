/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/vetu.h"

#include <string.h>

#include "base/error.h"

enum { MTU = 1500 };

bool vetu_is_name(const char *program)
{
	return strcmp(program, "vetu") == 0;
}

int vetu_check_create(const struct vetu_create *create, const char **from_image, struct error *err)
{
	const char *option = create->kernel	 ? "--kernel"
			     : create->initramfs ? "--initramfs"
			     : create->cmdline	 ? "--cmdline"
						 : NULL;

	if (option)
		return error_set(
			err, E_VALIDATION,
			"%s cannot be had here: a VM boots by UEFI what is on its disk, so "
			"give one --disk with a boot loader, a kernel and an initramfs",
			option);
	if (create->disks.len > 1 || (create->disks.len && *from_image))
		return error_set(err, E_VALIDATION,
				 "a VM has one disk of its own; run --disk attaches more");
	if (create->disks.len)
		*from_image = create->disks.items[0];
	return 0;
}

int vetu_check_run(const struct vetu_run *run, struct error *err)
{
	if (run->devices.len)
		return error_set(err, E_VALIDATION,
				 "--device cannot be had here: no device of the host is given to a "
				 "VM");
	if (run->net_host_mtu.given && run->net_host_mtu.unsigned_value != MTU)
		return error_set(err, E_VALIDATION, "--net-host-mtu: the MTU is always %d", MTU);
	return 0;
}
