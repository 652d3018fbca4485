/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <sys/file.h>
#include <sys/socket.h>

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
static void receive(const struct vm *vm, int client, const char *reply)
{
	struct error err = ERROR_INIT;
	auto_str line = STR_INIT;
	auto_str answer = STR_INIT;
	auto_fd lock = -1;

	if (manage_receive(vm, client, 10000, &line, &lock, &err) < 0)
		str_addf(&answer, "error %s\n", err.text);
	else
		str_adds(&answer, strcmp(line.ptr, "freeze") == 0 ? reply : "what\n");
	(void)!write(client, answer.ptr, answer.len);
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
	char name[201], flood[10001]; /* a path longer than sun_path */
	auto_fd lock = -1;
	struct stat st;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(flood, 'x', sizeof(flood) - 1);
	flood[sizeof(flood) - 1] = '\0';
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
	assert_fails(f, E_PROTOCOL, "too long", ask(f, &vm, lock, only_reply, flood));
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
	auto_str line = STR_INIT;
	auto_fd listening = -1, client = -1, lock = -1, other = -1;
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
	assert_ok(f, manage_receive(&vm, client, 10000, &line, &lock, &f->err));
	other = openat(vm.dir, ".lock", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	(void)close(take_fd(&lock));
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_answers),
		fixture_test(test_lock_is_shown),
		fixture_test(test_lock_outlives_the_asker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
