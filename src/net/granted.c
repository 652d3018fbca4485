/* SPDX-License-Identifier: Apache-2.0 */
#include "net/granted.h"

#include <errno.h>
#include <string.h>

#include "base/fnv.h"
#include "base/vec.h"

/* Names are the user's own: nobody gains by two of one hash. */
static uint64_t hash(const char *name)
{
	return fnv_add(FNV_START, name, strlen(name));
}

static size_t find(const struct granted *granted, struct in_addr address)
{
	size_t i = 0;

	while (i < granted->count && granted->items[i].address.s_addr != address.s_addr)
		i++;
	return i;
}

bool granted_has(const struct granted *granted, struct in_addr address)
{
	return find(granted, address) < granted->count;
}

static uint64_t life_of(uint32_t ttl)
{
	uint64_t life = (uint64_t)ttl * 1000;

	if (life < GRANTED_LIFE_MS)
		return GRANTED_LIFE_MS;
	return life > GRANTED_LIFE_MAX_MS ? GRANTED_LIFE_MAX_MS : life;
}

int granted_add(struct granted *granted, const char *name, struct in_addr address, uint32_t ttl,
		uint64_t now)
{
	uint64_t until = now + life_of(ttl);
	size_t i = find(granted, address);

	if (i == GRANTED_MAX)
		return -ENOSPC;
	if (i < granted->count) {
		granted->items[i].name = hash(name);
		if (granted->items[i].until < until)
			granted->items[i].until = until;
		return 0;
	}
	granted->items[granted->count++] =
		(struct grant){ .address = address, .name = hash(name), .until = until };
	return 1;
}

void granted_remove(struct granted *granted, size_t i)
{
	granted->items[i] = granted->items[--granted->count];
}

bool granted_by(const struct granted *granted, size_t i, const struct strings *names)
{
	for (size_t n = 0; n < names->len; n++)
		if (hash(names->items[n]) == granted->items[i].name)
			return true;
	return false;
}

uint64_t granted_next(const struct granted *granted)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < granted->count; i++)
		if (granted->items[i].until < next)
			next = granted->items[i].until;
	return next == UINT64_MAX
		       ? next
		       : (next + GRANTED_STEP_MS - 1) / GRANTED_STEP_MS * GRANTED_STEP_MS;
}
