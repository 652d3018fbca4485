/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Any Linux guest is to understand it: a POSIX shell, and mount(8) of util-linux or of busybox. The
 * note is a line "TAG OPTIONS PLACE" for each file system, with octal escapes as mountinfo has
 * them. It is added to: what an earlier resume has not got round to is still to be mounted. It lies
 * in /run, which is root's and ends with the boot. Of a folder whose part is mounted somewhere (a
 * bind mount) only the whole is mounted again.
 */

#include "run/mounts.h"

#include <stddef.h>

#define NOTE "/run/linzer-folders"

/* A mountinfo line: ID PARENT DEVICE ROOT PLACE OPTIONS [MORE...] - TYPE SOURCE ... */
static const char note_and_unmount[] =
	"umask 077\n"
	"while read -r id parent device root place options rest; do\n"
	"	case \"$root $rest\" in '/ '*'- virtiofs '*) ;; *) continue ;; esac\n"
	"	set -- ${rest##*- virtiofs }\n"
	"	printf '%s %s %s\\n' \"$1\" \"$options\" \"$place\"\n"
	"done </proc/self/mountinfo >>" NOTE "\n"
	"exec umount -a -l -t virtiofs";

/* mount(8) fails until the device is there, and where the same was mounted a moment ago. */
static const char mount_what_was_noted[] =
	"[ -s " NOTE " ] || exit 0\n"
	"turns=0 status=0\n"
	"while read -r tag options place; do\n"
	"	until grep -qF \" / $place \" /proc/self/mountinfo ||\n"
	"	mount -t virtiofs -o \"$options\" \"$tag\" \"$(printf %b \"$place\")\" "
	"2>/dev/null; do\n"
	"		[ $turns -lt 300 ] || { status=1; break; }\n"
	"		turns=$((turns + 1))\n"
	"		sleep 0.2 || sleep 1\n"
	"	done\n"
	"done <" NOTE "\n"
	"rm " NOTE "\n"
	"exit $status";

const char *const mounts_leave[] = { "sudo", "-n", "sh", "-c", note_and_unmount, NULL };
const char *const mounts_return[] = { "sudo", "-n", "sh", "-c", mount_what_was_noted, NULL };
