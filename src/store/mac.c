/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "store/config.h"

struct mac mac_random(void)
{
	struct mac mac;

	if (getrandom(mac.bytes, sizeof(mac.bytes), 0) != sizeof(mac.bytes))
		abort();
	/* IEEE 802: bit 1 of the first octet is "locally administered", bit 0 "group" */
	mac.bytes[0] = (uint8_t)((mac.bytes[0] | 2U) & ~1U);
	return mac;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int mac_parse(const char *text, struct mac *mac)
{
	struct mac parsed = { 0 };

	if (strlen(text) != MAC_TEXT - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(parsed.bytes); i++) {
		int high = hex_digit(text[3 * i]);
		int low = hex_digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		parsed.bytes[i] = (uint8_t)(high * 16 + low);
	}
	*mac = parsed;
	return 0;
}

void mac_format(struct mac mac, char text[MAC_TEXT])
{
	(void)snprintf(text, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac.bytes[0], mac.bytes[1],
		       mac.bytes[2], mac.bytes[3], mac.bytes[4], mac.bytes[5]);
}

bool mac_equal(struct mac a, struct mac b)
{
	return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}
