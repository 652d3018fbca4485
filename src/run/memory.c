/* SPDX-License-Identifier: Apache-2.0 */
#include "run/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "run/identity.h"

/* Sealed: whoever shortened it would end us all by SIGBUS. */
int memory_make(const struct identity *identity, uint64_t size, struct error *err)
{
	auto_fd memory = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (memory < 0 || ftruncate(memory, (off_t)size) < 0 ||
	    fcntl(memory, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_errno(err, "cannot make the guest's memory");
	if (identity->drop && fchown(memory, identity->uid, identity->uid) < 0)
		return error_errno(err, "cannot give the guest's memory to QEMU");
	return take_fd(&memory);
}
