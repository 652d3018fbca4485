/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * That /dev/kvm opens proves nothing, nor does a VM that starts: only
 * the speed of guest code does. A child makes a throw-away VM with one page
 * of page tables, one of code, a CPU in long mode, and runs
 *
 *	loop: dec ecx; jnz loop; hlt
 *
 * The child cannot hang: a timer's signal handler sets immediate_exit, which
 * ends KVM_RUN, and comes again in case it came just before KVM_RUN. A loop that
 * was interrupted counts as far as it got. Should the kernel itself hang, the
 * parent kills the child.
 *
 * The cached answer is one line that names the boot, the device with its
 * permissions, and the answer. It is compared, not parsed: whatever is not one
 * of the two lines that could be there is as good as no cache.
 */

#include "machine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"

static const char device[] = "/dev/kvm";

const char *accel_name(enum plan_accel accel)
{
	return accel == PLAN_KVM ? "kvm" : "tcg";
}

/* --- the probe: async-signal-safe calls only, it runs between fork and _exit --- */

#if defined(__x86_64__)

enum {
	PAGE = 4096,
	GUEST_PML4 = 0, /* guest-physical addresses of the four pages */
	GUEST_PDPT = PAGE,
	GUEST_PD = 2 * PAGE,
	GUEST_CODE = 3 * PAGE,
	GUEST_SIZE = 4 * PAGE,
	LOOPS = 10000,
	RUNS = 3,
	LIMIT_MS = 200,
	REPEAT_MS = 20,
};

/* Intel SDM vol. 3, 4.5: present and writable; the last level maps 2 MiB */
enum { PTE = 0x3, PTE_LARGE = 0x80 };
/* Intel SDM vol. 3, 2.2.1 and 2.5 */
enum { CR0_PE = 1, CR4_PAE = 0x20, EFER_LME = 0x100, EFER_LMA = 0x400 };
static const uint64_t cr0_pg = 1ULL << 31;

struct probe {
	int vm, cpu;
	uint8_t *memory;
	struct kvm_run *run;
};

static volatile uint8_t *immediate_exit;

static void on_timer(int signal_number)
{
	(void)signal_number;
	if (immediate_exit)
		*immediate_exit = 1;
}

static bool start_timer(void)
{
	struct sigaction action = { .sa_handler = on_timer }; /* no SA_RESTART */
	struct itimerval timer = { .it_value = { .tv_usec = LIMIT_MS * 1000 },
				   .it_interval = { .tv_usec = REPEAT_MS * 1000 } };

	return sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &timer, NULL) == 0;
}

static bool make_memory(struct probe *p)
{
	static const uint8_t code[] = { 0xff, 0xc9, /* dec ecx */ 0x75, 0xfc, /* jnz -4 */
					0xf4 /* hlt */ };
	static const uint64_t entries[] = { GUEST_PDPT | PTE, GUEST_PD | PTE, PTE | PTE_LARGE };
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };

	p->memory =
		mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->memory == MAP_FAILED)
		return false;
	memcpy(p->memory + GUEST_PML4, &entries[0], sizeof(entries[0]));
	memcpy(p->memory + GUEST_PDPT, &entries[1], sizeof(entries[1]));
	memcpy(p->memory + GUEST_PD, &entries[2], sizeof(entries[2]));
	memcpy(p->memory + GUEST_CODE, code, sizeof(code));
	region.userspace_addr = (uintptr_t)p->memory;
	return ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static bool make_cpu(struct probe *p, int kvm)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	p->cpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->cpu < 0 || size < (int)sizeof(*p->run))
		return false;
	p->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, p->cpu, 0);
	if (p->run == MAP_FAILED)
		return false;
	immediate_exit = &p->run->immediate_exit;
	return true;
}

static bool enter_long_mode(const struct probe *p)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = code;
	struct kvm_sregs s;

	if (ioctl(p->cpu, KVM_GET_SREGS, &s) < 0)
		return false;
	data.type = 3;
	data.selector = 16;
	data.l = 0;
	data.db = 1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = cr0_pg | CR0_PE;
	s.cr3 = GUEST_PML4;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	return ioctl(p->cpu, KVM_SET_SREGS, &s) == 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* One run of the loop. Return: thousands of instructions a second, 0 if it went wrong. */
static uint64_t run_loop(const struct probe *p)
{
	struct kvm_regs regs = { .rip = GUEST_CODE, .rcx = LOOPS, .rflags = 2 };
	uint64_t begin = now_ns(), took;
	int r;

	if (ioctl(p->cpu, KVM_SET_REGS, &regs) < 0)
		return 0;
	r = ioctl(p->cpu, KVM_RUN, 0);
	took = now_ns() - begin;
	if (r < 0 && errno != EINTR)
		return 0;
	if (r == 0 && p->run->exit_reason != KVM_EXIT_HLT && p->run->exit_reason != KVM_EXIT_INTR)
		return 0;
	if (ioctl(p->cpu, KVM_GET_REGS, &regs) < 0 || regs.rcx > LOOPS)
		return 0;
	return 2 * (LOOPS - regs.rcx) * 1000000 / (took ? took : 1);
}

static uint64_t probe_here(int kvm)
{
	struct probe p = { .vm = ioctl(kvm, KVM_CREATE_VM, 0) };
	uint64_t best = 0;

	if (p.vm < 0 || !start_timer() || !make_memory(&p) || !make_cpu(&p, kvm))
		return 0;
	if (!enter_long_mode(&p))
		return 0;
	for (int i = 0; i < RUNS; i++) {
		uint64_t rate = run_loop(&p);

		best = rate > best ? rate : best;
	}
	return best;
}

#else

/* Only x86 hosts are known that emulate the guest's kernel. */
static uint64_t probe_here(int kvm)
{
	return ioctl(kvm, KVM_CREATE_VM, 0) < 0 ? 0 : ACCEL_FAST_ENOUGH;
}

#endif

static noreturn_ void probe_child(int kvm, int answer)
{
	sigset_t none;
	uint64_t rate;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	rate = probe_here(kvm);
	(void)!write(answer, &rate, sizeof(rate));
	_exit(0);
}

enum { CHILD_LIMIT_MS = 2000 };

uint64_t accel_probe(int kvm)
{
	struct pollfd answer = { .events = POLLIN };
	uint64_t rate = 0;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return 0;
	pid = fork();
	if (pid == 0)
		probe_child(kvm, fds[1]);
	(void)close(fds[1]);
	answer.fd = fds[0];
	if (pid > 0) {
		if (poll(&answer, 1, CHILD_LIMIT_MS) != 1 ||
		    read(fds[0], &rate, sizeof(rate)) != (ssize_t)sizeof(rate))
			rate = 0;
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	(void)close(fds[0]);
	return rate;
}

/* --- the cache --- */

enum { LINE_MAX_LENGTH = 256 };
static const char cache_file[] = "accel";

/* Our directory of run-time files, made if absent; -1 where there is none that is ours alone. */
static int open_cache_dir(void)
{
	const char *base = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
	auto_free char *path = base && base[0] == '/' ? str_format("%s/linzer", base) : NULL;
	auto_fd dir = -1;
	struct stat st;

	if (!path)
		return -1;
	(void)mkdir(path, 0700);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0 || st.st_uid != geteuid() ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -1;
	return take_fd(&dir);
}

/* The line that says that this boot's device gives @accel. Return: is there one? */
static bool cache_line(int kvm, enum plan_accel accel, struct str *line)
{
	struct error ignored = ERROR_INIT;
	struct stat st;

	if (fstat(kvm, &st) < 0 || fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id",
						LINE_MAX_LENGTH, line, &ignored) < 0)
		return false;
	str_chop(line, line->len && line->ptr[line->len - 1] == '\n');
	str_addf(line, " %" PRIu64 " %o %u:%u %s\n", (uint64_t)st.st_rdev, (unsigned)st.st_mode,
		 (unsigned)st.st_uid, (unsigned)st.st_gid, accel_name(accel));
	return true;
}

/* Return: 1 and @accel, or 0. */
static int cache_read(int dir, const struct str *kvm_line, const struct str *tcg_line,
		      enum plan_accel *accel)
{
	char text[LINE_MAX_LENGTH];
	auto_fd fd = openat(dir, cache_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (n <= 0)
		return 0;
	if ((size_t)n == kvm_line->len && memcmp(text, kvm_line->ptr, (size_t)n) == 0)
		*accel = PLAN_KVM;
	else if ((size_t)n == tcg_line->len && memcmp(text, tcg_line->ptr, (size_t)n) == 0)
		*accel = PLAN_TCG;
	else
		return 0;
	return 1;
}

static enum plan_accel probe_cached(int kvm)
{
	auto_str kvm_line = STR_INIT;
	auto_str tcg_line = STR_INIT;
	auto_fd dir = open_cache_dir();
	bool cached = dir >= 0 && cache_line(kvm, PLAN_KVM, &kvm_line) &&
		      cache_line(kvm, PLAN_TCG, &tcg_line);
	struct error ignored = ERROR_INIT;
	enum plan_accel accel;
	const struct str *line;

	if (cached && cache_read(dir, &kvm_line, &tcg_line, &accel))
		return accel;
	accel = accel_probe(kvm) >= ACCEL_FAST_ENOUGH ? PLAN_KVM : PLAN_TCG;
	line = accel == PLAN_KVM ? &kvm_line : &tcg_line;
	/* a cache that cannot be written costs 20 ms at the next start and nothing else */
	if (cached)
		(void)!fs_replace_file(dir, cache_file, line->ptr, line->len, 0600, &ignored);
	return accel;
}

/* --- the decision --- */

static bool is_native(enum plan_arch arch)
{
#if defined(__x86_64__)
	return arch == PLAN_AMD64;
#elif defined(__aarch64__)
	return arch == PLAN_ARM64;
#else
	(void)arch;
	return false;
#endif
}

/* Chosen by the user: slow or not, but it must work. */
static int check_works(int kvm, struct error *err)
{
	auto_fd vm = ioctl(kvm, KVM_CREATE_VM, 0);

	return vm < 0 ? error_errno(err, "KVM does not work on this host") : 0;
}

int accel_decide(enum plan_arch arch, enum accel_choice choice, enum plan_accel *accel,
		 struct error *err)
{
	auto_fd kvm = -1;

	*accel = PLAN_TCG;
	if (choice == ACCEL_TCG || (choice == ACCEL_AUTO && !is_native(arch)))
		return 0;
	if (!is_native(arch))
		return error_set(err, E_FAILED,
				 "KVM runs guests of the host's own architecture only");
	kvm = open(device, O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return choice == ACCEL_AUTO ? 0 : error_errno(err, "cannot use KVM: '%s'", device);
	*accel = choice == ACCEL_KVM ? PLAN_KVM : probe_cached(kvm);
	return choice == ACCEL_KVM ? check_works(kvm, err) : 0;
}
