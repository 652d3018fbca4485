# SPDX-License-Identifier: Apache-2.0
"""`run --disk` and --root-disk-opts: what a real guest sees of each kind of disk, and what is refused."""

import contextlib
import fcntl
import os
import pathlib
import select
import shutil
import subprocess
import threading

import pytest

import cached_image
import mini_guest
import nbd
import scratch
from conftest import Linzer
from registry import Authority
from test_life import eventually, runtime

MIB = 1 << 20
BOOT = 300  # seconds, under TCG on a busy machine
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")


def make(linzer, image_home, name):
    linzer("create", "--from-image", mini_guest.image(image_home), name, check=True)
    linzer("set", name, "--cpu", 1, "--memory", 512, check=True)


def clear(linzer):
    for name in linzer("list", "--quiet").stdout.split():
        linzer("stop", name, "--timeout", 1)


def file(path, byte, size=MIB):
    path.write_bytes(bytes([byte]) * size)
    return path


def disk(linzer, name, device):
    """Its size and "ro" or "rw", as the guest's kernel has it."""
    size, mode = linzer("exec", name, "/init", "disk", f"/dev/{device}", check=True, timeout=BOOT).stdout.split()
    return int(size), mode


def get(linzer, name, device, at=0, count=4096):
    return linzer("exec", name, "/init", "get", f"/dev/{device}", at, count, text=False, check=True, timeout=BOOT).stdout


def put(linzer, name, device, at, data, **options):
    return linzer("exec", "-i", name, "/init", "put", f"/dev/{device}", at, input=data, text=False, timeout=BOOT, **options)


def is_written(linzer, name, device, path, at=8192, byte=b"W"):
    """What the guest writes there arrives in the file."""
    put(linzer, name, device, at, byte * 4096, check=True)
    with open(path, "rb") as there:
        there.seek(at)
        return there.read(4096) == byte * 4096


@contextlib.contextmanager
def loop_device(path):
    device = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield pathlib.Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextlib.contextmanager
def opened(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


class Guest:
    """A mini guest with one disk of each kind: `at` tells the device of each by its name."""

    def __init__(self, linzer, place, image_home, devices):
        self.linzer, self.place, self.at = linzer, place, {}
        (place / "user").mkdir()
        linzer.settings["HOME"] = str(place / "user")
        self.values, self.servers = [], []
        self.add("raw", "~/a:b.img", file(place / "user/a:b.img", 1))
        self.add("ro", f"{file(place / 'ro', 2)}:ro")
        self.add("uncached", f"{file(place / 'uncached', 3)}:sync=none,caching=uncached,other")
        self.add_qcow2()
        self.add_nbd()
        self.digest = cached_image.make(linzer.home, "127.0.0.1:5000/org/image", "latest")
        self.add("image", "127.0.0.1:5000/org/image:latest:sync=none")
        if os.geteuid() == 0:
            self.add("loop", devices.enter_context(loop_device(file(place / "loop", 5))))
        make(linzer, image_home, "vm")
        words = [word for value in self.values for word in ("--disk", value)]
        linzer("run", "--wait-ready", *words, "vm", check=True, timeout=BOOT, env={"SSL_CERT_FILE": str(self.authority.ca)})

    def add(self, name, value, path=None):
        self.at[name] = "vd" + "bcdefghijk"[len(self.values)]
        self.values.append(value)

    def add_qcow2(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.place / "qcow2", "64M"], check=True)
        self.add("qcow2", self.place / "qcow2")

    def serve(self, name, *words, **options):
        self.servers.append(nbd.Server(file(self.place / name, 10 + len(self.servers)), *words, **options))
        return self.servers[-1]

    def add_nbd(self):
        self.add("tcp", f"nbd://127.0.0.1:{self.serve('tcp', 'x:y').port}/x:y")
        self.serve("unix", "an export", path=self.place / "socket")
        self.add("unix", f"nbd+unix:///an%20export?socket={self.place}/socket:sync=none")
        self.add("nbd-ro", f"nbd://localhost:{self.serve('nbd-ro', read_only=True).port}:ro")
        self.authority = Authority(self.place / "pki")
        certificate, key = self.authority.certificate()
        for path, name in ((certificate, "server-cert.pem"), (key, "server-key.pem"), (self.authority.ca, "ca-cert.pem")):
            shutil.copy(path, self.place / "pki" / name)
        self.add("tls", f"nbds://localhost:{self.serve('tls', pki=self.place / 'pki').port}/")


@pytest.fixture(scope="module")
def guest(image_home, tmp_path_factory):
    with scratch.directory() as place, contextlib.ExitStack() as devices:
        linzer = Linzer(place / "home", tmp_path_factory.mktemp("names"))
        linzer.home.mkdir()
        there = object.__new__(Guest)
        try:
            there.__init__(linzer, place, image_home, devices)
            yield there
        finally:
            clear(linzer)
            linzer.end()
            for server in getattr(there, "servers", []):
                server.end()


class TestKinds:
    @pytest.mark.parametrize("name, byte", [("raw", 1), ("uncached", 3), ("tcp", 10), ("unix", 11), ("tls", 13)])
    def test_guest_reads_and_writes(self, guest, name, byte):
        path = guest.place / ("user/a:b.img" if name == "raw" else name)
        assert disk(guest.linzer, "vm", guest.at[name]) == (MIB, "rw")
        assert get(guest.linzer, "vm", guest.at[name]) == bytes([byte]) * 4096
        assert is_written(guest.linzer, "vm", guest.at[name], path)

    @pytest.mark.parametrize("name, byte", [("ro", 2), ("nbd-ro", 12)])
    def test_ro_is_enforced(self, guest, name, byte):
        assert disk(guest.linzer, "vm", guest.at[name]) == (MIB, "ro")
        assert get(guest.linzer, "vm", guest.at[name]) == bytes([byte]) * 4096
        done = put(guest.linzer, "vm", guest.at[name], 0, b"W" * 4096)
        assert done.returncode == 1 and b"Operation not permitted" in done.stderr
        assert (guest.place / name).read_bytes() == bytes([byte]) * MIB

    def test_ro_is_what_qemu_itself_can_do(self, guest):
        process = pathlib.Path(f"/proc/{runtime(guest.linzer, 'vm')['qemuPid']}")
        modes = {int((process / "fdinfo" / fd.name).read_text().split("flags:")[1].split()[0], 8) & os.O_ACCMODE
                 for fd in (process / "fd").iterdir() if os.path.realpath(fd) == str(guest.place / "ro")}
        assert modes == {os.O_RDONLY}

    def test_a_qcow2_file_is_raw_bytes(self, guest):
        path = guest.place / "qcow2"
        assert disk(guest.linzer, "vm", guest.at["qcow2"]) == (-(-path.stat().st_size // 512) * 512, "rw")
        assert get(guest.linzer, "vm", guest.at["qcow2"])[:4] == b"QFI\xfb"

    @as_root
    def test_block_device(self, guest):
        assert disk(guest.linzer, "vm", guest.at["loop"]) == (MIB, "rw")
        put(guest.linzer, "vm", guest.at["loop"], 4096, b"L" * 4096, check=True)
        with open(guest.values[-1], "rb") as device:
            os.posix_fadvise(device.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert device.read(8192) == b"\5" * 4096 + b"L" * 4096

    def test_image_by_a_clone_that_goes_with_the_run(self, guest):
        path = cached_image.image_path(guest.linzer.home, "127.0.0.1:5000/org/image", guest.digest) / "disk.img"
        before = path.read_bytes()
        assert disk(guest.linzer, "vm", guest.at["image"]) == (len(before), "rw")
        assert get(guest.linzer, "vm", guest.at["image"]) == before[:4096]
        put(guest.linzer, "vm", guest.at["image"], 0, b"W" * 4096, check=True)
        assert get(guest.linzer, "vm", guest.at["image"]) == b"W" * 4096
        assert path.read_bytes() == before
        guest.linzer("list", check=True)  # which removes what nobody holds
        made = [p for p in (guest.linzer.home / "tmp").iterdir() if (p / "disk.img").exists()]
        assert len(made) == 1 and made[0].name.startswith("run-disk-")
        with opened(made[0]) as fd, pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
