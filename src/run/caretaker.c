/* SPDX-License-Identifier: Apache-2.0 */
#include "run/caretaker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/process.h"
#include "base/socket.h"
#include "net/message.h"
#include "run/network.h"
#include "store/manage.h"
#include "store/state.h"
#include "store/vm.h"

enum { LOOK_MS = 60 * 1000, ANSWER_S = 10, FRAME_MAX = 70000, QUEUE_MAX = 4096, SETTLE_MS = 2000 };

static const char place_new[] = STATE_NEW_DIR "/network", place[] = STATE_DIR "/network";

/* --- the caretaker itself: after fork(), so it calls nothing but the kernel --- */

enum { FD_RUN, FD_LISTENER, FD_LINE, FD_KEEPER, FD_CHANGES, FD_COUNT };

struct duty {
	struct pollfd fds[FD_COUNT];
	int tap, watch, vm; /* descriptors */
	char directory[32]; /* the last one's path */
	struct stat state; /* the directory that it serves */
	struct net_start start;
	struct net_message started;
	uint64_t end; /* ms */
};

static bool is_kept(const struct duty *d, int fd)
{
	for (size_t i = 0; i < FD_COUNT; i++)
		if (d->fds[i].fd == fd)
			return true;
	return fd == d->tap || fd == d->watch || fd == d->vm;
}

/* Locks, the guest's memory, whoever waits for the end of our output: all of it is let go. */
static void close_others(const struct duty *d)
{
	int highest = STDERR_FILENO, null = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < FD_COUNT; i++)
		highest = d->fds[i].fd > highest ? d->fds[i].fd : highest;
	highest = d->tap > highest ? d->tap : highest;
	highest = d->watch > highest ? d->watch : highest;
	highest = d->vm > highest ? d->vm : highest;
	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd);
	for (int fd = STDERR_FILENO + 1; fd < highest; fd++)
		if (!is_kept(d, fd))
			(void)close(fd);
	(void)close_range((unsigned)highest + 1, ~0U, 0);
}

static void part_from_run(const struct duty *d)
{
	(void)setsid();
	process_default_signals();
	(void)!chdir("/");
	(void)prctl(PR_SET_NAME, "linzer-suspend");
	close_others(d);
}

/* Without it we only look now and then. */
static int watch_directory(const struct duty *d)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	(void)inotify_add_watch(fd, d->directory, IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF);
	return fd;
}

static bool serves_the_state(const struct duty *d)
{
	struct stat now;

	return fstatat(d->vm, STATE_DIR, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	       now.st_dev == d->state.st_dev && now.st_ino == d->state.st_ino;
}

static bool hand_out(const struct duty *d, int line)
{
	return socket_send(line, &d->start, sizeof(d->start), d->fds[FD_KEEPER].fd, MSG_DONTWAIT) ==
		       (ssize_t)sizeof(d->start) &&
	       socket_send(line, &d->started, sizeof(d->started), d->tap, MSG_DONTWAIT) ==
		       (ssize_t)sizeof(d->started) &&
	       socket_send(line, "", 1, d->watch, MSG_DONTWAIT) == 1;
}

/* One at a time: who has copies of the descriptors. */
static void answer(struct duty *d)
{
	int line = accept4(d->fds[FD_LISTENER].fd, NULL, NULL, SOCK_CLOEXEC);

	if (line < 0) {
		if (socket_must_rest(errno))
			clock_sleep_ms(SOCKET_REST_MS);
		return;
	}
	if (socket_peer_is(line, getuid()) && hand_out(d, line))
		d->fds[FD_LINE].fd = line;
	else
		(void)close(line);
}

/* A byte: it failed, and we go on. Return: do we? */
static bool hear(struct duty *d)
{
	char byte;

	if (recv(d->fds[FD_LINE].fd, &byte, 1, MSG_DONTWAIT) != 1)
		return false;
	(void)close(d->fds[FD_LINE].fd);
	d->fds[FD_LINE].fd = -1;
	return true;
}

static void read_changes(int fd)
{
	char bytes[4096];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

/* Return: there is something to wait for. */
static bool serve(struct duty *d)
{
	if (d->fds[FD_KEEPER].revents || (d->fds[FD_LINE].revents && !hear(d)))
		return false;
	if (d->fds[FD_CHANGES].revents)
		read_changes(d->fds[FD_CHANGES].fd);
	if (d->fds[FD_RUN].revents)
		d->fds[FD_RUN].fd = -1;
	/* before run ends, what is to be the state may have another name yet; and while somebody
	   resumes, he may have to put it back */
	if (d->fds[FD_RUN].fd < 0 && d->fds[FD_LINE].fd < 0 &&
	    (!serves_the_state(d) || clock_ms() >= d->end))
		return false;
	if (d->fds[FD_LISTENER].revents && d->fds[FD_LINE].fd < 0)
		answer(d);
	return true;
}

static noreturn_ void live(struct duty *d)
{
	bool serving = true;

	part_from_run(d);
	d->fds[FD_CHANGES].fd = watch_directory(d);
	d->end = clock_ms() + CARETAKER_LIFE_MS;
	while (serving) {
		for (size_t i = 0; i < FD_COUNT; i++)
			d->fds[i].revents = 0;
		d->fds[FD_LISTENER].events = (short)(d->fds[FD_LINE].fd < 0 ? POLLIN : 0);
		if (poll(d->fds, FD_COUNT, LOOK_MS) >= 0 || errno == EINTR)
			serving = serve(d);
	}
	_exit(0);
}

/* --- who suspends --- */

/* An answer that came late would be taken for that to the one who resumes. */
static bool can_be_kept(struct network *network)
{
	return network->card_count == 1 && network->mode != NET_BRIDGED &&
	       network_settle(network, SETTLE_MS);
}

static int start(struct caretaker *caretaker, struct duty *d, struct error *err)
{
	int lease[2];

	if (pipe2(lease, O_CLOEXEC) < 0)
		return error_errno(err, "cannot make a pipe");
	d->fds[FD_RUN] = (struct pollfd){ .fd = lease[0] };
	caretaker->pid = process_fork();
	if (caretaker->pid == 0)
		live(d);
	(void)close(lease[0]);
	caretaker->lease = lease[1];
	if (caretaker->pid > 0)
		return 0;
	(void)error_errno(err, "cannot start a process");
	(void)close(take_fd(&caretaker->lease));
	caretaker->pid = 0;
	return -err->code;
}

int caretaker_start(struct network *network, const struct vm *vm, struct error *err)
{
	const struct network_card *card = &network->cards[0];
	auto_fd listener = -1;
	struct duty d;

	if (!can_be_kept(network))
		return 0;
	if (fstatat(vm->dir, STATE_NEW_DIR, &d.state, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "cannot look at 'state.new'");
	listener = vm_socket_listen(vm, place_new, err);
	if (listener < 0)
		return listener;
	for (size_t i = 0; i < FD_COUNT; i++)
		d.fds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	d.fds[FD_LISTENER].fd = listener;
	/* what it says is for who resumes; here its end is enough */
	d.fds[FD_KEEPER] = (struct pollfd){ .fd = card->link.sock };
	d.tap = card->tap;
	d.watch = card->link.watch;
	d.vm = vm->dir;
	(void)snprintf(d.directory, sizeof(d.directory), "/proc/self/fd/%d", vm->dir);
	d.start = card->start;
	d.started = card->started;
	return start(&network->caretaker, &d, err);
}

void caretaker_dismiss(struct network *network)
{
	struct caretaker *caretaker = &network->caretaker;

	if (caretaker->pid <= 0)
		return;
	(void)kill(caretaker->pid, SIGKILL);
	(void)waitpid(caretaker->pid, NULL, 0);
	(void)close(take_fd(&caretaker->lease));
	caretaker->pid = 0;
}

/* --- who resumes --- */

/* What was kept. */
struct kept {
	struct net_start start;
	struct net_message started;
	int sock, tap, watch;
};

static void kept_release(struct kept *kept)
{
	cleanup_close_(&kept->sock);
	cleanup_close_(&kept->tap);
	cleanup_close_(&kept->watch);
}

/* Return: all of it came. */
static bool receive(int line, struct kept *kept)
{
	const struct timeval limit = { .tv_sec = ANSWER_S };
	struct error ignored = ERROR_INIT;
	char byte;

	return setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
	       socket_receive(line, &kept->start, sizeof(kept->start), &kept->sock, MSG_WAITALL) ==
		       (ssize_t)sizeof(kept->start) &&
	       socket_receive(line, &kept->started, sizeof(kept->started), &kept->tap,
			      MSG_WAITALL) == (ssize_t)sizeof(kept->started) &&
	       socket_receive(line, &byte, 1, &kept->watch, 0) == 1 && kept->sock >= 0 &&
	       kept->tap >= 0 && kept->watch >= 0 &&
	       net_message_check_answer(&kept->started, sizeof(kept->started), &ignored) == 0;
}

/* Is it what @start asks for? Of the address only one that must be it counts. */
static bool fits(const struct kept *kept, const struct net_start *start)
{
	struct net_start asked = *start;

	if (start->fixed && start->wanted.s_addr != kept->started.address.s_addr)
		return false;
	asked.fixed = kept->start.fixed;
	asked.wanted = kept->start.wanted;
	return memcmp(&asked, &kept->start, sizeof(asked)) == 0;
}

/*
 * What waits in the tap was let through by the rules of then. Its queue is shorter than that; what
 * comes meanwhile was judged by those of now.
 */
static int drain(int tap, struct error *err)
{
	static uint8_t frame[FRAME_MAX];

	if (fcntl(tap, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "cannot use the tap");
	for (int i = 0; i < QUEUE_MAX && read(tap, frame, sizeof(frame)) > 0; i++)
		;
	return 0;
}

static int use(struct network *network, const struct kept *kept, struct error *err)
{
	int r = net_link_adopt(&network->cards[0].link, &network->policy, err);

	if (r == 0)
		r = drain(kept->tap, err);
	return r < 0 ? r : network_add_card(network, &kept->start, &kept->started, kept->tap, err);
}

int caretaker_take(struct network *network, const struct vm *vm, const struct net_start *start,
		   int *tap, struct error *err)
{
	cleanup_(kept_release) struct kept kept = { .sock = -1, .tap = -1, .watch = -1 };
	struct error ignored = ERROR_INIT;
	auto_fd line = vm_socket_connect(vm, place, &ignored);
	struct net_link *link = &network->cards[0].link;
	int r = -ESTALE;

	if (line < 0 || !socket_peer_is(line, getuid()) || !receive(line, &kept))
		return 0;
	*link = (struct net_link){ .sock = take_fd(&kept.sock), .watch = take_fd(&kept.watch) };
	if (fits(&kept, start))
		r = use(network, &kept, err);
	if (r == 0 || r == -E_FAILED) /* that is the keeper's own no */
		network->caretaker.line = take_fd(&line);
	if (r == 0) {
		*tap = take_fd(&kept.tap);
		return 1;
	}
	/* else it ends with our line, and with it the keeper */
	cleanup_close_(&line);
	line = -1;
	if (r == -E_FAILED)
		net_link_forget(link);
	else
		net_link_stop(link);
	return r == -E_FAILED ? r : 0;
}

void caretaker_thank(struct network *network)
{
	cleanup_close_(&network->caretaker.line);
	network->caretaker.line = -1;
}

bool caretaker_keeps(struct network *network)
{
	struct caretaker *caretaker = &network->caretaker;
	bool keeps = caretaker->lease >= 0;

	if (caretaker->line >= 0 && socket_send(caretaker->line, "", 1, -1, MSG_DONTWAIT) == 1)
		keeps = true;
	caretaker_thank(network);
	cleanup_close_(&caretaker->lease);
	caretaker->lease = -1;
	return keeps;
}
