/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/scratch.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/convert.h"
#include "machine/plan.h"

static struct scratch scratch;

static int enter_directory(void **state)
{
	(void)state;
	return scratch_open(&scratch, scratch_place());
}

static int leave_directory(void **state)
{
	(void)state;
	return scratch_close(&scratch);
}

static int open_at(const char *name, int flags)
{
	auto_free char *path = str_format("%s/%s", scratch.path, name);
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return fd;
}

/* Run a command line in the directory; it must succeed. */
printf_(1, 2) static void shell(const char *fmt, ...)
{
	auto_str line = STR_INIT, errors = STR_INIT;
	struct error err = ERROR_INIT;
	char text[2048];
	va_list ap;
	int r;

	va_start(ap, fmt);
	assert_in_range(vsnprintf(text, sizeof(text), fmt, ap), 1, sizeof(text) - 1);
	va_end(ap);
	str_addf(&line, "cd %s && %s", scratch.path, text);
	r = process_run(&(struct process_spec){ .argv = (const char *const[]){ "sh", "-c", line.ptr,
									       NULL } },
			NULL, NULL, 0, &errors, 60000, &err);
	if (r != 0)
		fail_msg("%s: %d %s %s", text, r, errors.ptr, r < 0 ? err.text : "");
}

enum { DISK_SIZE = 24 << 20 };

/* A disk of data, zeroes written, and holes. */
static void make_disk(const char *name)
{
	shell("truncate -s %d %s && seq 1 300000 | dd of=%s conv=notrunc bs=64k status=none && "
	      "dd if=/dev/zero of=%s conv=notrunc bs=1M seek=4 count=2 status=none && "
	      "seq 5 90000 | dd of=%s conv=notrunc bs=1M seek=20 status=none",
	      DISK_SIZE, name, name, name, name);
}

static int convert(const char *from, const char *to, uint64_t limit, uint64_t *size,
		   struct error *err)
{
	auto_fd in = open_at(from, O_RDONLY);
	auto_fd out = open_at(to, O_RDWR | O_CREAT | O_TRUNC);

	return convert_to_raw(in, out, limit, size, err);
}

static void detects(const char *image, const char *expected)
{
	auto_fd fd = open_at(image, O_RDONLY);
	const char *format = NULL;
	struct error err = ERROR_INIT;

	if (convert_detect(fd, &format, &err) < 0)
		fail_msg("%s: %s", image, err.text);
	assert_string_equal(format, expected);
}

/* The raw file has the disk's content and its holes. */
static void assert_is_disk(const char *raw)
{
	auto_fd fd = open_at(raw, O_RDONLY);
	struct stat st;

	shell("cmp disk %s", raw);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, DISK_SIZE);
	assert_true(fs_allocated(&st) < 4 << 20);
}

static void round_trip(const char *format, const char *options, const char *expected)
{
	struct error err = ERROR_INIT;
	uint64_t size = 0;

	shell("rm -f image && qemu-img convert -q -f raw -O %s %s disk image", format, options);
	detects("image", expected);
	if (convert("image", "raw", DISK_SIZE, &size, &err) < 0)
		fail_msg("%s %s: %s", format, options, err.text);
	assert_int_equal(size, DISK_SIZE);
	assert_is_disk("raw");
}

static void every_format_comes_back_byte_for_byte(void **state)
{
	(void)state;
	make_disk("disk");
	round_trip("raw", "", "raw");
	round_trip("qcow2", "", "qcow2");
	round_trip("qcow2", "-o compat=0.10", "qcow2");
	round_trip("qcow2", "-c -o compression_type=zstd,extended_l2=on", "qcow2");
	round_trip("qcow", "", "qcow");
	round_trip("qed", "", "qed");
	round_trip("vmdk", "", "vmdk");
	round_trip("vmdk", "-o subformat=streamOptimized", "vmdk");
	round_trip("vdi", "", "vdi");
	round_trip("vdi", "-o static=on", "vdi");
	round_trip("vhdx", "", "vhdx");
	round_trip("vhdx", "-o subformat=fixed", "vhdx");
	round_trip("parallels", "", "parallels");
	round_trip("vpc", "-o force_size=on", "vpc");
	round_trip("vpc", "-o subformat=fixed,force_size=on", "vpc");
}

static void refused(const char *image, int code, const char *text)
{
	struct error err = ERROR_INIT;
	uint64_t size = 77;
	int r = convert(image, "raw", DISK_SIZE, &size, &err);

	if (r != -code || !strstr(err.text, text) || strchr(err.text, '\n'))
		fail_msg("%s: %d '%s', not %d '%s'", image, r, err.text, -code, text);
	assert_int_equal(size, 77);
}

static void an_image_that_names_a_host_file_is_refused(void **state)
{
	(void)state;
	shell("qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw backing.qcow2 1M");
	refused("backing.qcow2", E_INVALID, "refers to another file (a backing file)");
	shell("qemu-img create -q -f qcow2 -u -b "
	      "'json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}' -F raw json.qcow2 1M");
	refused("json.qcow2", E_INVALID, "a backing file");
	shell("qemu-img create -q -f qcow2 -u -b nbd://127.0.0.1:1/x -F raw nbd.qcow2 1M");
	refused("nbd.qcow2", E_INVALID, "a backing file");
	shell("qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on datafile.qcow2 1M");
	refused("datafile.qcow2", E_INVALID, "a data file");
	shell("qemu-img create -q -f qed -u -b /etc/passwd -F raw backing.qed 1M");
	refused("backing.qed", E_INVALID, "a backing file");
	shell("qemu-img create -q -f qcow -u -b /etc/passwd -F raw backing.qcow 1M");
	refused("backing.qcow", E_INVALID, "a backing file");
	shell("printf '# Disk DescriptorFile\\nversion=1\\nCID=1\\nparentCID=ffffffff\\n"
	      "createType=\"monolithicFlat\"\\nRW 8 FLAT \"/etc/shadow\" 0\\n' > descriptor.vmdk");
	refused("descriptor.vmdk", E_INVALID, "a VMDK descriptor");
	shell("qemu-img create -q -f vmdk parent.vmdk 1M && "
	      "qemu-img create -q -f vmdk -b parent.vmdk -F vmdk child.vmdk");
	refused("child.vmdk", E_INVALID, "a backing file");
}

/* The gate before qemu-img is passed here by a second header behind the first check. */
static void a_vmdk_that_lists_extents_is_refused(void **state)
{
	(void)state;
	/* an embedded VMDK descriptor without capacity names extents */
	shell("qemu-img create -q -f vmdk extents.vmdk 1M && "
	      "printf '\\0\\0\\0\\0\\0\\0\\0\\0' | dd of=extents.vmdk bs=1 seek=12 conv=notrunc "
	      "status=none");
	refused("extents.vmdk", E_INVALID, "VMDK extents");
}

static void a_size_beyond_the_limit_is_too_big(void **state)
{
	(void)state;
	shell("qemu-img create -q -f qcow2 huge.qcow2 1P && qemu-img create -q -f vhdx huge.vhdx "
	      "1T");
	refused("huge.qcow2", E_TOO_BIG, "1125899906842624 bytes, more than");
	refused("huge.vhdx", E_TOO_BIG, "more than");
	shell("truncate -s 1T huge.raw");
	refused("huge.raw", E_TOO_BIG, "more than");
	shell("qemu-img create -q -f qcow2 large.qcow2 %d", DISK_SIZE + 512);
	refused("large.qcow2", E_TOO_BIG, "more than");
}

static void cut_off(const char *format, const char *length)
{
	shell("rm -f cut && qemu-img convert -q -f raw -O %s disk whole && head -c %s whole > cut",
	      format, length);
	detects("whole", format);
	refused("cut", E_INVALID, "");
}

static void a_truncated_image_is_invalid(void **state)
{
	static const char *const formats[] = { "qcow2", "qed",	"vmdk",	    "vpc",
					       "vdi",	"vhdx", "parallels" };

	(void)state;
	make_disk("disk");
	for (size_t i = 0; i < array_size(formats); i++) {
		cut_off(formats[i], "700");
		cut_off(formats[i], "70000");
		cut_off(formats[i], "-1100000"); /* more than a cluster of each */
	}
	shell(": > empty");
	refused("empty", E_INVALID, "is empty");
}

/* An L1 table of 32 MiB whose every entry points to one L2 table: much work in a small file. */
/* Tables that lie outside the file, are absurdly long, or are each other: never read as zeroes. */
static void hostile_tables_are_refused(void **state)
{
	static const struct {
		unsigned at; /* byte of the header, docs/interop/qcow2.txt */
		const char *bytes;
	} cases[] = {
		{ 36, "\\0\\100\\0\\0" }, /* 32 MiB of L1 table */
		{ 36, "\\0\\0\\0\\0" }, /* none */
		{ 40, "\\177\\377\\377\\377\\377\\377\\0\\0" }, /* L1 beyond the end */
		{ 40, "\\0\\0\\0\\0\\0\\0\\0\\0" }, /* L1 is the header */
		{ 48, "\\177\\377\\377\\377\\377\\377\\0\\0" }, /* refcount table beyond the end */
		{ 56, "\\377\\377\\377\\377" },
	};

	(void)state;
	make_disk("disk");
	for (size_t i = 0; i < array_size(cases); i++) {
		shell("qemu-img convert -q -f raw -O qcow2 disk bad && "
		      "printf '%s' | dd of=bad bs=1 seek=%u conv=notrunc status=none",
		      cases[i].bytes, cases[i].at);
		refused("bad", E_INVALID, "");
	}
}

static void the_magic_decides_and_nothing_else(void **state)
{
	(void)state;
	shell("qemu-img create -q -f qcow2 disk.raw 1M");
	detects("disk.raw", "qcow2");
	shell("printf 'QFI\\373\\0\\0\\0\\011' > future && truncate -s 1M future");
	refused("future", E_INVALID, "unknown version of qcow2");
	shell("truncate -s 1M zero.qcow2");
	detects("zero.qcow2", "raw");
	shell(": > empty");
	detects("empty", "raw");
	/* "conectix" in the last sector alone is a guest's data, not a footer */
	shell("truncate -s 1048064 tail && printf conectix >> tail && truncate -s 1M tail");
	detects("tail", "raw");
	shell("truncate -s 1048064 mac && printf koly >> mac && truncate -s 1M mac");
	refused("mac", E_INVALID, ".dmg");
}

static void what_is_no_regular_file_is_refused(void **state)
{
	auto_fd zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	const char *format;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(convert_detect(zero, &format, &err), -E_INVALID);
}

/* The descriptor is the image, whatever its name is given to meanwhile. */
static void a_file_replaced_while_it_is_read_changes_nothing(void **state)
{
	auto_fd in = -1, out = -1;
	struct error err = ERROR_INIT;
	uint64_t size;

	(void)state;
	make_disk("disk");
	shell("qemu-img convert -q -f raw -O qcow2 disk image");
	in = open_at("image", O_RDONLY);
	out = open_at("raw", O_RDWR | O_CREAT | O_TRUNC);
	shell("qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw other 1M && mv other image && "
	      "mv raw elsewhere && ln -s /etc/shadow raw");
	assert_int_equal(convert_to_raw(in, out, DISK_SIZE, &size, &err), 0);
	assert_is_disk("elsewhere");
	shell("rm raw");
}

/* Layers as the store makes them, over disk; want: what the chain reads as. */
static void make_chain(void)
{
	make_disk("disk");
	shell("for i in 1 2 3; do qemu-img create -q -f qcow2 layer$i %d; done", DISK_SIZE);
	shell("b='{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"disk\"}}'; "
	      "for i in 1 2 3; do "
	      "b='{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"layer'$i'\"},"
	      "\"backing\":'$b'}'; "
	      "qemu-io -c \"write -P $i ${i}0k 4k\" -c \"write -z ${i}00k 64k\" "
	      "-c \"discard ${i}M 128k\" -c \"write -P 7$i 2560k 4k\" \"json:$b\" >/dev/null; "
	      "done; "
	      "qemu-img convert -O raw \"json:$b\" want");
}

static void open_chain(struct plan_layer *layers)
{
	layers[0] = (struct plan_layer){ open_at("layer3", O_RDONLY), true };
	layers[1] = (struct plan_layer){ open_at("layer2", O_RDONLY), true };
	layers[2] = (struct plan_layer){ open_at("layer1", O_RDONLY), true };
	layers[3] = (struct plan_layer){ open_at("disk", O_RDONLY), false };
}

static void close_chain(struct plan_layer *layers)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(close(layers[i].fd), 0);
}

static void a_chain_of_layers_becomes_one_raw_file(void **state)
{
	struct plan_layer layers[4];
	auto_fd out = -1;
	struct error err = ERROR_INIT;

	(void)state;
	make_chain();
	open_chain(layers);
	out = open_at("raw", O_RDWR | O_CREAT | O_TRUNC);
	if (convert_chain_to_raw(layers, 4, out, &err) < 0)
		fail_msg("%s", err.text);
	shell("cmp want raw && ! cmp -s want disk");
	close_chain(layers);
}

static void merged_layers_read_as_the_chain_did(void **state)
{
	struct plan_layer layers[4], merged[2];
	auto_fd out = -1, raw = -1;
	struct error err = ERROR_INIT;

	(void)state;
	make_chain();
	shell("cp disk before");
	open_chain(layers);
	out = open_at("merged", O_RDWR | O_CREAT | O_TRUNC);
	if (convert_merge(layers, 4, out, &err) < 0)
		fail_msg("%s", err.text);
	merged[0] = (struct plan_layer){ out, true };
	merged[1] = layers[3];
	raw = open_at("raw", O_RDWR | O_CREAT | O_TRUNC);
	assert_int_equal(convert_chain_to_raw(merged, 2, raw, &err), 0);
	/* small: only what the layers hold; no name of another file inside */
	shell("cmp want raw && cmp disk before && test $(stat -c %%s merged) -lt 3000000 && "
	      "! qemu-img info merged | grep -q backing");
	close_chain(layers);
}

static void layers_in_a_wrong_order_are_refused(void **state)
{
	struct plan_layer layers[4];
	auto_fd out = -1;
	struct error err = ERROR_INIT;

	(void)state;
	make_chain();
	open_chain(layers);
	out = open_at("raw", O_RDWR | O_CREAT | O_TRUNC);
	layers[1].qcow2 = false;
	assert_int_equal(convert_chain_to_raw(layers, 4, out, &err), -E_INVALID);
	assert_int_equal(convert_merge(layers, 4, out, &err), -E_INVALID);
	assert_int_equal(convert_merge(layers, 1, out, &err), -E_INVALID);
	assert_int_equal(convert_merge(layers, 0, out, &err), -E_INVALID);
	close_chain(layers);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(every_format_comes_back_byte_for_byte),
		in_directory(an_image_that_names_a_host_file_is_refused),
		in_directory(a_vmdk_that_lists_extents_is_refused),
		in_directory(a_size_beyond_the_limit_is_too_big),
		in_directory(a_truncated_image_is_invalid),
		in_directory(hostile_tables_are_refused),
		in_directory(the_magic_decides_and_nothing_else),
		in_directory(what_is_no_regular_file_is_refused),
		in_directory(a_file_replaced_while_it_is_read_changes_nothing),
		in_directory(a_chain_of_layers_becomes_one_raw_file),
		in_directory(merged_layers_read_as_the_chain_did),
		in_directory(layers_in_a_wrong_order_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
