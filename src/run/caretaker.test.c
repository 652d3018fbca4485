/* SPDX-License-Identifier: Apache-2.0 */

/* A caretaker whose keeper and tap are this test's; real ones are in tests/test_suspend.py. */

#include "run/caretaker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "run/network.h"
#include "store/vm.h"

enum { PATIENCE_MS = 20000 };

struct fixture {
	struct scratch scratch;
	struct vm vm;
	struct network network; /* of the `run` that is there now */
	struct net_start start;
	int keeper; /* its end of the socket */
	int world; /* what is written here comes out of the tap */
	int tap; /* that the last caretaker_take() gave */
	pid_t caretaker; /* that suspend() left behind */
	struct error err;
};

/* By how much everybody's clock is ahead, caretakers' too. */
static uint64_t *ahead_ms;

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);
uint64_t __wrap_clock_ms(void)
{
	return __real_clock_ms() + __atomic_load_n(ahead_ms, __ATOMIC_SEQ_CST);
}

static void set_ahead(uint64_t ms)
{
	__atomic_store_n(ahead_ms, ms, __ATOMIC_SEQ_CST);
}

/* Of a keeper that has ended: nobody waits for this one. */
static int ended_process(void)
{
	pid_t pid = fork();
	int fd;

	if (pid == 0)
		_exit(0);
	fd = pidfd_open(pid, 0);
	assert_true(fd > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return fd;
}

static void make_pair(int type, int *ours, int *theirs)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
	*ours = pair[0];
	*theirs = pair[1];
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct net_message started = { .magic = NET_MAGIC, .kind = NET_STARTED };
	struct net_link link = { .watch = ended_process() };
	int tap;

	assert_int_equal(scratch_open(&f->scratch, scratch_place()), 0);
	f->vm.dir = open(f->scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f->vm.dir, "state.new", 0700), 0);
	f->network = (struct network)NETWORK_INIT;
	f->start = (struct net_start){ .mode = NET_SHARED, .mac = { 2, 0, 0, 0, 0, 1 } };
	started.address.s_addr = htonl(0xc0a84002);
	make_pair(SOCK_SEQPACKET, &link.sock, &f->keeper);
	make_pair(SOCK_DGRAM, &tap, &f->world);
	f->network.mode = NET_SHARED;
	f->network.cards[0].link = link;
	assert_int_equal(network_add_card(&f->network, &f->start, &started, tap, &f->err), 0);
	(void)close(tap);
	f->tap = -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error ignored = ERROR_INIT;

	set_ahead(0);
	network_stop(&f->network);
	(void)!fs_remove_tree(f->vm.dir, "state", &ignored);
	cleanup_close_(&f->keeper);
	cleanup_close_(&f->world);
	cleanup_close_(&f->tap);
	cleanup_close_(&f->vm.dir);
	assert_int_equal(scratch_close(&f->scratch), 0);
	free(f);
	return 0;
}

static void rename_state(const struct fixture *f, const char *from, const char *to)
{
	assert_int_equal(renameat(f->vm.dir, from, f->vm.dir, to), 0);
}

/* The VM is suspended, and its `run` has ended. */
static void suspend(struct fixture *f)
{
	assert_int_equal(caretaker_start(&f->network, &f->vm, &f->err), 0);
	assert_true(f->network.caretaker.pid > 0);
	f->caretaker = f->network.caretaker.pid;
	rename_state(f, "state.new", "state");
	network_stop(&f->network);
	f->network = (struct network)NETWORK_INIT;
	f->network.mode = NET_SHARED;
}

static void keeper_says(const struct fixture *f, uint32_t kind)
{
	struct net_message message = { .magic = NET_MAGIC, .kind = kind };

	(void)snprintf(message.text, sizeof(message.text), "%s", kind == NET_FAILED ? "no" : "");
	assert_int_equal(send(f->keeper, &message, sizeof(message), 0), sizeof(message));
}

static int resume(struct fixture *f)
{
	cleanup_close_(&f->tap);
	f->tap = -1;
	return caretaker_take(&f->network, &f->vm, &f->start, &f->tap, &f->err);
}

/* Has nobody the network any more? Where it is kept there is nothing to wait for. */
static bool is_let_go(const struct fixture *f, int patience)
{
	struct pollfd fd = { .fd = f->keeper, .events = 0 };

	return poll(&fd, 1, patience) == 1;
}

static void test_goes_on(void **state)
{
	struct fixture *f = *state;
	char frame[16];

	suspend(f);
	assert_false(is_let_go(f, 0));
	assert_int_equal(send(f->world, "before", 6, 0), 6);
	keeper_says(f, NET_LEASED);
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
	assert_int_equal(f->network.card_count, 1);
	assert_int_equal(f->network.cards[0].address.s_addr, htonl(0xc0a84002));
	assert_int_equal(send(f->world, "after", 5, 0), 5);
	assert_int_equal(read(f->tap, frame, sizeof(frame)), 5);
	assert_memory_equal(frame, "after", 5);
	rename_state(f, "state", "state.used");
	caretaker_thank(&f->network);
	assert_false(is_let_go(f, 0));
	network_stop(&f->network);
	assert_true(is_let_go(f, PATIENCE_MS));
	rename_state(f, "state.used", "state");
}

/* The policy was sent, in the form that a keeper takes. */
static void test_policy_first(void **state)
{
	struct fixture *f = *state;
	uint32_t head[2];

	suspend(f);
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
	assert_int_equal(recv(f->keeper, head, sizeof(head), MSG_DONTWAIT), sizeof(head));
	assert_int_equal(head[0], NET_MAGIC);
	assert_int_equal(head[1], NET_POLICY);
}

/* Twice: also after the first attempt somebody else is there. */
static void test_kept_after_a_failure(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	for (int i = 0; i < 2; i++) {
		keeper_says(f, NET_CHANGED);
		assert_int_equal(resume(f), 1);
		network_stop(&f->network);
		assert_false(is_let_go(f, 0));
	}
	keeper_says(f, NET_FAILED);
	assert_int_equal(resume(f), -E_FAILED);
	assert_string_equal(f->err.text, "failed to start the network: no");
	network_stop(&f->network);
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
}

/* It is not the state that ends it while somebody resumes: that one may put it back. */
static void test_kept_when_the_state_was_put_back(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
	rename_state(f, "state", "state.used");
	clock_sleep_ms(300); /* it hears of that */
	assert_int_equal(waitpid(f->caretaker, NULL, WNOHANG), 0);
	rename_state(f, "state.used", "state");
	network_stop(&f->network);
	assert_false(is_let_go(f, 0));
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
}

static void test_who_resumes_is_killed(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
	caretaker_thank(&f->network); /* as its end closes the line */
	network_stop(&f->network);
	cleanup_close_(&f->tap);
	f->tap = -1;
	assert_true(is_let_go(f, PATIENCE_MS));
	assert_int_equal(resume(f), 0);
}

static void expect_refused(struct fixture *f)
{
	assert_int_equal(resume(f), 0);
	assert_int_equal(f->tap, -1);
	assert_int_equal(f->network.card_count, 0);
	assert_true(is_let_go(f, PATIENCE_MS));
}

static void test_another_network(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	f->start.exposed_count = 1;
	f->start.exposed[0] = (struct net_exposed){ 2222, 22 };
	expect_refused(f);
}

static void test_another_card(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	f->start.mac[5]++;
	expect_refused(f);
}

static void test_another_address(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	f->start.fixed = 1;
	f->start.wanted.s_addr = htonl(0xc0a84003);
	expect_refused(f);
}

static void test_another_mode(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	f->start.mode = NET_HOST;
	expect_refused(f);
}

static void test_the_state_goes(void **state)
{
	struct fixture *f = *state;

	suspend(f);
	assert_int_equal(fs_remove_tree(f->vm.dir, "state", &f->err), 0);
	assert_true(is_let_go(f, PATIENCE_MS));
}

/* Who resumes fails, and it is as before. */
static void try_in_vain(struct fixture *f)
{
	keeper_says(f, NET_CHANGED);
	assert_int_equal(resume(f), 1);
	network_stop(&f->network);
	cleanup_close_(&f->tap);
	f->tap = -1;
}

/* Something happens in the VM's directory, and it looks at the time. */
static void wake(const struct fixture *f)
{
	assert_int_equal(mkdirat(f->vm.dir, "something", 0700), 0);
	assert_int_equal(unlinkat(f->vm.dir, "something", AT_REMOVEDIR), 0);
}

/* The state stays without a network: nobody has the keeper or the tap, and there is nobody to ask.
 */
static void test_its_life_is_over(void **state)
{
	struct fixture *f = *state;
	int status = -1;

	suspend(f);
	try_in_vain(f); /* so it has begun to count */
	set_ahead(CARETAKER_LIFE_MS - 3 * PATIENCE_MS);
	wake(f);
	try_in_vain(f);
	set_ahead(CARETAKER_LIFE_MS);
	wake(f);
	assert_true(is_let_go(f, PATIENCE_MS));
	assert_int_equal(waitpid(f->caretaker, &status, 0), f->caretaker);
	assert_int_equal(status, 0);
	assert_int_equal(send(f->world, "frame", 5, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_int_equal(resume(f), 0);
	assert_int_equal(faccessat(f->vm.dir, "state", F_OK, 0), 0);
}

/* `run` is killed, or fails, before there is a state. */
static void test_no_state(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(caretaker_start(&f->network, &f->vm, &f->err), 0);
	network_stop(&f->network);
	assert_true(is_let_go(f, PATIENCE_MS));
	rename_state(f, "state.new", "state");
}

static void test_dismissed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(caretaker_start(&f->network, &f->vm, &f->err), 0);
	caretaker_dismiss(&f->network);
	assert_int_equal(f->network.caretaker.pid, 0);
	assert_false(is_let_go(f, 0));
	network_stop(&f->network);
	assert_true(is_let_go(f, PATIENCE_MS));
	rename_state(f, "state.new", "state");
}

/* Nobody renews an address on a LAN; and an answer that comes late would be taken for another's. */
static void test_not_kept(void **state)
{
	struct fixture *f = *state;

	f->network.mode = NET_BRIDGED;
	assert_int_equal(caretaker_start(&f->network, &f->vm, &f->err), 0);
	assert_int_equal(f->network.caretaker.pid, 0);
	f->network.mode = NET_SHARED;
	f->network.job_count = 1;
	assert_int_equal(caretaker_start(&f->network, &f->vm, &f->err), 0);
	assert_int_equal(f->network.caretaker.pid, 0);
	f->network.job_count = 0;
	rename_state(f, "state.new", "state");
	assert_int_equal(caretaker_take(&f->network, &f->vm, &f->start, &f->tap, &f->err), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_goes_on),
		TEST(test_policy_first),
		TEST(test_kept_after_a_failure),
		TEST(test_kept_when_the_state_was_put_back),
		TEST(test_who_resumes_is_killed),
		TEST(test_another_network),
		TEST(test_another_card),
		TEST(test_another_address),
		TEST(test_another_mode),
		TEST(test_the_state_goes),
		TEST(test_its_life_is_over),
		TEST(test_no_state),
		TEST(test_dismissed),
		TEST(test_not_kept),
	};

	ahead_ms = mmap(NULL, sizeof(*ahead_ms), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	return ahead_ms == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
