/* SPDX-License-Identifier: Apache-2.0 */

/* A hostile guest's stream of tar; what comes out does not depend on how the stream was cut. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/tar.h"
#include "base/error.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { PIECE = 100 };

struct seen {
	struct str log;
	bool between; /* after an entry's end */
};

static int on_entry(void *arg, const struct tar_entry *entry, struct error *err unused_)
{
	struct seen *seen = arg;

	assert(strlen(entry->path) < TAR_PATH_MAX && strlen(entry->target) < TAR_PATH_MAX);
	assert(entry->size <= INT64_MAX && entry->mtime.tv_nsec >= 0 &&
	       entry->mtime.tv_nsec < 1000000000);
	assert(seen->between);
	seen->between = false;
	str_addf(&seen->log, "%d %s %s %o %llu\n", entry->kind, entry->path, entry->target,
		 entry->mode, (unsigned long long)entry->size);
	return 0;
}

static int on_data(void *arg, const uint8_t *bytes, size_t len, struct error *err unused_)
{
	struct seen *seen = arg;

	assert(!seen->between && len);
	str_add(&seen->log, bytes, len);
	return 0;
}

static int on_ended(void *arg, struct error *err unused_)
{
	struct seen *seen = arg;

	seen->between = true;
	return 0;
}

static int read_all(const uint8_t *bytes, size_t len, size_t piece, struct seen *seen)
{
	static const struct tar_events events = { on_entry, on_data, on_ended };
	struct tar_reader *reader = tar_reader_new(&events, seen);
	struct error err = ERROR_INIT;
	int r = 0;

	*seen = (struct seen){ STR_INIT, true };
	for (size_t at = 0; r == 0 && at < len; at += piece)
		r = tar_reader_feed(reader, bytes + at, len - at < piece ? len - at : piece, &err);
	if (r == 0)
		r = tar_reader_finish(reader, &err);
	tar_reader_free(reader);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct seen whole, pieces;
	int r = read_all(bytes, len, len ? len : 1, &whole);

	assert(read_all(bytes, len, PIECE, &pieces) == r);
	assert(whole.log.len == pieces.log.len &&
	       memcmp(whole.log.ptr, pieces.log.ptr, whole.log.len) == 0);
	str_release(&whole.log);
	str_release(&pieces.log);
	return 0;
}
