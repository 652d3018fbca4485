/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_PLAN_H
#define MACHINE_PLAN_H

/*
 * The launch plan: everything about a VM that is about to start, in terms of no
 * architecture, no path and no name. Descriptors are those of this
 * process; qemu_arguments() numbers them anew for the child. The plan borrows all.
 * Of a user's text it has folders' tags, which are plain, and names of an NBD server, which get
 * into JSON alone.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct process_fd;
struct strings;

enum plan_arch { PLAN_AMD64, PLAN_ARM64 };
enum plan_accel { PLAN_TCG, PLAN_KVM };
enum plan_sync { SYNC_FULL, SYNC_FSYNC, SYNC_NONE };
enum plan_caching { CACHING_AUTOMATIC, CACHING_CACHED, CACHING_UNCACHED };

enum {
	PLAN_LAYERS_MAX = 64,
	PLAN_DISKS_MAX = 16,
	PLAN_NICS_MAX = 8,
	PLAN_CHANNELS_MAX = 8,
	PLAN_FOLDERS_MAX = 8
};

struct plan_layer {
	int fd; /* the top read-write unless the disk is read-only; the others read-only */
	bool qcow2;
	bool device; /* a block device */
};
/* An NBD server behind a socket of ours: QEMU connects to it by itself, and again. */
struct plan_nbd {
	int dir; /* holds the listening socket "nbd"; with TLS also "ca-cert.pem" */
	const char *export; /* UTF-8, may be empty */
	const char *tls_name; /* what the server's certificate must be for: a plain name; NULL: no
				 TLS */
};
struct plan_disk {
	struct plan_layer layers[PLAN_LAYERS_MAX]; /* top first */
	size_t layer_count;
	bool read_only;
	const struct plan_nbd *nbd; /* then it has no layers; NULL: files */
	bool cdrom; /* a removable read-only medium (ISO) */
	enum plan_sync sync;
	enum plan_caching caching;
};
struct plan_nic {
	int tap_fd;
	uint8_t mac[6];
};
struct plan_channel {
	int fd; /* connected or listening stream socket */
	bool listening;
	const char *name; /* of the virtio-serial port, fixed by us */
};

/* How a window is opened; a user's session is reached by the child's environment. */
enum plan_window { WINDOW_NONE, WINDOW_GTK, WINDOW_SDL };
/* Where sound goes to; without a card there is none. */
enum plan_sound { SOUND_NOWHERE, SOUND_PULSE, SOUND_NO_CARD };
struct plan_folder {
	int fd; /* connected stream socket: a vhost-user file system */
	const char *tag; /* 1 to 36 letters, digits, and ".-_" */
};

struct launch_plan {
	enum plan_arch arch;
	enum plan_accel accel;
	const char *machine; /* a machine type by its versioned name; NULL: the newest */
	bool incoming; /* wait, paused, for a state (migrate.h) that is without folders and
			  clipboard */
	uint32_t cpus;
	uint64_t memory; /* bytes */
	int firmware_code_fd; /* read-only */
	int firmware_vars_fd; /* read-write */
	int memory_fd; /* memfd of exactly .memory bytes, shared; -1: anonymous memory */
	struct plan_disk disks[PLAN_DISKS_MAX]; /* root first: /dev/vda, vdb, ... */
	size_t disk_count;
	struct plan_nic nics[PLAN_NICS_MAX];
	size_t nic_count;
	struct plan_channel channels[PLAN_CHANNELS_MAX];
	size_t channel_count;
	struct plan_folder folders[PLAN_FOLDERS_MAX];
	size_t folder_count; /* not 0 only with .memory_fd */
	uint32_t vsock_cid; /* 0: none; else the guest has a vsock device of that number */
	int vsock_fd; /* /dev/vhost-vsock, with that number and without an owner */
	int qmp_fd; /* connected stream socket */
	int console_fd; /* connected stream socket: the serial console */
	bool nested; /* expose virtualization to the guest */
	bool display; /* a graphics adapter and a sound card; else none of what follows */
	uint32_t width, height; /* pixels; what no adapter can show is cut */
	bool keyboard, pointer; /* the guest has one */
	bool vnc; /* a VNC server on 127.0.0.1, closed until it is given a password */
	bool clipboard; /* shared with VNC's client and the window, by the guest's spice-vdagent */
	bool microphone; /* the sound card also records */
	enum plan_window window;
	bool grab_keys; /* the window also gets the keys that the desktop would take */
	bool stays_open; /* the window's button closes nothing */
	enum plan_sound sound;
	int sound_fd; /* SOUND_PULSE: the directory of its socket, "native" */
};

/*
 * The engine's arguments (argv[0] is @program, no NULL at the end) and the
 * child's descriptors, from 3 up. A pure function: nothing is opened, and of text
 * that a user chose only plain tags and strings in JSON get into an argument. A plan that no engine
 * could run is E_INVALID, more than @fd_max descriptors E_TOO_BIG.
 *
 * Blockdev nodes: disk N's top layer is "disk<N>", the layers below are
 * "disk<N>-1", "disk<N>-2", ..., the file beneath each has ".file" added.
 */
int qemu_arguments(const struct launch_plan *plan, const char *program, struct strings *argv,
		   struct process_fd *fds, size_t *fd_count, size_t fd_max,
		   struct error *err) must_use_;

/*
 * To put a new overlay on a running disk (tried.md 1): `add-fd` with an
 * O_RDWR descriptor of an empty qcow2 gives an fdset; `blockdev-add` with
 * qemu_overlay_node() makes a node of it that has @disk's sync and caching;
 * `blockdev-snapshot` with qemu_snapshot() puts it on top of @node, which turns read-only by
 * itself. The next freeze's @node is this one's @overlay; node names that the
 * plan does not use: "overlay1", "overlay2", ... The results are the caller's.
 */
json_t *qemu_overlay_node(const struct plan_disk *disk, const char *overlay,
			  int64_t fdset) must_use_;
json_t *qemu_snapshot(const char *node, const char *overlay) must_use_;

/*
 * What a VM's saved state depends on: append those of the @argv of qemu_arguments() that make the
 * machine and its devices, but no folders, no version and no CID. Two lists that are equal are one
 * machine.
 */
void qemu_machine_parts(const struct strings *argv, struct strings *parts);
/* What of a VM the part makes, for an error's text: "disks", "network cards", ... */
const char *qemu_part_name(const char *part);

#endif
