/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"

enum { DNS_BACKLOG = 16, PATH_SIZE = 128 };

int tap_open(const char *name, struct error *err)
{
	auto_fd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq request = { 0 };

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return error_set(err, E_MISSING_TOOL,
				 "there is no /dev/net/tun: load the kernel module 'tun'");
	if (fd < 0)
		return error_errno(err, "cannot open '/dev/net/tun'");
	request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return error_errno(err, "cannot make the tap '%s'", name);
	return take_fd(&fd);
}

static void setting_path(char path[PATH_SIZE], const char *area, const char *name, const char *leaf)
{
	(void)snprintf(path, PATH_SIZE, "/proc/sys/net/%s/%s/%s", area, name, leaf);
}

static int write_setting(const char *path, const char *value, struct error *err)
{
	auto_fd fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "cannot open '%s'", path);
	if (write(fd, value, strlen(value)) < 0)
		return error_errno(err, "cannot write '%s'", path);
	return 0;
}

/* The first character of a setting. Return: it, or error. */
static int read_setting(const char *path, struct error *err)
{
	auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	char value;

	if (fd < 0 || read(fd, &value, 1) != 1)
		return error_errno(err, "cannot read '%s'", path);
	return value;
}

struct setting {
	const char *area, *leaf, *value;
	bool optional; /* a kernel without IPv6 */
};

static int write_settings(const char *name, const struct setting *settings, size_t count,
			  struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		char path[PATH_SIZE];
		int r;

		setting_path(path, settings[i].area, name, settings[i].leaf);
		r = write_setting(path, settings[i].value, err);
		if (r < 0 && !(r == -ENOENT && settings[i].optional))
			return r;
	}
	return 0;
}

/* Of every interface that we make. */
static const struct setting always[] = {
	{ "ipv6/conf", "disable_ipv6", "1", true },
	{ "ipv6/conf", "accept_ra", "0", true },
	{ "ipv4/conf", "rp_filter", "1", false },
	{ "ipv4/conf", "accept_redirects", "0", false },
	{ "ipv4/conf", "send_redirects", "0", false },
	{ "ipv4/conf", "accept_source_route", "0", false },
	{ "ipv4/conf", "route_localnet", "0", false },
};

int tap_configure(const char *name, struct error *err)
{
	static const struct setting routed[] = {
		{ "ipv4/conf", "forwarding", "1", false },
		{ "ipv4/conf", "proxy_arp", "1", false },
		{ "ipv4/neigh", "proxy_delay", "0", false },
	};
	int r = write_settings(name, always, array_size(always), err);

	return r < 0 ? r : write_settings(name, routed, array_size(routed), err);
}

int tap_configure_bridged(const char *name, bool host, struct error *err)
{
	static const struct setting silent[] = {
		{ "ipv4/conf", "forwarding", "0", false },
		{ "ipv4/conf", "arp_ignore", "8", false },
	};
	int r = write_settings(name, always, array_size(always), err);

	return r < 0 || host ? r : write_settings(name, silent, array_size(silent), err);
}

bool tap_host_hides_addresses(void)
{
	struct error ignored = ERROR_INIT;

	return read_setting("/proc/sys/net/ipv4/conf/all/arp_ignore", &ignored) != '0';
}

bool tap_host_forwards(void)
{
	return read_setting("/proc/sys/net/ipv4/ip_forward", &(struct error)ERROR_INIT) == '1';
}

int tap_forwards(const char *name, struct error *err)
{
	char path[PATH_SIZE];
	int r;

	setting_path(path, "ipv4/conf", name, "forwarding");
	r = read_setting(path, err);
	return r < 0 ? r : r == '1';
}

int tap_set_forwarding(const char *name, bool on, struct error *err)
{
	char path[PATH_SIZE];

	setting_path(path, "ipv4/conf", name, "forwarding");
	return write_setting(path, on ? "1" : "0", err);
}

/*
 * Untagged, UDP, not a fragment, to port 67. Loads beyond the packet's end
 * end the program with 0: dropped.
 */
static struct sock_filter dhcp_filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 8),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 9),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN + 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 4, 0),
	BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN),
	BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETH_HLEN + 2),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 67, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 4096),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

/* A packet socket for what @program lets through of @protocol at the interface. */
static int packet_socket(unsigned index, uint16_t protocol, const struct sock_fprog *program,
			 struct error *err)
{
	/* protocol 0: nothing arrives before the filter is there */
	auto_fd fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(protocol),
		.sll_ifindex = (int)index,
	};

	if (fd < 0)
		return error_errno(err, "cannot open a packet socket");
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, sizeof(*program)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, "cannot bind the packet socket");
	return take_fd(&fd);
}

int tap_dhcp_socket(unsigned index, struct error *err)
{
	const struct sock_fprog program = { array_size(dhcp_filter), dhcp_filter };

	return packet_socket(index, ETH_P_IP, &program, err);
}

/*
 * Untagged; what comes in: ARP, and IPv4, UDP, not a fragment, to port 67; what goes out: the same
 * to port 68. ARP has no more than 42 bytes.
 */
static struct sock_filter watch_filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 19),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2 * ETH_ALEN),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 0, 3),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 15, 0),
	BPF_STMT(BPF_RET | BPF_K, 64),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 13),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 9),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 11),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN + 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 9, 0),
	BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN),
	BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETH_HLEN + 2),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 68, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 67, 0, 5),
	BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 3, 2),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_RET | BPF_K, 4096),
};

int tap_watch_socket(unsigned index, struct error *err)
{
	const struct sock_fprog program = { array_size(watch_filter), watch_filter };

	/* all protocols: before the filter has dropped them */
	return packet_socket(index, ETH_P_ALL, &program, err);
}

int tap_dns_socket(int type, const char *name, struct in_addr address, uint16_t *port,
		   struct error *err)
{
	auto_fd fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr = address };
	socklen_t len = sizeof(here);

	if (fd < 0)
		return error_errno(err, "cannot open a socket");
	/* freely: the address is not in use before the tap is up */
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, DNS_BACKLOG) < 0) ||
	    getsockname(fd, (struct sockaddr *)&here, &len) < 0)
		return error_errno(err, "cannot bind a socket to the tap");
	*port = ntohs(here.sin_port);
	return take_fd(&fd);
}
