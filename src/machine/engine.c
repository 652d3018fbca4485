/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/engine.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/str.h"

static const char safe_path[] = "/usr/local/bin:/usr/bin:/bin";

struct firmware {
	enum plan_arch arch;
	const char *code, *vars;
};

/* Plain UEFI without Secure Boot; pairs belong together. */
static const struct firmware firmwares[] = {
	/* Debian, Ubuntu */
	{ PLAN_AMD64, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd" },
	{ PLAN_ARM64, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd" },
	/* Fedora, RHEL */
	{ PLAN_AMD64, "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
	{ PLAN_ARM64, "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
	  "/usr/share/edk2/aarch64/vars-template-pflash.raw" },
	/* Arch */
	{ PLAN_AMD64, "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
	  "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
	{ PLAN_ARM64, "/usr/share/edk2/aarch64/QEMU_CODE.fd",
	  "/usr/share/edk2/aarch64/QEMU_VARS.fd" },
	/* openSUSE */
	{ PLAN_AMD64, "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
	  "/usr/share/qemu/ovmf-x86_64-4m-vars.bin" },
	{ PLAN_ARM64, "/usr/share/qemu/aavmf-aarch64-code.bin",
	  "/usr/share/qemu/aavmf-aarch64-vars.bin" },
	/* older Debian */
	{ PLAN_AMD64, "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd" },
};

struct names {
	const char *program, *package, *firmware_package;
};

static const struct names names[] = {
	[PLAN_AMD64] = { "qemu-system-x86_64", "qemu-system-x86", "ovmf" },
	[PLAN_ARM64] = { "qemu-system-aarch64", "qemu-system-arm", "qemu-efi-aarch64" },
};

void engine_release(struct engine *engine)
{
	free(engine->program);
	free(engine->firmware_code);
	free(engine->firmware_vars);
	*engine = (struct engine)ENGINE_INIT;
}

static bool is_file(const char *path, int access_mode)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, access_mode) == 0;
}

/* The first "<directory>/<name>" of @path that can be run, or NULL. Relative directories are left
 * out: what runs as our engine does not depend on where we stand. */
static char *find_program(const char *path, const char *name)
{
	while (*path) {
		size_t len = strcspn(path, ":");
		auto_free char *candidate = str_format("%.*s/%s", (int)len, path, name);

		if (path[0] == '/' && is_file(candidate, X_OK))
			return take(candidate);
		path += len + (path[len] == ':');
	}
	return NULL;
}

static bool find_firmware(enum plan_arch arch, const char *root, struct engine *engine)
{
	for (size_t i = 0; i < array_size(firmwares); i++) {
		const struct firmware *f = &firmwares[i];
		auto_free char *code = str_format("%s%s", root, f->code);
		auto_free char *vars = str_format("%s%s", root, f->vars);

		if (f->arch != arch || !is_file(code, R_OK) || !is_file(vars, R_OK))
			continue;
		engine->firmware_code = take(code);
		engine->firmware_vars = take(vars);
		return true;
	}
	return false;
}

int engine_find_in(enum plan_arch arch, const char *path, const char *root, struct engine *engine,
		   struct error *err)
{
	const struct names *n = &names[arch];
	auto_engine found = ENGINE_INIT;

	found.program = find_program(path, n->program);
	if (!found.program)
		return error_set(err, E_MISSING_TOOL,
				 "'%s' is not installed: install the package '%s'", n->program,
				 n->package);
	if (!find_firmware(arch, root, &found))
		return error_set(err, E_MISSING_TOOL,
				 "the UEFI firmware is not installed: install the package '%s'",
				 n->firmware_package);
	*engine = found;
	found = (struct engine)ENGINE_INIT;
	return 0;
}

int engine_find(enum plan_arch arch, struct engine *engine, struct error *err)
{
	const char *path = getauxval(AT_SECURE) ? safe_path : getenv("PATH");

	return engine_find_in(arch, path ? path : safe_path, "", engine, err);
}
