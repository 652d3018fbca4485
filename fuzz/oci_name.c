/* SPDX-License-Identifier: Apache-2.0 */

/* Names as users, registries' clients and the cache's tree give them: the canonical text of what
 * parses is the same name, and no part of it leads out of a directory. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct oci_name *name)
{
	assert(name->repository && *name->repository);
	assert(!name->tag != !name->digest);
	assert(!strstr(name->repository, "//"));
	assert(!strstr(name->repository, "/../") && !strstr(name->repository, "/./"));
	assert(!str_ends(name->repository, "/.."));
	assert(name->host ? *name->repository != '/' : *name->repository == '/');
	assert(!name->tag || (!strchr(name->tag, '/') && strlen(name->tag) <= OCI_TAG_MAX));
	assert(!name->host || oci_name_is_host(name->host));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	auto_oci_name name = OCI_NAME_INIT, again = OCI_NAME_INIT, copy = OCI_NAME_INIT;
	auto_str canonical = STR_INIT, second = STR_INIT;
	struct error err = ERROR_INIT;

	(void)oci_name_is_host(text);
	if (oci_name_parse(text, &name, &err) < 0) {
		assert(err.code == E_FAILED && err.text[0] && !oci_name_is_remote(text));
		return 0;
	}
	check_parts(&name);
	oci_name_add(&name, &canonical);
	assert(canonical.len <= OCI_NAME_MAX);
	if (oci_name_parse(canonical.ptr, &again, &err) < 0)
		abort();
	oci_name_add(&again, &second);
	assert(strcmp(canonical.ptr, second.ptr) == 0);
	assert(oci_name_same_repository(&name, &again));
	oci_name_copy(&again, &copy);
	assert(strcmp(oci_name_reference(&copy), oci_name_reference(&name)) == 0);
	return 0;
}
