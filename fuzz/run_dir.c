/* SPDX-License-Identifier: Apache-2.0 */

/* The values of --dir, one a line: src/run/dir_option.c. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"
#include "run/dir_option.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* What the guest's directories and QEMU's arguments are made of. */
static void check_one(const struct dir_option *option)
{
	assert(option->path[0] != '\0');
	assert(option->tag[0] != '\0' && option->tag[0] != '.' && !strpbrk(option->tag, ",=/: "));
	assert(strlen(option->tag) <= DIR_TAG_MAX);
	if (option->name)
		assert(option->name[0] != '\0' && !strchr(option->name, '/') &&
		       strcmp(option->name, "..") != 0 && strlen(option->name) <= DIR_NAME_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_free char *text = xmalloc(len + 1);
	auto_strings values = VEC_INIT;
	auto_dir_options options = DIR_OPTIONS_INIT;
	struct error err = ERROR_INIT;
	char *rest = text, *line;

	(void)memcpy(text, bytes, len);
	text[len] = '\0';
	while ((line = strsep(&rest, "\n")))
		strings_add(&values, line);
	if (dir_options_parse(&values, &options, &err) < 0) {
		assert(err.code == E_USAGE && err.text[0] && options.len == 0);
		return 0;
	}
	assert(options.len == values.len);
	for (size_t i = 0; i < options.len; i++)
		check_one(&options.items[i]);
	return 0;
}
