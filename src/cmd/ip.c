/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/client.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/neighbour.h"
#include "cmd/output.h"
#include "store/manage.h"
#include "store/runtime.h"
#include "store/vm.h"

/*
 * Three ways to learn a guest's address: what it was seen to take by DHCP, from us or, on a bridge,
 * from the LAN (run.json); the kernel's neighbour table; and the guest's agent. The one that was
 * asked for comes first; where it knows nothing the others are tried. Each answers only
 * for a VM that runs, so that nobody is sent to an address of yesterday. Where the network is
 * in a namespace of the user's, the host's table knows nothing of it, and the first answers.
 */

enum { AGENT_MS = 1000, POLL_MS = 200 };

enum resolver { BY_DHCP, BY_ARP, BY_AGENT, RESOLVERS };
static const char *const resolvers[] = { "dhcp", "arp", "agent", NULL };

struct ip_args {
	const char *name;
	struct optional_number wait; /* seconds */
	int resolver;
};

static const struct option options[] = {
	{ .name = "wait",
	  .kind = OPTION_U16,
	  .offset = offsetof(struct ip_args, wait),
	  .help = "Wait up to this many seconds for an address (default: 0)." },
	{ .name = "resolver",
	  .kind = OPTION_CHOICE,
	  .choices = resolvers,
	  .offset = offsetof(struct ip_args, resolver),
	  .help = "Whom to ask first: dhcp (default), arp (the host's neighbour table) or agent "
		  "(in the guest)." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct ip_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

static bool ask_agent(const struct vm *vm, struct in_addr *address)
{
	struct error ignored = ERROR_INIT;
	auto_fd fd = vm_socket_connect(vm, "control.sock", &ignored);

	return fd >= 0 && client_resolve_ip(fd, AGENT_MS, address, &ignored) >= 0;
}

static bool ask(const struct vm *vm, const struct runtime *rt, enum resolver whom, bool wanted,
		struct in_addr *address)
{
	switch (whom) {
	case BY_DHCP:
		*address = rt->address;
		return rt->leased && rt->address.s_addr;
	case BY_ARP:
		return neighbour_find(&(struct neighbour_wanted){ .mac = rt->mac,
								  .interface = rt->interface,
								  .known = rt->address,
								  .since = rt->started },
				      address);
	case BY_AGENT:
		/* an agent that is not up would cost a second of silence */
		return (wanted || rt->agent_ready) && ask_agent(vm, address);
	case RESOLVERS:
		break;
	}
	return false;
}

static bool resolve(const struct vm *vm, enum resolver first, struct in_addr *address)
{
	struct error ignored = ERROR_INIT;
	struct runtime rt = { 0 };

	if (runtime_read(vm, &rt, &ignored) <= 0)
		return false;
	if (ask(vm, &rt, first, true, address))
		return true;
	for (enum resolver whom = BY_DHCP; whom < RESOLVERS; whom++)
		if (whom != first && ask(vm, &rt, whom, false, address))
			return true;
	return false;
}

static bool has_no_card(const struct vm *vm)
{
	struct error ignored = ERROR_INIT;
	struct runtime rt;

	return runtime_read(vm, &rt, &ignored) > 0 && strcmp(rt.mode, "none") == 0;
}

static int not_found(const struct vm *vm, enum resolver resolver, struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_config config = CONFIG_INIT;
	bool linux_guest = vm_read_config(vm, &config, &ignored) >= 0 && config.os == OS_LINUX;
	const char *hint = "";

	if (resolver == BY_AGENT)
		hint = " (also make sure that Guest agent for Tart is running inside of a VM)";
	else if (resolver == BY_ARP && linux_guest)
		hint = " (not all Linux distributions are compatible with the ARP resolver)";
	return error_set(err, E_FAILED, "no IP address found%s%s",
			 vm_state(vm) == VM_RUNNING ? "" : ", is your VM running?", hint);
}

static int print_address(struct in_addr address, struct error *err)
{
	char text[INET_ADDRSTRLEN];
	auto_str out = STR_INIT;

	str_addf(&out, "%s\n", inet_ntop(AF_INET, &address, text, sizeof(text)));
	return output_text(&out, err);
}

/* Return: has it come within @seconds? */
static bool await(const struct vm *vm, enum resolver first, uint64_t seconds,
		  struct in_addr *address)
{
	uint64_t deadline = clock_ms() + seconds * 1000;
	struct waiting waiting;
	bool found;

	waiting_begin(&waiting, "waiting for an address", NULL, NULL);
	while (!(found = resolve(vm, first, address)) && clock_ms() < deadline)
		clock_sleep_ms(POLL_MS);
	waiting_end(&waiting);
	return found;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct ip_args *args = data;
	enum resolver resolver = (enum resolver)args->resolver;
	struct in_addr address = { 0 };
	auto_vm vm = VM_INIT;
	int r = vm_open(&inv->home, args->name, false, &vm, err);

	if (r < 0)
		return r;
	if (await(&vm, resolver, args->wait.unsigned_value, &address))
		return print_address(address, err);
	r = not_found(&vm, resolver, err);
	/* another's callers expect that other's line alone */
	if (command_by_own_name(inv) && has_no_card(&vm))
		return error_add_line(err, "Help:  the VM has no network card: it runs with "
					   "--net-none");
	return r;
}

const struct command command_ip = {
	.name = "ip",
	.summary = "Print a VM's IP address",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct ip_args),
	.run = run,
};
