/* SPDX-License-Identifier: Apache-2.0 */

/* /etc/linzer/net.conf: src/net/conf.c and src/net/subnet.c. */

#include <assert.h>
#include <stdint.h>

#include "base/error.h"
#include "net/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_net_conf conf = NET_CONF_INIT;
	struct error err = ERROR_INIT;
	char name[SUBNET_NAME_SIZE];
	struct in_addr guest, back;
	int r = net_conf_parse((struct slice){ bytes, len }, &conf, &err);

	assert(r == 0 || r == -E_INVALID || r == -E_TOO_BIG);
	assert(conf.subnet.prefix >= SUBNET_PREFIX_MIN && conf.subnet.prefix <= SUBNET_PREFIX_MAX);
	assert(!subnet_has_guest(&conf.subnet, subnet_gateway(&conf.subnet)));
	guest = subnet_guest(&conf.subnet, (uint32_t)len);
	assert(subnet_has_guest(&conf.subnet, guest));
	subnet_interface(guest, name);
	assert(subnet_interface_address(name, &back) && back.s_addr == guest.s_addr);
	return 0;
}
