/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The devices are the same whoever looks at them, so that a VM suspended without a window
 * can go on with one.
 *
 * Adapter. x86: standard VGA, because the firmware takes the configured size from its EDID and
 * leaves a framebuffer to kernels without a driver for graphics, as those for clouds are; with
 * virtio-vga such a guest gets 1280x800 whatever the configuration says (OVMF 2022.11). arm64:
 * virtio-gpu; VGA's memory cannot be used under KVM there.
 *
 * Keyboard and pointer. An x86 machine has a PS/2 controller, whose keyboard every firmware,
 * boot loader and kernel knows; its mouse cannot be left out alone, so a VM that is to lack either
 * has no controller. Everything else is there twice, by USB and as virtio for kernels without USB:
 * QEMU gives a key or a movement to the device whose driver came last, never to both. A USB
 * keyboard takes all keys from the start, driver or not, so there is none beside PS/2.
 *
 * All but the adapter are functions of one PCI slot, since there are 32 of them.
 */

#include "machine/display.h"

#include <inttypes.h>

#include "base/vec.h"

enum {
	MIB = 1024 * 1024,
	BYTES_PER_PIXEL = 4,
	VGA_MEMORY_LEAST = 16, /* MiB: QEMU's default */
	VNC_PORTS = 9999, /* tried above 5900 */
};

static void add(struct strings *argv, const char *option, const char *value)
{
	strings_add(argv, option);
	strings_add(argv, value);
}

/*
 * Who has logged in hears the guest, unless it plays to nobody: then it also records nobody. Left
 * to itself QEMU lets a client listen to the card whatever that is connected to (7.2; not 9.0).
 */
static void add_vnc(const struct launch_plan *plan, struct strings *argv)
{
	bool heard = plan->sound != SOUND_NO_CARD && plan->microphone;

	if (!heard)
		add(argv, "-audiodev", "none,id=silence");
	/* QEMU takes the first free port itself; with a password asked for and none set, nobody
	 * gets in (tried.md 9) */
	strings_add(argv, "-vnc");
	strings_addf(argv, "127.0.0.1:0,to=%d,password=on,audiodev=%s", VNC_PORTS,
		     heard ? "sound" : "silence");
}

static void add_window(const struct launch_plan *plan, struct strings *argv)
{
	static const char *const windows[] = {
		[WINDOW_NONE] = "none",
		[WINDOW_GTK] = "gtk,gl=off,zoom-to-fit=on",
		[WINDOW_SDL] = "sdl,gl=off",
	};

	strings_add(argv, "-display");
	strings_addf(argv, "%s%s%s", plan->display ? windows[plan->window] : "none",
		     plan->window == WINDOW_GTK && plan->grab_keys ? ",grab-on-hover=on" : "",
		     plan->window != WINDOW_NONE && plan->stays_open ? ",window-close=off" : "");
}

static uint32_t within_limits(uint32_t side)
{
	if (side < DISPLAY_SIDE_LEAST)
		return DISPLAY_SIDE_LEAST;
	return side > DISPLAY_SIDE_MOST ? DISPLAY_SIDE_MOST : side;
}

/* MiB, a power of two. */
static unsigned vga_memory(uint32_t width, uint32_t height)
{
	uint64_t needed = (uint64_t)width * height * BYTES_PER_PIXEL;
	unsigned memory = VGA_MEMORY_LEAST;

	while ((uint64_t)memory * MIB < needed)
		memory *= 2;
	return memory;
}

static void add_adapter(const struct launch_plan *plan, struct strings *argv)
{
	uint32_t width = within_limits(plan->width), height = within_limits(plan->height);

	strings_add(argv, "-device");
	if (plan->arch == PLAN_ARM64)
		strings_addf(argv, "virtio-gpu-pci,xres=%" PRIu32 ",yres=%" PRIu32, width, height);
	else
		strings_addf(argv, "VGA,edid=on,vgamem_mb=%u,xres=%" PRIu32 ",yres=%" PRIu32,
			     vga_memory(width, height), width, height);
}

bool display_has_ps2(const struct launch_plan *plan)
{
	return plan->arch == PLAN_AMD64 && (!plan->display || (plan->keyboard && plan->pointer));
}

static void add_inputs(const struct launch_plan *plan, struct strings *argv)
{
	add(argv, "-device", "qemu-xhci,id=usb,addr=1e.0,multifunction=on");
	if (plan->keyboard && !display_has_ps2(plan)) {
		add(argv, "-device", "usb-kbd,bus=usb.0");
		add(argv, "-device", "virtio-keyboard-pci,addr=1e.1");
	}
	if (plan->pointer) {
		add(argv, "-device", "usb-tablet,bus=usb.0");
		add(argv, "-device", "virtio-tablet-pci,addr=1e.2");
	}
}

static void add_sound(const struct launch_plan *plan, int sound_fd, struct strings *argv)
{
	if (plan->sound == SOUND_NO_CARD)
		return;
	strings_add(argv, "-audiodev");
	/* unless it is told of a server, QEMU looks for a file that PipeWire does not make */
	if (plan->sound == SOUND_PULSE)
		strings_addf(argv,
			     "pa,id=sound,server=unix:/proc/self/fd/%d/native,"
			     "out.name=linzer,in.name=linzer",
			     sound_fd);
	else
		strings_add(argv, "none,id=sound");
	add(argv, "-device", "intel-hda,id=hda,addr=1e.3");
	add(argv, "-device",
	    plan->microphone ? "hda-duplex,bus=hda.0,audiodev=sound"
			     : "hda-output,bus=hda.0,audiodev=sound");
}

static void add_clipboard(const struct launch_plan *plan, struct strings *argv)
{
	/* mouse=off: the pointer is absolute already */
	add(argv, "-chardev", "qemu-vdagent,id=" DISPLAY_CLIPBOARD ",clipboard=on,mouse=off");
	strings_add(argv, "-device");
	strings_addf(argv,
		     "virtserialport,id=" DISPLAY_CLIPBOARD_PORT
		     ",bus=channels.0,nr=%zu,chardev=" DISPLAY_CLIPBOARD
		     ",name=" DISPLAY_CLIPBOARD_NAME,
		     plan->channel_count + 1);
}

void display_arguments(const struct launch_plan *plan, int sound_fd, struct strings *argv)
{
	add_window(plan, argv);
	if (!plan->display)
		return;
	if (plan->vnc)
		add_vnc(plan, argv);
	add_adapter(plan, argv);
	add_inputs(plan, argv);
	add_sound(plan, sound_fd, argv);
	if (plan->clipboard && !plan->incoming)
		add_clipboard(plan, argv);
}
