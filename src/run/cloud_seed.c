/* SPDX-License-Identifier: Apache-2.0 */

/* From what the user gave to a disk: the documents, and the program that makes a file system. */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/libexec.h"
#include "base/mem.h"
#include "base/process.h"
#include "run/cloud_init.h"
#include "run/run.h"
#include "run/session.h"
#include "store/home.h"
#include "store/vm.h"

enum {
	DOCUMENTS_MAX = 4,
	FIRST_FD = 3, /* of linzer-archive: the seed; then the documents */
	ID_BYTES = 16,
	ID_MAX = 128,
	PROGRAM_MS = 60000,
};

static const char id_file[] = "instance-id";
/* cloud-init wants a user-data, and takes this for one that asks for nothing. */
static const char nothing[] = "#cloud-config\n{}\n";

struct document {
	const char *name;
	int fd;
};
struct documents {
	struct document items[DOCUMENTS_MAX];
	size_t count;
};

static void close_documents(struct documents *documents)
{
	for (size_t i = 0; i < documents->count; i++)
		cleanup_close_(&documents->items[i].fd);
}

static int add_document(struct documents *documents, const char *name, const char *bytes,
			size_t len, struct error *err)
{
	auto_fd fd = memfd_create(name, MFD_CLOEXEC);
	int r = fd < 0 ? error_errno(err, "cannot make a memory file")
		       : fs_write_all(fd, bytes, len, err);

	if (r < 0)
		return r;
	documents->items[documents->count++] = (struct document){ name, take_fd(&fd) };
	return 0;
}

char *cloud_init_host_name(const char *name)
{
	auto_str host = STR_INIT;

	for (; *name && host.len < CLOUD_INIT_HOST_NAME_MAX; name++) {
		bool good = isascii((unsigned char)*name) && isalnum((unsigned char)*name);

		if (good || host.len) /* RFC 1123: a dash is not the first ... */
			str_addc(&host, (char)(good ? *name : '-'));
	}
	while (host.len && host.ptr[host.len - 1] == '-') /* ... nor the last */
		str_chop(&host, 1);
	return host.len ? str_detach(&host) : xstrdup("linzer");
}

static int make_id(const struct vm *vm, struct str *id, struct error *err)
{
	char hex[2 * ID_BYTES + 1];

	fs_random_hex(hex, ID_BYTES);
	str_addf(id, "linzer-%s", hex);
	return fs_replace_file(vm->dir, id_file, id->ptr, id->len, 0600, err);
}

/* The VM's own, which is none that another VM, or the image that its disk came from, had. */
static int instance_id(const struct vm *vm, struct str *id, struct error *err)
{
	struct error why = ERROR_INIT;

	if (fs_read_file(vm->dir, id_file, ID_MAX, id, &why) == 0 && id->len)
		return 0;
	if (why.code && why.code != ENOENT) {
		*err = why;
		return -err->code;
	}
	return make_id(vm, id, err);
}

/* JSON is YAML. */
static int add_meta_data(struct documents *documents, const struct cloud_init *cloud,
			 const struct vm *vm, struct error *err)
{
	auto_free char *host = cloud_init_host_name(vm->name);
	auto_str id = STR_INIT;
	auto_str text = STR_INIT;
	auto_json *keys = json_array();
	auto_json *object = NULL;
	int r = instance_id(vm, &id, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < cloud->keys.len; i++)
		(void)json_array_append_new(keys, json_string(cloud->keys.items[i]));
	if (json_array_size(keys) != cloud->keys.len)
		return error_set(err, E_INVALID, "--ssh-key: a key's comment is no UTF-8");
	object = json_pack("{s:s, s:s, s:O}", "instance-id", id.ptr, "local-hostname", host,
			   "public-keys", keys);
	if (!object)
		return error_set(err, E_INVALID, "the VM's instance-id is no text");
	json_add_compact(&text, object);
	return add_document(documents, "meta-data", text.ptr, text.len, err);
}

static int add_keys(struct documents *documents, const struct strings *keys, struct error *err)
{
	auto_str text = STR_INIT;

	for (size_t i = 0; i < keys->len; i++)
		str_addf(&text, "%s\n", keys->items[i]);
	return add_document(documents, "authorized_keys", text.ptr, text.len, err);
}

static int add_documents(struct documents *documents, const struct cloud_init *cloud,
			 const struct vm *vm, struct error *err)
{
	const struct str *user = &cloud->user_data, *network = &cloud->network_config;
	int r = add_document(documents, "user-data", user->len ? user->ptr : nothing,
			     user->len ? user->len : sizeof(nothing) - 1, err);

	if (r == 0)
		r = add_meta_data(documents, cloud, vm, err);
	if (r == 0 && network->len)
		r = add_document(documents, "network-config", network->ptr, network->len, err);
	if (r == 0 && cloud->keys.len)
		r = add_keys(documents, &cloud->keys, err);
	return r;
}

/* What the program drops when it is killed is found in tmp/ by the next command. */
static int run_program(const struct documents *documents, const struct home *home, int seed,
		       struct error *err)
{
	auto_free char *program = libexec_path("linzer-archive", "LINZER_ARCHIVE");
	auto_free char *tmp = str_format("TMPDIR=%s", home->tmp);
	const char *const environment[] = { "LC_ALL=C.UTF-8", tmp, NULL };
	const char *argv[DOCUMENTS_MAX + 3] = { program, "seed" };
	struct process_fd fds[DOCUMENTS_MAX + 1] = { { seed, FIRST_FD } };
	auto_str errors = STR_INIT;
	int r;

	for (size_t i = 0; i < documents->count; i++) {
		argv[i + 2] = documents->items[i].name;
		fds[i + 1] = (struct process_fd){ documents->items[i].fd, FIRST_FD + 1 + (int)i };
	}
	r = process_run(&(struct process_spec){ .argv = argv,
						.env = environment,
						.fds = fds,
						.fd_count = documents->count + 1,
						.no_new_privs = true },
			NULL, NULL, 0, &errors, PROGRAM_MS, err);
	if (r <= 0)
		return r;
	errors.ptr[strcspn(errors.ptr, "\n")] = '\0';
	return error_set(err, E_FAILED, "%s", *errors.ptr ? errors.ptr : "linzer-archive failed");
}

int cloud_init_seed(const struct cloud_init *cloud, const struct home *home, const struct vm *vm,
		    struct error *err)
{
	cleanup_(close_documents) struct documents documents = { 0 };
	auto_fd seed = memfd_create("cidata", MFD_CLOEXEC);
	int r = seed < 0 ? error_errno(err, "cannot make a memory file")
			 : add_documents(&documents, cloud, vm, err);

	if (r == 0)
		r = run_program(&documents, home, seed, err);
	/* QEMU gets what cannot be written */
	return r < 0 ? r : fs_reopen(seed, O_RDONLY, err);
}

int session_add_seed(struct session *session, struct error *err)
{
	struct launch_plan *plan = &session->plan;
	struct disk_extra *extra;
	int fd;

	if (!session->options->cloud->wanted)
		return 0;
	if (plan->disk_count == PLAN_DISKS_MAX)
		return error_set(err, E_FAILED,
				 "too many disks: at most %d, of which cloud-init's is one",
				 PLAN_DISKS_MAX);
	fd = cloud_init_seed(session->options->cloud, session->home, &session->vm, err);
	if (fd < 0)
		return fd;
	extra = &session->extras[session->extra_count++];
	*extra = (struct disk_extra){ .fds = { fd }, .count = 1, .scratch = VM_INIT };
	plan->disks[plan->disk_count++] = (struct plan_disk){ .layers = { { .fd = fd } },
							      .layer_count = 1,
							      .read_only = true };
	return 0;
}
