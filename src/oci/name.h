/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_NAME_H
#define OCI_NAME_H

/*
 * Names of images. In a registry (contract 5.1):
 *
 *   host[:port]/namespace[:tag|@sha256:hex]
 *
 * and in an image layout on disk (OCI image-spec, image-layout.md), our own form:
 *
 *   oci:DIR[:TAG|@sha256:hex]
 *
 * where DIR may be relative to the current directory and holds any bytes but
 * control characters. What comes after the last ':' of DIR's last component is the tag if
 * it has the form of one. Without tag and digest the tag is "latest".
 *
 * Whatever parses as such a name is an image; everything else is a local VM.
 */

#include <stdbool.h>

#include "base/attr.h"

struct error;
struct str;

enum { OCI_NAME_MAX = 1024, OCI_TAG_MAX = 128 };

struct oci_name {
	char *host; /* "ghcr.io", "127.0.0.1:5000"; NULL: a layout */
	char *repository; /* "org/image"; of a layout its directory, absolute, no "//", "/./",
			     "/../" */
	char *tag; /* either this */
	char *digest; /* or this: "sha256:<hex>" */
};
#define OCI_NAME_INIT \
	{             \
		0     \
	}

/* Does @text parse as an image's name? */
bool oci_name_is_remote(const char *text);
/*
 * Return: 0, @name is the caller's to release; E_FAILED "failed to parse remote name: ...
 * (character N)".
 */
int oci_name_parse(const char *text, struct oci_name *name, struct error *err) must_use_;
void oci_name_release(struct oci_name *name);
#define auto_oci_name cleanup_(oci_name_release) struct oci_name
/* A copy; with_digest: the same image by this digest instead. */
void oci_name_copy(const struct oci_name *from, struct oci_name *to);
void oci_name_with_digest(const struct oci_name *from, const char *digest, struct oci_name *to);
/* Same host and repository (tags and digests may differ)? */
bool oci_name_same_repository(const struct oci_name *a, const struct oci_name *b);
/* What stands for it in a manifest's address: the tag or the digest. */
const char *oci_name_reference(const struct oci_name *name);
/* Append the canonical text, with tag or digest; the repository alone ("host/ns", "oci:DIR"). */
void oci_name_add(const struct oci_name *name, struct str *out);
void oci_name_add_repository(const struct oci_name *name, struct str *out);
/* Is @host "host[:port]" of the grammar (login takes one)? */
bool oci_name_is_host(const char *host);

#endif
