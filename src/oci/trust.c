/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/trust.h"

#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"

enum { TRUST_FILE_MAX = 4 * 1024 * 1024 };

static void cleanup_dir_(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static void add_file(struct trust *trust, int dir, const char *path)
{
	struct error ignored = ERROR_INIT;

	if (fs_read_file(dir, path, TRUST_FILE_MAX, &trust->authorities, &ignored) >= 0)
		str_addc(&trust->authorities, '\n');
}

/* libcurl takes one place of authorities: the system's have to be in it, too */
static void add_authority(struct trust *trust, int dir, const char *name)
{
	const char *system = trust->file ? trust->file : curl_version_info(CURLVERSION_NOW)->cainfo;

	if (!trust->authorities.len && system)
		add_file(trust, AT_FDCWD, system);
	add_file(trust, dir, name);
}

static void add_client(struct trust *trust, const char *path, const char *name)
{
	int stem = (int)(strlen(name) - strlen(".cert"));

	if (trust->certificate)
		return;
	trust->certificate = str_format("%s/%s", path, name);
	trust->key = str_format("%s/%.*s.key", path, stem, name);
}

static void add_directory(struct trust *trust, const char *parent, const char *host)
{
	auto_free char *path = str_format("%s/%s", parent, host);
	cleanup_(cleanup_dir_) DIR *d = opendir(path);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		if (str_ends(e->d_name, ".crt"))
			add_authority(trust, dirfd(d), e->d_name);
		else if (str_ends(e->d_name, ".cert"))
			add_client(trust, path, e->d_name);
	}
}

/* An empty one is none, as for the curl program. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

void trust_load(struct trust *trust, const char *host)
{
	trust->file = variable("SSL_CERT_FILE");
	trust->directory = variable("SSL_CERT_DIR");
	add_directory(trust, "/etc/containers/certs.d", host);
	add_directory(trust, "/etc/docker/certs.d", host);
}

void trust_release(struct trust *trust)
{
	str_release(&trust->authorities);
	free(trust->certificate);
	free(trust->key);
}
