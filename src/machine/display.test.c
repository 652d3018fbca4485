/* SPDX-License-Identifier: Apache-2.0 */

/* What the golden files (qemu.test.c) cannot show, because it needs a desktop to be started. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/vec.h"
#include "machine/display.h"

/* The value that follows @option the first time, "" if it is not there. */
static const char *value_of(const struct strings *argv, const char *option)
{
	for (size_t i = 0; i + 1 < argv->len; i++)
		if (strcmp(argv->items[i], option) == 0)
			return argv->items[i + 1];
	return "";
}

static void assert_argument(const struct launch_plan *plan, const char *option, const char *value)
{
	auto_strings argv = VEC_INIT;

	display_arguments(plan, 42, &argv);
	assert_string_equal(value_of(&argv, option), value);
}

static void a_window_is_opened_by_what_was_chosen(void **state)
{
	struct launch_plan plan = { .display = true, .width = 800, .height = 600 };

	(void)state;
	assert_argument(&plan, "-display", "none");
	plan.window = WINDOW_GTK;
	assert_argument(&plan, "-display", "gtk,gl=off,zoom-to-fit=on");
	plan.grab_keys = true;
	assert_argument(&plan, "-display", "gtk,gl=off,zoom-to-fit=on,grab-on-hover=on");
	plan.stays_open = true;
	assert_argument(&plan, "-display",
			"gtk,gl=off,zoom-to-fit=on,grab-on-hover=on,window-close=off");
	plan.window = WINDOW_SDL;
	assert_argument(&plan, "-display", "sdl,gl=off,window-close=off");
	plan.window = WINDOW_NONE;
	assert_argument(&plan, "-display", "none");
}

static bool has_device(const struct launch_plan *plan, const char *device)
{
	auto_strings argv = VEC_INIT;

	display_arguments(plan, 42, &argv);
	for (size_t i = 0; i < argv.len; i++)
		if (strcmp(argv.items[i], device) == 0)
			return true;
	return false;
}

static void a_guest_has_the_keyboard_and_pointer_that_it_is_to_have(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		const struct launch_plan plan = { .display = true,
						  .arch = i & 4 ? PLAN_ARM64 : PLAN_AMD64,
						  .keyboard = i & 1,
						  .pointer = i & 2 };
		bool ps2 = i == 3;

		assert_int_equal(display_has_ps2(&plan), ps2);
		assert_int_equal(has_device(&plan, "usb-kbd,bus=usb.0"), plan.keyboard && !ps2);
		assert_int_equal(has_device(&plan, "virtio-keyboard-pci,addr=1e.1"),
				 plan.keyboard && !ps2);
		assert_int_equal(has_device(&plan, "usb-tablet,bus=usb.0"), plan.pointer);
		assert_int_equal(has_device(&plan, "virtio-tablet-pci,addr=1e.2"), plan.pointer);
	}
}

static void without_a_display_there_is_nothing_to_see(void **state)
{
	const struct launch_plan plan = { .window = WINDOW_SDL, .vnc = true, .clipboard = true };
	auto_strings argv = VEC_INIT;

	(void)state;
	display_arguments(&plan, 42, &argv);
	assert_int_equal(argv.len, 2);
	assert_string_equal(argv.items[1], "none");
}

static void sound_goes_where_it_was_told_to(void **state)
{
	struct launch_plan plan = { .display = true, .sound = SOUND_NOWHERE };

	(void)state;
	assert_argument(&plan, "-audiodev", "none,id=sound");
	plan.sound = SOUND_PULSE;
	assert_argument(&plan, "-audiodev",
			"pa,id=sound,server=unix:/proc/self/fd/42/native,"
			"out.name=linzer,in.name=linzer");
}

static void who_is_to_hear_nothing_hears_nothing_by_vnc(void **state)
{
	static const char heard[] = "127.0.0.1:0,to=9999,password=on,audiodev=sound";
	static const char silent[] = "127.0.0.1:0,to=9999,password=on,audiodev=silence";
	struct launch_plan plan = { .display = true, .vnc = true, .microphone = true };

	(void)state;
	assert_argument(&plan, "-vnc", heard);
	plan.microphone = false; /* --no-audio */
	assert_argument(&plan, "-vnc", silent);
	assert_argument(&plan, "-audiodev", "none,id=silence");
	plan.sound = SOUND_PULSE;
	assert_argument(&plan, "-vnc", silent);
	plan.microphone = true;
	assert_argument(&plan, "-vnc", heard);
	plan.sound = SOUND_NO_CARD;
	assert_argument(&plan, "-vnc", silent);
	assert_argument(&plan, "-audiodev", "none,id=silence");
}

static void without_a_card_there_is_no_sound(void **state)
{
	const struct launch_plan plan = { .display = true, .sound = SOUND_NO_CARD };
	auto_strings argv = VEC_INIT;

	(void)state;
	display_arguments(&plan, 42, &argv);
	for (size_t i = 0; i < argv.len; i++) {
		assert_null(strstr(argv.items[i], "hda"));
		assert_string_not_equal(argv.items[i], "-audiodev");
	}
}

static void an_adapter_has_the_size_and_the_memory_for_it(void **state)
{
	static const struct {
		uint32_t width, height;
		const char *device;
	} cases[] = {
		{ 1024, 768, "VGA,edid=on,vgamem_mb=16,xres=1024,yres=768" },
		{ 2560, 1600, "VGA,edid=on,vgamem_mb=16,xres=2560,yres=1600" },
		{ 3840, 2160, "VGA,edid=on,vgamem_mb=32,xres=3840,yres=2160" },
		{ 1, 1, "VGA,edid=on,vgamem_mb=16,xres=320,yres=320" },
		{ 65535, 65535, "VGA,edid=on,vgamem_mb=256,xres=8192,yres=8192" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		const struct launch_plan plan = { .display = true,
						  .width = cases[i].width,
						  .height = cases[i].height };

		assert_argument(&plan, "-device", cases[i].device);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_is_opened_by_what_was_chosen),
		cmocka_unit_test(a_guest_has_the_keyboard_and_pointer_that_it_is_to_have),
		cmocka_unit_test(without_a_display_there_is_nothing_to_see),
		cmocka_unit_test(sound_goes_where_it_was_told_to),
		cmocka_unit_test(who_is_to_hear_nothing_hears_nothing_by_vnc),
		cmocka_unit_test(without_a_card_there_is_no_sound),
		cmocka_unit_test(an_adapter_has_the_size_and_the_memory_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
