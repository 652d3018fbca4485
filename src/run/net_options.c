/* SPDX-License-Identifier: Apache-2.0 */
#include "run/net_options.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "net/softnet.h"

enum { PORT_MAX = UINT16_MAX };

void net_options_release(struct net_options *options)
{
	strings_release(&options->allow);
	strings_release(&options->block);
	strings_release(&options->bridged);
}

static void add_trimmed(struct strings *targets, const char *text, size_t len)
{
	for (; len && text[0] == ' '; text++)
		len--;
	while (len && text[len - 1] == ' ')
		len--;
	strings_addf(targets, "%.*s", (int)len, text);
}

void net_options_add_targets(struct strings *targets, const char *list)
{
	const char *comma;

	if (list[strspn(list, " ")] == '\0')
		return;
	for (; (comma = strchr(list, ',')); list = comma + 1)
		add_trimmed(targets, list, (size_t)(comma - list));
	add_trimmed(targets, list, strlen(list));
}

/* Digits without a leading zero, 1 to 65535. */
static int parse_port(const char *text, uint16_t *port)
{
	uint64_t value = 0;

	if (text[0] == '0' || str_to_u64(text, PORT_MAX, &value) < 0)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

static int add_pair(struct net_options *options, const char *external, const char *internal,
		    struct error *err)
{
	struct net_exposed pair = { 0 };

	if (parse_port(external, &pair.host) < 0 || parse_port(internal, &pair.guest) < 0)
		return error_set(err, E_INVALID, "'%s:%s': a port is a number from 1 to %d",
				 external, internal, PORT_MAX);
	for (unsigned i = 0; i < options->exposed_count; i++)
		if (options->exposed[i].host == pair.host)
			return error_set(err, E_INVALID, "port %s of the host is given twice",
					 external);
	if (options->exposed_count == NET_EXPOSED_MAX)
		return error_set(err, E_INVALID, "more than %d ports", NET_EXPOSED_MAX);
	options->exposed[options->exposed_count++] = pair;
	return 0;
}

int net_options_add_exposed(struct net_options *options, const char *list, struct error *err)
{
	auto_strings pairs = VEC_INIT;
	int r = 0;

	net_options_add_targets(&pairs, list);
	for (size_t i = 0; r == 0 && i < pairs.len; i++) {
		char *colon = strchr(pairs.items[i], ':');

		if (!colon)
			return error_set(err, E_INVALID, "'%s' is not EXTERNAL:INTERNAL",
					 pairs.items[i]);
		*colon = '\0';
		r = add_pair(options, pairs.items[i], colon + 1, err);
	}
	return r;
}

/* One list alone tells which option is wrong, both together whether they are too many. */
int net_options_check_targets(const struct strings *allow, const struct strings *block,
			      struct error *err)
{
	static const struct strings none = VEC_INIT;
	auto_policy allowed = POLICY_INIT, blocked = POLICY_INIT, both = POLICY_INIT;

	if (softnet_compile(allow, &none, &allowed, err) < 0)
		return error_wrap(err, "allow");
	if (softnet_compile(&none, block, &blocked, err) < 0)
		return error_wrap(err, "block");
	return softnet_compile(allow, block, &both, err);
}

static bool is_ethernet(int sock, const char *interface)
{
	struct ifreq request = { 0 };

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	return ioctl(sock, SIOCGIFHWADDR, &request) == 0 &&
	       request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

/* A bridge has all that its port receives: nothing can be attached there. */
static bool is_port(const char *interface)
{
	auto_free char *path = str_format("/sys/class/net/%s/brport", interface);

	return access(path, F_OK) == 0;
}

static inline void free_names(struct if_nameindex **names)
{
	if (*names)
		if_freenameindex(*names);
}

/* By the kernel and not by /sys, which may be another namespace's. */
int net_interfaces_list(struct strings *names, struct error *err)
{
	cleanup_(free_names) struct if_nameindex *all = if_nameindex();
	auto_fd sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!all || sock < 0)
		return error_errno(err, "cannot list the host's interfaces");
	for (const struct if_nameindex *i = all; i->if_name; i++)
		if (!str_starts(i->if_name, "lz") && is_ethernet(sock, i->if_name) &&
		    !is_port(i->if_name))
			strings_add(names, i->if_name);
	strings_sort(names);
	return 0;
}

static bool contains(const struct strings *names, const char *name)
{
	for (size_t i = 0; i < names->len; i++)
		if (strcmp(names->items[i], name) == 0)
			return true;
	return false;
}

static void add_joined(struct str *out, const struct strings *names)
{
	for (size_t i = 0; i < names->len; i++)
		str_addf(out, "%s%s", i ? ", " : "", names->items[i]);
}

int net_interfaces_check(const struct strings *wanted, struct error *err)
{
	auto_strings names = VEC_INIT;
	auto_str asked = STR_INIT, available = STR_INIT;
	int r = net_interfaces_list(&names, err);

	if (r < 0)
		return r;
	add_joined(&asked, wanted);
	add_joined(&available, &names);
	for (size_t i = 0; i < wanted->len; i++)
		if (strcmp(wanted->items[i], "list") == 0 || !contains(&names, wanted->items[i]))
			return error_set(err, E_USAGE,
					 "no bridge interfaces matched \"[%s]\", available "
					 "interfaces: [%s]",
					 asked.ptr, available.ptr);
	return 0;
}

int net_control_check(int fd, struct error *err)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t peer_len = sizeof(peer), len = sizeof(int);
	int type = 0;

	if (fd <= STDERR_FILENO)
		return error_set(err, E_USAGE,
				 "--net-softnet-control-fd must be a descriptor above %d",
				 STDERR_FILENO);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 || peer.ss_family != AF_UNIX ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, E_USAGE,
				 "--net-softnet-control-fd %d is not a connected Unix stream "
				 "socket",
				 fd);
	return 0;
}
