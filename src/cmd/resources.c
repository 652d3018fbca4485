/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/resources.h"

#include <inttypes.h>

#include "base/error.h"

static const uint64_t mebibyte = 1024 * 1024;
static const uint64_t memory_max = UINT64_C(1) << 50;

static int too_little(const char *what, uint64_t min, uint64_t requested, struct error *err)
{
	return error_set(err, E_FAILED,
			 "Error: LessThanMinimalResourcesError: VM should have %" PRIu64
			 " %s at minimum (requested %" PRIu64 ")",
			 min, what, requested);
}

int resources_cpus(uint64_t given, uint64_t min, uint32_t *cpus, struct error *err)
{
	if (given < min)
		return too_little("CPU cores", min, given, err);
	*cpus = (uint32_t)given;
	return 0;
}

int resources_memory(uint64_t mib, uint64_t min, uint64_t *bytes, struct error *err)
{
	uint64_t wanted;

	if (__builtin_mul_overflow(mib, mebibyte, &wanted) || wanted > memory_max)
		return error_set(err, E_TOO_BIG,
				 "%" PRIu64 " MiB of memory is more than the largest VM can have "
				 "(%" PRIu64 ")",
				 mib, memory_max / mebibyte);
	if (wanted < min)
		return too_little("bytes of memory", min, wanted, err);
	*bytes = wanted;
	return 0;
}
