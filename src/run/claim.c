/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making the VM ours. Order of locks: the home's (so that no two VMs start
 * with one MAC), the VM's .lock, the running lock. The first is given up when
 * the third is held; .lock when QEMU has the disks.
 */

#include "run/session.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/fnv.h"
#include "run/run.h"
#include "run/signals.h"
#include "store/home.h"

static int already_running(const struct session *session, struct error *err)
{
	return error_set(err, E_ALREADY_RUNNING, "VM \"%s\" is already running!", session->vm.name);
}

/* Has a running VM this MAC, in its config or on one of its cards? Return: 1, 0 or error. */
static int is_in_use(const struct session *session, struct mac mac, struct error *err)
{
	int r = vm_mac_in_use(session->home, mac, session->vm.name, /* running_only= */ true, err);

	return r != 0 ? r : runtime_mac_in_use(session->home, mac, session->vm.name, err);
}

/* Two running VMs never share a MAC: the second gets a new one (contract 7.2). */
static int settle_mac(struct session *session, struct error *err)
{
	int r = is_in_use(session, session->config.mac, err);

	if (r <= 0)
		return r;
	/* the guest would have a card that is not its VM's */
	if (session->resume.active)
		return error_set(
			err, E_FAILED,
			"VM \"%s\" is suspended with the MAC address of a VM that runs: stop "
			"that one first",
			session->vm.name);
	(void)puts("There is already a running VM with the same MAC address!");
	(void)puts("Resetting VM to assign a new MAC address...");
	session->config.mac = mac_random();
	return vm_write_config(&session->vm, &session->config, err);
}

/*
 * The MAC of card @number: always the same for the VM's own MAC (FNV-1a's 64 bits of it, the number
 * and, where somebody has that already, the attempt).
 */
static struct mac derive_mac(struct mac own, size_t number, unsigned attempt)
{
	uint8_t bytes[sizeof(own.bytes) + 2];
	uint64_t hash;
	struct mac mac;

	memcpy(bytes, own.bytes, sizeof(own.bytes));
	bytes[sizeof(own.bytes)] = (uint8_t)number;
	bytes[sizeof(own.bytes) + 1] = (uint8_t)attempt;
	hash = fnv_add(FNV_START, bytes, sizeof(bytes));
	memcpy(mac.bytes, &hash, sizeof(mac.bytes));
	/* IEEE 802: "locally administered", not "group" */
	mac.bytes[0] = (uint8_t)((mac.bytes[0] | 2U) & ~1U);
	return mac;
}

static bool has_card(const struct session *session, size_t count, struct mac mac)
{
	for (size_t i = 0; i < count; i++)
		if (mac_equal(session->network.cards[i].mac, mac))
			return true;
	return false;
}

/* Every card has a MAC of its own, the first the VM's. */
static int settle_cards(struct session *session, struct error *err)
{
	struct network_card *cards = session->network.cards;
	int r = 0;

	cards[0].mac = session->config.mac;
	for (size_t i = 1; i < PLAN_NICS_MAX; i++) {
		unsigned attempt = 0;

		do {
			cards[i].mac = derive_mac(session->config.mac, i, attempt++);
			r = has_card(session, i, cards[i].mac)
				    ? 1
				    : is_in_use(session, cards[i].mac, err);
		} while (r > 0 && attempt <= UINT8_MAX);
		if (r != 0)
			return r < 0 ? r : error_set(err, E_FAILED, "no MAC is free");
	}
	return 0;
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
		r = resume_find(session, err);
	if (r == 0)
		r = settle_mac(session, err);
	if (r == 0)
		r = settle_cards(session, err);
	if (r < 0)
		return r;
	r = vm_take_running_lock(&session->vm, &session->running_lock, err);
	if (r == 0)
		return already_running(session, err);
	if (r < 0)
		return r;
	/* whom `stop` sees running it can stop */
	signals_stop_start();
	return 0;
}
