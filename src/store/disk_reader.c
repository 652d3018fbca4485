/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * As QEMU does, a byte is looked for from the top layer down: the first that has it or says that it
 * is zero is the last that is asked. A layer that ends before the byte (its disk has grown since)
 * says that it is zero, and below the last layer everything is. A raw layer has all its
 * bytes; that its holes are zeroes is looked up only where zeroes are to be skipped.
 *
 * The answer to one question is a piece: as long as it may be without asking again, at most as
 * long as the caller wants. Nothing is kept between questions, files are read with pread()
 * alone, and lseek() is used for SEEK_DATA and SEEK_HOLE only, whose answers do not depend on the
 * offset that other threads leave.
 */

#include "store/disk_reader.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/disk.h"
#include "store/qcow2_map.h"
#include "store/vm.h"

/* A kernel looks for a hole through all data before it, beyond a piece, too. */
enum { HOLE_WORTH = 1024 * 1024 }; /* bytes of a piece within which holes are looked for */

struct layer {
	int fd;
	bool qcow2;
	char file[DISK_NAME];
	uint64_t size; /* bytes of the disk that it knows */
	uint64_t file_size;
	struct qcow2_map map;
};

struct disk_reader {
	char *name; /* of the VM */
	uint64_t size;
	size_t count;
	struct layer layers[]; /* top first */
};

/* ---- opening ---- */

static int open_layer(struct layer *layer, struct error *err)
{
	struct stat st;
	int r;

	if (fstat(layer->fd, &st) < 0)
		return error_errno(err, "cannot read");
	layer->file_size = (uint64_t)st.st_size;
	layer->size = layer->file_size;
	if (!layer->qcow2)
		return 0;
	r = qcow2_map_open(layer->fd, &layer->map, err);
	if (r == 0)
		layer->size = layer->map.size;
	return r;
}

static int wrap(const struct disk_reader *reader, const struct layer *layer, struct error *err)
{
	return error_wrap(err, "%s of VM \"%s\"", layer->file, reader->name);
}

int disk_reader_open(const struct vm *vm, struct disk_reader **reader, struct error *err)
{
	auto_disk_reader *opened = NULL;
	struct disk_chain chain;
	int fds[DISK_LAYERS_MAX];
	int r = disk_read(vm, &chain, err);

	if (r < 0)
		return r;
	r = disk_open_layers(vm, &chain, /* read_only= */ true, fds, err);
	if (r < 0)
		return r;
	opened = xcalloc(1, sizeof(*opened) + chain.count * sizeof(opened->layers[0]));
	opened->name = xstrdup(vm->name);
	opened->size = chain.size;
	opened->count = chain.count;
	for (size_t i = 0; i < chain.count; i++) {
		opened->layers[i].fd = fds[i];
		opened->layers[i].qcow2 = chain.layers[i].qcow2;
		memcpy(opened->layers[i].file, chain.layers[i].file, DISK_NAME);
	}
	for (size_t i = 0; i < opened->count; i++) {
		r = open_layer(&opened->layers[i], err);
		if (r < 0)
			return wrap(opened, &opened->layers[i], err);
	}
	*reader = take(opened);
	return 0;
}

struct disk_reader *disk_reader_free(struct disk_reader *reader)
{
	for (size_t i = 0; reader && i < reader->count; i++) {
		qcow2_map_release(&reader->layers[i].map);
		(void)close(reader->layers[i].fd);
	}
	if (reader)
		free(reader->name);
	free(reader);
	return NULL;
}

uint64_t disk_reader_size(const struct disk_reader *reader)
{
	return reader->size;
}

int disk_reader_reflink(const struct disk_reader *reader, int to, struct error *err)
{
	const struct layer *only = &reader->layers[0];

	if (reader->count != 1 || only->qcow2)
		return 0;
	return fs_reflink(only->fd, to, err);
}

/* ---- pieces ---- */

struct piece {
	const struct layer *layer; /* NULL: zeroes */
	uint64_t host; /* in its file */
	uint64_t length; /* in bytes, at least one */
};

/*
 * Does @layer have the bytes from @offset on? Return: 1 and @piece, which is @piece->length at most
 * when called; 0: the layer below is to be asked, for @piece->length bytes; or error.
 */
static int ask_layer(const struct layer *layer, uint64_t offset, struct piece *piece,
		     struct error *err)
{
	struct qcow2_extent extent;
	int r;

	if (offset >= layer->size)
		return 1;
	if (piece->length > layer->size - offset)
		piece->length = layer->size - offset;
	if (!layer->qcow2) {
		piece->layer = layer;
		piece->host = offset;
		return 1;
	}
	r = qcow2_map_find(&layer->map, offset, piece->length, &extent, err);
	if (r < 0)
		return r;
	piece->length = extent.length;
	if (extent.kind == QCOW2_UNALLOCATED)
		return 0;
	if (extent.kind == QCOW2_DATA) {
		piece->layer = layer;
		piece->host = extent.host;
	}
	return 1;
}

static int find_piece(const struct disk_reader *reader, uint64_t offset, uint64_t len,
		      struct piece *piece, struct error *err)
{
	*piece = (struct piece){ .length = len };
	for (size_t i = 0; i < reader->count; i++) {
		int r = ask_layer(&reader->layers[i], offset, piece, err);

		if (r < 0)
			return wrap(reader, &reader->layers[i], err);
		if (r > 0)
			return 0;
	}
	return 0;
}

static int read_piece(const struct disk_reader *reader, const struct piece *piece, uint8_t *bytes,
		      struct error *err)
{
	size_t length = (size_t)piece->length, in_file = 0;
	int r;

	if (piece->layer) {
		const uint64_t end = piece->layer->file_size;

		/* a file may end within its last cluster, even before the piece begins */
		if (piece->host < end)
			in_file = end - piece->host < length ? (size_t)(end - piece->host) : length;
		r = fs_pread_all(piece->layer->fd, bytes, in_file, (off_t)piece->host, err);
		if (r < 0)
			return wrap(reader, piece->layer, err);
	}
	memset(bytes + in_file, 0, length - in_file);
	return 0;
}

int disk_reader_read(const struct disk_reader *reader, void *bytes, size_t len, uint64_t offset,
		     struct error *err)
{
	uint8_t *p = bytes;

	assert(offset <= reader->size && len <= reader->size - offset);
	while (len) {
		struct piece piece;
		int r = find_piece(reader, offset, len, &piece, err);

		if (r == 0)
			r = read_piece(reader, &piece, p, err);
		if (r < 0)
			return r;
		p += piece.length;
		offset += piece.length;
		len -= (size_t)piece.length;
	}
	return 0;
}

/* ---- data ---- */

/*
 * What to take for data in @piece, as [*start, *end) from its beginning: a small one is not looked
 * through to its end. A file system that cannot say has data everywhere. Return: is there any?
 */
static bool find_in_piece(const struct piece *piece, uint64_t *start, uint64_t *end)
{
	const uint64_t piece_end = piece->host + piece->length;
	off_t data = lseek(piece->layer->fd, (off_t)piece->host, SEEK_DATA);
	off_t hole = (off_t)piece_end;

	if (data < 0 && errno == ENXIO)
		return false;
	if (data < 0)
		data = (off_t)piece->host;
	if ((uint64_t)data >= piece_end)
		return false;
	if (piece->length >= HOLE_WORTH)
		hole = lseek(piece->layer->fd, data, SEEK_HOLE);
	if (hole <= data || (uint64_t)hole > piece_end)
		hole = (off_t)piece_end;
	*start = (uint64_t)data - piece->host;
	*end = (uint64_t)hole - piece->host;
	return true;
}

int disk_reader_next_data(const struct disk_reader *reader, uint64_t offset, uint64_t *start,
			  uint64_t *end, struct error *err)
{
	while (offset < reader->size) {
		uint64_t from, to;
		struct piece piece;
		int r = find_piece(reader, offset, reader->size - offset, &piece, err);

		if (r < 0)
			return r;
		if (piece.layer && find_in_piece(&piece, &from, &to)) {
			*start = offset + from;
			*end = offset + to;
			return 1;
		}
		offset += piece.length;
	}
	return 0;
}
