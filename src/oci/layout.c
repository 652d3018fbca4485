/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "oci/remote_ops.h"
int layout_open(const struct oci_name *name, const struct remote_options *options, bool write,
		struct remote **remote, struct error *err)
{
	(void)name;
	(void)options;
	(void)write;
	(void)remote;
	return error_set(err, E_FAILED, "not yet");
}
