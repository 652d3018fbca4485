/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making the VM ours. Order of locks: the home's (so that no two VMs start
 * with one MAC), the VM's .lock, the running lock. The first is given up when
 * the third is held; .lock when QEMU has the disks.
 */

#include "run/session.h"

#include <stdio.h>

#include "base/error.h"
#include "run/run.h"
#include "store/home.h"

static int already_running(const struct session *session, struct error *err)
{
	return error_set(err, E_ALREADY_RUNNING, "VM \"%s\" is already running!", session->vm.name);
}

/* Two running VMs never share a MAC: the second gets a new one (contract 7.2). */
static int settle_mac(struct session *session, struct error *err)
{
	int r = vm_mac_in_use(session->home, session->config.mac, session->vm.name,
			      /* running_only= */ true, err);

	if (r <= 0)
		return r;
	(void)puts("There is already a running VM with the same MAC address!");
	(void)puts("Resetting VM to assign a new MAC address...");
	session->config.mac = mac_random();
	return vm_write_config(&session->vm, &session->config, err);
}

int session_claim(struct session *session, struct error *err)
{
	auto_fd home_fd = -1;
	int r;

	r = vm_open(session->home, session->options->name, /* quiet= */ false, &session->vm, err);
	if (r < 0)
		return r;
	home_fd = home_lock(session->home, err);
	if (home_fd < 0)
		return home_fd;
	session->vm_lock = vm_lock(&session->vm, err);
	if (session->vm_lock < 0)
		return session->vm_lock;
	if (vm_running_pid(&session->vm))
		return already_running(session, err);
	r = vm_read_config(&session->vm, &session->config, err);
	if (r == 0)
		r = settle_mac(session, err);
	if (r < 0)
		return r;
	r = vm_take_running_lock(&session->vm, &session->running_lock, err);
	if (r == 0)
		return already_running(session, err);
	return r < 0 ? r : 0;
}
