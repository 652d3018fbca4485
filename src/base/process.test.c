/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/process.h"

static void a_missing_program_is_a_missing_tool(void **state)
{
	const char *const argv[] = { "/nonexistent/program", NULL };
	struct error err = ERROR_INIT;
	pid_t pid = 0;

	(void)state;
	assert_int_equal(process_start(&(struct process_spec){ .argv = argv }, &pid, &err),
			 -E_MISSING_TOOL);
	assert_int_equal(pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_program_is_a_missing_tool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
