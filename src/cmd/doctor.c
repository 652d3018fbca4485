/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/help.h"
#include "cmd/command.h"
#include "cmd/output.h"

struct doctor_args {
	int format;
};

static const struct option options[] = {
	{ .name = "format",
	  .kind = OPTION_CHOICE,
	  .choices = output_formats,
	  .offset = offsetof(struct doctor_args, format),
	  .help = "Output format: text (default) or json." },
	{ 0 },
};

static const char *const statuses[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_WARN] = "warn",
	[DOCTOR_FAIL] = "fail",
};

void doctor_release(struct doctor *doctor)
{
	identity_release(&doctor->identity);
	engine_release(&doctor->engine);
}

void doctor_add(struct doctor *doctor, const char *check, enum doctor_status status,
		const char *advice, const char *fmt, ...)
{
	struct doctor_finding *finding = &doctor->findings[doctor->count];
	va_list ap;

	assert(doctor->count < DOCTOR_FINDINGS_MAX);
	doctor->count++;
	finding->check = check;
	finding->status = status;
	finding->advice = advice;
	va_start(ap, fmt);
	(void)vsnprintf(finding->message, sizeof(finding->message), fmt, ap);
	va_end(ap);
}

static void add_text(struct str *out, const struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->count; i++) {
		const struct doctor_finding *f = &doctor->findings[i];

		str_addf(out, "%-4s  %s: ", statuses[f->status], f->check);
		str_add_harmless(out, f->message);
		if (f->advice)
			str_addf(out, "\n      -> %s", f->advice);
		str_addc(out, '\n');
	}
}

static void add_json(struct str *out, const struct doctor *doctor)
{
	auto_json *array = json_array();

	for (size_t i = 0; i < doctor->count; i++) {
		const struct doctor_finding *f = &doctor->findings[i];
		json_t *j = json_object();

		(void)json_object_set_new(j, "Check", json_string(f->check));
		(void)json_object_set_new(j, "Status", json_string(statuses[f->status]));
		(void)json_object_set_new(j, "Message", json_text(f->message));
		(void)json_object_set_new(j, "Advice",
					  f->advice ? json_string(f->advice) : json_null());
		(void)json_array_append_new(array, j);
	}
	json_add_pretty(out, array);
	str_addc(out, '\n');
}

static bool can_run(const struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->count; i++)
		if (doctor->findings[i].status == DOCTOR_FAIL)
			return false;
	return true;
}

/* Without a home there is nothing to try and measure. */
static void check_home(struct doctor *doctor, const struct invocation *inv)
{
	auto_home home = HOME_INIT;
	struct error err = ERROR_INIT;

	if (home_open(&home, inv->program, &err) < 0) {
		doctor_add(doctor, "home", DOCTOR_FAIL,
			   "set TART_HOME to a directory that you may write to", "%s", err.text);
		return;
	}
	doctor_check_home(doctor, &home);
	doctor_check_images(doctor, &home);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct doctor_args *args = data;
	auto_doctor doctor = DOCTOR_INIT;
	auto_str out = STR_INIT;
	int r;

	doctor_check_accelerator(&doctor);
	doctor_check_identity(&doctor);
	doctor_check_engine(&doctor);
	doctor_check_window(&doctor);
	doctor_check_registries(&doctor);
	doctor_check_network(&doctor);
	doctor_check_folders(&doctor);
	check_home(&doctor, inv);
	if (args->format == FORMAT_JSON)
		add_json(&out, &doctor);
	else
		add_text(&out, &doctor);
	r = output_text(&out, err);
	return r < 0 ? r : !can_run(&doctor);
}

const struct command command_doctor = {
	.name = "doctor",
	.summary = "Find out what this host can run",
	.discussion =
		"Each check does for a moment what 'run' does. The exit status is 0 when a VM "
		"can run, even if something is missing (warn), and 1 when none can (fail).",
	.options = options,
	.args_size = sizeof(struct doctor_args),
	.flags = COMMAND_OPENS_HOME,
	.run = run,
};
