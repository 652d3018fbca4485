/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/libexec.h"
#include "base/process.h"
#include "base/str.h"
#include "build-info.h"
#include "cmd/doctor.h"
#include "run/dir_option.h"
#include "run/folders.h"
#include "run/network.h"

enum { VERSION_MS = 10000, VERSION_MAX = 4096 };

void doctor_check_registries(struct doctor *doctor)
{
	static const char check[] = "registries";
	auto_free char *path = libexec_path("linzer-oci", "LINZER_OCI");
	const char *const argv[] = { path, "--version", NULL };
	const struct process_spec spec = { .argv = argv };
	auto_str version = STR_INIT;
	struct error err = ERROR_INIT;
	int status = process_run(&spec, NULL, &version, VERSION_MAX, NULL, VERSION_MS, &err);

	if (status < 0)
		doctor_add(doctor, check, DOCTOR_WARN, "install Linzer anew",
			   "neither pull nor push works: %s", err.text);
	else if (status || strcmp(version.ptr, LINZER_VERSION "\n") != 0)
		doctor_add(doctor, check, DOCTOR_WARN, "install Linzer anew",
			   "'%s' is not of this version of Linzer", path);
	else
		doctor_add(doctor, check, DOCTOR_OK, NULL, "'%s'", path);
}

/* The network of a VM that has no options, for a moment. */
static int try_network(bool *isolated, struct error *err)
{
	auto_network_rules rules = NETWORK_RULES_INIT;
	struct network network = NETWORK_INIT;
	auto_fd tap = -1;
	int r;

	network.mode = NET_SHARED;
	network.cards[0].mac = mac_random();
	r = network_compile(network.mode, &rules, "", &network.policy, err);
	if (r == 0)
		r = network_start_card(&network, NULL, (struct in_addr){ 0 }, false, &tap, err);
	*isolated = network.isolated;
	network_stop(&network);
	return r;
}

void doctor_check_network(struct doctor *doctor)
{
	static const char check[] = "privileges";
	struct error err = ERROR_INIT;
	bool isolated = false;

	if (try_network(&isolated, &err) < 0)
		doctor_add(doctor, check, DOCTOR_FAIL,
			   "'run --net-none' runs a VM without a network", "%s", err.text);
	else if (!isolated)
		doctor_add(doctor, check, DOCTOR_OK, NULL,
			   geteuid() == 0 ? "root: guests are in networks of the host's"
					  : "linzer-net has its capabilities and you may run it: "
					    "guests are in networks of the host's");
	else
		doctor_add(doctor, check, DOCTOR_OK,
			   "to let the host dial guests: once, as root, 'make install-caps' (the "
			   "Debian package has done it), then 'adduser USER linzer'",
			   "none: guests are in a namespace of yours (pasta), and the host reaches "
			   "them by 'exec' and by exposed ports");
}

/*
 * A question of the protocol between QEMU and virtiofsd (QEMU's docs/interop/vhost-user):
 * which features have you? What answers is in its jail and has the folder.
 */
struct vhost_user_question {
	uint32_t request, flags, size;
};
enum { GET_FEATURES = 1, VERSION_1 = 1, ANSWER_LIMIT_MS = 10000 };

static bool answers(int sock)
{
	const struct vhost_user_question question = { GET_FEATURES, VERSION_1, 0 };
	struct vhost_user_question answer = { 0 };
	struct pollfd fd = { .fd = sock, .events = POLLIN };

	return send(sock, &question, sizeof(question), MSG_NOSIGNAL) == sizeof(question) &&
	       poll(&fd, 1, ANSWER_LIMIT_MS) == 1 &&
	       recv(sock, &answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer) &&
	       answer.request == GET_FEATURES;
}

/* A directory that everybody may read: what can be served at all. */
static int try_folder(const struct doctor *doctor, struct error *err)
{
	char path[] = "/usr";
	char tag[] = DIR_DEFAULT_TAG;
	struct dir_option option = { .path = path, .tag = tag, .read_only = true };
	const struct dir_options dirs = { .items = &option, .len = 1 };
	struct folders folders = FOLDERS_INIT;
	int r = folders_start(&folders, &dirs, &doctor->identity, err);

	if (r == 0 && !answers(folders.shares[0].qemu)) {
		r = folders_explain(&folders, err);
		if (r == 0)
			r = error_set(err, E_FAILED, "--dir: virtiofsd does not answer");
	}
	folders_stop(&folders);
	return r;
}

void doctor_check_folders(struct doctor *doctor)
{
	struct error err = ERROR_INIT;

	if (try_folder(doctor, &err) < 0)
		doctor_add(doctor, "folders", DOCTOR_WARN,
			   err.code == E_MISSING_TOOL ? NULL
						      : "let users make user namespaces (sysctl "
							"kernel.unprivileged_userns_clone, or "
							"AppArmor's), if that is why",
			   "no folder can be shared: %s", err.text);
	else
		doctor_add(doctor, "folders", DOCTOR_OK, NULL,
			   "virtiofsd serves them from a namespace of its own");
}
