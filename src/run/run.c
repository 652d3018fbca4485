/* SPDX-License-Identifier: Apache-2.0 */
#include "run/run.h"

#include <stdio.h>

#include "base/error.h"
#include "run/detach.h"
#include "run/session.h"

static int run_session(struct session *session, struct error *err)
{
	int r = session_claim(session, err);

	if (r == 0)
		r = session_prepare_network(session, err);
	if (r == 0)
		r = console_open(&session->console, &session->vm, session->resume.active,
				 session->options->serial, session->options->serial_path, err);
	if (r == 0)
		r = session_open_disks(session, err);
	if (r == 0)
		r = resume_check_disk(session, err);
	if (r == 0)
		r = session_launch(session, err);
	if (r == 0)
		r = session_supervise(session, err);
	if (r < 0)
		r = resume_failed(session, err);
	if (r < 0)
		detach_failed(&session->status_pipe, err);
	return r;
}

int run_vm(const struct home *home, const struct run_options *options, struct error *err)
{
	struct session session;
	int status_pipe = -1;
	int r;

	if (options->detach || options->wait_ready) {
		r = detach_fork(home, options, &status_pipe, err);
		if (r <= 0)
			return r;
	}
	r = run_session_init(&session, err);
	if (r < 0)
		return r;
	session.home = home;
	session.options = options;
	session.status_pipe = status_pipe;
	r = run_session(&session, err);
	run_session_release(&session);
	return r;
}
