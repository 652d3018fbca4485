/* SPDX-License-Identifier: Apache-2.0 */
#include "store/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	CONFIG_VERSION = 1,
	CPU_MAX = 65535,
	DISPLAY_MAX = 65535,
	DEFAULT_WIDTH = 1024,
	DEFAULT_HEIGHT = 768,
	DEFAULT_CPUS = 4,
};
#define MEMORY_MAX (INT64_C(1) << 50) /* a pebibyte */
#define DEFAULT_MEMORY (UINT64_C(4) << 30)

const char *config_arch_name(enum config_arch arch)
{
	switch (arch) {
	case ARCH_AMD64:
		return "amd64";
	case ARCH_ARM64:
		return "arm64";
	}
	abort();
}

const char *config_os_name(enum config_os os)
{
	switch (os) {
	case OS_LINUX:
		return "linux";
	case OS_DARWIN:
		return "darwin";
	}
	abort();
}

static const char *unit_name(enum display_unit unit)
{
	switch (unit) {
	case UNIT_NONE:
		return "";
	case UNIT_PT:
		return "pt";
	case UNIT_PX:
		return "px";
	}
	abort();
}

enum config_arch config_host_arch(void)
{
#if defined(__aarch64__)
	return ARCH_ARM64;
#else
	return ARCH_AMD64;
#endif
}

void config_init_linux(struct config *config, enum config_arch arch)
{
	*config = (struct config){
		.os = OS_LINUX,
		.arch = arch,
		.cpu_count = DEFAULT_CPUS,
		.cpu_count_min = DEFAULT_CPUS,
		.memory = DEFAULT_MEMORY,
		.memory_min = DEFAULT_MEMORY,
		.mac = mac_random(),
		.display_width = DEFAULT_WIDTH,
		.display_height = DEFAULT_HEIGHT,
		.display_unit = UNIT_NONE,
		.display_refit = -1,
		.disk_format = xstrdup("raw"),
		.raw = json_object(),
	};
}

/* Fold "missing" into an error. */
static int required(int r, const char *key, struct error *err)
{
	return r == 0 ? error_set(err, E_INVALID, "'%s' is missing", key) : r;
}

static int get_u32(const json_t *object, const char *key, int64_t max, uint32_t *value,
		   struct error *err)
{
	int64_t n = 0;
	int r = required(json_get_int(object, key, 1, max, &n, err), key, err);

	*value = (uint32_t)n;
	return r;
}

static int get_memory(const json_t *object, const char *key, uint64_t *value, struct error *err)
{
	int64_t n = 0;
	int r = required(json_get_int(object, key, 1, MEMORY_MAX, &n, err), key, err);

	*value = (uint64_t)n;
	return r;
}

static int parse_version(const json_t *raw, struct error *err)
{
	int64_t version;
	int r = required(json_get_int(raw, "version", 1, INT64_MAX, &version, err), "version", err);

	if (r < 0)
		return r;
	if (version > CONFIG_VERSION)
		return error_set(err, E_INVALID,
				 "version %lld is from the future, only version %d is known",
				 (long long)version, CONFIG_VERSION);
	return 0;
}

static int parse_kind(const json_t *raw, struct config *config, struct error *err)
{
	const char *os = "darwin";
	const char *arch = "arm64";
	int r = json_get_string(raw, "os", &os, err);

	if (r >= 0)
		r = json_get_string(raw, "arch", &arch, err);
	if (r < 0)
		return r;
	if (strcmp(os, "linux") != 0 && strcmp(os, "darwin") != 0)
		return error_set(err, E_INVALID, "unknown operating system \"%.32s\"", os);
	if (strcmp(arch, "amd64") != 0 && strcmp(arch, "arm64") != 0)
		return error_set(err, E_INVALID, "unknown architecture \"%.32s\"", arch);
	config->os = strcmp(os, "linux") == 0 ? OS_LINUX : OS_DARWIN;
	config->arch = strcmp(arch, "amd64") == 0 ? ARCH_AMD64 : ARCH_ARM64;
	return 0;
}

static int parse_resources(const json_t *raw, struct config *config, struct error *err)
{
	int r = get_u32(raw, "cpuCount", CPU_MAX, &config->cpu_count, err);

	if (r >= 0)
		r = get_u32(raw, "cpuCountMin", CPU_MAX, &config->cpu_count_min, err);
	if (r >= 0)
		r = get_memory(raw, "memorySize", &config->memory, err);
	if (r >= 0)
		r = get_memory(raw, "memorySizeMin", &config->memory_min, err);
	return r;
}

static int parse_mac(const json_t *raw, struct config *config, struct error *err)
{
	const char *text;
	int r = required(json_get_string(raw, "macAddress", &text, err), "macAddress", err);

	if (r < 0)
		return r;
	if (mac_parse(text, &config->mac) < 0 || config->mac.bytes[0] & 1)
		return error_set(err, E_INVALID, "'macAddress' is not a unicast MAC address");
	return 0;
}

static int parse_display(const json_t *raw, struct config *config, struct error *err)
{
	const json_t *display = json_object_get(raw, "display");
	const char *unit = "";
	bool refit;
	int r = json_get_bool(raw, "displayRefit", &refit, err);

	if (r < 0)
		return r;
	config->display_refit = r ? refit : -1;
	config->display_width = DEFAULT_WIDTH;
	config->display_height = DEFAULT_HEIGHT;
	if (!display || json_is_null(display))
		return 0;
	if (!json_is_object(display))
		return error_set(err, E_INVALID, "'display' is not an object");
	r = get_u32(display, "width", DISPLAY_MAX, &config->display_width, err);
	if (r >= 0)
		r = get_u32(display, "height", DISPLAY_MAX, &config->display_height, err);
	if (r >= 0)
		r = json_get_string(display, "unit", &unit, err);
	if (r < 0)
		return r;
	if (strcmp(unit, "pt") != 0 && strcmp(unit, "px") != 0 && *unit)
		return error_set(err, E_INVALID, "unknown display unit \"%.32s\"", unit);
	config->display_unit = !*unit ? UNIT_NONE : strcmp(unit, "pt") == 0 ? UNIT_PT : UNIT_PX;
	return 0;
}

static int parse_members(const json_t *raw, struct config *config, struct error *err)
{
	const char *format = "raw";
	int r = parse_version(raw, err);

	if (r >= 0)
		r = parse_kind(raw, config, err);
	if (r >= 0)
		r = parse_resources(raw, config, err);
	if (r >= 0)
		r = parse_mac(raw, config, err);
	if (r >= 0)
		r = parse_display(raw, config, err);
	if (r >= 0)
		r = json_get_string(raw, "diskFormat", &format, err);
	if (r >= 0)
		config->disk_format = xstrdup(format);
	return r < 0 ? r : 0;
}

static void set_int(json_t *object, const char *key, uint64_t value)
{
	(void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_string(json_t *object, const char *key, const char *value)
{
	(void)json_object_set_new(object, key, json_string(value));
}

static void set_display(json_t *raw, const struct config *config)
{
	json_t *display = json_object_get(raw, "display");

	if (!json_is_object(display)) {
		display = json_object();
		(void)json_object_set_new(raw, "display", display);
	}
	set_int(display, "width", config->display_width);
	set_int(display, "height", config->display_height);
	if (config->display_unit == UNIT_NONE)
		(void)json_object_del(display, "unit");
	else
		set_string(display, "unit", unit_name(config->display_unit));
	if (config->display_refit < 0)
		(void)json_object_del(raw, "displayRefit");
	else
		(void)json_object_set_new(raw, "displayRefit", json_boolean(config->display_refit));
}

void config_format(const struct config *config, struct str *out)
{
	auto_json *raw = config->raw ? json_deep_copy(config->raw) : json_object();
	char mac[MAC_TEXT];

	mac_format(config->mac, mac);
	set_int(raw, "version", CONFIG_VERSION);
	set_string(raw, "os", config_os_name(config->os));
	set_string(raw, "arch", config_arch_name(config->arch));
	set_int(raw, "cpuCountMin", config->cpu_count_min);
	set_int(raw, "cpuCount", config->cpu_count);
	set_int(raw, "memorySizeMin", config->memory_min);
	set_int(raw, "memorySize", config->memory);
	set_string(raw, "macAddress", mac);
	set_display(raw, config);
	set_string(raw, "diskFormat", config->disk_format ? config->disk_format : "raw");
	json_add_pretty(out, raw);
}

static int too_big(struct error *err)
{
	return error_set(err, E_TOO_BIG, "larger than %d bytes", CONFIG_FILE_MAX);
}

/* What cannot be written so that it can be read again is none: it would be lost with the VM. */
static int check_growth(const struct config *config, struct error *err)
{
	enum { CHANGES = 1024 }; /* bytes that other values can take */
	auto_str text = STR_INIT;

	config_format(config, &text);
	return text.len > CONFIG_FILE_MAX - CHANGES ? too_big(err) : 0;
}

int config_parse(const void *bytes, size_t len, struct config *config, struct error *err)
{
	auto_config parsed = CONFIG_INIT;
	int r;

	if (len > CONFIG_FILE_MAX)
		return too_big(err);
	r = json_parse_object(bytes, len, &parsed.raw, err);
	if (r == 0)
		r = parse_members(parsed.raw, &parsed, err);
	if (r == 0)
		r = check_growth(&parsed, err);
	if (r < 0)
		return r;
	*config = parsed;
	parsed = (struct config)CONFIG_INIT;
	return 0;
}

void config_release(struct config *config)
{
	free(config->disk_format);
	json_decref(config->raw);
	*config = (struct config)CONFIG_INIT;
}

void config_add_display(const struct config *config, struct str *out)
{
	str_addf(out, "%ux%u%s", config->display_width, config->display_height,
		 unit_name(config->display_unit));
}
