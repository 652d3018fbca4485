/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For the system tests: a policy as `run` would send it. The packet NET_POLICY
 * goes to standard output.
 *
 *   test-net-policy-tool shared|softnet|host|bridged
 *                        [--allow LIST | --block LIST | --filter TEXT | --no-local]...
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "net/filter_text.h"
#include "net/policy_message.h"
#include "net/softnet.h"

struct wish {
	enum net_mode mode;
	struct strings allow, block;
	const char *filter;
	bool no_local;
};

static int read_mode(const char *word, enum net_mode *mode, struct error *err)
{
	static const char *const names[NET_MODE_MAX] = {
		[NET_SHARED] = "shared",
		[NET_SOFTNET] = "softnet",
		[NET_HOST] = "host",
		[NET_BRIDGED] = "bridged",
	};

	for (enum net_mode m = NET_SHARED; m < NET_MODE_MAX; m++)
		if (strcmp(word, names[m]) == 0) {
			*mode = m;
			return 0;
		}
	return error_set(err, E_USAGE, "no such mode: '%s'", word);
}

static void add_list(struct strings *list, char *words)
{
	for (char *rest = words, *word; (word = strsep(&rest, ","));)
		strings_add(list, word);
}

static int read_wish(char **argv, struct wish *wish, struct error *err)
{
	int r = read_mode(argv[0] ? argv[0] : "", &wish->mode, err);

	if (r < 0)
		return r;
	for (char **at = argv + 1; *at; at++) {
		if (strcmp(*at, "--no-local") == 0)
			wish->no_local = true;
		else if (strcmp(*at, "--allow") == 0 && at[1])
			add_list(&wish->allow, *++at);
		else if (strcmp(*at, "--block") == 0 && at[1])
			add_list(&wish->block, *++at);
		else if (strcmp(*at, "--filter") == 0 && at[1])
			wish->filter = *++at;
		else
			return error_set(err, E_USAGE, "not understood: '%s'", *at);
	}
	return 0;
}

static int compile(const struct wish *wish, struct policy *policy, struct error *err)
{
	struct slice text = { (const uint8_t *)wish->filter,
			      wish->filter ? strlen(wish->filter) : 0 };
	int r = 0;

	if (wish->no_local)
		policy_add_no_local(policy);
	if (wish->filter)
		r = filter_text_parse(text, POLICY_OWN, policy, err);
	if (r == 0 && wish->mode == NET_SOFTNET)
		return softnet_compile(&wish->allow, &wish->block, policy, err);
	if (r == 0)
		policy_add_mode(policy, wish->mode);
	return r;
}

static int print(char **argv, struct error *err)
{
	struct wish wish = { .allow = VEC_INIT, .block = VEC_INIT };
	auto_policy policy = POLICY_INIT;
	auto_str packet = STR_INIT;
	int r = read_wish(argv, &wish, err);

	if (r == 0)
		r = compile(&wish, &policy, err);
	strings_release(&wish.allow);
	strings_release(&wish.block);
	if (r == 0)
		r = policy_message_write(&policy, &packet, err);
	if (r == 0)
		r = fs_write_all(STDOUT_FILENO, packet.ptr, packet.len, err);
	return r;
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;

	(void)argc;
	if (print(argv + 1, &err) == 0)
		return 0;
	(void)fprintf(stderr, "%s\n", err.text);
	return 1;
}
