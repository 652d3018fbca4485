/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "net/conf.h"

static int check_owner(int fd, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '" NET_CONF_PATH "'");
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return error_set(err, E_VALIDATION,
				 "'" NET_CONF_PATH "' must be a file that only root can write");
	return 0;
}

int net_conf_load(struct net_conf *conf, struct error *err)
{
	uint8_t text[NET_CONF_SIZE_MAX + 1];
	auto_fd fd = open(NET_CONF_PATH, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		*conf = (struct net_conf){ .subnet = subnet_default };
		return 0;
	}
	if (fd < 0)
		return error_errno(err, "cannot open '" NET_CONF_PATH "'");
	if (check_owner(fd, err) < 0)
		return -err->code;
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return error_errno(err, "cannot read '" NET_CONF_PATH "'");
	if (net_conf_parse((struct slice){ text, (size_t)n }, conf, err) < 0)
		return error_wrap(err, "'" NET_CONF_PATH "'");
	return 0;
}
