/* SPDX-License-Identifier: Apache-2.0 */
#include "net/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "net/dns.h"

/* a.example.org IN A */
static const uint8_t query[] = { 1, 2,	 1,   0,   0,	1,   0,	  0,   0,   0,	 0,
				 0, 1,	 'A', 7,   'e', 'x', 'a', 'm', 'p', 'l', 'e',
				 3, 'O', 'r', 'g', 0,	0,   1,	  0,   1 };
static const struct slice asked = { query, sizeof(query) };

enum { ANSWER_MAX = sizeof(query) + 40 * 16 };

/* Both ends of both sockets: what the keeper will say is put there before it is asked. */
struct world {
	struct names names;
	int keeper, sock;
	uint8_t answer[ANSWER_MAX];
};

static int set_up(void **state)
{
	static struct world w;
	int keeper[2], names[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, keeper) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, names) < 0)
		return -1;
	w.keeper = keeper[1];
	w.sock = names[1];
	names_init(&w.names, keeper[0], names[0]);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	(void)close(w->names.keeper);
	(void)close(w->names.sock);
	(void)close(w->keeper);
	return close(w->sock);
}

/* @text: names, each with its terminator, @len bytes of them. */
static void send_list(struct world *w, uint32_t number, unsigned count, bool only, const char *text,
		      size_t len)
{
	static struct talker_names list;

	list.list = number;
	list.count = (uint16_t)count;
	list.only = only;
	memcpy(list.names, text, len);
	len += offsetof(struct talker_names, names);
	assert_int_equal(send(w->sock, &list, len, 0), len);
}

#define TWO "other.net\0*.example.org"

static void send_two(struct world *w, uint32_t number, bool only)
{
	send_list(w, number, 2, only, TWO, sizeof(TWO));
}

static struct slice make_answer(struct world *w, unsigned count)
{
	uint8_t *p = w->answer;

	memcpy(p, query, sizeof(query));
	p[2] |= 0x80;
	p[7] = (uint8_t)count;
	p += sizeof(query);
	for (unsigned i = 0; i < count; i++, p += 16) {
		const uint8_t record[16] = { 0xc0, 12, 0, 1, 0,	  1, 0, 0,
					     0,	   9,  0, 4, 192, 0, 2, (uint8_t)i };

		memcpy(p, record, sizeof(record));
	}
	return (struct slice){ w->answer, (size_t)(p - w->answer) };
}

static void give(struct world *w, uint8_t byte)
{
	assert_int_equal(send(w->keeper, &byte, 1, 0), 1);
}

static struct talker_request asked_of_keeper(struct world *w)
{
	struct talker_request r;

	assert_int_equal(recv(w->keeper, &r, sizeof(r), 0), sizeof(r));
	assert_int_equal(r.kind, TALKER_NAMED);
	return r;
}

static void assert_silent(struct world *w)
{
	struct talker_request r;

	assert_int_equal(recv(w->keeper, &r, sizeof(r), 0), -1);
}

static void test_refresh(void **state)
{
	struct world *w = *state;

	assert_true(names_refresh(&w->names));
	assert_false(w->names.known);
	send_list(w, 1, 0, false, "", 0);
	assert_true(names_refresh(&w->names));
	assert_true(w->names.known);
	assert_int_equal(names_judge_query(&w->names, asked), NAMES_PASS);
	send_list(w, 2, 0, true, "", 0);
	send_two(w, 3, true);
	assert_true(names_refresh(&w->names));
	assert_int_equal(w->names.list.list, 3);
	assert_int_equal(names_judge_query(&w->names, asked), NAMES_PASS);
}

static void test_lists_that_are_none(void **state)
{
	static const struct {
		unsigned count;
		size_t len;
		const char *text;
	} bad[] = {
		{ 1, 0, "" },	      { 0, 1, "" },	    { 1, 3, "abc" },
		{ 2, 4, "abc" },      { 1, 8, "abc\0def" }, { 2, 7, "abc\0def" },
		{ 0xffff, 4, "abc" }, { 1025, 1026, "" },
	};
	static char many[1026];

	for (size_t i = 0; i < array_size(bad); i++) {
		struct world *w = *state;

		send_list(w, 1, bad[i].count, false, bad[i].len > 8 ? many : bad[i].text,
			  bad[i].len);
		assert_false(names_refresh(&w->names));
	}
}

static void test_end_of_the_keeper(void **state)
{
	struct world *w = *state;

	assert_int_equal(shutdown(w->sock, SHUT_WR), 0);
	assert_false(names_refresh(&w->names));
}

static void test_other_names(void **state)
{
	struct world *w = *state;

	send_list(w, 1, 1, true, "example.org", 12);
	assert_true(names_refresh(&w->names));
	assert_int_equal(names_judge_query(&w->names, asked), NAMES_REFUSE);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 1)), NAMES_REFUSE);
	send_list(w, 2, 1, false, "example.org", 12);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 1)), NAMES_PASS);
	assert_silent(w);
}

static void test_addresses_are_told(void **state)
{
	struct world *w = *state;
	struct talker_request r;

	send_two(w, 7, true);
	give(w, 1);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 2)), NAMES_PASS);
	r = asked_of_keeper(w);
	assert_int_equal(r.list, 7);
	assert_int_equal(r.name, 1);
	assert_int_equal(r.ttl, 9);
	assert_int_equal(r.count, 2);
	assert_memory_equal(r.addresses + 1, ((uint8_t[]){ 192, 0, 2, 1 }), 4);
	assert_silent(w);
}

static void test_many_addresses(void **state)
{
	struct world *w = *state;

	send_two(w, 1, false);
	for (int i = 0; i < 3; i++)
		give(w, 1);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 40)), NAMES_PASS);
	assert_int_equal(asked_of_keeper(w).count, 16);
	assert_int_equal(asked_of_keeper(w).count, 16);
	assert_int_equal(asked_of_keeper(w).count, 8);
	assert_silent(w);
}

static void test_no_addresses(void **state)
{
	struct world *w = *state;

	send_two(w, 1, true);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 0)), NAMES_PASS);
	assert_silent(w);
}

static void test_keeper_says_no(void **state)
{
	struct world *w = *state;

	send_two(w, 1, true);
	give(w, 1);
	give(w, 0);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 40)), NAMES_FAIL);
	(void)asked_of_keeper(w);
	(void)asked_of_keeper(w);
	assert_silent(w);
	assert_int_equal(shutdown(w->keeper, SHUT_RDWR), 0);
	assert_int_equal(names_judge_answer(&w->names, asked, make_answer(w, 1)), NAMES_FAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refresh, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lists_that_are_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_of_the_keeper, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_addresses_are_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_addresses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_addresses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_keeper_says_no, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
