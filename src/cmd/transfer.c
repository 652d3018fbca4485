/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/transfer.h"

#include "base/error.h"

int transfer_exec_pull(struct invocation *inv, const char *name, bool insecure,
		       uint64_t concurrency, struct error *err)
{
	(void)inv;
	(void)insecure;
	(void)concurrency;
	return error_set(err, E_FAILED, "the image \"%.200s\" is not pulled yet", name);
}
