/* SPDX-License-Identifier: Apache-2.0 */
#include "net/softnet.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"
#include "net/policy.h"
#include "net/prefix.h"

/* A target that is not a name. */
struct target {
	bool pass;
	bool host; /* "@host": its prefix is 0.0.0.0/0 */
	bool has_ports;
	uint8_t directions; /* bits of enum policy_direction; 0: bare */
	struct prefix prefix;
	struct policy_ports ports;
};
DEFINE_VEC(targets, struct target)

/* What both lists said. */
struct said {
	struct targets targets;
	struct strings names;
	size_t count; /* of targets and names, as they were given */
	bool directional; /* one of them has a direction */
};
#define SAID_INIT                                      \
	{                                              \
		.targets = VEC_INIT, .names = VEC_INIT \
	}

static void said_release(struct said *said)
{
	targets_release(&said->targets);
	strings_release(&said->names);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Without the blanks around it, in place. */
static char *trim(char *text)
{
	size_t len;

	while (is_blank(*text))
		text++;
	len = strlen(text);
	while (len && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

/* Take the direction off; what follows it is returned. */
static char *read_direction(char *text, uint8_t *directions)
{
	static const struct {
		const char *word;
		enum policy_direction direction;
	} words[] = {
		{ "in", POLICY_IN },
		{ "out", POLICY_OUT },
		{ "from", POLICY_IN }, /* how newer Softnets spelt them for a time */
		{ "to", POLICY_OUT },
	};

	for (size_t i = 0; i < array_size(words); i++) {
		size_t len = strlen(words[i].word);

		if (str_starts(text, words[i].word) && (!text[len] || is_blank(text[len]))) {
			*directions = (uint8_t)words[i].direction;
			return trim(text + len);
		}
	}
	return text;
}

static int read_port(const char *text, uint16_t *port, struct error *err)
{
	uint64_t value;

	if (str_to_u64(text, UINT16_MAX, &value) < 0 || value == 0)
		return error_set(err, E_INVALID, "'%s' is not a port between 1 and 65535", text);
	*port = (uint16_t)value;
	return 0;
}

/* PORT[-PORT] */
static int read_ports(char *text, struct policy_ports *ports, struct error *err)
{
	char *last = text, *first = strsep(&last, "-");
	int r = read_port(first, &ports->first, err);

	if (r < 0)
		return r;
	ports->last = ports->first;
	if (last)
		r = read_port(last, &ports->last, err);
	if (r < 0)
		return r;
	if (ports->last < ports->first)
		return error_set(err, E_INVALID, "the range of ports ends before it begins");
	return 0;
}

static struct slice slice_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

/* Whatever has only digits and dots in front is meant as an address, not as a name. */
static bool is_address(const char *text)
{
	size_t len = strspn(text, "0123456789.");

	return (len && strchr("/:", text[len])) || prefix_is_ipv6(slice_of(text));
}

static int read_cidr(char *text, struct target *target, struct error *err)
{
	bool ipv6 = prefix_is_ipv6(slice_of(text)); /* whose colons lead to no ports */
	char *ports = text, *cidr = ipv6 ? text : strsep(&ports, ":");
	int r = prefix_parse(slice_of(cidr), &target->prefix, err);

	if (r < 0 || !ports || ipv6)
		return r;
	target->has_ports = true;
	return read_ports(ports, &target->ports, err);
}

/* Lower case, without a final dot, in place. */
static void normalise_name(char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] >= 'A' && name[i] <= 'Z')
			name[i] = (char)(name[i] - 'A' + 'a');
	if (len && name[len - 1] == '.')
		name[len - 1] = '\0';
}

static int read_name(char *text, const struct target *target, struct said *said, struct error *err)
{
	char *ports = text, *name = strsep(&ports, ":");

	normalise_name(name);
	if (ports && (policy_is_name(name) || strcmp(name, "@host") == 0))
		return error_set(err, E_INVALID, "only a CIDR can have ports");
	if (ports || !policy_is_name(name))
		return error_set(err, E_INVALID, "neither a CIDR nor '@host' nor a name");
	if (!target->pass)
		return error_set(err, E_INVALID, "names can only be allowed");
	if (target->directions == POLICY_IN)
		return error_set(err, E_INVALID, "names are only for what the guest opens");
	strings_add(&said->names, name);
	return 0;
}

/* @text: its own, changed. */
static int read_target(char *text, bool pass, struct said *said, struct error *err)
{
	struct target target = { .pass = pass, .ports = { 0, UINT16_MAX } };
	int r = 0;

	text = read_direction(text, &target.directions);
	said->directional |= target.directions != 0;
	if (!*text)
		return error_set(err, E_INVALID, "an address, '@host' or a name is missing");
	target.host = strcmp(text, "@host") == 0;
	if (!target.host && !is_address(text))
		return read_name(text, &target, said, err);
	if (!target.host)
		r = read_cidr(text, &target, err);
	targets_add(&said->targets, target);
	return r;
}

/* One element of a list: targets between commas. */
static int read_element(const char *element, const char *option, bool pass, struct said *said,
			struct error *err)
{
	auto_free char *copy = xstrdup(element);
	char *rest = copy, *text;

	while ((text = strsep(&rest, ","))) {
		auto_free char *own = NULL;

		if (++said->count > POLICY_TARGETS_MAX)
			return error_set(err, E_TOO_BIG, "%s: more than %d targets", option,
					 POLICY_TARGETS_MAX);
		text = trim(text);
		own = xstrdup(text);
		if (read_target(own, pass, said, err) < 0)
			return error_wrap(err, "invalid %s target \"%.256s\"", option, text);
	}
	return 0;
}

/* Is nothing in it, as in --net-softnet-allow=""? */
static bool is_empty(const struct strings *list)
{
	for (size_t i = 0; i < list->len; i++)
		if (list->items[i][strspn(list->items[i], " \t")])
			return false;
	return true;
}

static int read_list(const struct strings *list, const char *option, bool pass, struct said *said,
		     struct error *err)
{
	int r = 0;

	if (is_empty(list))
		return 0;
	for (size_t i = 0; i < list->len && r == 0; i++)
		r = read_element(list->items[i], option, pass, said, err);
	return r;
}

/* The order of Softnet; beyond it any, so that duplicates are neighbours. */
static int compare(const void *left, const void *right)
{
	const struct target *a = left, *b = right;

	if (a->has_ports != b->has_ports)
		return a->has_ports ? -1 : 1;
	if (a->prefix.bits != b->prefix.bits)
		return a->prefix.bits > b->prefix.bits ? -1 : 1;
	if (a->pass != b->pass)
		return a->pass ? 1 : -1;
	if (a->host != b->host)
		return a->host ? -1 : 1;
	if (a->directions != b->directions)
		return a->directions < b->directions ? -1 : 1;
	if (a->ports.first != b->ports.first)
		return a->ports.first < b->ports.first ? -1 : 1;
	if (a->ports.last != b->ports.last)
		return a->ports.last < b->ports.last ? -1 : 1;
	return memcmp(&a->prefix.address, &b->prefix.address, sizeof(a->prefix.address));
}

static void sort_targets(struct targets *targets)
{
	size_t kept = 0;

	if (!targets->len)
		return;
	qsort(targets->items, targets->len, sizeof(targets->items[0]), compare);
	for (size_t i = 1; i < targets->len; i++)
		if (compare(&targets->items[kept], &targets->items[i]) != 0)
			targets->items[++kept] = targets->items[i];
	targets->len = kept + 1;
}

static void add_rule(struct policy *policy, const struct target *target, unsigned directions,
		     unsigned remotes)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.pass = target->pass;
	rule.directions = (uint8_t)directions;
	rule.remotes = (uint8_t)remotes;
	rule.remote = target->prefix.address;
	rule.remote_prefix = target->prefix.bits;
	rule.remote_ports = target->ports;
	policy_rules_add(&policy->rules, rule);
}

static unsigned remotes_of(const struct target *target)
{
	if (target->host)
		return POLICY_HOST;
	return target->prefix.bits == 32 ? POLICY_ALL : POLICY_WORLD | POLICY_GUESTS;
}

/* @directional: bare targets are about both directions, too. */
static void add_target(struct policy *policy, const struct target *target, bool directional)
{
	unsigned remotes = remotes_of(target);

	if (target->directions || directional) {
		add_rule(policy, target,
			 target->directions ? target->directions : POLICY_OUT | POLICY_IN, remotes);
		return;
	}
	add_rule(policy, target, POLICY_OUT, remotes);
	if (remotes & POLICY_GUESTS)
		add_rule(policy, target, POLICY_IN, POLICY_GUESTS);
}

static void add_named(struct policy *policy)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.directions = POLICY_OUT;
	rule.remotes = POLICY_WORLD;
	rule.named = 1;
	policy_rules_add(&policy->rules, rule);
}

/* Is all of the world closed to the guest, but for what is longer? */
static bool is_world_blocked(const struct targets *targets)
{
	for (size_t i = 0; i < targets->len; i++) {
		const struct target *t = &targets->items[i];

		if (!t->pass && !t->host && !t->has_ports && !t->prefix.bits &&
		    t->directions != POLICY_IN)
			return true;
	}
	return false;
}

/* @said: its targets sorted. */
static void add_rules(struct policy *policy, const struct said *said)
{
	const struct targets *targets = &said->targets;
	size_t i = 0;

	for (; i < targets->len && (targets->items[i].has_ports || targets->items[i].prefix.bits);
	     i++)
		add_target(policy, &targets->items[i], said->directional);
	if (said->names.len)
		add_named(policy);
	for (; i < targets->len; i++)
		add_target(policy, &targets->items[i], said->directional);
	policy_add_closed(policy);
}

static void remove_duplicates(struct strings *names)
{
	size_t kept = 0;

	strings_sort(names);
	for (size_t i = 0; i < names->len; i++)
		if (kept && strcmp(names->items[kept - 1], names->items[i]) == 0)
			free(names->items[i]);
		else
			names->items[kept++] = names->items[i];
	names->len = kept;
}

static void add_names(struct policy *policy, struct strings *names)
{
	for (size_t i = 0; i < names->len; i++)
		strings_take(&policy->names, take(names->items[i]));
	names->len = 0;
}

int softnet_compile(const struct strings *allow, const struct strings *block, struct policy *policy,
		    struct error *err)
{
	cleanup_(said_release) struct said said = SAID_INIT;
	int r = read_list(allow, "--net-softnet-allow", true, &said, err);

	if (r == 0)
		r = read_list(block, "--net-softnet-block", false, &said, err);
	if (r < 0)
		return r;
	sort_targets(&said.targets);
	remove_duplicates(&said.names);
	if (policy->names.len + said.names.len > POLICY_NAMES_MAX)
		return error_set(err, E_TOO_BIG, "--net-softnet-allow: more than %d names",
				 POLICY_NAMES_MAX);
	add_rules(policy, &said);
	add_names(policy, &said.names);
	policy->names_only |= is_world_blocked(&said.targets);
	return 0;
}
