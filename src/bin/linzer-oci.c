/* SPDX-License-Identifier: Apache-2.0 */

/* linzer-oci: the verbs that talk to registries. Executed by linzer with its own command line. */

#include "cmd/command.h"
#include "transfer/runners.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv, transfer_runners);
}
