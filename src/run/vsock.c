/* SPDX-License-Identifier: Apache-2.0 */
#include "run/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/dial.h"
#include "base/error.h"
/* after sys/socket.h, which it needs */
#include <linux/vm_sockets.h>

/* Of those below, people give some to guests by hand. */
enum { CID_FIRST = 0x10000, CID_COUNT = 0x7fff0000, AGENT_PORT = 8080 };

static const char device[] = "/dev/vhost-vsock";

int vsock_choose(int (*claim)(void *arg, uint32_t cid), void *arg, uint32_t *cid, struct error *err)
{
	for (unsigned i = 0; i < VSOCK_TRIES; i++) {
		uint32_t random, candidate;
		int r;

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return error_errno(err, "no random numbers");
		candidate = CID_FIRST + random % CID_COUNT;
		r = claim(arg, candidate);
		if (r == 0) {
			*cid = candidate;
			return 0;
		}
		if (r != -EADDRINUSE)
			return error_set(err, -r, "cannot give the guest a vsock: %s",
					 strerror(-r));
	}
	return error_set(err, EADDRINUSE, "cannot give the guest a vsock: no free CID was found");
}

/* It needs no owner; the first VHOST_SET_OWNER has to be QEMU's, whose memory the device reads. */
static int claim_in_kernel(void *arg, uint32_t cid)
{
	const uint64_t wide = cid;

	return ioctl(*(int *)arg, VHOST_VSOCK_SET_GUEST_CID, &wide) < 0 ? -errno : 0;
}

static const char *way_out(int code)
{
	if (code == EACCES || code == EPERM)
		return ": who may open it decides its group";
	return ": as root, 'modprobe vhost_vsock' makes it";
}

int vsock_open(uint32_t *cid, struct error *err)
{
	auto_fd fd = open(device, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0)
		return error_set(err, errno, "--vsock needs '%s': %s%s", device, strerror(errno),
				 way_out(errno));
	r = vsock_choose(claim_in_kernel, &fd, cid, err);
	return r < 0 ? r : take_fd(&fd);
}

void vsock_agent_address(uint32_t cid, struct dial_address *address)
{
	const struct sockaddr_vm name = { .svm_family = AF_VSOCK,
					  .svm_cid = cid,
					  .svm_port = AGENT_PORT };

	*address = (struct dial_address){ .len = cid ? sizeof(name) : 0 };
	memcpy(&address->name, &name, sizeof(name));
}
