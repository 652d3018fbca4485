/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_REMOTE_H
#define OCI_REMOTE_H

/*
 * One repository that images come from or go to: in a registry (OCI distribution-spec 1.1,
 * oci/registry.c) or in an image layout on disk (oci/layout.c).
 *
 * All functions but open and free may be called by several threads at once; each blocks. Every
 * digest is verified before success is returned: of a manifest asked for by digest, of each
 * blob, and of its size. Transport errors, 408, 429 and 5xx are retried inside with back-off
 * and Retry-After; an error's text names the URL and the reason, and never a credential.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "oci/manifest.h"

struct error;
struct oci_name;
struct remote;
struct str;

struct remote_options {
	bool insecure; /* http instead of https */
	uint64_t chunk_size; /* bytes of one PATCH of an upload; 0: one PUT */
	const char *home; /* for our own credentials file, $home/auth.json */
	/* told of each wait before another try ("retrying ..."), from any thread; may be NULL */
	void (*notice)(void *arg, const char *text);
	/* told what a person should know though it is no error, for stderr: credentials that were
	 * passed over; NULL: notice() is told */
	void (*warning)(void *arg, const char *text);
	/* asked at least once a second: true ends what is waited for with E_CANCELLED; may be NULL
	 */
	bool (*cancelled)(void *arg);
	void *arg;
};

/* The repository of @name. @write: it is to be pushed to (a layout is made). */
int remote_open(const struct oci_name *name, const struct remote_options *options, bool write,
		struct remote **remote, struct error *err) must_use_;
struct remote *remote_free(struct remote *remote);

/*
 * Append the manifest's bytes, at most MANIFEST_MAX, to @out and compute its digest.
 * @reference: a tag or digest. E_NOT_FOUND-like outcomes are E_FAILED with the status in the text.
 */
int remote_get_manifest(struct remote *remote, const char *reference, struct str *out,
			struct digest *digest, struct error *err) must_use_;

/*
 * Append where a manifest or a blob is: its URL, or its path in a layout. For errors in what came
 * as it should; those of the functions here name it themselves.
 */
void remote_add_manifest_place(const struct remote *remote, const char *reference, struct str *out);
void remote_add_blob_place(const struct remote *remote, const struct blob *blob, struct str *out);

/* Takes the next bytes of a blob, in order, each once. Return: 0, or an error that ends it. */
typedef int (*remote_write_fn)(void *arg, const void *bytes, size_t len, struct error *err);
/* Never gives write() more than blob->size bytes. After an error what was given is worthless. */
int remote_get_blob(struct remote *remote, const struct blob *blob, remote_write_fn write,
		    void *arg, struct error *err) must_use_;
/* The same into memory, for a blob of at most @limit bytes (E_TOO_BIG). */
int remote_get_small_blob(struct remote *remote, const struct blob *blob, size_t limit,
			  struct str *out, struct error *err) must_use_;

/* Return: 1 the repository has it, 0 it has not, or error. */
int remote_has_blob(struct remote *remote, const struct blob *blob, struct error *err) must_use_;
/*
 * Have it taken over from @from, a repository of the same host. Return: 1 done; 0 it cannot be had
 * that way (also where the registry knows no mounting); or error.
 */
int remote_mount_blob(struct remote *remote, const struct blob *blob, const struct oci_name *from,
		      struct error *err) must_use_;
/*
 * Upload bytes [0, blob->size) of the file @fd (read with pread). Not asked first whether it is
 * there already: that is remote_has_blob().
 */
int remote_put_blob(struct remote *remote, const struct blob *blob, int fd,
		    struct error *err) must_use_;
int remote_put_small_blob(struct remote *remote, const struct blob *blob, const void *bytes,
			  struct error *err) must_use_;
/* Put the manifest under a tag (or its digest). */
int remote_put_manifest(struct remote *remote, const char *reference, const char *media_type,
			const void *bytes, size_t len, struct error *err) must_use_;

/* Does the registry accept these credentials (GET /v2/)? @host: "host[:port]". For login. */
int remote_check_login(const char *host, bool insecure, const char *user, const char *password,
		       struct error *err) must_use_;

#endif
