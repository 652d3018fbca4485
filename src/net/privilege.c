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

static int apply(capng_select_t sets, struct error *err)
{
	if (capng_apply(sets) < 0)
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
	const capng_type_t own = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
	bool root = getuid() == 0;

	if (getuid() != geteuid() || getgid() != getegid())
		return error_set(err, EPERM, "linzer-net must not be set-user-ID");
	if (capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) ||
	    !capng_have_capability(CAPNG_PERMITTED, CAP_NET_RAW))
		return missing(err);
	if (root && leave_root(err) < 0)
		return -err->code;
	capng_clear(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	if (capng_updatev(CAPNG_ADD, own, CAP_NET_ADMIN, CAP_NET_RAW, -1) < 0 ||
	    (root && capng_updatev(CAPNG_ADD, own, CAP_SETUID, CAP_SETGID, CAP_KILL, -1) < 0) ||
	    capng_update(CAPNG_ADD, CAPNG_INHERITABLE | CAPNG_AMBIENT, CAP_NET_ADMIN) < 0)
		return missing(err);
	return apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT, err);
}

int privilege_reduce(struct error *err)
{
	const capng_type_t own = CAPNG_EFFECTIVE | CAPNG_PERMITTED;

	capng_clear(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	if (capng_update(CAPNG_ADD, own | CAPNG_INHERITABLE | CAPNG_AMBIENT, CAP_NET_ADMIN) < 0 ||
	    (getuid() == 0 && capng_update(CAPNG_ADD, own, CAP_KILL) < 0))
		return missing(err);
	return apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT, err);
}

int privilege_drop(struct error *err)
{
	capng_clear(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	return apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT, err);
}
