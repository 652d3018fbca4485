/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CHAIN_FIXTURE_H
#define STORE_CHAIN_FIXTURE_H

/* For unit tests only: chains that a real QEMU writes to. */

#include <inttypes.h>

#include "base/json.h"
#include "store/fixture.h"

enum { CLUSTER = 65536, SECTOR = 512, MIB = 1024 * 1024 };

/* ---- a source of chance that gives the same each time ---- */

static uint64_t chance_state;

static inline uint32_t chance(uint32_t below)
{
	chance_state = chance_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(chance_state >> 33) % below;
}

/* ---- QEMU ---- */

static inline void run(struct strings *argv)
{
	int status;
	pid_t pid;

	strings_take(argv, NULL);
	pid = fork();
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stdout);
		(void)execvp(argv->items[0], argv->items);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The chain as QEMU is told it. */
static inline char *describe(const struct vm *vm, const struct disk_chain *chain)
{
	json_t *below = json_null();
	auto_str text = STR_INIT;

	for (size_t i = chain->count; i-- > 0;) {
		const struct disk_layer *layer = &chain->layers[i];
		auto_free char *path = str_format("%s/%s", vm->path, layer->file);
		json_t *node =
			json_pack("{s:s, s:{s:s, s:s}}", "driver", layer->qcow2 ? "qcow2" : "raw",
				  "file", "driver", "file", "filename", path);

		if (layer->qcow2)
			(void)json_object_set_new(node, "backing", below);
		below = node;
	}
	str_adds(&text, "json:");
	json_add_compact(&text, below);
	json_decref(below);
	return str_detach(&text);
}

/* Writes, zeroes and discards all over the disk, as a guest would. */
static inline void scribble(const struct vm *vm, const struct disk_chain *chain, unsigned count)
{
	static const char *const kinds[] = { "write -P 7",  "write -P 0", "write -z",
					     "write -z -u", "discard",	  "write -P 201" };
	auto_strings argv = VEC_INIT;

	strings_add(&argv, "qemu-io");
	strings_add(&argv, "-d");
	strings_add(&argv, "unmap");
	for (unsigned i = 0; i < count; i++) {
		uint64_t at = (uint64_t)chance((uint32_t)(chain->size / SECTOR)) * SECTOR;
		uint64_t len = (uint64_t)(chance(4) ? chance(12) + 1 : chance(600) + 1) * SECTOR;

		if (chance(2))
			at -= at % CLUSTER;
		if (chance(3) == 0)
			len = (uint64_t)(chance(4) + 1) * CLUSTER;
		if (len > chain->size - at)
			len = chain->size - at;
		strings_add(&argv, "-c");
		strings_addf(&argv, "%s %" PRIu64 " %" PRIu64, kinds[chance(6)], at, len);
	}
	strings_take(&argv, describe(vm, chain));
	run(&argv);
}

/* A VM whose raw disk of @size bytes has FIXTURE_DISK bytes of data at its start. */
static inline void create(struct fixture *f, uint64_t size, struct vm *vm, struct disk_chain *chain)
{
	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, vm, &f->err));
	assert_ok(f, disk_read(vm, chain, &f->err));
	if (size > FIXTURE_DISK)
		assert_ok(f, vm_resize_disk(vm, size, &f->err));
	assert_ok(f, disk_read(vm, chain, &f->err));
}

/* qemu-img's qcow2 of other clusters than ours, in the place of the disk. */
static inline void make_by_qemu(const struct vm *vm, const char *cluster_size, const char *size)
{
	auto_strings argv = VEC_INIT;

	strings_add(&argv, "qemu-img");
	strings_add(&argv, "create");
	strings_add(&argv, "-f");
	strings_add(&argv, "qcow2");
	strings_add(&argv, "-o");
	strings_addf(&argv, "cluster_size=%s", cluster_size);
	strings_addf(&argv, "%s/" CHAIN_TOP, vm->path);
	strings_add(&argv, size);
	run(&argv);
}

#endif
