/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

/*
 * Images that were pulled (contract 4.1, 4.6-4.8):
 *
 *   cache/OCIs/HOST/NS.../sha256:HEX/   an image: config.json, disk.img (raw, 0400), nvram.bin,
 *                                       manifest.json (the bytes as received), .accessed
 *   cache/OCIs/HOST/NS.../TAG           a symbolic link to a sibling of that kind
 *   cache/pulls/HEX/                    an unfinished pull of the manifest sha256:HEX, flocked
 *                                       while somebody works on it (store/cache_pull.h)
 *
 * In HOST and, for a layout ("oci:" names: HOST is "oci%3A" and the directory's components are
 * NS), in the components every byte outside [A-Za-z0-9._-] is %XX, and so is a leading '.'.
 *
 * An image has the mark CACHE_UNVERIFIED where not every blob that its manifest names was decoded
 * here, because contents came from elsewhere: what those blobs hold is only said. A clone of it has
 * no origin, so that a push does not pass them on.
 *
 * Nothing in an image is ever changed, so its files may have other names by hard link: those of
 * clones, and those of the same image under another name. cache/ may be a link to another
 * file system.
 *
 * Locks: cache/.lock (flock) is held for short while links and image directories appear and go;
 * an image that is being read (clone, push, export) is opened with cache_open(), which holds a
 * shared flock on its directory; whoever removes it takes that lock exclusively and without
 * waiting. A puller holds the flock on what it built until cache_link() has returned, so that
 * nobody reads or removes the image that no tag names yet; and calls cache_open() only afterwards.
 * Should it be killed in between, the mark .new lets that image stay for as long as an unfinished
 * pull.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/attr.h"
#include "oci/digest.h"
#include "oci/name.h"
#include "store/vm.h"

struct error;
struct home;
struct str;

#define CACHE_UNVERIFIED ".unverified-blobs"

/*
 * Open a cached image as a VM directory: @vm->name is the canonical name, its files are read-only.
 * While vm->dir is open the image cannot be removed. Touches the access date unless @quiet.
 * A tag that is not cached, or an image that is not whole: E_NOT_FOUND, text of vm_not_found().
 */
int cache_open(const struct home *home, const struct oci_name *name, bool quiet, struct vm *vm,
	       struct error *err) must_use_;
/* The digest that @name (a tag or a digest) is cached by. Return: 1, 0 not cached, or error. */
int cache_find(const struct home *home, const struct oci_name *name, struct digest *digest,
	       struct error *err) must_use_;

/* One name of list's: a tag or a digest. */
struct cache_entry {
	struct oci_name name;
	char *path; /* of the image's directory */
	struct digest digest;
	time_t accessed; /* the image's */
};
struct cache_entries {
	struct cache_entry *items;
	size_t len, cap;
};
/* All names of whole images, tags and digests, sorted by canonical text. */
int cache_list(const struct home *home, struct cache_entries *entries, struct error *err) must_use_;
void cache_entries_release(struct cache_entries *entries);
#define auto_cache_entries cleanup_(cache_entries_release) struct cache_entries

/*
 * Let the whole directory @built (on cache/'s file system, fsynced by this) appear as the image
 * @name@digest. One that is there already is kept and @built is removed. Return: 0 or error.
 */
int cache_publish(const struct home *home, const struct oci_name *name, const struct digest *digest,
		  const char *built, struct error *err) must_use_;
/*
 * Give the image a tag, in one step in the place of an older one, then cache_gc(), whose failure is
 * none of this; for a @name that is a digest: mark it .explicitly-pulled, so that gc lets it be.
 */
int cache_link(const struct home *home, const struct oci_name *name, const struct digest *digest,
	       struct error *err) must_use_;
/*
 * delete: the link of a tag, the directory of a digest; then gc. E_NOT_FOUND as vm_delete();
 * E_RUNNING where somebody reads the digest's image. One of which only the tag went meanwhile is
 * collected by a later gc.
 */
int cache_delete(const struct home *home, const struct oci_name *name, struct error *err) must_use_;
/* Remove broken links, and images that no tag names and that have no mark (contract 4.8). */
int cache_gc(const struct home *home, struct error *err) must_use_;

/*
 * prune --entries caches (contract 4.6), -1 where not given; @all: every cached image and
 * unfinished pull. Each removed image is told to @removed as "NAME (N bytes)" a line: its first
 * tag, or its digest where it has none, and what its disk gave back. One that somebody reads stays.
 * An image whose removal gives nothing back is kept, except with @all or @older_than_days.
 */
int cache_prune(const struct home *home, int64_t older_than_days, int64_t budget_gib, bool all,
		struct str *removed, struct error *err) must_use_;
/*
 * Automatic pruning (contract 4.7): unless TART_NO_AUTO_PRUNE is set, make room for @needed bytes
 * on cache/'s file system, the least recently used first, counting only what comes back, and never
 * @keep's image (may be NULL). What cannot be enough removes nothing.
 */
int cache_reclaim(const struct home *home, uint64_t needed, const struct digest *keep,
		  struct str *removed, struct error *err) must_use_;

/* clone of a cached image: like vm_clone(), and the VM remembers its origin (store/origin.h). */
int vm_clone_image(const struct home *home, const struct oci_name *source, const char *name,
		   const struct vm_clone *how, struct error *err) must_use_;
/* Its disk alone, for --disk of run: into the empty directory @to, as a VM's. */
int vm_clone_image_disk(const struct home *home, const struct oci_name *source, const struct vm *to,
			struct error *err) must_use_;

#endif
