# SPDX-License-Identifier: Apache-2.0
"""A tiny guest: the test image's kernel, one static program (mini_guest.c) and linzer-agent, no root file
system. It boots to the agent in a fraction of Debian's time, by the same firmware and loader.

`image(home)` builds its raw disk, once for the same inputs, in the directory `mini` of the image home.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import subprocess

import scratch
import vm_disk
from conftest import BUILD

SOURCE = pathlib.Path(__file__).with_name("mini_guest.c")
MIB = 1 << 20
SIZE = 64 * MIB
ESP = "1M"  # from there to 33 MiB
PAGE, SLOTS, AREA = 4096, 1024, 40 * MIB  # as in mini_guest.c
# no_timer_check: on a busy host an emulated timer may be too late for the kernel, which then gives up
CMDLINE = b"quiet console=ttyS0 panic=-1 no_timer_check random.trust_cpu=on mitigations=off\0"


def sh(*words, **options):
    subprocess.run(words, check=True, stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.DEVNULL,
                   **options)


def cpio(files):
    """A "newc" archive of (name, mode, content)."""
    out = b""
    for number, (name, mode, content) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        name = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return out


def initrd(modules, init, agent):
    """Ours over the image's, which holds the modules and the list of them: the later file counts."""
    users = b"admin:x:0:0::/:/init\n"
    files = [("etc", 0o40755, b""), ("etc/passwd", 0o100644, users), ("init", 0o100755, init),
             ("linzer-agent", 0o100755, agent)]
    return modules + bytes(-len(modules) % 4) + cpio(files)


def unified_kernel(work, loader, init, agent):
    """The image's loader and kernel with a command line and an initrd of ours."""
    uki, old, new, line = (work / name for name in ("mini.efi", "initrd.old", "initrd.new", "cmdline"))
    sh("objcopy", "--dump-section", f".initrd={old}", loader, uki)
    new.write_bytes(initrd(old.read_bytes(), init.read_bytes(), agent.read_bytes()))
    line.write_bytes(CMDLINE)
    sh("objcopy", "--remove-section", ".initrd", "--remove-section", ".cmdline",
       "--add-section", f".cmdline={line}", "--change-section-vma", ".cmdline=0x3000000",
       "--add-section", f".initrd={new}", "--change-section-vma", ".initrd=0x3010000", loader, uki)
    return uki


def make_disk(disk, uki):
    with open(disk, "wb") as file:
        file.truncate(SIZE)
    table = "label: gpt\nstart=1MiB, size=32MiB, type=uefi\n"
    subprocess.run(["sfdisk", "--quiet", disk], input=table, text=True, check=True)
    esp = f"{disk}@@{ESP}"
    sh("mformat", "-i", esp, "-T", str(32 * 2048), "::")
    sh("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    sh("mcopy", "-i", esp, uki, "::/EFI/BOOT/BOOTX64.EFI")


def base_layer(home):
    """The raw file of the image that holds its ESP."""
    last = vm_disk.layers(home / "vms/debian")[-1]
    assert last["format"] == "raw"
    return home / "vms/debian" / last["file"]


def build(home, disk):
    with scratch.directory() as work:
        init = work / "init"
        sh("cc", "-O2", "-static", "-o", init, SOURCE)
        sh("mcopy", "-n", "-i", f"{base_layer(home)}@@1M", "::/EFI/BOOT/BOOTX64.EFI", work / "loader.efi")
        make_disk(work / "disk", unified_kernel(work, work / "loader.efi", init, BUILD / "linzer-agent"))
        sh("cp", "--sparse=always", work / "disk", f"{disk}.part")
        os.rename(f"{disk}.part", disk)


def key(home):
    """Of all that the disk is made of."""
    digest = hashlib.sha256()
    for path in (SOURCE, pathlib.Path(__file__), BUILD / "linzer-agent"):
        digest.update(path.read_bytes())
    digest.update(base_layer(home).name.encode())
    digest.update(str(base_layer(home).stat().st_mtime_ns).encode())
    return digest.hexdigest()[:16]


def image(home):
    """The path of the raw disk."""
    home = pathlib.Path(home)
    directory = home / "mini"
    directory.mkdir(exist_ok=True)
    disk = directory / f"{key(home)}.raw"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not disk.exists():
            for old in directory.glob("*.raw*"):
                with contextlib.suppress(FileNotFoundError):
                    old.unlink()
            build(home, disk)
    return disk
