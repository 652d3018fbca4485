/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_MIGRATE_H
#define MACHINE_MIGRATE_H

/*
 * The state of a VM's devices to a file and back. The guest's memory is not in it: that is a memory
 * file of ours (plan.h), which QEMU leaves alone. Each function waits for QEMU, with a limit.
 */

#include "base/attr.h"

struct error;
struct qmp;

/*
 * What a state depends on besides the devices: *machine is the machine type's versioned name,
 * *version the engine's, "7.2". The caller's. E_PROTOCOL.
 */
int migrate_describe(struct qmp *qmp, char **machine, char **version, struct error *err) must_use_;
/* Write the state of the VM, which is stopped, to the empty file @fd. Afterwards its disks are
 * nobody's until it is told to go on. */
int migrate_save(struct qmp *qmp, int fd, struct error *err) must_use_;
/* Read it into an engine that was started with plan.incoming. It stays paused. An engine that
 * cannot read it ends, -EPIPE, and has said why. */
int migrate_load(struct qmp *qmp, int fd, struct error *err) must_use_;

#endif
