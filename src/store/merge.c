/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fewer files for the same content. What is written anew gets a fresh name that disk.json does not
 * know yet, so a crash before disk.json changes leaves only something to sweep; the change is one
 * rename. A layer that others may have linked is never written to.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "machine/convert.h"
#include "machine/plan.h"
#include "store/chain.h"
#include "store/vm.h"

_Static_assert((int)DISK_LAYERS_MAX <= (int)PLAN_LAYERS_MAX, "a chain fits into a launch plan");

/* An opened chain, or the part of it from a layer on. */
struct layers {
	struct plan_layer items[DISK_LAYERS_MAX];
	size_t count;
};

static void close_layers(struct layers *layers)
{
	for (size_t i = 0; i < layers->count; i++)
		(void)close(layers->items[i].fd);
}
#define auto_layers cleanup_(close_layers) struct layers

static int open_layers(const struct vm *vm, const struct disk_chain *chain, struct layers *layers,
		       struct error *err)
{
	int fds[DISK_LAYERS_MAX];
	int r = disk_open_layers(vm, chain, /* read_only= */ true, fds, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < chain->count; i++)
		layers->items[i] =
			(struct plan_layer){ .fd = fds[i], .qcow2 = chain->layers[i].qcow2 };
	layers->count = chain->count;
	return 0;
}

static int write_merged(const struct vm *vm, const struct disk_chain *chain, const char *name,
			struct error *err)
{
	auto_layers layers = { .count = 0 };
	struct qcow2_header header = { 0 };
	auto_fd to = -1;
	int r = open_layers(vm, chain, &layers, err);

	if (r < 0)
		return r;
	to = fs_open(vm->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	if (to < 0)
		return to;
	/* the top is not a frozen layer */
	r = convert_merge(&layers.items[1], layers.count - 1, to, err);
	if (r == 0)
		r = qcow2_read_header(to, &header, err);
	if (r < 0)
		return r;
	if (header.size > chain->size)
		return error_set(err, E_INVALID, "the merged layer is larger than the disk");
	if (fchmod(to, 0400) < 0 || fsync(to) < 0)
		return error_errno(err, "cannot write '%s'", name);
	return 0;
}

/* The top, the merged layer, the last one. */
static struct disk_chain merged_chain(const struct disk_chain *chain, const char *name)
{
	struct disk_chain merged = { .size = chain->size, .count = 3 };

	merged.layers[0] = chain->layers[0];
	merged.layers[1].qcow2 = true;
	memcpy(merged.layers[1].file, name, strlen(name) + 1);
	merged.layers[2] = chain->layers[chain->count - 1];
	return merged;
}

int disk_merge_if_deep(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct disk_chain merged;
	char name[DISK_NAME];
	int r;

	if (chain->count <= DISK_LAYERS_MERGE)
		return 0;
	chain_new_layer_name(name);
	merged = merged_chain(chain, name);
	r = write_merged(vm, chain, name, err);
	if (r == 0)
		r = disk_write(vm, &merged, err);
	if (r == 0)
		r = disk_read(vm, chain, err); /* sweeps the old layers */
	else
		(void)!disk_read(vm, chain, &ignored); /* sweeps what was begun */
	return r < 0 ? error_wrap(err, "merging the disk of VM \"%s\"", vm->name) : 0;
}

int disk_commit_raw(const struct vm *vm, int raw, struct disk_chain *chain, struct error *err)
{
	struct disk_chain pending;
	struct stat st;
	int r;

	if (fsync(raw) < 0 || fstat(raw, &st) < 0)
		return error_errno(err, "cannot write '%s'", CHAIN_NEXT);
	chain_set_raw(&pending, (uint64_t)st.st_size);
	memcpy(pending.layers[0].file, CHAIN_NEXT, sizeof(CHAIN_NEXT));
	r = disk_write(vm, &pending, err);
	return r < 0 ? r : disk_read(vm, chain, err);
}

/* Are there only empty overlays above a raw layer? Return: 1, 0 or error. */
static int is_plain(const struct layers *layers, struct error *err)
{
	if (layers->items[layers->count - 1].qcow2)
		return 0;
	for (size_t i = 0; i + 1 < layers->count; i++) {
		int r = qcow2_is_empty(layers->items[i].fd, err);

		if (r <= 0)
			return r;
	}
	return 1;
}

static int write_flat(const struct vm *vm, const struct disk_chain *chain, int to,
		      struct error *err)
{
	auto_layers layers = { .count = 0 };
	int r = open_layers(vm, chain, &layers, err);

	if (r == 0)
		r = is_plain(&layers, err);
	if (r > 0)
		r = fs_copy_sparse(layers.items[layers.count - 1].fd, to, err);
	else if (r == 0)
		r = convert_chain_to_raw(layers.items, layers.count, to, err);
	if (r == 0 && ftruncate(to, (off_t)chain->size) < 0)
		r = error_errno(err, "cannot write '%s'", CHAIN_NEXT);
	return r;
}

int disk_flatten(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_fd to = -1;
	int r;

	(void)unlinkat(vm->dir, CHAIN_NEXT, 0);
	to = fs_open(vm->dir, CHAIN_NEXT, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	r = to < 0 ? to : write_flat(vm, chain, to, err);
	if (r == 0)
		r = disk_commit_raw(vm, to, chain, err);
	if (r == 0)
		return 0;
	(void)!disk_read(vm, chain, &ignored); /* ends or sweeps what was begun */
	return error_wrap(err, "the disk of VM \"%s\"", vm->name);
}
