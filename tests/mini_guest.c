/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For tests: all that the mini guest (mini_guest.py) runs beside linzer-agent. One static
 * program:
 *
 *   /init                        as process 1: load modules, start the agent, reap
 *   /init write TAG FIRST COUNT  write pages to the disk, print the number of each that is on it
 *   /init read                   print TAG and number of every page of the area
 *   /init disk DEVICE            print its size in bytes and "ro" or "rw"
 *   /init get DEVICE AT COUNT    print that many of its bytes
 *   /init put DEVICE AT          write what comes on stdin to it, through to the medium
 *   /init copy FROM AT COUNT TO  copy that many bytes of the device FROM to the start of TO
 *
 * The area is SLOTS pages at AREA of /dev/vda. Number n goes to slot n % SLOTS, and
 * each 16 bytes of its page hold TAG and n: a page that is torn, lost, old or another
 * writer's shows.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

static int open_device(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail(path);
	return fd;
}

static int show_disk(const char *path)
{
	int fd = open_device(path, O_RDONLY), read_only = 0;
	uint64_t size = 0;

	if (ioctl(fd, BLKGETSIZE64, &size) < 0 || ioctl(fd, BLKROGET, &read_only) < 0)
		fail(path);
	printf("%llu %s\n", (unsigned long long)size, read_only ? "ro" : "rw");
	return 0;
}

static void write_all(int fd, const char *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, bytes + done, len - done);

		if (n < 0)
			fail("write");
		done += (size_t)n;
	}
}

/* From where @from is to where @to is, until the end or @count bytes. */
static int copy_bytes(int from, uint64_t count, int to)
{
	static char buffer[65536];

	while (count) {
		ssize_t n = read(from, buffer, count < sizeof(buffer) ? count : sizeof(buffer));

		if (n < 0)
			fail("read");
		if (n == 0)
			break;
		write_all(to, buffer, (size_t)n);
		count -= (uint64_t)n;
	}
	/* a pipe cannot */
	if (fsync(to) < 0 && errno != EINVAL && errno != EROFS)
		fail("fsync");
	return 0;
}

static int get(const char *device, uint64_t at, uint64_t count)
{
	int fd = open_device(device, O_RDONLY);

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (lseek(fd, (off_t)at, SEEK_SET) < 0)
		fail(device);
	return copy_bytes(fd, count, 1);
}

static int put(const char *device, uint64_t at)
{
	int fd = open_device(device, O_WRONLY);

	if (lseek(fd, (off_t)at, SEEK_SET) < 0)
		fail(device);
	return copy_bytes(0, UINT64_MAX, fd);
}

static int copy(const char *from, uint64_t at, uint64_t count, const char *to)
{
	int in = open_device(from, O_RDONLY);

	if (lseek(in, (off_t)at, SEEK_SET) < 0)
		fail(from);
	return copy_bytes(in, count, open_device(to, O_WRONLY));
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

static int disk_command(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "disk") == 0)
		return show_disk(argv[2]);
	if (argc == 5 && strcmp(argv[1], "get") == 0)
		return get(argv[2], number(argv[3]), number(argv[4]));
	if (argc == 4 && strcmp(argv[1], "put") == 0)
		return put(argv[2], number(argv[3]));
	if (argc == 6 && strcmp(argv[1], "copy") == 0)
		return copy(argv[2], number(argv[3]), number(argv[4]), argv[5]);
	return 0; /* as a login shell it says nothing */
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
	return disk_command(argc, argv);
}
