/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/migrate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "machine/qmp.h"

enum { CALL_MS = 20000, LIMIT_MS = 120000, POLL_MS = 2, TEXT_MAX = 300 };

/* bytes a second: the default is made for a network */
static const int64_t bandwidth = INT64_C(100) << 30;
static const char file_name[] = "state";

static int call(struct qmp *qmp, const char *command, json_t *arguments, int fd, json_t **result,
		struct error *err)
{
	return qmp_call(qmp, command, arguments, fd, CALL_MS, result, err);
}

static int ask_version(struct qmp *qmp, char **version, struct error *err)
{
	auto_json *answer = NULL;
	int64_t major = 0, minor = 0;
	int r = call(qmp, "query-version", NULL, -1, &answer, err);

	if (r < 0)
		return r;
	const json_t *numbers = json_object_get(answer, "qemu");

	if (json_get_int(numbers, "major", 1, INT16_MAX, &major, err) != 1 ||
	    json_get_int(numbers, "minor", 0, INT16_MAX, &minor, err) != 1)
		return error_set(err, E_PROTOCOL, "QEMU does not tell its version");
	*version = str_format("%" PRId64 ".%" PRId64, major, minor);
	return 0;
}

/* "pc-q35-7.2-machine" is the class of the machine type "pc-q35-7.2". */
static int ask_machine(struct qmp *qmp, char **machine, struct error *err)
{
	static const char suffix[] = "-machine";
	auto_json *answer = NULL;
	int r = call(qmp, "qom-get",
		     json_pack("{s:s, s:s}", "path", "/machine", "property", "type"), -1, &answer,
		     err);
	const char *name = json_string_value(answer);

	if (r < 0)
		return r;
	if (!name || !str_ends(name, suffix))
		return error_set(err, E_PROTOCOL, "QEMU does not tell its machine type");
	*machine = str_format("%.*s", (int)(strlen(name) - strlen(suffix)), name);
	return 0;
}

int migrate_describe(struct qmp *qmp, char **machine, char **version, struct error *err)
{
	auto_free char *type = NULL;
	int r = ask_machine(qmp, &type, err);

	if (r == 0)
		r = ask_version(qmp, version, err);
	if (r == 0)
		*machine = take(type);
	return r;
}

/* The memory file is left out, and nothing slows the rest. */
static int prepare(struct qmp *qmp, int fd, struct error *err)
{
	int r = call(qmp, "migrate-set-capabilities",
		     json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "x-ignore-shared",
			       "state", 1),
		     -1, NULL, err);

	if (r == 0)
		r = call(qmp, "migrate-set-parameters",
			 json_pack("{s:I}", "max-bandwidth", (json_int_t)bandwidth), -1, NULL, err);
	if (r == 0)
		r = call(qmp, "getfd", json_pack("{s:s}", "fdname", file_name), fd, NULL, err);
	return r;
}

/* Return: 1 done, 0 not yet, or error. */
static int ask_progress(struct qmp *qmp, struct error *err)
{
	auto_json *answer = NULL;
	const char *status, *why;
	int r = call(qmp, "query-migrate", NULL, -1, &answer, err);

	if (r < 0)
		return r;
	status = json_string_value(json_object_get(answer, "status"));
	if (status && strcmp(status, "completed") == 0)
		return 1;
	if (!status || (strcmp(status, "failed") != 0 && strcmp(status, "cancelled") != 0))
		return 0;
	why = json_string_value(json_object_get(answer, "error-desc"));
	return error_set(err, E_FAILED, "%.*s", TEXT_MAX, why ? why : "QEMU failed");
}

static int wait_until_done(struct qmp *qmp, struct error *err)
{
	uint64_t deadline = clock_ms() + LIMIT_MS;
	int r;

	while ((r = ask_progress(qmp, err)) == 0) {
		if (clock_ms() >= deadline)
			return error_set(err, ETIMEDOUT, "QEMU does not come to an end");
		clock_sleep_ms(POLL_MS);
	}
	return r < 0 ? r : 0;
}

static int start(struct qmp *qmp, const char *command, int fd, struct error *err)
{
	auto_free char *uri = str_format("fd:%s", file_name);
	int r = prepare(qmp, fd, err);

	if (r == 0)
		r = call(qmp, command, json_pack("{s:s}", "uri", uri), -1, NULL, err);
	return r < 0 ? r : wait_until_done(qmp, err);
}

int migrate_save(struct qmp *qmp, int fd, struct error *err)
{
	struct error ignored = ERROR_INIT;
	int r = start(qmp, "migrate", fd, err);

	/* no state is written by one that goes on */
	if (r < 0)
		(void)!call(qmp, "migrate_cancel", NULL, -1, NULL, &ignored);
	return r;
}

int migrate_load(struct qmp *qmp, int fd, struct error *err)
{
	return start(qmp, "migrate-incoming", fd, err);
}
