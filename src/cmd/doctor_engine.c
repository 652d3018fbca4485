/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "cmd/doctor.h"
#include "machine/qmp.h"
#include "run/desk.h"
#include "run/engine_parts.h"

enum { QMP_FD = 3, ANSWER_MS = 30000 };

#if defined(__aarch64__)
static const enum plan_arch native = PLAN_ARM64, foreign = PLAN_AMD64;
#else
static const enum plan_arch native = PLAN_AMD64, foreign = PLAN_ARM64;
#endif

static const char *kvm_advice(int code)
{
	if (code == ENOENT)
		return "turn virtualization on in the machine's firmware (in a VM: nested "
		       "virtualization at its host), then 'modprobe kvm_intel' or 'kvm_amd'";
	if (code == EACCES || code == EPERM)
		return "join the group that owns it: 'adduser USER kvm', then log in again";
	return "see what 'dmesg' says of kvm";
}

void doctor_check_accelerator(struct doctor *doctor)
{
	struct error err = ERROR_INIT;
	enum plan_accel accel;

	if (accel_decide(native, ACCEL_AUTO, &accel, &err) == 0 && accel == PLAN_KVM)
		doctor_add(doctor, "accelerator", DOCTOR_OK, NULL, "KVM");
	else if (accel_decide(native, ACCEL_KVM, &accel, &err) < 0)
		doctor_add(doctor, "accelerator", DOCTOR_WARN, kvm_advice(err.code),
			   "guests are emulated (TCG), which is many times slower: %s", err.text);
	else
		doctor_add(doctor, "accelerator", DOCTOR_WARN,
			   "use a host whose nested virtualization is of hardware, or metal; "
			   "'run --accel kvm' takes KVM all the same",
			   "guests are emulated (TCG): KVM works here, but slower than that");
}

void doctor_check_identity(struct doctor *doctor)
{
	struct error err = ERROR_INIT;

	if (identity_claim(&doctor->identity, &err) < 0)
		doctor_add(doctor, "user", DOCTOR_FAIL, NULL, "QEMU has no user to run as: %s",
			   err.text);
	else if (doctor->identity.drop)
		doctor_add(doctor, "user", DOCTOR_OK, NULL,
			   "as root: each VM's QEMU runs under a user id of its own");
	else
		doctor_add(doctor, "user", DOCTOR_OK, NULL, "QEMU runs as you (user id %u)",
			   (unsigned)doctor->identity.uid);
}

/* An engine without a machine that speaks QMP on @fd. */
static int start_engine(const struct doctor *doctor, int fd, pid_t *pid, struct error *err)
{
	const char *const argv[] = { doctor->engine.program,
				     "-nodefaults",
				     "-no-user-config",
				     "-machine",
				     "none",
				     "-display",
				     "none",
				     "-sandbox",
				     ENGINE_SANDBOX,
				     "-chardev",
				     "socket,id=qmp,fd=3",
				     "-mon",
				     "chardev=qmp,mode=control",
				     NULL };
	const struct process_fd fds[] = { { fd, QMP_FD } };

	return process_start(&(struct process_spec){ .argv = argv,
						     .fds = fds,
						     .fd_count = array_size(fds),
						     .drop = doctor->identity.drop,
						     .uid = doctor->identity.uid,
						     .gid = doctor->identity.uid,
						     .no_new_privs = true,
						     .new_session = true },
			     pid, err);
}

static void on_event(void *arg, const char *event, const json_t *data)
{
	(void)arg;
	(void)event;
	(void)data;
}

/* Append "7.2.22" to @version, of an engine that can what `run` needs. */
static int ask_engine(struct qmp *qmp, struct str *version, struct error *err)
{
	auto_json *result = NULL;
	int major = 0, minor = 0, micro = 0;
	int r = qmp_handshake(qmp, ANSWER_MS, err);

	if (r == 0)
		r = qmp_check_engine(qmp, err);
	if (r == 0)
		r = qmp_call(qmp, "query-version", NULL, -1, ANSWER_MS, &result, err);
	if (r < 0)
		return r;
	if (json_unpack(result, "{s:{s:i,s:i,s:i}}", "qemu", "major", &major, "minor", &minor,
			"micro", &micro) < 0)
		return error_set(err, E_PROTOCOL, "QEMU does not tell its version");
	str_addf(version, "%d.%d.%d", major, minor, micro);
	return 0;
}

static int try_engine(const struct doctor *doctor, struct str *version, struct error *err)
{
	struct qmp *qmp;
	pid_t pid;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "cannot make a socket");
	r = start_engine(doctor, pair[1], &pid, err);
	(void)close(pair[1]);
	if (r < 0) {
		(void)close(pair[0]);
		return r;
	}
	qmp = qmp_new(pair[0], on_event, NULL);
	r = ask_engine(qmp, version, err);
	qmp_free(qmp);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

static void check_foreign(struct doctor *doctor)
{
	auto_engine engine = ENGINE_INIT;
	struct error err = ERROR_INIT;

	if (engine_find(foreign, &engine, &err) < 0)
		doctor_add(doctor, "engine of foreign guests", DOCTOR_WARN,
			   "nothing, unless you run guests of another architecture", "%s",
			   err.text);
	else
		doctor_add(doctor, "engine of foreign guests", DOCTOR_OK, NULL, "'%s' (emulated)",
			   engine.program);
}

void doctor_check_engine(struct doctor *doctor)
{
	static const char check[] = "engine";
	auto_str version = STR_INIT;
	struct error err = ERROR_INIT;

	if (engine_find(native, &doctor->engine, &err) < 0)
		doctor_add(doctor, check, DOCTOR_FAIL, NULL, "%s", err.text);
	else if (try_engine(doctor, &version, &err) < 0)
		doctor_add(doctor, check, DOCTOR_FAIL,
			   "run it by hand with --version, and install it anew",
			   "'%s' does not start: %s", doctor->engine.program, err.text);
	else
		doctor_add(doctor, check, DOCTOR_OK, NULL, "QEMU %s ('%s'), firmware '%s'",
			   version.ptr, doctor->engine.program, doctor->engine.firmware_code);
	check_foreign(doctor);
}

/* A line for the window of `run` without --no-graphics. */
void doctor_check_window(struct doctor *doctor)
{
	static const char check[] = "window";
	static const char *const names[] = {
		[WINDOW_NONE] = "no", [WINDOW_GTK] = "GTK's", [WINDOW_SDL] = "SDL's"
	};
	struct error err = ERROR_INIT;
	enum plan_window window = WINDOW_NONE;

	if (!desk_is_there(&doctor->identity))
		doctor_add(doctor, check, DOCTOR_OK, NULL,
			   "none: %s not set; --vnc-experimental shows a VM all the same",
			   doctor->identity.drop ? "DISPLAY is"
						 : "DISPLAY and WAYLAND_DISPLAY are");
	else if (!doctor->engine.program)
		doctor_add(doctor, check, DOCTOR_WARN, NULL, "none: there is no engine");
	else if (engine_find_window(&doctor->engine, &doctor->identity, &window, &err) < 0)
		doctor_add(doctor, check, DOCTOR_WARN, NULL, "%s", err.text);
	else if (window == WINDOW_NONE)
		doctor_add(doctor, check, DOCTOR_WARN, "install the package 'qemu-system-gui'",
			   "QEMU here has none: VMs run without");
	else
		doctor_add(doctor, check, DOCTOR_OK, NULL, "%s", names[window]);
}
