#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clone of a VM with a 20 GB disk that holds 2 GB, on loop-mounted ext4, btrfs and xfs.

usage: clone.py [FILESYSTEM...]   (as root; BUILD names the build directory)

For each file system: the first clone (which freezes the source where it must), the best
of ten later ones, and what a clone adds to the disk. Then reads of generation 1 and generation 200.
The mounts live in a mount namespace of this process and end with it.
"""

import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

LINZER = pathlib.Path(os.environ.get("BUILD", "build")).resolve() / "linzer"
MKFS = {"ext4": ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
        "btrfs": ["mkfs.btrfs", "-q"], "xfs": ["mkfs.xfs", "-q"]}
CLONE_NEWNS = 0x20000
MIB = 1 << 20
DATA = 2 * 1000 * MIB
GENERATIONS = 200


def private_mounts():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) < 0:
        sys.exit("needs root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount(kind):
    """Mount a fresh 24 GiB file system on /mnt; its image has no name any more."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="linzer-bench-") as image:
        os.truncate(image.name, 24 << 30)
        subprocess.run([*MKFS[kind], image.name], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop", image.name, "/mnt"], check=True)
    os.environ["TART_HOME"] = "/mnt/home"


def linzer(*arguments):
    began = time.monotonic()
    subprocess.run([LINZER, *arguments], check=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - began) * 1000


def used():
    """Bytes in use, when all is written."""
    subprocess.run(["sync", "-f", "/mnt"], check=True)
    state = os.statvfs("/mnt")
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def fill(name, size):
    """Random data into a raw disk."""
    with open(f"/mnt/home/vms/{name}/disk.img", "r+b") as disk:
        block = os.urandom(MIB)
        for i in range(size // MIB):
            disk.write(i.to_bytes(8, "big") + block[8:])
        os.fsync(disk.fileno())


def bench_clone(kind):
    linzer("create", "--linux", "--disk-size", "20", "vm")
    fill("vm", DATA)
    used()
    first = linzer("clone", "vm", "c")
    before = used()
    took = [linzer("clone", "vm", f"c{i}") for i in range(10)]
    each = (used() - before) / 10
    good = min(took) <= 50 and each < 1000000
    print(f"{kind:6} first {first:6.1f} ms, best of ten {min(took):6.1f} ms, "
          f"{each / 1000:7.1f} kB each   (wanted: <= 50 ms, < 1000 kB)   {'good' if good else 'BAD'}",
          flush=True)
    return good


def chain(name):
    """The disk of a VM as QEMU's json: file name."""
    path = pathlib.Path("/mnt/home/vms") / name
    try:
        layers = json.loads((path / "disk.json").read_text())["layers"]
    except FileNotFoundError:
        layers = [{"file": "disk.img", "format": "raw"}]
    node = None
    for layer in reversed(layers):
        below = {"backing": node} if node else {}
        node = {"driver": layer["format"], **below,
                "file": {"driver": "file", "filename": str(path / layer["file"])}}
    return "json:" + json.dumps(node)


def qemu_io(name, *commands):
    subprocess.run(["qemu-io", *(a for c in commands for a in ("-c", c)), chain(name)], check=True,
                   stdout=subprocess.DEVNULL)


def read_speed(name):
    """MB/s of reading the first 256 MiB, from the page cache, a MiB at a time; best of five."""
    reads = [f"read {i * 1024}k 1024k" for i in range(256)]
    qemu_io(name, *reads)
    best = 0.0
    for _ in range(5):
        began = time.monotonic()
        qemu_io(name, *reads)
        best = max(best, 256 * MIB / (time.monotonic() - began) / 1e6)
    return best


def bench_generations(kind):
    linzer("create", "--linux", "--disk-size", "20", "g0")
    fill("g0", 256 * MIB)
    for i in range(1, GENERATIONS + 1):
        linzer("clone", f"g{i - 1}", f"g{i}")
        qemu_io(f"g{i}", f"write -P {i} {(i * 37 % 256) * 1024}k 64k")
        if i > 2:
            linzer("delete", f"g{i - 1}")
    first, last = read_speed("g1"), read_speed(f"g{GENERATIONS}")
    good = last >= 0.8 * first
    print(f"{kind:6} generation 1 reads {first:.0f} MB/s, generation {GENERATIONS} {last:.0f} MB/s: "
          f"{last / first:.2f}   (wanted: >= 0.8)   {'good' if good else 'BAD'}", flush=True)
    return good


def main():
    private_mounts()
    good = True
    for kind in sys.argv[1:] or MKFS:
        mount(kind)
        good &= bench_clone(kind)
        good &= bench_generations(kind)
        subprocess.run(["umount", "/mnt"], check=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()
