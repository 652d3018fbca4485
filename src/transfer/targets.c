/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/targets.h"

#include <stdio.h>

#include "base/error.h"
#include "base/str.h"

/* The group of @name's repository, made where there is none. */
static struct target *group_of(struct targets *targets, const struct oci_name *name)
{
	for (size_t i = 0; i < targets->len; i++)
		if (oci_name_same_repository(&targets->items[i].names.items[0], name))
			return &targets->items[i];
	targets_add(targets, (struct target){ .names = VEC_INIT, .references = VEC_INIT });
	return &targets->items[targets->len - 1];
}

int targets_parse(const struct strings *texts, struct targets *targets, struct error *err)
{
	for (size_t i = 0; i < texts->len; i++) {
		struct oci_name name = OCI_NAME_INIT;
		struct target *target;
		int r = oci_name_parse(texts->items[i], &name, err);

		if (r < 0)
			return r;
		target = group_of(targets, &name);
		strings_add(&target->references, oci_name_reference(&name));
		oci_names_add(&target->names, name); /* owned from now on */
	}
	return 0;
}

void targets_free(struct targets *targets)
{
	for (size_t i = 0; i < targets->len; i++) {
		struct target *target = &targets->items[i];

		for (size_t j = 0; j < target->names.len; j++)
			oci_name_release(&target->names.items[j]);
		oci_names_release(&target->names);
		strings_release(&target->references);
	}
	targets_release(targets);
}

void target_announce(const char *local, const struct target *target)
{
	auto_str text = STR_INIT;

	if (target->names.len == 1) {
		oci_name_add(&target->names.items[0], &text);
	} else {
		oci_name_add_repository(&target->names.items[0], &text);
		for (size_t i = 0; i < target->names.len; i++)
			str_addf(&text, "%c%c%s", i ? ',' : '{',
				 target->names.items[i].tag ? ':' : '@',
				 target->references.items[i]);
		str_addc(&text, '}');
	}
	(void)printf("pushing %s to %s...\n", local, text.ptr);
}
