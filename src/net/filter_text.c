/* SPDX-License-Identifier: Apache-2.0 */
#include "net/filter_text.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "net/prefix.h"

/*
 * One line at a time, by recursive descent: take_word() moves on if the next
 * word is the one asked for, what remains where nothing fits is the error.
 */

struct reader {
	const uint8_t *line; /* its first byte */
	const uint8_t *at;
	const uint8_t *end; /* of the line, or of what is before its comment */
	unsigned number; /* of the line, from 1 */
	struct error *err;
};

/* One end of a flow. */
struct end {
	bool given, has_ports;
	struct prefix prefix;
	struct policy_ports ports;
};

struct text_rule {
	bool pass;
	bool local;
	bool tcp_and_udp;
	uint8_t protocol; /* 0: any, or tcp_and_udp */
	uint8_t directions;
	struct end from, to;
};

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void skip_blanks(struct reader *r)
{
	while (r->at < r->end && is_blank(*r->at))
		r->at++;
}

/* The word that begins here; empty at the end of the line. */
static struct slice next_word(struct reader *r)
{
	const uint8_t *end;

	skip_blanks(r);
	end = r->at;
	while (end < r->end && !is_blank(*end))
		end++;
	return (struct slice){ r->at, (size_t)(end - r->at) };
}

static bool is_word(struct slice word, const char *text)
{
	return word.len == strlen(text) && memcmp(word.ptr, text, word.len) == 0;
}

static bool take_word(struct reader *r, const char *text)
{
	struct slice word = next_word(r);

	if (!is_word(word, text))
		return false;
	r->at += word.len;
	return true;
}

static size_t column_of(const struct reader *r, const uint8_t *where)
{
	return (size_t)(where - r->line) + 1;
}

static int fail(const struct reader *r, const uint8_t *where, const char *what)
{
	return error_set(r->err, E_INVALID, "line %u, column %zu: %s", r->number,
			 column_of(r, where), what);
}

/* Something else than @expected is next. */
static int fail_expected(struct reader *r, const char *expected)
{
	struct slice word = next_word(r);
	int len = word.len > 64 ? 64 : (int)word.len;
	size_t column = column_of(r, word.ptr);

	if (!len)
		return error_set(r->err, E_INVALID,
				 "line %u, column %zu: expected %s, but the line ends", r->number,
				 column, expected);
	return error_set(r->err, E_INVALID, "line %u, column %zu: expected %s, not '%.*s'",
			 r->number, column, expected, len, (const char *)word.ptr);
}

/* Digits up to @max; UINT32_MAX where there is no such number. */
static uint32_t read_digits(struct slice text, size_t *used, uint32_t max)
{
	uint32_t value = 0;
	size_t i = 0;

	for (; i < text.len && isdigit(text.ptr[i]); i++) {
		value = value * 10 + (uint32_t)(text.ptr[i] - '0');
		if (value > max)
			return UINT32_MAX;
	}
	*used = i;
	return i ? value : UINT32_MAX;
}

static int read_port(struct reader *r, uint16_t *port)
{
	struct slice word = next_word(r);
	size_t used = 0;
	uint32_t value = read_digits(word, &used, UINT16_MAX);

	if (value == UINT32_MAX || value == 0 || (used < word.len && word.ptr[used] != '-'))
		return fail_expected(r, "a port between 1 and 65535");
	*port = (uint16_t)value;
	r->at += used;
	return 0;
}

/* N [ "-" N ], with or without blanks around the "-". */
static int read_ports(struct reader *r, struct policy_ports *ports)
{
	const uint8_t *where;
	int result;

	skip_blanks(r);
	where = r->at;
	result = read_port(r, &ports->first);
	if (result < 0)
		return result;
	ports->last = ports->first;
	skip_blanks(r);
	if (r->at < r->end && *r->at == '-') {
		r->at++;
		result = read_port(r, &ports->last);
	}
	if (result < 0)
		return result;
	if (ports->last < ports->first)
		return fail(r, where, "the range of ports ends before it begins");
	return 0;
}

static int read_address(struct reader *r, struct prefix *prefix)
{
	struct slice word = next_word(r);
	size_t column = column_of(r, word.ptr);

	if (take_word(r, "any") || take_word(r, "all"))
		return 0;
	if (!word.len || (isalpha(word.ptr[0]) && !prefix_is_ipv6(word)))
		return fail_expected(r, "an address, a CIDR, 'any', 'all' or 'port'");
	if (prefix_parse(word, prefix, r->err) < 0)
		return error_wrap(r->err, "line %u, column %zu", r->number, column);
	r->at += word.len;
	return 0;
}

static bool has_ports(const struct text_rule *rule)
{
	return !rule->protocol || rule->protocol == IPPROTO_TCP || rule->protocol == IPPROTO_UDP;
}

/* What follows "from" or "to". */
static int read_end(struct reader *r, const struct text_rule *rule, struct end *end)
{
	const uint8_t *where;
	int result = 0;

	if (!is_word(next_word(r), "port"))
		result = read_address(r, &end->prefix);
	if (result < 0)
		return result;
	where = next_word(r).ptr;
	if (!take_word(r, "port"))
		return 0;
	if (!has_ports(rule))
		return fail(r, where, "only tcp and udp have ports");
	end->has_ports = true;
	return read_ports(r, &end->ports);
}

static int read_protocol(struct reader *r, struct text_rule *rule)
{
	static const struct {
		const char *word;
		uint8_t protocol;
		bool both;
	} names[] = {
		{ "tcp", IPPROTO_TCP, false },
		{ "udp", IPPROTO_UDP, false },
		{ "tcp/udp", 0, true },
		{ "icmp", IPPROTO_ICMP, false },
	};
	struct slice word = next_word(r);
	size_t used = 0;
	uint32_t number = read_digits(word, &used, UINT8_MAX);

	for (size_t i = 0; i < array_size(names); i++)
		if (take_word(r, names[i].word)) {
			rule->protocol = names[i].protocol;
			rule->tcp_and_udp = names[i].both;
			return 0;
		}
	if (number == UINT32_MAX || number == 0 || used < word.len)
		return fail_expected(r,
				     "'tcp', 'udp', 'tcp/udp', 'icmp' or a number from 1 to 255");
	rule->protocol = (uint8_t)number;
	r->at += used;
	return 0;
}

/* Return: was one there? */
static bool read_direction(struct reader *r, struct text_rule *rule)
{
	rule->directions = POLICY_OUT | POLICY_IN;
	if (take_word(r, "any"))
		return true;
	if (take_word(r, "in"))
		rule->directions = POLICY_IN;
	else if (take_word(r, "out"))
		rule->directions = POLICY_OUT;
	return rule->directions != (POLICY_OUT | POLICY_IN);
}

/* What may come after @last was read. */
static const char *expected_after(const struct text_rule *rule, const struct end *last)
{
	bool port = !last->has_ports && has_ports(rule);

	if (rule->from.given && rule->to.given)
		return port ? "'port' or the end of the line" : "the end of the line";
	if (rule->from.given)
		return port ? "'port', 'to' or the end of the line" : "'to' or the end of the line";
	return port ? "'port', 'from' or the end of the line" : "'from' or the end of the line";
}

/* "from" and "to", once each, and then the end of the line. @expected: instead of what is there. */
static int read_ends(struct reader *r, struct text_rule *rule, const char *expected)
{
	while (next_word(r).len) {
		struct end *end = NULL;
		int result;

		if (!rule->from.given && take_word(r, "from"))
			end = &rule->from;
		else if (!rule->to.given && take_word(r, "to"))
			end = &rule->to;
		else
			return fail_expected(r, expected);
		end->given = true;
		result = read_end(r, rule, end);
		if (result < 0)
			return result;
		expected = expected_after(rule, end);
	}
	return 0;
}

static int read_local(struct reader *r, struct text_rule *rule)
{
	rule->local = true;
	rule->directions = POLICY_OUT | POLICY_IN;
	return next_word(r).len ? fail_expected(r, "the end of the line") : 0;
}

static int read_rule(struct reader *r, struct text_rule *rule)
{
	const char *expected = "'in', 'out', 'any', 'local', 'proto', 'from' or 'to'";
	bool begun;

	rule->pass = take_word(r, "pass");
	if (!rule->pass && !take_word(r, "block"))
		return fail_expected(r, "'pass' or 'block'");
	if (take_word(r, "local"))
		return read_local(r, rule);
	begun = take_word(r, "quick");
	begun |= read_direction(r, rule);
	begun |= take_word(r, "quick");
	if (begun)
		expected = "'proto', 'from', 'to' or the end of the line";
	if (take_word(r, "proto")) {
		if (read_protocol(r, rule) < 0)
			return -r->err->code;
		expected = "'from', 'to' or the end of the line";
	}
	return read_ends(r, rule, expected);
}

static bool is_same_end(const struct end *a, const struct end *b)
{
	return a->prefix.address.s_addr == b->prefix.address.s_addr &&
	       a->prefix.bits == b->prefix.bits && a->ports.first == b->ports.first &&
	       a->ports.last == b->ports.last;
}

static void add_directions(struct policy *policy, struct policy_rule *rule, unsigned directions,
			   const struct end *guest, const struct end *remote)
{
	rule->directions = (uint8_t)directions;
	rule->guest = guest->prefix.address;
	rule->guest_prefix = guest->prefix.bits;
	rule->guest_ports = guest->ports;
	rule->remote = remote->prefix.address;
	rule->remote_prefix = remote->prefix.bits;
	rule->remote_ports = remote->ports;
	policy_rules_add(&policy->rules, *rule);
}

/* For each direction from and to are another side; where they are alike one rule does for both. */
static void add_protocol(struct policy *policy, struct policy_rule *rule,
			 const struct text_rule *text)
{
	if (is_same_end(&text->from, &text->to)) {
		add_directions(policy, rule, text->directions, &text->from, &text->to);
		return;
	}
	if (text->directions & POLICY_OUT)
		add_directions(policy, rule, POLICY_OUT, &text->from, &text->to);
	if (text->directions & POLICY_IN)
		add_directions(policy, rule, POLICY_IN, &text->to, &text->from);
}

static bool is_any_port(const struct end *end)
{
	return end->ports.first == 0 && end->ports.last == UINT16_MAX;
}

static void add_rule(struct policy *policy, const struct text_rule *text, enum policy_stage stage)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.stage = (uint8_t)stage;
	rule.pass = text->pass;
	rule.protocol = text->protocol;
	if (text->local)
		rule.remotes = POLICY_HOST | POLICY_GUESTS;
	/* with ports protocol 0 already is TCP and UDP, and these alone */
	if (text->tcp_and_udp && is_any_port(&text->from) && is_any_port(&text->to)) {
		rule.protocol = IPPROTO_TCP;
		add_protocol(policy, &rule, text);
		rule.protocol = IPPROTO_UDP;
	}
	add_protocol(policy, &rule, text);
}

/* The line without its comment, and printable. */
static int check_bytes(struct reader *r)
{
	const uint8_t *comment;

	for (const uint8_t *p = r->line; p < r->end; p++)
		if ((*p < ' ' && *p != '\t') || *p > '~')
			return error_set(
				r->err, E_INVALID,
				"line %u, column %zu: expected ASCII text, not byte 0x%02x",
				r->number, column_of(r, p), *p);
	comment = memchr(r->line, '#', (size_t)(r->end - r->line));
	if (comment)
		r->end = comment;
	return 0;
}

#define ANY_END                            \
	{                                  \
		.ports = { 0, UINT16_MAX } \
	}

static int read_line(struct reader *r, enum policy_stage stage, size_t *count,
		     struct policy *policy)
{
	struct text_rule rule = { .from = ANY_END, .to = ANY_END };
	int result = check_bytes(r);

	if (result < 0 || !next_word(r).len)
		return result;
	if (++*count > POLICY_TARGETS_MAX)
		return error_set(r->err, E_TOO_BIG, "line %u, column %zu: more than %d rules",
				 r->number, column_of(r, r->at), POLICY_TARGETS_MAX);
	result = read_rule(r, &rule);
	if (result < 0)
		return result;
	add_rule(policy, &rule, stage);
	if (policy->rules.len > POLICY_RULES_MAX)
		return error_set(r->err, E_TOO_BIG,
				 "line %u, column 1: the rules, one for each direction and "
				 "protocol, are more than %d",
				 r->number, POLICY_RULES_MAX);
	return 0;
}

/* The line that begins at @p, without its end. Return: the next one. */
static const uint8_t *next_line(struct reader *r, const uint8_t *p, const uint8_t *end)
{
	const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));

	r->line = r->at = p;
	r->end = newline ? newline : end;
	if (r->end > p && r->end[-1] == '\r')
		r->end--;
	r->number++;
	return newline ? newline + 1 : end;
}

int filter_text_parse(struct slice text, enum policy_stage stage, struct policy *policy,
		      struct error *err)
{
	struct reader r = { .err = err };
	const uint8_t *p = text.ptr;
	size_t before = policy->rules.len, count = 0;
	int result = 0;

	if (text.len > FILTER_TEXT_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", FILTER_TEXT_MAX);
	while (text.len && p < text.ptr + text.len && result == 0) {
		p = next_line(&r, p, text.ptr + text.len);
		result = read_line(&r, stage, &count, policy);
	}
	if (result < 0)
		policy->rules.len = before;
	return result;
}
