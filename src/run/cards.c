/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The session's network: what is asked for on the command line and in the VM's
 * directory becomes rules and a policy before anything is started, and cards when
 * it is. What is known of them goes to run.json.
 */

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "run/net_options.h"
#include "run/run.h"
#include "run/session.h"
#include "store/network.h"

static void copy_strings(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->len; i++)
		strings_add(to, from->items[i]);
}

/* A fixed address is meant for the pool; on a LAN its DHCP server decides. */
static int read_directory(struct session *session, struct error *err)
{
	struct vm_network own;
	int r = vm_network_read(&session->vm, &own, err);

	if (r == 0)
		r = vm_filter_read(&session->vm, &session->network.rules.filter, err);
	if (r < 0)
		return r;
	session->network.rules.no_local = own.no_local;
	if (session->network.mode == NET_BRIDGED)
		return 0;
	session->fixed = own.fixed.s_addr != 0;
	session->wanted = session->fixed ? own.fixed : vm_last_address(&session->vm);
	if (session->resume.active && !session->fixed)
		session->wanted = session->resume.state.address;
	return 0;
}

static int compile(struct session *session, struct error *err)
{
	struct network *network = &session->network;
	auto_free char *filter = str_format("net.rules of VM \"%s\"", session->vm.name);

	return network_compile(network->mode, &network->rules, filter, &network->policy, err);
}

/* Rules that a guest could walk around would only look like rules. */
static int check_bypass(const struct network *network, struct error *err)
{
	if (!network->bypassed || (!network->rules.no_local && !network->rules.filter.len))
		return 0;
	return error_set(err, E_USAGE,
			 "--vsock leads past the rules that 'set' gave this VM by --net-filter or "
			 "--no-local");
}

int session_prepare_network(struct session *session, struct error *err)
{
	const struct net_options *options = session->options->network;
	struct network *network = &session->network;
	int r;

	network->mode = options->mode;
	if (!options->mode)
		return 0;
	copy_strings(&network->rules.allow, &options->allow);
	copy_strings(&network->rules.block, &options->block);
	memcpy(network->exposed, options->exposed, sizeof(network->exposed));
	network->exposed_count = options->exposed_count;
	for (size_t i = 0; i < options->bridged.len; i++)
		(void)snprintf(network->cards[i].parent, sizeof(network->cards[i].parent), "%s",
			       options->bridged.items[i]);
	network->bypassed = session->options->vsock;
	r = read_directory(session, err);
	if (r == 0)
		r = check_bypass(network, err);
	return r < 0 ? r : compile(session, err);
}

/* The first card's is also told in the old places. */
static void show_first(struct runtime *runtime)
{
	const struct runtime_card *first = &runtime->cards[0];

	runtime->mac = first->mac;
	runtime->address = first->address;
	runtime->leased = first->leased;
	memcpy(runtime->interface, first->interface, sizeof(runtime->interface));
}

void session_show_card(struct session *session, const struct network_card *card)
{
	struct runtime_card *shown = &session->runtime.cards[card - session->network.cards];

	_Static_assert(sizeof(shown->interface) == sizeof(card->interface), "names");
	shown->mac = card->mac;
	shown->address = card->address;
	shown->leased = card->leased;
	memcpy(shown->interface, card->interface, sizeof(shown->interface));
	memcpy(shown->parent, card->parent, sizeof(shown->parent));
	show_first(&session->runtime);
}

static void show_network(struct session *session)
{
	const struct network *network = &session->network;
	struct runtime *runtime = &session->runtime;

	_Static_assert(RUNTIME_CARDS_MAX == (int)PLAN_NICS_MAX, "cards");
	_Static_assert(RUNTIME_PORTS_MAX == (int)NET_EXPOSED_MAX, "ports");
	runtime->mac = session->config.mac; /* also where there is no card */
	runtime->card_count = network->card_count;
	for (size_t i = 0; i < network->card_count; i++)
		session_show_card(session, &network->cards[i]);
	for (unsigned i = 0; i < network->exposed_count; i++)
		runtime->ports[i] = (struct runtime_port){ network->exposed[i].host,
							   network->exposed[i].guest };
	runtime->port_count = network->exposed_count;
	runtime->isolated = network->isolated;
	(void)snprintf(runtime->mode, sizeof(runtime->mode), "%s",
		       network_mode_name(network->mode));
}

static int start_card(struct session *session, int *tap, struct error *err)
{
	struct network *network = &session->network;
	size_t i = network->card_count;
	int r = network_start_card(network, session->resume.active ? &session->vm : NULL,
				   session->wanted, session->fixed, tap, err);

	if (r < 0)
		return r;
	session->plan.nics[i].tap_fd = *tap;
	memcpy(session->plan.nics[i].mac, network->cards[i].mac.bytes,
	       sizeof(session->plan.nics[i].mac));
	session->plan.nic_count = i + 1;
	return 0;
}

int session_start_cards(struct session *session, int *taps, struct error *err)
{
	const struct network *network = &session->network;
	size_t count = network->mode == NET_BRIDGED ? session->options->network->bridged.len : 1;
	int r = 0;

	for (size_t i = 0; network->mode && r == 0 && i < count; i++)
		r = start_card(session, &taps[i], err);
	if (r < 0)
		return r;
	show_network(session);
	if (network->card_count && network->mode != NET_BRIDGED)
		vm_set_last_address(&session->vm, network->cards[0].address);
	return 0;
}
