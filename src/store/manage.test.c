/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <sys/file.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/socket.h"
#include "store/manage.h"

/* What it is to do with the one request that comes over @client. */
typedef void (*answer_fn)(const struct vm *vm, int client, const char *reply);

static void only_reply(const struct vm *vm, int client, const char *reply)
{
	char line[64];

	(void)vm;
	(void)!read(client, line, sizeof(line));
	(void)!write(client, reply, strlen(reply));
}

/* As `run` does it. */
static int receive_request(int client, struct manage_input *input, struct error *err)
{
	int r;

	while ((r = manage_read(client, input, err)) == 0)
		clock_sleep_ms(1);
	return r;
}

static void receive(const struct vm *vm, int client, const char *reply)
{
	struct error err = ERROR_INIT;
	struct manage_input input = MANAGE_INPUT_INIT;
	auto_str answer = STR_INIT;

	if (receive_request(client, &input, &err) < 0 || manage_check_lock(vm, &input, &err) < 0)
		str_addf(&answer, "error %s\n", err.text);
	else
		str_adds(&answer, strcmp(input.line.ptr, "freeze") == 0 ? reply : "what\n");
	(void)!write(client, answer.ptr, answer.len);
	manage_input_release(&input);
}

/* What comes goes back. */
static void echo(const struct vm *vm, int client, const char *reply)
{
	struct error err = ERROR_INIT;
	struct manage_input input = MANAGE_INPUT_INIT;
	auto_str answer = STR_INIT;

	(void)vm;
	(void)reply;
	if (receive_request(client, &input, &err) < 0)
		str_addf(&answer, "error %s\n", err.text);
	else
		str_addf(&answer, "%s\n", input.line.ptr);
	(void)!fs_write_all(client, answer.ptr, answer.len, &err);
	manage_input_release(&input);
}

static pid_t start_answerer(struct fixture *f, const struct vm *vm, answer_fn answer,
			    const char *reply)
{
	int fd = manage_listen(vm, &f->err);
	pid_t pid;

	assert_ok(f, fd);
	pid = fork();
	if (pid == 0) {
		answer(vm, accept4(fd, NULL, NULL, SOCK_CLOEXEC), reply);
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

static int ask(struct fixture *f, const struct vm *vm, int lock, answer_fn answer,
	       const char *reply)
{
	pid_t pid = start_answerer(f, vm, answer, reply);
	int status;
	int r = manage_request(vm, "freeze", lock, 10000, &f->err);

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return r;
}

static void test_answers(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	char name[201]; /* a path longer than sun_path */
	auto_fd lock = -1;
	struct stat st;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	fixture_create(f, "vm", 1);
	assert_ok(f, vm_rename(&f->home, "vm", name, &f->err));
	assert_ok(f, vm_open(&f->home, name, true, &vm, &f->err));
	lock = vm_lock(&vm, &f->err);
	assert_ok(f, lock);
	assert_fails(f, E_NOT_RUNNING, "is not running",
		     manage_request(&vm, "freeze", lock, 1000, &f->err));
	assert_ok(f, ask(f, &vm, lock, only_reply, "ok\n"));
	assert_int_equal(fstatat(vm.dir, "manage.sock", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_fails(f, E_FAILED, "cannot freeze: no room",
		     ask(f, &vm, lock, only_reply, "error no room\n"));
	assert_fails(f, E_NOT_RUNNING, "hung up", ask(f, &vm, lock, only_reply, ""));
	assert_fails(f, E_PROTOCOL, "malformed", ask(f, &vm, lock, only_reply, "what\n"));
	/* a socket that nobody serves any more */
	assert_fails(f, E_NOT_RUNNING, "is not running",
		     manage_request(&vm, "freeze", lock, 1000, &f->err));
}

static void test_lock_is_shown(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	auto_fd lock = -1, other = -1, wrong = open("/dev/null", O_RDWR | O_CLOEXEC);

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	lock = vm_lock(&vm, &f->err);
	assert_ok(f, lock);
	other = openat(vm.dir, ".lock", O_RDWR | O_CLOEXEC);
	assert_ok(f, ask(f, &vm, lock, receive, "ok\n"));
	assert_fails(f, E_FAILED, "does not hold", ask(f, &vm, -1, receive, "ok\n"));
	assert_fails(f, E_FAILED, "does not hold", ask(f, &vm, wrong, receive, "ok\n"));
	assert_fails(f, E_FAILED, "does not hold", ask(f, &vm, other, receive, "ok\n"));
}

/* An asker that is gone does not unlock what `run` has not done yet. */
static void test_lock_outlives_the_asker(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	auto_vm vm = VM_INIT;
	struct manage_input input = MANAGE_INPUT_INIT;
	auto_fd listening = -1, client = -1, other = -1;
	pid_t pid;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	listening = manage_listen(&vm, &f->err);
	assert_ok(f, listening);
	pid = fork();
	if (pid == 0) {
		int mine = vm_lock(&vm, &err), asking = vm_socket_connect(&vm, "manage.sock", &err);

		_exit(socket_send(asking, "freeze\n", 7, mine, 0) != 7);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	assert_ok(f, receive_request(client, &input, &f->err));
	assert_ok(f, manage_check_lock(&vm, &input, &f->err));
	other = openat(vm.dir, ".lock", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	manage_input_release(&input);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
}

/* Longer than any socket's buffer, in both directions; one byte more is refused. */
static void test_long_lines(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	auto_str request = STR_INIT, answer = STR_INIT;
	pid_t pid;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	while (request.len < MANAGE_REQUEST_MAX - 1)
		str_addc(&request, 'x');
	pid = start_answerer(f, &vm, echo, NULL);
	assert_ok(f, manage_ask(&vm, request.ptr, 20000, &answer, &f->err));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_string_equal(answer.ptr, request.ptr);
	str_addc(&request, 'x');
	assert_fails(f, E_TOO_BIG, "bytes", manage_ask(&vm, request.ptr, 20000, &answer, &f->err));
}

/* Whatever a client sends, nobody waits for it, and no line grows beyond its bound. */
static void test_reads_without_waiting(void **state)
{
	struct fixture *f = *state;
	struct manage_input input = MANAGE_INPUT_INIT;
	static char flood[64 * 1024];
	size_t sent = 0;
	int pair[2], r = 0;

	memset(flood, 'x', sizeof(flood));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(manage_read(pair[1], &input, &f->err), 0);
	assert_int_equal(socket_send(pair[0], "fre", 3, -1, 0), 3);
	assert_int_equal(manage_read(pair[1], &input, &f->err), 0);
	while (r == 0 && sent <= MANAGE_REQUEST_MAX) {
		ssize_t n = socket_send(pair[0], flood, sizeof(flood), -1, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		r = manage_read(pair[1], &input, &f->err);
	}
	while (r == 0)
		r = manage_read(pair[1], &input, &f->err);
	assert_fails(f, E_PROTOCOL, "too long", r);
	assert_true(input.line.len < MANAGE_REQUEST_MAX + sizeof(flood));
	(void)close(pair[0]);
	(void)close(pair[1]);
	manage_input_release(&input);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_answers),
		fixture_test(test_lock_is_shown),
		fixture_test(test_lock_outlives_the_asker),
		fixture_test(test_long_lines),
		fixture_test(test_reads_without_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
