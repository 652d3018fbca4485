# SPDX-License-Identifier: Apache-2.0
"""A file system of its own for a test, loop-mounted (as root).

The mount lives in the mount namespace of a child that ends with us, however we end; it is
reached by /proc/PID/root. Its image has no name once it is mounted. Nothing is left.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

import scratch

MKFS = {"ext4": ["mkfs.ext4", "-q", "-m", "0"], "btrfs": ["mkfs.btrfs", "-q"], "xfs": ["mkfs.xfs", "-q"]}
FILE_SYSTEMS = list(MKFS)
SCRIPT = """
mount -o loop "$1" /mnt || exit
rm "$1"
echo mounted
read -r _
umount -l /mnt
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextlib.contextmanager
def mounted(kind, size):
    """The path of a fresh file system of `size` bytes."""
    with scratch.directory() as path:
        image = path / "image"
        image.touch()
        os.truncate(image, size)
        subprocess.run([*MKFS[kind], image], check=True, stdout=subprocess.DEVNULL)
        child = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", SCRIPT, "sh", image],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "mounted\n"
            yield pathlib.Path(f"/proc/{child.pid}/root/mnt")
        finally:
            child.communicate("\n", timeout=600)


@contextlib.contextmanager
def home_on(linzer, kind, size):
    """The fixture `linzer` with its home on a fresh file system; gives that one's path."""
    with mounted(kind, size) as path:
        before, linzer.home = linzer.home, path / "home"
        try:
            yield path
        finally:
            shutil.rmtree(linzer.home, ignore_errors=True)
            linzer.home = before


def used(path):
    """Bytes in use on that file system, when all is written."""
    subprocess.run(["sync", "-f", path], check=True)
    state = os.statvfs(path)
    return (state.f_blocks - state.f_bfree) * state.f_frsize
