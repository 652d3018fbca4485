/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For tests: all that the mini guest (mini_guest.py) runs beside linzer-agent. One static
 * program:
 *
 *   /init                        as process 1: load modules, start the agent, reap
 *   /init write TAG FIRST COUNT  write pages to the disk, print the number of each that is on it
 *   /init read                   print TAG and number of every page of the area
 *
 * The area is SLOTS pages at AREA of /dev/vda. Number n goes to slot n % SLOTS, and
 * each 16 bytes of its page hold TAG and n: a page that is torn, lost, old or another
 * writer's shows.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, SLOTS = 1024, AREA = 40 << 20 };

static const char port[] = "/dev/virtio-ports/org.linzer.agent";

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void load_modules(void)
{
	FILE *list = fopen("/modules", "r");
	char path[256];

	if (!list)
		fail("/modules");
	while (fscanf(list, "%255s", path) == 1) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != ENODEV))
			perror(path);
		close(fd);
	}
	fclose(list);
}

/* The link that udev would make. Return: is the port there? */
static int link_port(void)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	struct dirent *entry;
	int found = 0;

	while (ports && (entry = readdir(ports))) {
		char path[512], name[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%63s", name) == 1 && strcmp(name, "org.linzer.agent") == 0) {
			snprintf(path, sizeof(path), "../%s", entry->d_name);
			found = symlink(path, port) == 0;
		}
		fclose(file);
	}
	if (ports)
		closedir(ports);
	return found;
}

static int boot(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) < 0 ||
	    mount("sys", "/sys", "sysfs", 0, NULL) < 0 ||
	    mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
		fail("mount");
	load_modules();
	mkdir("/dev/virtio-ports", 0755);
	while (!link_port())
		usleep(10000);
	if (fork() == 0) {
		execl("/linzer-agent", "linzer-agent", "--no-vsock", NULL);
		_exit(127);
	}
	for (;;)
		if (wait(NULL) < 0)
			pause();
}

static uint64_t *page_buffer(void)
{
	void *page = aligned_alloc(PAGE, PAGE);

	if (!page)
		fail("memory");
	return page;
}

static off_t place(uint64_t number)
{
	return (off_t)(AREA + number % SLOTS * PAGE);
}

static int write_pages(uint64_t tag, uint64_t first, uint64_t count)
{
	uint64_t *page = page_buffer();
	int disk = open("/dev/vda", O_WRONLY | O_DIRECT | O_DSYNC);

	if (disk < 0)
		fail("/dev/vda");
	for (uint64_t n = first; n < first + count; n++) {
		for (size_t i = 0; i < PAGE / sizeof(*page); i += 2) {
			page[i] = tag;
			page[i + 1] = n;
		}
		if (pwrite(disk, page, PAGE, place(n)) != PAGE)
			fail("write");
		if (dprintf(1, "%llu\n", (unsigned long long)n) < 0)
			return 1;
	}
	return 0;
}

static int read_pages(void)
{
	uint64_t *page = page_buffer();
	int disk = open("/dev/vda", O_RDONLY | O_DIRECT);

	if (disk < 0)
		fail("/dev/vda");
	for (uint64_t n = 0; n < SLOTS; n++) {
		if (pread(disk, page, PAGE, place(n)) != PAGE)
			fail("read");
		printf("%llu %llu\n", (unsigned long long)page[0], (unsigned long long)page[1]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		return boot();
	if (argc == 5 && strcmp(argv[1], "write") == 0)
		return write_pages(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
				   strtoull(argv[4], NULL, 10));
	if (argc == 2 && strcmp(argv[1], "read") == 0)
		return read_pages();
	return 0; /* as a login shell it says nothing */
}
