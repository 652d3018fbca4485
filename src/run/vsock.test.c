/* SPDX-License-Identifier: Apache-2.0 */
#include "run/vsock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <linux/vm_sockets.h>

#include "agent/dial.h"
#include "base/attr.h"
#include "base/error.h"

/* A kernel that has given away what it was asked for the first @taken times. */
struct kernel {
	unsigned taken, asked;
	int failure; /* instead */
	uint32_t last;
	bool repeated;
};

static int claim(void *arg, uint32_t cid)
{
	struct kernel *kernel = arg;

	assert_true(cid > VMADDR_CID_HOST && cid != VMADDR_CID_ANY);
	kernel->repeated |= cid == kernel->last;
	kernel->last = cid;
	kernel->asked++;
	if (kernel->failure)
		return kernel->failure;
	return kernel->asked <= kernel->taken ? -EADDRINUSE : 0;
}

static void a_cid_that_is_taken_is_not_asked_for_again(void **state unused_)
{
	struct kernel kernel = { .taken = VSOCK_TRIES - 1 };
	struct error err = ERROR_INIT;
	uint32_t cid = 0;

	assert_int_equal(vsock_choose(claim, &kernel, &cid, &err), 0);
	assert_int_equal(kernel.asked, VSOCK_TRIES);
	assert_int_equal(cid, kernel.last);
	assert_false(kernel.repeated); /* by chance once in 2^25 runs of this test */
}

static void tries_are_bounded(void **state unused_)
{
	struct kernel kernel = { .taken = VSOCK_TRIES };
	struct error err = ERROR_INIT;
	uint32_t cid = 0;

	assert_int_equal(vsock_choose(claim, &kernel, &cid, &err), -EADDRINUSE);
	assert_int_equal(kernel.asked, VSOCK_TRIES);
	assert_int_equal(cid, 0);
	assert_non_null(strstr(err.text, "no free CID"));
}

static void any_other_failure_is_the_end(void **state unused_)
{
	struct kernel kernel = { .failure = -EFAULT };
	struct error err = ERROR_INIT;
	uint32_t cid = 0;

	assert_int_equal(vsock_choose(claim, &kernel, &cid, &err), -EFAULT);
	assert_int_equal(kernel.asked, 1);
}

static void two_guests_get_two(void **state unused_)
{
	struct kernel kernel = { 0 };
	struct error err = ERROR_INIT;
	uint32_t one = 0, other = 0;

	assert_int_equal(vsock_choose(claim, &kernel, &one, &err), 0);
	assert_int_equal(vsock_choose(claim, &kernel, &other, &err), 0);
	assert_int_not_equal(one, other); /* by chance once in 2^31 runs */
}

static void the_agent_listens_on_8080(void **state unused_)
{
	struct dial_address address;
	const struct sockaddr_vm *name = (const struct sockaddr_vm *)&address.name;

	vsock_agent_address(77777, &address);
	assert_int_equal(address.len, sizeof(*name));
	assert_int_equal(name->svm_family, AF_VSOCK);
	assert_int_equal(name->svm_cid, 77777);
	assert_int_equal(name->svm_port, 8080);
	vsock_agent_address(0, &address);
	assert_int_equal(address.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cid_that_is_taken_is_not_asked_for_again),
		cmocka_unit_test(tries_are_bounded),
		cmocka_unit_test(any_other_failure_is_the_end),
		cmocka_unit_test(two_guests_get_two),
		cmocka_unit_test(the_agent_listens_on_8080),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
