/* SPDX-License-Identifier: Apache-2.0 */
#include "net/card.h"

#include <string.h>

int card_up(struct card *card, const struct net_conf *conf, const struct net_start *start,
	    struct policy *policy, struct error *err)
{
	card->bridged = start->mode == NET_BRIDGED;
	if (card->bridged)
		return bridged_up(&card->lan, conf, start->interface, start->mac, policy, err);
	return network_up(&card->routed, conf, start, policy, err);
}

int card_down(struct card *card, struct error *err)
{
	return card->bridged ? bridged_down(&card->lan, err) : network_down(&card->routed, err);
}

void card_close_sockets(struct card *card)
{
	if (card->bridged)
		bridged_close_sockets(&card->lan);
	else
		network_close_sockets(&card->routed);
}

int card_tap(const struct card *card)
{
	return card->bridged ? card->lan.tap : card->routed.tap;
}

int card_events(const struct card *card)
{
	return card->bridged ? card->lan.events : card->routed.events;
}

int card_look_after(struct card *card, struct error *err)
{
	return card->bridged ? bridged_look_after(&card->lan, err)
			     : network_look_after(&card->routed, err);
}

void card_describe(const struct card *card, struct net_message *m)
{
	const struct rules_guest *g = &card->routed.guest;

	if (card->bridged) {
		m->address = card->lan.address;
		memcpy(m->mac, card->lan.mac, sizeof(m->mac));
		memcpy(m->interface, card->lan.name, sizeof(m->interface));
		return;
	}
	m->address = g->address;
	m->gateway = g->gateway;
	m->prefix = g->prefix;
	memcpy(m->mac, g->mac, sizeof(m->mac));
	memcpy(m->interface, g->name, sizeof(m->interface));
}

void card_set_up_talker(const struct card *card, struct talker_setup *setup)
{
	const struct network *net = &card->routed;

	setup->bridged = card->bridged;
	setup->packets = card->bridged ? card->lan.packets : net->dhcp;
	setup->dns_udp = card->bridged ? -1 : net->dns_udp;
	setup->dns_tcp = card->bridged ? -1 : net->dns_tcp;
	setup->address = net->guest.address;
	setup->gateway = net->guest.gateway;
	setup->prefix = net->guest.prefix;
	setup->mtu = card->bridged ? card->lan.mtu : net->mtu;
	memcpy(setup->mac, card->bridged ? card->lan.mac : net->guest.mac, sizeof(setup->mac));
	memcpy(setup->host_mac, net->host_mac, sizeof(setup->host_mac));
}

const struct policy *card_policy(const struct card *card)
{
	return card->bridged ? &card->lan.policy : &card->routed.policy;
}

int card_set_policy(struct card *card, struct policy *policy, struct error *err)
{
	return card->bridged ? bridged_set_policy(&card->lan, policy, err)
			     : network_set_policy(&card->routed, policy, err);
}

int card_cut_flows(struct card *card, struct error *err)
{
	return card->bridged ? bridged_cut_flows(&card->lan, err)
			     : network_cut_flows(&card->routed, err);
}

int card_count(const struct card *card, struct net_drops *drops, struct error *err)
{
	return card->bridged ? bridged_count(&card->lan, drops, err)
			     : network_count(&card->routed, drops, err);
}

int card_learn(struct card *card, struct in_addr address, bool by_dhcp, struct error *err)
{
	return card->bridged ? bridged_learn(&card->lan, address, by_dhcp, err) : 1;
}
