/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TAR_H
#define AGENT_TAR_H

/*
 * Streams of tar, without I/O: what `tar` in a guest writes and reads. POSIX's ustar with pax
 * headers (IEEE 1003.1, pax) and GNU's long names, long numbers; nothing sparse, nothing
 * compressed.
 *
 * What is read is a guest's and never trusted: numbers, names and headers are checked and bounded.
 * A path is what the stream says: whoever makes files of it looks where it leads
 * (agent/tree_receive.h).
 */

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/attr.h"

struct error;
struct str;
struct tar_reader;

enum {
	TAR_BLOCK = 512,
	TAR_PATH_MAX = 4096, /* of names, with the NUL */
	TAR_EXTENSION_MAX = 256 * 1024, /* of a pax header */
};

enum tar_kind {
	TAR_FILE,
	TAR_FOLDER,
	TAR_SYMLINK,
	TAR_HARD_LINK, /* to the path `target` of the stream */
	TAR_OTHER, /* devices, pipes, what nobody knows */
};

struct tar_entry {
	enum tar_kind kind;
	const char *path;
	const char *target; /* of links; else empty */
	mode_t mode; /* 07777 */
	uint64_t size; /* bytes that follow; 0 for all but files and others; at most INT64_MAX */
	struct timespec mtime;
};

/* A negative return ends the reading with it. */
struct tar_events {
	int (*entry)(void *arg, const struct tar_entry *entry, struct error *err);
	/* The entry's bytes, in pieces, and their end (called for every entry). */
	int (*data)(void *arg, const uint8_t *bytes, size_t len, struct error *err);
	int (*ended)(void *arg, struct error *err);
};

struct tar_reader *tar_reader_new(const struct tar_events *events, void *arg) must_use_;
void tar_reader_free(struct tar_reader *reader);
/*
 * The next bytes, in pieces of any size. What comes behind the archive's end is ignored.
 * Return: 0; -E_INVALID, -E_TOO_BIG, or what an event said.
 */
int tar_reader_feed(struct tar_reader *reader, const uint8_t *bytes, size_t len,
		    struct error *err) must_use_;
/* Nothing more comes. Return: 0, or -E_INVALID where the archive had not ended. */
int tar_reader_finish(const struct tar_reader *reader, struct error *err) must_use_;

/* Append an entry's header(s); its bytes and tar_add_padding() are to follow. Its owner is 0. */
void tar_add_entry(struct str *out, const struct tar_entry *entry);
/* After @size bytes of content. */
void tar_add_padding(struct str *out, uint64_t size);
/* The archive's end. */
void tar_add_end(struct str *out);

#endif
