/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Answers are judged by a filter in the kernel, made for each question: not a
 * byte of what the LAN says is read here.
 */

#include "net/arp_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"

enum { PATIENCE_MS = 150 };

/* RFC 826, of Ethernet and IPv4. */
struct arp {
	uint16_t hardware, protocol;
	uint8_t hardware_size, protocol_size;
	uint16_t operation;
	uint8_t sender_mac[ETH_ALEN];
	uint8_t sender[4];
	uint8_t target_mac[ETH_ALEN];
	uint8_t target[4];
} __attribute__((packed));

enum { AT_OPERATION = 6, AT_MAC = 8, AT_SENDER = 14 };

int arp_probe_open(unsigned index, struct error *err)
{
	auto_fd fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct sock_fprog program = { array_size(nothing), nothing };
	const struct sockaddr_ll here = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_ifindex = (int)index,
	};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
	    bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0)
		return error_errno(err, "cannot open a socket for ARP");
	return take_fd(&fd);
}

/* From now on it hears ARP of any kind whose sender has @address, and not the MAC @but. */
static int listen_for(int fd, struct in_addr address, const uint8_t but[6], struct error *err)
{
	uint32_t high = (uint32_t)(but[0] << 24 | but[1] << 16 | but[2] << 8 | but[3]);
	uint32_t low = (uint32_t)(but[4] << 8 | but[5]);
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_SENDER),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(address.s_addr), 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_MAC),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_MAC + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 1),
	};
	const struct sock_fprog program = { array_size(filter), filter };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return error_errno(err, "cannot listen for ARP");
	return 0;
}

static void drain(int fd)
{
	uint8_t byte;

	while (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) >= 0)
		;
}

static int own_mac(int fd, unsigned index, uint8_t mac[ETH_ALEN], struct error *err)
{
	struct ifreq request = { 0 };

	if (!if_indextoname(index, request.ifr_name) || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		return error_errno(err, "cannot see the interface's MAC address");
	memcpy(mac, request.ifr_hwaddr.sa_data, ETH_ALEN);
	return 0;
}

static int ask(int fd, unsigned index, struct in_addr address, struct error *err)
{
	struct arp question = {
		.hardware = htons(ARPHRD_ETHER),
		.protocol = htons(ETH_P_IP),
		.hardware_size = ETH_ALEN,
		.protocol_size = sizeof(address),
		.operation = htons(ARPOP_REQUEST),
	};
	const struct sockaddr_ll all = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_ifindex = (int)index,
		.sll_halen = ETH_ALEN,
		.sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	};

	if (own_mac(fd, index, question.sender_mac, err) < 0)
		return -err->code;
	memcpy(question.target, &address, sizeof(address));
	if (sendto(fd, &question, sizeof(question), 0, (const struct sockaddr *)&all, sizeof(all)) <
	    0)
		return error_errno(err, "cannot ask for an address");
	return 0;
}

/* Return: 1 there is something; 0 the time is over. */
static int await(int fd)
{
	uint64_t end = clock_ms() + PATIENCE_MS, now;

	while ((now = clock_ms()) < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, (int)(end - now)) > 0)
			return 1;
	}
	return 0;
}

int arp_probe(int fd, unsigned index, struct in_addr address, const uint8_t but[6],
	      struct error *err)
{
	int r = listen_for(fd, address, but, err);

	if (r < 0)
		return r;
	drain(fd); /* of an earlier question */
	r = ask(fd, index, address, err);
	return r < 0 ? r : await(fd);
}
