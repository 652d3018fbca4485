/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

/*
 * A suspended VM's state: state/ in its directory, which appears and goes as a whole.
 *
 *   state.json   what it fits to (struct state)
 *   device       the engine's state of the devices
 *   memory       the guest's memory, as long as that, with holes
 *
 * It is written as state.new and taken back as state.used; whoever finds those alone may remove
 * them. Its files are 0600 and are never exported, imported, pushed or pulled.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/vec.h"

struct disk_chain;
struct error;
struct str;
struct vm;

#define STATE_DIR "state"
#define STATE_NEW_DIR "state.new" /* until it is whole */

enum { STATE_FILE_MAX = 8 * 1024 * 1024, STATE_PARTS_MAX = 512, STATE_TEXT_MAX = 1024 };

/* Who wrote to the disk when. The same for a clone, and for a disk under overlays without data. */
struct state_disk {
	uint64_t size; /* virtual, in bytes */
	uint64_t length; /* of the uppermost file with data */
	int64_t modified; /* that file, in nanoseconds */
};
struct state {
	char *config; /* the text of the config.json that it ran with; `set` may have changed it */
	char *machine; /* the machine type's versioned name */
	char *processor; /* what the guest's is made by */
	struct strings parts; /* qemu_machine_parts() */
	uint64_t memory; /* bytes */
	uint64_t device_size; /* bytes of the file */
	uint64_t device_sum; /* FNV-1a of its bytes */
	struct state_disk disk;
	struct in_addr address; /* of the guest's first card, 0: none */
};
#define STATE_INIT                 \
	{                          \
		.parts = VEC_INIT, \
	}
void state_release(struct state *state);
#define auto_state cleanup_(state_release) struct state

/* state.json. E_INVALID. */
int state_parse(const void *bytes, size_t len, struct state *state, struct error *err) must_use_;
void state_format(const struct state *state, struct str *out);

/* The disk's, whose @chain nobody writes to. */
int state_find_disk(const struct vm *vm, const struct disk_chain *chain, struct state_disk *disk,
		    struct error *err) must_use_;
bool state_same_disk(const struct state_disk *a, const struct state_disk *b);

struct state_files {
	int device, memory;
};
#define STATE_FILES_INIT                    \
	{                                   \
		.device = -1, .memory = -1, \
	}
void state_files_release(struct state_files *files);
#define auto_state_files cleanup_(state_files_release) struct state_files

/* Begin to write one: two empty files. */
int state_begin(const struct vm *vm, struct state_files *files, struct error *err) must_use_;
/* Fill in .device_*, and let it appear durably. On failure there is none, as after
 * state_abandon(). */
int state_publish(const struct vm *vm, const struct state_files *files, struct state *state,
		  struct error *err) must_use_;
void state_abandon(const struct vm *vm);

bool state_exists(const struct vm *vm);
/* Read it and open its files to be read. Return: 1; 0 there is none; or error, E_INVALID where it
 * is not whole. */
int state_open(const struct vm *vm, struct state *state, struct state_files *files,
	       struct error *err) must_use_;
/* Durably: there is none any more. Until state_tidy() it can be put back. */
int state_consume(const struct vm *vm, struct error *err) must_use_;
int state_put_back(const struct vm *vm, struct error *err) must_use_;
/* Remove what was consumed, and what was begun and never published. */
void state_tidy(const struct vm *vm);
/* Forget it for good; none is fine. @vm's .lock is held, and nobody runs it. */
int state_drop(const struct vm *vm, struct error *err) must_use_;
/* Give @to, which is being made, a copy of the state that @from may have. */
int state_copy(const struct vm *from, const struct vm *to, struct error *err) must_use_;

#endif
