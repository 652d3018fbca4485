/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/manifest.h"

#define D(c) "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8" c
#define HEAD                                                                                   \
	"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","   \
	"\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"size\":113," \
	"\"digest\":\"" D(                                                                     \
		"00") "\"},\"annotations\":{"                                                  \
		      "\"org.cirruslabs.tart.uncompressed-disk-size\":\"300\","                \
		      "\"org.cirruslabs.tart.upload-time\":\"2026-05-12T21:45:18Z\"},\"layers\":["
#define TAIL "]}"
#define PLAIN(type, size, d)                                                         \
	"{\"mediaType\":\"application/vnd.cirruslabs.tart." type "\",\"size\":" size \
	",\"digest\":\"" d "\"}"
#define SLICE_WITH(type, size, length, more)                                         \
	"{\"mediaType\":\"application/vnd.cirruslabs.tart." type "\",\"size\":" size \
	",\"digest\":\"" D(                                                          \
		"02") "\",\"annotations\":{" more                                    \
		      "\"org.cirruslabs.tart.uncompressed-content-digest\":\"" D(    \
			      "03") "\","                                            \
				    "\"org.cirruslabs.tart.uncompressed-size\":\"" length "\"}}"
#define GROUP(count)                                             \
	"\"org.cirruslabs.tart.disk-file-content-digest\":\"" D( \
		"09") "\","                                      \
		      "\"org.cirruslabs.tart.disk-file-chunk-count\":\"" count "\","
#define SLICE(length) SLICE_WITH("disk.v2", "10", length, "")
#define OVERLAY(more) SLICE_WITH("disk.asif.overlay.v1", "7", "50", more)
#define CONFIG PLAIN("config.v1", "253", D("01"))
#define NVRAM PLAIN("nvram.v1", "131072", D("04"))
#define STRANGER "{\"mediaType\":\"application/x-else\",\"size\":1,\"digest\":\"" D("05") "\"}"
#define GOOD HEAD CONFIG "," SLICE("200") "," SLICE("100") "," NVRAM TAIL

static void assert_refused(const char *text, int code, const char *why)
{
	struct manifest m = MANIFEST_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(manifest_parse(text, strlen(text), &m, &err), -code);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
	assert_null(m.slices);
}

static void parse(const char *text, struct manifest *m)
{
	struct error err = ERROR_INIT;

	if (manifest_parse(text, strlen(text), m, &err) < 0)
		fail_msg("%s", err.text);
}

static void all_members_are_read(void **state)
{
	auto_manifest m = MANIFEST_INIT;
	char text[DIGEST_TEXT];

	(void)state;
	parse(GOOD, &m);
	assert_int_equal(m.image_config.size, 113);
	assert_int_equal(m.vm_config.size, 253);
	assert_int_equal(m.nvram.size, 131072);
	digest_format(&m.vm_config.digest, text);
	assert_string_equal(text, D("01"));
	assert_int_equal(m.slice_count, 2);
	assert_int_equal(m.disk_slices, 2);
	assert_int_equal(m.disk_size, 300);
	assert_int_equal(m.declared_size, 300);
	assert_int_equal(m.slices[0].offset, 0);
	assert_int_equal(m.slices[0].length, 200);
	assert_int_equal(m.slices[1].offset, 200);
	assert_int_equal(m.slices[1].length, 100);
	assert_int_equal(m.slices[1].blob.size, 10);
	digest_format(&m.slices[1].content, text);
	assert_string_equal(text, D("03"));
	assert_int_equal(m.overlay_count, 0);
	assert_string_equal(m.upload_time, "2026-05-12T21:45:18Z");
	assert_int_equal(manifest_compressed_size(&m), 20);
}

static void what_tart_2_32_accepts(void **state)
{
	static const char *const texts[] = {
		HEAD NVRAM "," SLICE("200") "," CONFIG "," SLICE("100") TAIL,
		HEAD STRANGER "," CONFIG "," SLICE("200") "," STRANGER
							  "," SLICE("100") "," NVRAM TAIL,
		/* only what must be there */
		"{\"config\":{\"digest\":\"" D("00") "\",\"size\":1,\"x\":[]},\"layers\":[" CONFIG
						     "," SLICE("200") "," SLICE(
							     "100") "," NVRAM TAIL,
	};

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		auto_manifest m = MANIFEST_INIT;

		parse(texts[i], &m);
		assert_int_equal(m.disk_size, 300);
		assert_int_equal(m.slices[1].offset, 200);
	}
}

static void layers_that_miss_or_are_too_many(void **state)
{
	(void)state;
	assert_refused(HEAD SLICE("1") "," NVRAM TAIL, E_INVALID, "no VM config");
	assert_refused(HEAD CONFIG "," CONFIG "," SLICE("1") "," NVRAM TAIL, E_INVALID,
		       "more than one VM config");
	assert_refused(HEAD CONFIG "," SLICE("1") TAIL, E_INVALID, "no NVRAM");
	assert_refused(HEAD CONFIG "," SLICE("1") "," NVRAM "," NVRAM TAIL, E_INVALID,
		       "more than one NVRAM");
	assert_refused(HEAD CONFIG "," NVRAM TAIL, E_INVALID, "no disk");
	assert_refused(HEAD TAIL, E_INVALID, "no VM config");
	assert_refused(HEAD CONFIG "," PLAIN("disk.v1", "5", D("07")) "," NVRAM TAIL, E_FAILED,
		       "Pulling OCI images with legacy disk media type "
		       "application/vnd.cirruslabs.tart.disk.v1 is no longer supported, please "
		       "re-push the image using a current Tart version");
}

static void slices_that_lie(void **state)
{
	(void)state;
	assert_refused(HEAD CONFIG "," SLICE("0") "," NVRAM TAIL, E_INVALID, "layer 1: ");
	assert_refused(HEAD CONFIG "," SLICE("") "," NVRAM TAIL, E_INVALID, "decimal number");
	assert_refused(HEAD CONFIG "," SLICE("-5") "," NVRAM TAIL, E_INVALID, "decimal number");
	assert_refused(HEAD CONFIG "," SLICE("0x10") "," NVRAM TAIL, E_INVALID, "decimal number");
	assert_refused(HEAD CONFIG "," SLICE("1e3") "," NVRAM TAIL, E_INVALID, "decimal number");
	assert_refused(HEAD CONFIG "," SLICE("70368744177665") "," NVRAM TAIL, E_TOO_BIG,
		       "larger than");
	assert_refused(HEAD CONFIG "," SLICE("18446744073709551617") "," NVRAM TAIL, E_TOO_BIG,
		       "larger than");
	assert_refused(HEAD CONFIG "," SLICE("70368744177664") "," SLICE("1") "," NVRAM TAIL,
		       E_TOO_BIG, "together");
	assert_refused(HEAD CONFIG "," PLAIN("disk.v2", "5", D("07")) "," NVRAM TAIL, E_INVALID,
		       "uncompressed-content-digest' is missing");
	assert_refused(HEAD CONFIG "," SLICE_WITH("disk.v2", "0", "9", "") "," NVRAM TAIL,
		       E_INVALID, "'size' is 0");
	assert_refused(HEAD CONFIG "," SLICE_WITH("disk.v2", "-1", "9", "") "," NVRAM TAIL,
		       E_INVALID, "'size' is negative");
	assert_refused(HEAD CONFIG
		       "," SLICE_WITH("disk.v2", "70368744177665", "9", "") "," NVRAM TAIL,
		       E_TOO_BIG, "larger than");
	assert_refused(HEAD CONFIG "," SLICE_WITH("disk.v2", "1.5", "9", "") "," NVRAM TAIL,
		       E_INVALID, "not an integer");
	assert_refused(HEAD CONFIG
		       "," SLICE_WITH("disk.v2", "99999999999999999999", "9", "") "," NVRAM TAIL,
		       E_INVALID, "'size': too big an integer");
	assert_refused(HEAD CONFIG "," SLICE_WITH("disk.v2", "\"9\"", "9", "") "," NVRAM TAIL,
		       E_INVALID, "not an integer");
}

static void missing_annotations(void **state)
{
	(void)state;
	assert_refused(
		HEAD CONFIG
		",{\"mediaType\":\"application/vnd.cirruslabs.tart.disk.v2\","
		"\"size\":1,\"digest\":\"" D(
			"02") "\",\"annotations\":{"
			      "\"org.cirruslabs.tart.uncompressed-size\":\"5\"}}," NVRAM TAIL,
		E_INVALID, "uncompressed-content-digest' is missing");
	assert_refused(HEAD CONFIG
		       ",{\"mediaType\":\"application/vnd.cirruslabs.tart.disk.v2\","
		       "\"size\":1,\"digest\":\"" D(
			       "02") "\",\"annotations\":{"
				     "\"org.cirruslabs.tart.uncompressed-content-digest\":\"" D(
					     "03") "\"}}," NVRAM TAIL,
		       E_INVALID, "uncompressed-size' is missing");
	assert_refused(HEAD CONFIG ",{\"mediaType\":\"application/vnd.cirruslabs.tart.disk.v2\","
				   "\"size\":1,\"digest\":\"" D(
					   "02") "\",\"annotations\":{"
						 "\"org.cirruslabs.tart.uncompressed-content-"
						 "digest\":\"sha256:e3\"}}," NVRAM TAIL,
		       E_INVALID, "no SHA-256 digest");
}

static void small_blobs_are_small(void **state)
{
	(void)state;
	assert_refused(HEAD PLAIN("config.v1", "1048577", D("01")) "," SLICE("1") "," NVRAM TAIL,
		       E_TOO_BIG, "layer 0: ");
	assert_refused(HEAD CONFIG "," SLICE("1") "," PLAIN("nvram.v1", "67108865", D("01")) TAIL,
		       E_TOO_BIG, "layer 2: ");
	assert_refused(HEAD PLAIN("config.v1", "-3", D("01")) "," SLICE("1") "," NVRAM TAIL,
		       E_INVALID, "'size' is negative");
	assert_refused("{\"config\":{\"digest\":\"" D(
			       "00") "\",\"size\":1048577},\"layers\":[" CONFIG
				     "," SLICE("1") "," NVRAM TAIL,
		       E_TOO_BIG, "'config'");
}

static void other_documents_are_named(void **state)
{
	(void)state;
	assert_refused(
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}",
		E_INVALID, "it is an image index");
	assert_refused("{\"schemaVersion\":2,\"manifests\":[]}", E_INVALID, "an image index");
	assert_refused("{\"mediaType\":"
		       "\"application/vnd.docker.distribution.manifest.list.v2+json\"}",
		       E_INVALID, "a Docker manifest list");
	assert_refused("{\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\"}",
		       E_INVALID, "a Docker manifest");
	assert_refused("{\"mediaType\":\"text/\\u001bhtml\"}", E_INVALID, "of the type");
	assert_refused("{\"mediaType\":7}", E_INVALID, "'mediaType': not a string");
	assert_refused("{\"schemaVersion\":1}", E_INVALID, "'schemaVersion' is not 2");
	assert_refused("{}", E_INVALID, "'config' is missing");
	assert_refused("[]", E_INVALID, "not an object");
	assert_refused("<html>", E_INVALID, "not an object");
	assert_refused("", E_INVALID, "not an object");
	assert_refused("{\"config\":{\"digest\":\"" D("00") "\",\"size\":1}}", E_INVALID,
		       "'layers' is missing");
	assert_refused(HEAD "7" TAIL, E_INVALID, "layer 0: not an object");
	assert_refused(HEAD "{}" TAIL, E_INVALID, "'mediaType' is missing");
	assert_refused("{\"config\":{\"digest\":\"" D("00") "\",\"size\":1},\"annotations\":[]}",
		       E_INVALID, "'annotations': not an object");
	assert_refused("{\"config\":{\"digest\":\"" D("00") "\"}}", E_INVALID, "'size' is missing");
}

static void the_declared_size_is_a_number(void **state)
{
	static const char fmt[] = "{\"config\":{\"digest\":\"" D(
		"00") "\",\"size\":1},"
		      "\"annotations\":{\"org.cirruslabs.tart.%s\":%s},\"layers\":[" CONFIG
		      "," SLICE("1") "," NVRAM TAIL;
	static const struct {
		const char *key, *value;
		int code;
	} bad[] = {
		{ "uncompressed-disk-size", "\"50 GB\"", E_INVALID },
		{ "uncompressed-disk-size", "\"-1\"", E_INVALID },
		{ "uncompressed-disk-size", "5", E_INVALID },
		{ "uncompressed-disk-size", "\"99999999999999999999\"", E_TOO_BIG },
		{ "disk.block-size", "\"x\"", E_INVALID },
		{ "upload-time", "[]", E_INVALID },
	};
	static const char *const times[] = { "\"a\\u001b[2J\"", "\"\\u00e4\"",
					     "\"2026-05-12T21:45:18Z and very much later\"" };

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_str text = STR_INIT;

		str_addf(&text, fmt, bad[i].key, bad[i].value);
		assert_refused(text.ptr, bad[i].code, bad[i].key);
	}
	for (size_t i = 0; i < array_size(times); i++) {
		auto_str text = STR_INIT;
		auto_manifest m = MANIFEST_INIT;

		str_addf(&text, fmt, "upload-time", times[i]);
		parse(text.ptr, &m);
		assert_string_equal(m.upload_time, "");
	}
}

#define STACKED(overlays)                                  \
	HEAD CONFIG "," SLICE_WITH("disk.v2", "10", "200", \
				   GROUP("2")) "," SLICE("100") "," overlays "," NVRAM TAIL

static void stacked_images_are_groups(void **state)
{
	auto_manifest m = MANIFEST_INIT;

	(void)state;
	parse(STACKED(OVERLAY(GROUP("2")) "," OVERLAY("") "," OVERLAY(GROUP("1"))), &m);
	assert_int_equal(m.disk_slices, 2);
	assert_int_equal(m.slice_count, 5);
	assert_true(m.has_disk_file);
	assert_int_equal(m.disk_file.bytes[31], 9);
	assert_int_equal(m.overlay_count, 2);
	assert_int_equal(m.overlays[0].count, 2);
	assert_int_equal(m.overlays[0].size, 100);
	assert_int_equal(m.overlays[0].file.bytes[31], 9);
	assert_ptr_equal(m.overlays[0].slices, &m.slices[2]);
	assert_int_equal(m.slices[3].offset, 50);
	assert_int_equal(m.overlays[1].count, 1);
	assert_int_equal(m.slices[4].offset, 0);
	assert_int_equal(m.disk_size, 300);
}

static void stacked_images_are_strict(void **state)
{
	(void)state;
	assert_refused(STACKED(OVERLAY("")), E_INVALID, "missing or no possible number");
	assert_refused(STACKED(OVERLAY(GROUP("0"))), E_INVALID, "missing or no possible number");
	assert_refused(STACKED(OVERLAY(GROUP("2"))), E_INVALID, "more than there are");
	assert_refused(STACKED(OVERLAY(GROUP("1")) "," OVERLAY("")), E_INVALID,
		       "missing or no possible number");
	assert_refused(STACKED(OVERLAY("\"org.cirruslabs.tart.disk-file-chunk-count\":\"1\",")),
		       E_INVALID, "disk-file-content-digest' is missing");
	assert_refused(STACKED(OVERLAY(GROUP("1")) "," STRANGER), E_INVALID,
		       "of an unknown type or out");
	assert_refused(STACKED(OVERLAY(GROUP("1")) "," SLICE("5")), E_INVALID, "out of order");
	assert_refused(HEAD SLICE("5") "," CONFIG "," OVERLAY(GROUP("1")) "," NVRAM TAIL, E_INVALID,
		       "out of order");
	assert_refused(HEAD CONFIG "," SLICE("5") "," NVRAM "," OVERLAY(GROUP("1")) TAIL, E_INVALID,
		       "out of order");
	assert_refused(HEAD CONFIG "," SLICE_WITH("disk.v2", "10", "9", GROUP("2")) "," OVERLAY(
			       GROUP("1")) "," NVRAM TAIL,
		       E_INVALID, "number of the disk's");
	assert_refused(STACKED(OVERLAY(GROUP("two"))), E_INVALID, "decimal number");
}

/* As short as can be, and yet so many of them do not fit. */
#define SHORT_SLICE SLICE("1")

/* A text of @n layers between the config and the NVRAM. */
static void many_layers(struct str *text, size_t n, const char *layer)
{
	str_adds(text, HEAD CONFIG);
	for (size_t i = 0; i < n; i++) {
		str_addc(text, ',');
		str_adds(text, layer);
	}
	str_adds(text, "," NVRAM TAIL);
}

static void a_million_layers_are_too_many(void **state)
{
	auto_str text = STR_INIT;

	(void)state;
	many_layers(&text, MANIFEST_SLICES_MAX, STRANGER); /* which nobody counts */
	assert_refused(text.ptr, E_INVALID, "no disk");
	str_reset(&text);
	many_layers(&text, 1000000, "1");
	assert_refused(text.ptr, E_INVALID, "layer 1: not an object");
	str_reset(&text);
	many_layers(&text, MANIFEST_SLICES_MAX + 1, SHORT_SLICE);
	assert_refused(text.ptr, E_TOO_BIG, "larger than 16777216 bytes");
	str_reset(&text);
	while (text.len <= MANIFEST_MAX)
		str_adds(&text, "                                                              ");
	assert_refused(text.ptr, E_TOO_BIG, "larger than 16777216 bytes");
	str_reset(&text);
	str_adds(&text, HEAD CONFIG "," SLICE("9"));
	for (int i = 0; i <= MANIFEST_OVERLAYS_MAX; i++)
		str_adds(&text, "," OVERLAY(GROUP("1")));
	str_adds(&text, "," NVRAM TAIL);
	assert_refused(text.ptr, E_TOO_BIG, "more than 64 overlays");
}

static void text_as_tart_writes_it(void **state)
{
	auto_manifest m = MANIFEST_INIT;
	auto_str text = STR_INIT;

	(void)state;
	parse(HEAD NVRAM "," SLICE("300") "," CONFIG TAIL, &m);
	manifest_format(&m, &text);
	assert_string_equal(
		text.ptr, "{\"annotations\":{\"org.cirruslabs.tart.uncompressed-disk-size\":"
			  "\"300\","
			  "\"org.cirruslabs.tart.upload-time\":\"2026-05-12T21:45:18Z\"},"
			  "\"config\":{\"digest\":\"" D(
				  "00") "\","
					"\"mediaType\":\"application\\/"
					"vnd.oci.image.config.v1+json\",\"size\":113},"
					"\"layers\":["
					"{\"annotations\":{},\"digest\":\"" D(
						"01") "\",\"mediaType\":"
						      "\"application\\/"
						      "vnd.cirruslabs.tart.config.v1\",\"size\":"
						      "253},"
						      "{\"annotations\":{\"org.cirruslabs.tart."
						      "uncompressed-content-digest\":\"" D("03") "\",\"org.cirruslabs.tart.uncompressed-size\":\"300\"},\"digest\":\"" D(
							      "02") "\",\"mediaType\":"
								    "\"application\\/"
								    "vnd.cirruslabs.tart.disk.v2\","
								    "\"size\":10},"
								    "{\"annotations\":{},"
								    "\"digest\":\"" D(
									    "04") "\","
										  "\"mediaType\":"
										  "\"application\\/"
										  "vnd.cirruslabs."
										  "tart.nvram.v1\","
										  "\"size\":131072}"
										  "],"
										  "\"mediaType\":"
										  "\"application\\/"
										  "vnd.oci.image."
										  "manifest.v1+"
										  "json\","
										  "\"schemaVersion"
										  "\":2}");
}

static void text_is_read_as_it_was_written(void **state)
{
	static const char *const texts[] = { GOOD, STACKED(OVERLAY(GROUP("2")) "," OVERLAY(
							   "") "," OVERLAY(GROUP("1"))) };

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		auto_manifest m = MANIFEST_INIT, again = MANIFEST_INIT;
		auto_str one = STR_INIT, two = STR_INIT;

		parse(texts[i], &m);
		m.block_size = i ? 4096 : 0;
		manifest_format(&m, &one);
		parse(one.ptr, &again);
		assert_int_equal(again.block_size, m.block_size);
		assert_int_equal(again.overlay_count, m.overlay_count);
		manifest_format(&again, &two);
		assert_string_equal(one.ptr, two.ptr);
	}
}

static void the_image_config(void **state)
{
	auto_json *labels =
		json_pack("{s:s, s:s}", "b", "2/\"", "org.cirruslabs.tart.disk.format", "asif");
	auto_str text = STR_INIT;

	(void)state;
	image_config_format("arm64", "linux", "raw", NULL, &text);
	assert_string_equal(text.ptr, "{\"architecture\":\"arm64\",\"config\":{\"Labels\":{"
				      "\"org.cirruslabs.tart.disk.format\":\"raw\"}},"
				      "\"os\":\"linux\"}");
	str_reset(&text);
	image_config_format("amd64", "darwin", "raw", labels, &text);
	assert_string_equal(text.ptr, "{\"architecture\":\"amd64\",\"config\":{\"Labels\":{"
				      "\"b\":\"2\\/\\\"\","
				      "\"org.cirruslabs.tart.disk.format\":\"raw\"}},"
				      "\"os\":\"darwin\"}");
	assert_string_equal(json_string_value(
				    json_object_get(labels, "org.cirruslabs.tart.disk.format")),
			    "asif");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_members_are_read),
		cmocka_unit_test(what_tart_2_32_accepts),
		cmocka_unit_test(layers_that_miss_or_are_too_many),
		cmocka_unit_test(slices_that_lie),
		cmocka_unit_test(missing_annotations),
		cmocka_unit_test(small_blobs_are_small),
		cmocka_unit_test(other_documents_are_named),
		cmocka_unit_test(the_declared_size_is_a_number),
		cmocka_unit_test(stacked_images_are_groups),
		cmocka_unit_test(stacked_images_are_strict),
		cmocka_unit_test(a_million_layers_are_too_many),
		cmocka_unit_test(text_as_tart_writes_it),
		cmocka_unit_test(text_is_read_as_it_was_written),
		cmocka_unit_test(the_image_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
