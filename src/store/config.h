/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CONFIG_H
#define STORE_CONFIG_H

/*
 * config.json (contract 4.3). The bytes may come from a registry: they are
 * the attacker's. Every member is checked for type and range; unknown members
 * are kept and written back. diskFormat is only ever reported: what a disk
 * really is stands in disk.json.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;

enum { CONFIG_FILE_MAX = 1024 * 1024 };

enum config_os { OS_LINUX, OS_DARWIN };
enum config_arch { ARCH_AMD64, ARCH_ARM64 };
enum display_unit { UNIT_NONE, UNIT_PT, UNIT_PX };

struct mac {
	uint8_t bytes[6];
};
enum { MAC_TEXT = sizeof("00:11:22:33:44:55") };

struct config {
	enum config_os os;
	enum config_arch arch;
	uint32_t cpu_count, cpu_count_min; /* 1..65535 */
	uint64_t memory, memory_min; /* bytes */
	struct mac mac;
	uint32_t display_width, display_height;
	enum display_unit display_unit;
	int display_refit; /* -1 unset, 0, 1 */
	char *disk_format; /* as declared; "raw" if absent */
	json_t *raw; /* the object as read, with unknown members */
};
#define CONFIG_INIT                 \
	{                           \
		.display_refit = -1 \
	}

/* A new Linux VM's config (contract 2.1): 4 CPUs, 4 GiB, 1024x768, random MAC. */
void config_init_linux(struct config *config, enum config_arch arch);
/*
 * E_INVALID; E_TOO_BIG where it or the text that config_format() makes of it exceeds
 * CONFIG_FILE_MAX: what is parsed can be written, and then parsed again.
 */
int config_parse(const void *bytes, size_t len, struct config *config, struct error *err) must_use_;
/* The file's text: pretty, known members updated, unknown kept, no trailing newline. */
void config_format(const struct config *config, struct str *out);
void config_release(struct config *config);
#define auto_config cleanup_(config_release) struct config

/* A random locally administered unicast address. */
struct mac mac_random(void);
int mac_parse(const char *text, struct mac *mac) must_use_; /* 0 or -EINVAL */
void mac_format(struct mac mac, char text[MAC_TEXT]);
bool mac_equal(struct mac a, struct mac b);
enum config_arch config_host_arch(void);
const char *config_arch_name(enum config_arch arch); /* "amd64", "arm64" */
const char *config_os_name(enum config_os os);
/* "1024x768", "1920x1080px" */
void config_add_display(const struct config *config, struct str *out);

#endif
