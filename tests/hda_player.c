/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For tests: plays a second of sound on the Intel HDA card of a guest whose kernel has no sound
 * drivers, as the kernels for clouds have none:
 *
 *   hda_player LEVEL...   one page of LEVELS levels, FRAMES frames each, over and over
 *
 * It drives the card from user space, as root: registers by the PCI device's resource0, and the
 * card's bus mastering from pages whose physical addresses /proc/self/pagemap tells. "played" is
 * printed when the card says that it has taken the last of it.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	LEVELS = 16,
	FRAMES = 64, /* a page has 1024 frames of two channels, 16 bits each */
	ENTRIES = 43, /* pages that are played: a second at 44100 Hz */
	REGISTERS = 0x4000,
	PATIENCE = 60000, /* ms */
};

/* High Definition Audio Specification 1.0a, 3.3 */
enum { GCAP = 0x00, GCTL = 0x08, STATESTS = 0x0e, ICOI = 0x60, ICIS = 0x68, SD = 0x80 };
enum { SD_SIZE = 0x20, SDCTL = 0, SDCBL = 0x08, SDLVI = 0x0c, SDFMT = 0x12, SDBDPL = 0x18 };
enum { RUN = 1 << 1, BCIS = 1 << 26, TAG = 1 << 20 }; /* of SDCTL, its status included */
enum { COMMAND_BUSY = 1, COMMAND_DONE = 2 };

enum { FORMAT = 0x4011 }; /* 44100 Hz, 16 bits, two channels (3.7.1) */
enum { CONVERTER = 2 }; /* QEMU's only codec has its output converter there */

struct entry { /* of the list of buffers (3.6.3) */
	uint64_t address;
	uint32_t length;
	uint32_t interrupt;
};

static volatile uint8_t *card;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static volatile uint32_t *reg32(unsigned at)
{
	return (volatile uint32_t *)(card + at);
}

static volatile uint16_t *reg16(unsigned at)
{
	return (volatile uint16_t *)(card + at);
}

static void await(unsigned at, uint32_t mask, uint32_t value)
{
	for (int ms = 0; (*reg32(at) & mask) != value; ms++) {
		if (ms == PATIENCE) {
			(void)fprintf(stderr, "register %#x is %#x\n", at, *reg32(at));
			exit(1);
		}
		usleep(1000);
	}
}

static int open_in(const char *directory, const char *name)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

static int is_card(const char *directory)
{
	char path[256], class[16] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/class", directory);
	file = fopen(path, "re");
	if (!file || !fgets(class, sizeof(class), file))
		fail(path);
	fclose(file);
	return strcmp(class, "0x040300\n") == 0;
}

/* The card may read and write memory, and answers at its registers. */
static void open_card(const char *directory)
{
	static const uint16_t memory_and_master = 6;
	int config = open_in(directory, "config"), registers = open_in(directory, "resource0");

	if (pwrite(config, &memory_and_master, sizeof(memory_and_master), 4) < 0)
		fail("config");
	card = mmap(NULL, REGISTERS, PROT_READ | PROT_WRITE, MAP_SHARED, registers, 0);
	if (card == MAP_FAILED)
		fail("resource0");
}

static void find_card(void)
{
	glob_t found;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &found))
		fail("glob");
	for (size_t i = 0; i < found.gl_pathc && !card; i++)
		if (is_card(found.gl_pathv[i]))
			open_card(found.gl_pathv[i]);
	if (!card) {
		(void)fputs("there is no card\n", stderr);
		exit(1);
	}
}

static void *locked_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

	if (page == MAP_FAILED)
		fail("mmap");
	return page;
}

static uint64_t physical(const void *page)
{
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (map < 0 || pread(map, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * 8)) < 0)
		fail("pagemap");
	close(map);
	return (entry & ((UINT64_C(1) << 55) - 1)) * PAGE;
}

static void command(uint32_t verb)
{
	await(ICIS, COMMAND_BUSY, 0);
	*reg32(ICOI) = (uint32_t)CONVERTER << 20 | verb;
	*reg32(ICIS) = COMMAND_BUSY | COMMAND_DONE;
	await(ICIS, COMMAND_BUSY | COMMAND_DONE, COMMAND_DONE);
}

static void reset(void)
{
	*reg32(GCTL) = 0;
	await(GCTL, 1, 0);
	*reg32(GCTL) = 1;
	await(GCTL, 1, 1);
	usleep(1000);
	if (!(*reg16(STATESTS) & 1)) {
		(void)fputs("there is no codec\n", stderr);
		exit(1);
	}
	command(0x2 << 16 | FORMAT);
	command(0x706 << 8 | 1 << 4); /* stream 1 */
	command(0x3 << 16 | 0xb000 | 0x4a); /* both channels of the output as loud as can be */
}

static int16_t level(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	if (end == text || *end || value < INT16_MIN || value > INT16_MAX) {
		(void)fprintf(stderr, "'%s' is no level\n", text);
		exit(2);
	}
	return (int16_t)value;
}

static const void *sound(char **levels)
{
	int16_t(*frames)[2] = locked_page();

	for (int i = 0; i < LEVELS * FRAMES; i++)
		frames[i][0] = frames[i][1] = level(levels[i / FRAMES]);
	return frames;
}

/* The same page again and again; the card tells of the last. */
static const void *list(const void *page)
{
	struct entry *entries = locked_page();

	for (int i = 0; i < ENTRIES; i++)
		entries[i] = (struct entry){ physical(page), PAGE, i == ENTRIES - 1 };
	return entries;
}

static void play(const void *entries)
{
	unsigned stream = SD + SD_SIZE * (*reg16(GCAP) >> 8 & 15); /* the first output */

	*reg32(stream + SDCBL) = ENTRIES * PAGE;
	*reg16(stream + SDLVI) = ENTRIES - 1;
	*reg16(stream + SDFMT) = FORMAT;
	*reg32(stream + SDBDPL) = (uint32_t)physical(entries);
	*reg32(stream + SDBDPL + 4) = (uint32_t)(physical(entries) >> 32);
	*reg32(stream + SDCTL) = TAG | RUN;
	await(stream + SDCTL, BCIS, BCIS);
	*reg32(stream + SDCTL) = TAG;
}

int main(int argc, char **argv)
{
	if (argc != LEVELS + 1) {
		(void)fputs("usage: hda_player LEVEL...\n", stderr);
		return 2;
	}
	find_card();
	reset();
	play(list(sound(argv + 1)));
	puts("played");
	return 0;
}
