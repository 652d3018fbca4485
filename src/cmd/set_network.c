/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/set_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "net/filter_text.h"
#include "store/network.h"
#include "store/vm.h"

void network_change_release(struct network_change *change)
{
	str_release(&change->text);
}

static struct slice slice_of(const struct str *text)
{
	return (struct slice){ (const uint8_t *)text->ptr, text->len };
}

static int check(const struct str *text, struct error *err)
{
	auto_policy policy = POLICY_INIT;

	return filter_text_parse(slice_of(text), POLICY_OWN, &policy, err);
}

static int prepare_filter(const char *path, struct network_change *change, struct error *err)
{
	int r;

	if (strcmp(path, "off") == 0) {
		change->filter = FILTER_REMOVE;
		return 0;
	}
	r = fs_read_input(path, FILTER_TEXT_MAX, &change->text, err);
	if (r == -E_TOO_BIG)
		return error_set(err, E_TOO_BIG, "%s: a filter has at most %d bytes",
				 fs_input_name(path), FILTER_TEXT_MAX);
	if (r < 0)
		return r;
	change->filter = FILTER_SET;
	r = check(&change->text, err);
	return r < 0 ? error_wrap(err, "%s", fs_input_name(path)) : 0;
}

static int prepare_ip(const char *text, struct network_change *change, struct error *err)
{
	change->change_ip = true;
	if (strcmp(text, "auto") == 0)
		return 0;
	if (inet_pton(AF_INET, text, &change->ip) != 1)
		return error_set(err, E_INVALID, "'%s' is neither an IPv4 address nor auto", text);
	if (!vm_network_is_address(change->ip))
		return error_set(err, E_INVALID, "no VM can have the address %s", text);
	return 0;
}

int network_change_prepare(const struct network_options *options, struct network_change *change,
			   struct error *err)
{
	int r = options->ip ? prepare_ip(options->ip, change, err) : 0;

	change->change_local = options->local >= 0;
	change->no_local = options->local == 0;
	if (r == 0 && options->filter)
		r = prepare_filter(options->filter, change, err);
	return r;
}

/* Where both members are new, the old ones may be past reading. */
static int apply_settings(const struct vm *vm, const struct network_change *change,
			  struct error *err)
{
	struct vm_network network = { 0 };
	int r = change->change_ip && change->change_local ? 0 : vm_network_read(vm, &network, err);

	if (r < 0)
		return r;
	if (change->change_ip)
		network.fixed = change->ip;
	if (change->change_local)
		network.no_local = change->no_local;
	return vm_network_write(vm, &network, err);
}

static int apply_filter(const struct vm *vm, const struct network_change *change, struct error *err)
{
	switch (change->filter) {
	case FILTER_KEEP:
		return 0;
	case FILTER_SET:
		return vm_filter_write(vm, slice_of(&change->text), err);
	case FILTER_REMOVE:
		return vm_filter_remove(vm, err);
	}
	return 0;
}

int network_change_apply(const struct vm *vm, const struct network_change *change,
			 struct error *err)
{
	bool settings = change->change_ip || change->change_local;
	auto_fd lock = -1;
	int r = 0;

	if (!settings && change->filter == FILTER_KEEP)
		return 0;
	lock = vm_lock(vm, err);
	if (lock < 0)
		return lock;
	if (settings)
		r = apply_settings(vm, change, err);
	return r < 0 ? r : apply_filter(vm, change, err);
}
