/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "oci/name.h"
#include "store/cache.h"

struct fqn_args {
	const char *name;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct fqn_args, name),
	  .help = "Name of a VM or of a cached image.",
	  .completes = COMPLETES_IMAGE },
	{ 0 },
};

static int add_image(const struct home *home, const struct oci_name *name, struct str *out,
		     struct error *err)
{
	struct digest digest;
	char text[DIGEST_TEXT];
	int r = cache_find(home, name, &digest, err);

	if (r < 0)
		return r;
	if (r == 0) {
		auto_str shown = STR_INIT;

		oci_name_add(name, &shown);
		return error_set(err, E_FAILED,
				 "OCI storage error: %s is not a digest and doesn't point to a "
				 "digest",
				 shown.ptr);
	}
	digest_format(&digest, text);
	oci_name_add_repository(name, out);
	str_addf(out, "@%s\n", text);
	return 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct fqn_args *args = data;
	auto_oci_name name = OCI_NAME_INIT;
	struct error ignored = ERROR_INIT;
	auto_str out = STR_INIT;
	int r = 0;

	if (oci_name_parse(args->name, &name, &ignored) == 0)
		r = add_image(&inv->home, &name, &out, err);
	else
		str_addf(&out, "%s\n", args->name);
	return r < 0 ? r : output_text(&out, err);
}

const struct command command_fqn = {
	.name = "fqn",
	.summary = "Print the digest that an image's name stands for",
	.arguments = arguments,
	.args_size = sizeof(struct fqn_args),
	.flags = COMMAND_HIDDEN,
	.run = run,
};
