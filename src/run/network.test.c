/* SPDX-License-Identifier: Apache-2.0 */

/* The jobs of a network whose keepers are this test. */

#include "run/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "net/policy_message.h"

enum { CARDS = 2 };

struct fixture {
	uv_loop_t loop;
	struct network network;
	int keepers[CARDS];
	unsigned gone, leased;
	unsigned done; /* jobs that ended, and how the last did */
	int result;
	struct error err;
};

static void on_leased(void *arg, const struct network_card *card)
{
	struct fixture *f = arg;

	assert_true(card->leased);
	f->leased++;
}

static void on_gone(void *arg)
{
	((struct fixture *)arg)->gone++;
}

static void on_done(void *arg, int r, const struct error *err)
{
	struct fixture *f = arg;

	f->done++;
	f->result = r;
	f->err = *err;
}

/* Who hears of the end asks for more. */
static void on_done_again(void *arg, int r, const struct error *err)
{
	struct fixture *f = arg;

	on_done(arg, r, err);
	assert_int_equal(
		network_count(&f->network, f->done < 3 ? on_done_again : on_done, f, &f->err), 0);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const struct network_events events = { on_leased, on_gone, f };
	int pair[2];

	f->network = (struct network)NETWORK_INIT;
	f->network.mode = NET_SOFTNET;
	strings_add(&f->network.rules.allow, "@host");
	assert_int_equal(network_compile(NET_SOFTNET, &f->network.rules, "filter",
					 &f->network.policy, &f->err),
			 0);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	for (int i = 0; i < CARDS; i++) {
		struct network_card *card = &f->network.cards[i];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		card->network = &f->network;
		card->link.sock = pair[0];
		f->keepers[i] = pair[1];
	}
	f->network.card_count = CARDS;
	assert_int_equal(network_watch(&f->network, &f->loop, &events, &f->err), 0);
	*state = f;
	return 0;
}

static void close_one(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	uv_walk(&f->loop, close_one, NULL);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	network_stop(&f->network);
	for (int i = 0; i < CARDS; i++)
		cleanup_close_(&f->keepers[i]);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* What the card's keeper was asked last: the kind, and the policy if it is one. 0: nothing. */
static uint32_t asked(const struct fixture *f, int card, struct policy *policy)
{
	static uint8_t bytes[NET_POLICY_SIZE_MAX];
	ssize_t n = recv(f->keepers[card], bytes, sizeof(bytes), MSG_DONTWAIT);
	struct error err = ERROR_INIT;
	uint32_t kind;

	if (n < 0)
		return 0;
	memcpy(&kind, bytes + sizeof(uint32_t), sizeof(kind));
	if (kind == NET_POLICY)
		assert_int_equal(policy_message_read(bytes, (size_t)n, policy, &err), 0);
	return kind;
}

/* The keeper was asked for a policy of @rules rules. */
static void expects_rules(const struct fixture *f, int card, size_t rules)
{
	auto_policy policy = POLICY_INIT;

	assert_int_equal(asked(f, card, &policy), NET_POLICY);
	assert_int_equal(policy.rules.len, rules);
}

static void expects_nothing(const struct fixture *f)
{
	for (int i = 0; i < CARDS; i++)
		assert_int_equal(asked(f, i, NULL), 0);
}

static void says(struct fixture *f, int card, uint32_t kind)
{
	struct net_message message = { .magic = NET_MAGIC, .kind = kind };

	if (kind == NET_FAILED)
		(void)snprintf(message.text, sizeof(message.text), "card %d cannot", card);
	if (kind == NET_COUNTED)
		message.drops = (struct net_drops){ 1, 2, 3 };
	message.address.s_addr = kind == NET_LEASED ? htonl(0x0a000007) : 0;
	assert_int_equal(send(f->keepers[card], &message, sizeof(message), 0), sizeof(message));
	turn(f);
}

static int change(struct fixture *f, const char *allow, const char *filter)
{
	auto_strings list = VEC_INIT, none = VEC_INIT;
	auto_str text = STR_INIT;
	struct rules_change change = { 0 };

	if (allow) {
		strings_add(&list, allow);
		change.allow = &list;
		change.block = &none;
	}
	if (filter) {
		str_adds(&text, filter);
		change.filter = &text;
	}
	return network_change(&f->network, &change, on_done, f, &f->err);
}

static size_t base_rules(const struct fixture *f)
{
	return f->network.policy.rules.len;
}

static void test_all_change(void **state)
{
	struct fixture *f = *state;
	size_t rules = base_rules(f);

	assert_int_equal(change(f, NULL, "block any\n"), 0);
	expects_rules(f, 0, rules + 1);
	expects_rules(f, 1, rules + 1);
	says(f, 1, NET_CHANGED);
	assert_int_equal(f->done, 0);
	assert_string_equal(f->network.rules.filter.ptr, "");
	says(f, 0, NET_CHANGED);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->result, 0);
	assert_string_equal(f->network.rules.filter.ptr, "block any\n");
	assert_string_equal(f->network.rules.allow.items[0], "@host"); /* stays */
	assert_int_equal(base_rules(f), rules + 1);
	expects_nothing(f);
}

/* One refuses: the other gets back what it had, and nothing has changed. */
static void test_one_refuses(void **state)
{
	struct fixture *f = *state;
	size_t rules = base_rules(f);

	assert_int_equal(change(f, NULL, "block any\n"), 0);
	expects_rules(f, 0, rules + 1);
	expects_rules(f, 1, rules + 1);
	says(f, 0, NET_CHANGED);
	says(f, 1, NET_FAILED);
	assert_int_equal(f->done, 0);
	expects_rules(f, 0, rules);
	says(f, 0, NET_CHANGED);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->result, -E_FAILED);
	assert_string_equal(f->err.text, "card 1 cannot");
	assert_string_equal(f->network.rules.filter.ptr, "");
	assert_int_equal(f->gone, 0);
	expects_nothing(f);
}

static void test_all_refuse(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(change(f, "10.0.0.0/8", NULL), 0);
	says(f, 0, NET_FAILED);
	says(f, 1, NET_FAILED);
	assert_int_equal(f->done, 1);
	assert_string_equal(f->err.text, "card 0 cannot");
	assert_string_equal(f->network.rules.allow.items[0], "@host");
	assert_int_equal(f->gone, 0);
}

/* A card that has the new policy and does not take the old one back: nobody knows what it keeps. */
static void test_no_way_back(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(change(f, NULL, "block any\n"), 0);
	says(f, 0, NET_CHANGED);
	says(f, 1, NET_FAILED);
	says(f, 0, NET_FAILED);
	assert_int_equal(f->gone, 1);
	assert_int_equal(f->result, -E_FAILED);
	assert_string_equal(f->err.text, "card 1 cannot");
}

/* One after the other, each on top of what the one before left. */
static void test_jobs_wait(void **state)
{
	struct fixture *f = *state;
	size_t rules = base_rules(f);

	assert_int_equal(change(f, NULL, "block any\n"), 0);
	assert_int_equal(change(f, "10.0.0.0/8", NULL), 0);
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	for (int i = 0; i < CARDS; i++)
		expects_rules(f, i, rules + 1);
	expects_nothing(f);
	for (int i = 0; i < CARDS; i++)
		says(f, i, NET_CHANGED);
	assert_int_equal(f->done, 1);
	for (int i = 0; i < CARDS; i++) {
		auto_policy policy = POLICY_INIT;

		assert_int_equal(asked(f, i, &policy), NET_POLICY);
		assert_true(policy.rules.len > 1 && policy.rules.items[0].stage == POLICY_OWN);
		says(f, i, NET_CHANGED);
	}
	assert_int_equal(f->done, 2);
	assert_string_equal(f->network.rules.filter.ptr, "block any\n");
	assert_string_equal(f->network.rules.allow.items[0], "10.0.0.0/8");
	for (int i = 0; i < CARDS; i++) {
		assert_int_equal(asked(f, i, NULL), NET_COUNT);
		says(f, i, NET_COUNTED);
	}
	assert_int_equal(f->done, 3);
	assert_int_equal(f->network.cards[1].drops.in, 3);
}

static void test_mistakes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(change(f, NULL, "block none\n"), 0);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->result, -E_INVALID);
	assert_non_null(strstr(f->err.text, "filter: line 1"));
	assert_int_equal(change(f, "10.0.0.0/99", NULL), 0);
	assert_int_equal(f->result, -E_INVALID);
	expects_nothing(f);
	f->network.mode = NET_SHARED;
	assert_int_equal(change(f, "10.0.0.0/8", NULL), -E_FAILED);
	assert_non_null(strstr(f->err.text, "shared mode"));
	f->network.card_count = 0;
	assert_int_equal(change(f, NULL, ""), -E_FAILED);
	assert_non_null(strstr(f->err.text, "no network card"));
	f->network.card_count = CARDS;
	f->network.bypassed = true;
	assert_int_equal(change(f, NULL, "block out to 10.0.0.0/8\n"), -E_FAILED);
	assert_non_null(strstr(f->err.text, "--vsock"));
	assert_int_equal(f->done, 2);
}

static void test_queue_is_bounded(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < NETWORK_JOBS_MAX; i++)
		assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), -E_FAILED);
	assert_non_null(strstr(f->err.text, "too many"));
	network_forget(&f->network, f);
	for (int i = 0; i < NETWORK_JOBS_MAX; i++)
		for (int card = 0; card < CARDS; card++)
			says(f, card, NET_COUNTED);
	assert_int_equal(f->done, 0);
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	says(f, 0, NET_COUNTED);
	says(f, 1, NET_COUNTED);
	assert_int_equal(f->done, 1);
}

static void test_more_from_the_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(network_count(&f->network, on_done_again, f, &f->err), 0);
	for (unsigned n = 1; n <= 4; n++) {
		for (int card = 0; card < CARDS; card++) {
			assert_int_equal(asked(f, card, NULL), NET_COUNT);
			assert_int_equal(asked(f, card, NULL), 0); /* once */
			says(f, card, NET_COUNTED);
		}
		assert_int_equal(f->done, n);
	}
	expects_nothing(f);
	assert_int_equal(f->network.job_count, 0);
}

/* Whoever ends asks for the answers that are on their way, and for nothing new. */
static void test_settles(void **state)
{
	struct fixture *f = *state;
	const struct net_message counted = { .magic = NET_MAGIC, .kind = NET_COUNTED };

	assert_true(network_settle(&f->network, 0));
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	for (int card = 0; card < CARDS; card++)
		for (int job = 0; job < 2; job++)
			assert_int_equal(send(f->keepers[card], &counted, sizeof(counted), 0),
					 sizeof(counted));
	assert_true(network_settle(&f->network, 60000));
	assert_int_equal(f->done, 2);
	assert_int_equal(network_count(&f->network, on_done, f, &f->err), 0);
	assert_false(network_settle(&f->network, 10));
	(void)close(take_fd(&f->keepers[0]));
	assert_false(network_settle(&f->network, 60000));
}

static void test_unasked(void **state)
{
	struct fixture *f = *state;

	says(f, 0, NET_CHANGED);
	says(f, 0, NET_FAILED);
	assert_int_equal(f->gone, 0);
	says(f, 0, NET_LEASED);
	says(f, 0, NET_LEASED);
	assert_int_equal(f->leased, 1);
	assert_int_equal(f->network.cards[0].address.s_addr, htonl(0x0a000007));
	says(f, 1, NET_KIND_MAX);
	assert_int_equal(f->gone, 1);
	(void)close(take_fd(&f->keepers[0]));
	turn(f);
	assert_int_equal(f->gone, 2);
}

/* What the guest was seen to use while a kept link's keeper took the policy is the card's. */
static void test_address_heard_while_adopting(void **state)
{
	const struct net_start start = { .mode = NET_SHARED };
	const struct net_message started = { .address = { htonl(0x0a000001) } };
	struct fixture *f = *state;
	struct network network = NETWORK_INIT;
	struct network_card *card = &network.cards[0];
	int keeper = f->keepers[0], pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->keepers[0] = pair[1];
	card->link = (struct net_link){ .sock = pair[0] };
	says(f, 0, NET_LEASED);
	says(f, 0, NET_CHANGED);
	assert_int_equal(net_link_adopt(&card->link, &network.policy, &f->err), 0);
	assert_int_equal(network_add_card(&network, &start, &started, pair[1], &f->err), 0);
	assert_true(card->leased);
	assert_int_equal(card->address.s_addr, htonl(0x0a000007));
	network_stop(&network);
	(void)close(f->keepers[0]);
	f->keepers[0] = keeper;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_refuses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_refuse, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_way_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_jobs_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mistakes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_queue_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_more_from_the_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_settles, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unasked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_address_heard_while_adopting, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
