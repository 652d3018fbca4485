/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_nbd_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "run/disk_nbd.h"

static void check_host(const char *text, bool tls, const char *host, const char *port,
		       const char *export)
{
	auto_nbd_url url = NBD_URL_INIT;
	struct error err = ERROR_INIT;

	assert_true(nbd_url_is(text));
	assert_int_equal(nbd_url_parse(text, &url, &err), 0);
	assert_int_equal(url.tls, tls);
	assert_string_equal(url.host, host);
	assert_string_equal(url.port, port);
	assert_string_equal(url.export, export);
	assert_null(url.socket);
}

static void reads_hosts(void **state)
{
	(void)state;
	check_host("nbd://example.org", false, "example.org", "10809", "");
	check_host("NBD://example.org/", false, "example.org", "10809", "");
	check_host("nbds://10.0.0.1:1/a%20b%25", true, "10.0.0.1", "1", "a b%");
	check_host("nbd://[::1]:2/x/y", false, "::1", "2", "x/y");
	check_host("nbd://[fe80::1%eth0]", false, "fe80::1%eth0", "10809", "");
	check_host("nbd://h:/e", false, "h", "10809", "e");
}

static void reads_sockets(void **state)
{
	auto_nbd_url url = NBD_URL_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(nbd_url_parse("nbds+unix:///disk?socket=/run/a%2fb", &url, &err), 0);
	assert_true(url.tls);
	assert_string_equal(url.socket, "/run/a/b");
	assert_string_equal(url.export, "disk");
	assert_null(url.host);
}

static void refuses(void **state)
{
	static const char *const texts[] = {
		"nbd://",
		"nbd://:5/x",
		"nbd://h:0",
		"nbd://h:65536",
		"nbd://h:x",
		"nbd://h/%",
		"nbd://h/%00",
		"nbd://h/%zz",
		"nbd://h/%ff",
		"nbd://h?x=y",
		"nbd://h/#x",
		"nbd://[::1",
		"nbd://[::1]x",
		"nbd://a b",
		"nbd://u@h",
		"nbd+unix:///x",
		"nbd+unix://?socket",
		"nbd+unix:///x?socket=",
		"nbd+unix:?socket=",
		"file:///x",
	};

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		auto_nbd_url url = NBD_URL_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(nbd_url_parse(texts[i], &url, &err), -E_FAILED);
		assert_non_null(strstr(err.text, texts[i]));
		assert_null(url.export);
	}
}

static void knows_what_is_none(void **state)
{
	(void)state;
	assert_false(nbd_url_is("nbd"));
	assert_false(nbd_url_is("nbd:/x"));
	assert_false(nbd_url_is("./nbd://x"));
	assert_false(nbd_url_is("http://x"));
}

/* A socket on which somebody listens who says @words to the first that comes, "" nothing. */
static int listen_as(const char *path, struct nbd_url *url)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	(void)unlink(path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	url->socket = str_format("%s", path);
	return fd;
}

static void a_silent_server_is_given_up(void **state)
{
	auto_nbd_url url = NBD_URL_INIT;
	struct error err = ERROR_INIT;
	auto_free char *path = str_format("nbd-test-%d", (int)getpid());
	auto_fd fd = listen_as(path, &url);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(nbd_connect(&url, 20, -1, &err), -E_FAILED);
	assert_string_equal(err.text, "the server does not answer");
	(void)unlink(path);
}

static void a_socket_without_a_server(void **state)
{
	auto_nbd_url url = NBD_URL_INIT;
	struct error err = ERROR_INIT;
	auto_free char *path = str_format("nbd-gone-%d", (int)getpid());
	int fd = listen_as(path, &url);

	(void)state;
	(void)close(fd);
	assert_int_equal(nbd_connect(&url, 1000, -1, &err), -E_FAILED);
	assert_string_equal(err.text, "Connection refused");
	(void)unlink(path);
	err = (struct error)ERROR_INIT;
	assert_int_equal(nbd_connect(&url, 1000, -1, &err), -E_FAILED);
	assert_string_equal(err.text, "No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_hosts),
		cmocka_unit_test(reads_sockets),
		cmocka_unit_test(refuses),
		cmocka_unit_test(knows_what_is_none),
		cmocka_unit_test(a_silent_server_is_given_up),
		cmocka_unit_test(a_socket_without_a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
