/* SPDX-License-Identifier: Apache-2.0 */
#include "net/privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/error.h"

static int missing(struct error *err)
{
	return error_set(err, EPERM,
			 "linzer-net needs root or its file capabilities (make install-caps)");
}

static void clear(void)
{
	capng_clear(CAPNG_SELECT_CAPS);
	capng_clear(CAPNG_SELECT_AMBIENT);
}

/* For this process; @also_for_nft: for what it executes, too. */
static void grant(unsigned capability, bool also_for_nft)
{
	(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE, capability);
	(void)capng_update(CAPNG_ADD, CAPNG_PERMITTED, capability);
	if (also_for_nft) {
		(void)capng_update(CAPNG_ADD, CAPNG_INHERITABLE, capability);
		(void)capng_update(CAPNG_ADD, CAPNG_AMBIENT, capability);
	}
}

static int apply(struct error *err)
{
	if (capng_apply(CAPNG_SELECT_CAPS) < 0 || capng_apply(CAPNG_SELECT_AMBIENT) < 0)
		return error_set(err, EPERM, "cannot set capabilities");
	return 0;
}

/* As root: exec and setuid() shall not give capabilities back. */
static int leave_root(struct error *err)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED;

	if (prctl(PR_SET_SECUREBITS, bits) < 0)
		return error_errno(err, "cannot set the secure bits");
	return 0;
}

int privilege_take(struct error *err)
{
	bool root = getuid() == 0;

	if (getuid() != geteuid() || getgid() != getegid())
		return error_set(err, EPERM, "linzer-net must not be set-user-ID");
	if (capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) ||
	    !capng_have_capability(CAPNG_PERMITTED, CAP_NET_RAW))
		return missing(err);
	if (root && leave_root(err) < 0)
		return -err->code;
	clear();
	grant(CAP_NET_ADMIN, true);
	grant(CAP_NET_RAW, false);
	if (root) {
		grant(CAP_SETUID, false);
		grant(CAP_SETGID, false);
		grant(CAP_KILL, false);
		grant(CAP_NET_BIND_SERVICE, false); /* ports below 1024 that it exposes */
	}
	return apply(err);
}

int privilege_reduce(struct error *err)
{
	clear();
	grant(CAP_NET_ADMIN, true);
	if (getuid() == 0)
		grant(CAP_KILL, false);
	return apply(err);
}

int privilege_drop(struct error *err)
{
	clear();
	return apply(err);
}
