/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void set_returns_the_negative_code_and_the_text(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(error_set(&err, E_NOT_FOUND, "no VM '%s'", "a"), -E_NOT_FOUND);
	assert_int_equal(err.code, E_NOT_FOUND);
	assert_string_equal(err.text, "no VM 'a'");
}

static void errno_is_kept_and_explained(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	errno = ENOSPC;
	assert_int_equal(error_errno(&err, "cannot write '%s'", "f"), -ENOSPC);
	assert_string_equal(err.text, "cannot write 'f': No space left on device");
	errno = 0; /* a failure must never look like success */
	assert_int_equal(error_errno(&err, "x"), -EIO);
}

static void wrap_puts_context_in_front_and_keeps_the_code(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	(void)error_set(&err, E_INVALID, "bad");
	assert_int_equal(error_wrap(&err, "file '%s'", "f"), -E_INVALID);
	assert_string_equal(err.text, "file 'f': bad");
}

static void long_texts_are_cut_not_overrun(void **state)
{
	struct error err = ERROR_INIT;
	char name[2000];

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)error_set(&err, E_FAILED, "%s", name);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	(void)error_wrap(&err, "%s", name);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	errno = EPERM;
	(void)error_errno(&err, "%s", name);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void control_bytes_of_a_hostile_name_are_shown_as_question_marks(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	(void)error_set(&err, E_FAILED, "'%s'", "a\x1b[2J\r\b\x7f");
	assert_string_equal(err.text, "'a?[2J??"
				      "?'");
	/* U+009B is CSI, too; U+00E9 is a letter */
	(void)error_set(&err, E_FAILED, "'%s'",
			"\xc2\x9b"
			"2J\xc3\xa9");
	assert_string_equal(err.text, "'??2J\xc3\xa9'");
	(void)error_wrap(&err, "%s", "\x1b");
	assert_string_equal(err.text, "?: '??2J\xc3\xa9'");
}

static void a_text_is_one_line_unless_one_is_added(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	(void)error_set(&err, E_USAGE, "no VM '%s'", "a\nb");
	assert_string_equal(err.text, "no VM 'a?b'");
	assert_int_equal(error_add_line(&err, "Help:  %s", "x\ny"), -E_USAGE);
	assert_string_equal(err.text, "no VM 'a?b'\nHelp:  x?y");
	for (int i = 0; i < 100; i++)
		(void)error_add_line(&err, "and so on");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void exit_statuses_are_the_contracts(void **state)
{
	(void)state;
	assert_int_equal(error_exit_status(E_USAGE), 64);
	assert_int_equal(error_exit_status(E_NOT_FOUND), 2);
	assert_int_equal(error_exit_status(E_NOT_RUNNING), 2);
	assert_int_equal(error_exit_status(E_ALREADY_RUNNING), 2);
	assert_int_equal(error_exit_status(E_VALIDATION), 1);
	assert_int_equal(error_exit_status(ENOSPC), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_returns_the_negative_code_and_the_text),
		cmocka_unit_test(errno_is_kept_and_explained),
		cmocka_unit_test(wrap_puts_context_in_front_and_keeps_the_code),
		cmocka_unit_test(long_texts_are_cut_not_overrun),
		cmocka_unit_test(control_bytes_of_a_hostile_name_are_shown_as_question_marks),
		cmocka_unit_test(a_text_is_one_line_unless_one_is_added),
		cmocka_unit_test(exit_statuses_are_the_contracts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
