/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

/*
 * Attributes and scope cleanup.
 *
 * A variable declared with one of the auto_* attributes is released when it
 * leaves its scope; it must be initialised where it is declared. take() moves
 * a pointer out of such a variable, take_fd() a descriptor. A function that
 * uses them has no goto.
 */

#include <stdlib.h>
#include <unistd.h>

#define must_use_ __attribute__((warn_unused_result))
#define printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define noreturn_ __attribute__((noreturn))
#define unused_ __attribute__((unused))
#define cleanup_(fn) __attribute__((cleanup(fn)))

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

#define take(p)                           \
	({                                \
		__auto_type taken_ = (p); \
		(p) = NULL;               \
		taken_;                   \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

#define auto_free cleanup_(cleanup_free_)
#define auto_fd cleanup_(cleanup_close_) int

#endif
