/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/*
 * Errors: a function that can fail returns 0 (or a positive outcome) on
 * success and a negative code on failure, and fills a caller-owned struct
 * error with one line for a person. Nothing is allocated.
 *
 * A code is an errno value or one of enum error_code. error_set(),
 * error_errno() and error_wrap() return the negative code, so that a failure
 * is one statement: return error_set(err, E_NOT_FOUND, "...").
 *
 * Libraries never print and never exit; only bin/ prints an error, once. The
 * text is exactly what a person sees on stderr: no prefix, no full stop.
 * Bytes that come from outside are made printable by error_set() and
 * error_wrap(), so that a hostile name cannot drive a terminal.
 */

#include <stdarg.h>

#include "base/attr.h"

enum error_code {
	/* below: errno values */
	E_FAILED = 1000, /* anything that needs no code of its own */
	E_USAGE, /* the command line is wrong: exit 64, usage is shown */
	E_VALIDATION, /* refused before anything was done: "Error: ", exit 1 */
	E_NOT_FOUND, /* the VM does not exist: exit 2 */
	E_NOT_RUNNING, /* the VM is not running: exit 2 */
	E_ALREADY_RUNNING, /* the VM is already running: exit 2 */
	E_RUNNING, /* refused because the VM is running: exit 1 */
	E_INVALID, /* bytes from outside are malformed */
	E_TOO_BIG, /* ... or larger than a named limit */
	E_CANCELLED, /* the user interrupted */
	E_PROTOCOL, /* a peer did not keep to its protocol */
	E_MISSING_TOOL, /* a program or package is not installed */
	E_CODE_MAX,
};

struct error {
	int code; /* positive; 0 where nothing failed */
	char text[512];
};

#define ERROR_INIT \
	{          \
		0  \
	}

/* Set @err to a formatted message. @code: positive. Return: -@code. */
int error_set(struct error *err, int code, const char *fmt, ...) printf_(3, 4);

/* The same, with ": " and the text of errno added. Return: -errno. */
int error_errno(struct error *err, const char *fmt, ...) printf_(2, 3);

/*
 * Put context in front of what @err says: "<fmt>: <old text>".
 * Never pass err->text as an argument. Return: -err->code.
 */
int error_wrap(struct error *err, const char *fmt, ...) printf_(2, 3);

#ifdef __clang_analyzer__ /* it does not look into error.c: a failure is never 0 or more */
static inline int error_is_negative_(int r)
{
	if (r >= 0)
		__builtin_unreachable();
	return r;
}
#define error_set(...) error_is_negative_(error_set(__VA_ARGS__))
#define error_errno(...) error_is_negative_(error_errno(__VA_ARGS__))
#define error_wrap(...) error_is_negative_(error_wrap(__VA_ARGS__))
#endif

/*
 * Add a line below what @err says, such as a hint; in no other way has a text more
 * than one. Return: -err->code.
 */
int error_add_line(struct error *err, const char *fmt, ...) printf_(2, 3);

/* The exit status that the contract gives @code (1, 2 or 64). */
int error_exit_status(int code);

#endif
