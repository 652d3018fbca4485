/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/neighbour.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum { LINE_MAX_BYTES = 256 };

enum column { ADDRESS, TYPE, FLAGS, HARDWARE, MASK, DEVICE, COLUMNS };

/* Split @line at runs of white space. Return: are there so many columns? */
static bool split(char *line, char *columns[COLUMNS])
{
	size_t n = 0;
	char *word;

	while (n < COLUMNS && (word = strsep(&line, " \t\n")))
		if (*word)
			columns[n++] = word;
	return n == COLUMNS;
}

/* "0x6". Return: the number; 0 for what is none. */
static unsigned hex(const char *text)
{
	unsigned n = 0;

	if (!str_starts(text, "0x"))
		return 0;
	for (text += 2; isxdigit((unsigned char)*text) && n < 0x1000; text++)
		n = n * 16 + (unsigned)(isdigit((unsigned char)*text)
						? *text - '0'
						: tolower((unsigned char)*text) - 'a' + 10);
	return *text ? 0 : n;
}

bool neighbour_match(const char *line, struct mac mac, const char *interface,
		     struct in_addr *address)
{
	auto_free char *copy = xstrdup(line);
	char *columns[COLUMNS];
	struct mac found;

	return split(copy, columns) && hex(columns[TYPE]) == ARPHRD_ETHER &&
	       (hex(columns[FLAGS]) & ATF_COM) && mac_parse(columns[HARDWARE], &found) == 0 &&
	       mac_equal(found, mac) && (!*interface || !strcmp(columns[DEVICE], interface)) &&
	       inet_pton(AF_INET, columns[ADDRESS], address) == 1;
}

bool neighbour_find(struct mac mac, const char *interface, struct in_addr *address)
{
	FILE *table = fopen("/proc/net/arp", "re");
	char line[LINE_MAX_BYTES];
	bool found = false;

	while (table && !found && fgets(line, sizeof(line), table))
		found = neighbour_match(line, mac, interface, address);
	if (table)
		(void)fclose(table);
	return found;
}
