# SPDX-License-Identifier: Apache-2.0
"""`run --disk` and --root-disk-opts: what a real guest sees of each kind of disk, and what is refused."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess

import pytest

import cached_image
import iso
import mini_guest
import nbd
import scratch
from conftest import BUILD, Linzer
from registry import Authority
from test_life import eventually, runtime
from test_run_options import open_flags

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


def node(linzer, name, number):
    """What QEMU was told of a disk."""
    words = pathlib.Path(f"/proc/{runtime(linzer, name)['qemuPid']}/cmdline").read_text().split("\0")
    nodes = [json.loads(words[i + 1]) for i, word in enumerate(words) if word == "-blockdev"]
    return next(found for found in nodes if found["node-name"] == f"disk{number}")


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
        self.add("fsync", f"{file(place / 'fsync', 4)}:sync=fsync,caching=automatic")
        self.add("full", f"{file(place / 'full', 6)}:sync=full,caching=cached")
        self.add_qcow2()
        self.add_nbd()
        self.digest = cached_image.make(linzer.home, "127.0.0.1:5000/org/image", "latest")
        self.add("image", "127.0.0.1:5000/org/image:latest:sync=none")
        if os.geteuid() == 0:
            self.add("loop", devices.enter_context(loop_device(file(place / "loop", 5))))
        make(linzer, image_home, "vm")
        words = [word for value in self.values for word in ("--disk", value)]
        linzer("run", "--wait-ready", "--root-disk-opts", "whatever,ro,sync=none,caching=uncached", *words, "vm", check=True, timeout=BOOT, env={"SSL_CERT_FILE": str(self.authority.ca)})

    def add(self, name, value, path=None):
        self.at[name] = "vd" + "bcdefghijklmn"[len(self.values)]
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
        self.serve("tls-unix", pki=self.place / "pki", path=self.place / "tls-socket")
        self.add("tls-unix", f"nbds+unix:///?socket={self.place}/tls-socket")


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
    @pytest.mark.parametrize("name, byte", [("raw", 1), ("uncached", 3), ("fsync", 4), ("full", 6), ("tcp", 10), ("unix", 11), ("tls", 13),
                                            ("tls-unix", 14)])
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
        assert open_flags(guest.linzer, "vm", guest.place / "ro") == {os.O_RDONLY}

    def test_a_qcow2_file_is_raw_bytes(self, guest):
        path = guest.place / "qcow2"
        assert disk(guest.linzer, "vm", guest.at["qcow2"]) == (-(-path.stat().st_size // 512) * 512, "rw")
        assert get(guest.linzer, "vm", guest.at["qcow2"])[:4] == b"QFI\xfb"

    def test_root_disk_options(self, guest):
        assert disk(guest.linzer, "vm", "vda") == (mini_guest.SIZE, "ro")
        done = put(guest.linzer, "vm", "vda", mini_guest.AREA, b"W" * 4096)
        assert done.returncode == 1 and b"Operation not permitted" in done.stderr
        assert open_flags(guest.linzer, "vm", guest.linzer.vm("vm") / "disk.img") == {os.O_RDONLY | os.O_DIRECT}
        assert node(guest.linzer, "vm", 0)["cache"] == {"direct": True, "no-flush": True}

    @pytest.mark.parametrize("name, direct, no_flush", [("raw", False, False), ("uncached", True, True), ("unix", False, True),
                                                        ("fsync", False, False), ("full", False, False)])
    def test_sync_and_caching(self, guest, name, direct, no_flush):
        number = ord(guest.at[name][2]) - ord("a")
        found = node(guest.linzer, "vm", number)
        assert found["cache"] == found["file"]["cache"] == {"direct": direct, "no-flush": no_flush}

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


@pytest.fixture(scope="module")
def lossy(image_home, tmp_path_factory):
    """A home with the VM "vm", a mini guest."""
    with scratch.directory() as place:
        linzer = Linzer(place / "home", tmp_path_factory.mktemp("names"))
        linzer.home.mkdir()
        make(linzer, image_home, "vm")
        yield linzer, place
        clear(linzer)
        linzer.end()


class TestLostServer:
    def test_guest_waits_or_fails_and_the_rest_lives(self, lossy):
        linzer, place = lossy
        back, gone = (nbd.Server(file(place / name, 7), path=place / f"{name}.socket") for name in ("back", "gone"))
        try:
            self.lose(linzer, place, back, gone)
        finally:
            back.end()
            gone.end()

    def lose(self, linzer, place, back, gone):
        urls = [f"nbd+unix:///?socket={server.path}" for server in (back, gone)]
        words = [word for value in (*urls, file(place / "file", 8)) for word in ("--disk", value)]
        run = linzer.start("run", *words, "vm", stderr=subprocess.PIPE, text=True)
        eventually(lambda: linzer("exec", "vm", "/init").returncode == 0, BOOT)
        back.end()
        gone.end()
        reads = [linzer.start("exec", "vm", "/init", "get", f"/dev/{device}", at, 4096, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for device, at in (("vdb", MIB // 2), ("vdc", MIB // 2))]
        assert is_written(linzer, "vm", "vdd", place / "file")
        assert not select.select([read.stdout for read in reads], [], [], 0)[0]
        back.start()
        out, _ = reads[0].communicate(timeout=BOOT)
        assert (reads[0].returncode, out) == (0, bytes([7]) * 4096)
        _, why = reads[1].communicate(timeout=BOOT)
        assert reads[1].returncode == 1 and b"Input/output error" in why
        back.end()
        waits = linzer.start("exec", "vm", "/init", "get", "/dev/vdb", 3 * MIB // 4, 4096, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert is_written(linzer, "vm", "vdd", place / "file", byte=b"X")
        linzer("stop", "vm", check=True)
        _, told = run.communicate(timeout=BOOT)
        assert run.returncode == 0 and waits.wait(BOOT) != 0
        lost = "is lost: its disk waits for up to 30 seconds, then fails"
        assert sorted(told.splitlines()) == sorted([*(f"NBD server '{url}' {lost}" for url in (urls[0], *urls)),
                                                    f"NBD server '{urls[0]}' is back"])
        assert not list((linzer.home / "tmp").iterdir())


def test_installing_from_an_iso(linzer, image_home, tmp_path):
    """The ISO boots because the disk is empty; what it writes there boots the next time."""
    image = tmp_path / "installer.iso"
    iso.make(image, mini_guest.image(image_home), mini_guest.MIB)
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    linzer("set", "vm", "--cpu", 1, "--memory", 512, check=True)
    try:
        linzer("run", "--wait-ready", "--disk", image, "vm", check=True, timeout=BOOT)
        assert get(linzer, "vm", "vda") == bytes(4096)
        linzer("exec", "vm", "/init", "copy", "/dev/vdb", iso.DATA, mini_guest.SIZE, "/dev/vda", check=True, timeout=BOOT)
        linzer("stop", "vm", check=True)
        linzer("run", "--wait-ready", "vm", check=True, timeout=BOOT)
        assert get(linzer, "vm", "vda", 512, 8) == b"EFI PART"
    finally:
        linzer("stop", "vm", "--timeout", 1)


class TestRefused:
    @pytest.fixture
    def vm(self, linzer):
        linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
        yield "vm"
        linzer("stop", "vm", "--timeout", 1)

    @staticmethod
    def refused(linzer, value, *, status=1, **options):
        """The one line."""
        done = linzer("run", "--disk", value, "vm", **options)
        assert done.returncode == status and done.stdout == "", (done.returncode, done.stdout, done.stderr)
        assert not list((linzer.home / "tmp").iterdir())
        return done.stderr.removesuffix("\n")

    def test_paths_that_are_no_disk(self, linzer, vm, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "empty").touch()
        what = "is neither a regular file nor a block device"
        for value, message in ((tmp_path, f"disk '{tmp_path}' {what}"), (tmp_path / "fifo", f"disk '{tmp_path}/fifo' {what}"),
                               ("/dev/null", f"disk '/dev/null' {what}"), ("/dev/null:ro", f"disk '/dev/null' {what}"),
                               (tmp_path / "empty", f"disk '{tmp_path}/empty' is empty"),
                               (tmp_path / "none", f"cannot open disk '{tmp_path}/none': No such file or directory"),
                               (f"{tmp_path}/none:rw", f"cannot open disk '{tmp_path}/none:rw': No such file or directory"),
                               ("~/none", "cannot open disk '~/none': No such file or directory"),
                               (":", "--disk ':' names no disk"), ("::ro", "--disk '::ro' names no disk")):
            assert self.refused(linzer, value) == message

    def test_values_that_are_none(self, linzer, vm, tmp_path):
        path = file(tmp_path / "disk", 1)
        assert self.refused(linzer, f"{path}:sync=often") == 'unsupported disk image synchronization mode: "often"'
        assert self.refused(linzer, f"{path}:caching=some") == 'unsupported disk image caching mode: "some"'
        assert self.refused(linzer, "nbd://h/x:sync=fsync") == 'unsupported disk synchronization mode: "fsync"'

    def test_a_file_that_somebody_locked(self, linzer, vm, tmp_path):
        path = file(tmp_path / "disk", 1)
        with open(path, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert self.refused(linzer, path).startswith(f"disk {path} seems to be already in use")
            linzer("run", "--detach", "--disk", f"{path}:ro", vm, check=True)

    def test_a_write_protected_file(self, linzer, vm, tmp_path):
        path = file(tmp_path / "disk", 1)
        path.chmod(0o400)
        assert self.refused(linzer, path) == f"disk '{path}' is write-protected: \"{path}:ro\" attaches it read-only"

    def test_the_same_disk_twice_and_the_own_disk(self, linzer, vm, tmp_path):
        path = file(tmp_path / "disk", 1)
        done = linzer("run", "--disk", path, "--disk", path, vm)
        assert done.returncode == 1 and done.stderr.startswith(f"disk {path} seems to be already in use")
        assert linzer("run", "--disk", linzer.vm(vm) / "disk.img", vm).returncode == 1

    def test_another_vms_disk(self, linzer, vm):
        """Running: refused. Not: taken, and that VM is refused as long as it is."""
        linzer("create", "--linux", "--disk-size", 1, "other", check=True)
        path = linzer.vm("other") / "disk.img"
        try:
            linzer("run", "--detach", "other", check=True)
            for value in (path, f"{path}:ro"):
                assert self.refused(linzer, value).startswith(f"disk {path} seems to be already in use")
            linzer.switch_off("other")
            linzer("run", "--detach", "--disk", path, vm, check=True)
            done = linzer("run", "other")
            assert (done.returncode, done.stderr) == (1, 'another QEMU uses the disk of VM "other"\n')
        finally:
            linzer("stop", "other", "--timeout", 1)

    def test_an_image_that_is_not_cached(self, linzer, vm, tmp_path):
        name = "127.0.0.1:5000/org/none:latest"
        assert self.refused(linzer, name, status=2) == f'the specified VM "{name}" does not exist'
        (tmp_path / "images").mkdir()
        file(tmp_path / "images/data", 1)
        assert self.refused(linzer, "images/data", status=2, cwd=tmp_path).splitlines() == \
            ['the specified VM "images/data:latest" does not exist', '"./images/data" is the file of that name']

    @as_root
    def test_block_device_in_use(self, linzer, vm, tmp_path):
        with loop_device(file(tmp_path / "disk", 1)) as device:
            fd = os.open(device, os.O_RDWR | os.O_EXCL)
            try:
                assert self.refused(linzer, device) == f"disk '{device}' is already in use, try unmounting it by \"umount {device}\""
            finally:
                os.close(fd)
            assert self.refused(linzer, f"{device}:sync=fsync") == 'unsupported disk synchronization mode: "fsync"'

    @as_root
    def test_block_device_of_somebody_else(self, vm, linzer, tmp_path):
        with scratch.directory() as place, loop_device(file(tmp_path / "disk", 1)) as device:
            place.chmod(0o755)
            shutil.copytree(linzer.home, place / "home")
            subprocess.run(["chown", "-R", "4242:4242", place / "home"], check=True)
            done = subprocess.run(["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", BUILD / "linzer", "run", "--net-none",
                                   "--disk", device, "vm"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  env={**linzer.environment(), "TART_HOME": str(place / "home"), "HOME": str(place)}, timeout=120)
        assert (done.returncode, done.stderr) == \
            (1, f"disk '{device}': permission denied, consider changing its owner by \"sudo chown $USER {device}\" or running "
                "linzer as root\n")

    def test_nbd_servers_that_are_none(self, linzer, vm, tmp_path):
        port = nbd.free_port()
        text = f"nbd://127.0.0.1:{port}/x"
        assert self.refused(linzer, text) == f"cannot reach NBD server '{text}': Connection refused"
        assert self.refused(linzer, "nbd+unix:///x") == "NBD URL 'nbd+unix:///x': \"?socket=PATH\" is wanted"
        with nbd.impostor(b"SSH-2.0-x\r\n") as port:
            text = f"nbds://127.0.0.1:{port}"
            assert self.refused(linzer, text) == f"cannot reach NBD server '{text}': the server does not speak NBD"
        with nbd.impostor(b"NBDMAGIC" + bytes(range(256)) * 64) as port:
            assert self.refused(linzer, f"nbd://127.0.0.1:{port}").startswith("failed to start the VM: ")

    def test_what_a_server_refuses(self, linzer, vm, tmp_path):
        server = nbd.Server(file(tmp_path / "disk", 1), "here", read_only=True)
        try:
            said = self.refused(linzer, f"nbd://127.0.0.1:{server.port}/there")
            assert said == "failed to start the VM: server reported: export 'there' not present"
            said = self.refused(linzer, f"nbd://127.0.0.1:{server.port}/here")
            assert said == "failed to start the VM: Could not open image: Permission denied"
        finally:
            server.end()

    def test_a_server_that_nobody_vouches_for(self, linzer, vm, tmp_path):
        authority = Authority(tmp_path / "pki")
        certificate, key = authority.certificate()
        for path, name in ((certificate, "server-cert.pem"), (key, "server-key.pem"), (authority.ca, "ca-cert.pem")):
            shutil.copy(path, tmp_path / "pki" / name)
        other = Authority(tmp_path / "other").ca
        server = nbd.Server(file(tmp_path / "disk", 1), pki=tmp_path / "pki")
        try:
            said = self.refused(linzer, f"nbds://localhost:{server.port}", env={"SSL_CERT_FILE": str(other)})
            assert "certificate" in said.lower()
        finally:
            server.end()

    @pytest.mark.parametrize("arch, name", [("arm64", "x-amd64.iso"), ("arm64", "x-amd64.iso:ro")])
    def test_an_iso_for_another_processor(self, linzer, vm, tmp_path, arch, name):
        config = json.loads((linzer.vm(vm) / "config.json").read_text())
        (linzer.vm(vm) / "config.json").write_text(json.dumps({**config, "arch": arch}))
        file(tmp_path / "x-amd64.iso", 1)
        said = self.refused(linzer, tmp_path / name, status=64)
        assert said.splitlines()[0] == "Error: Seems you have a disk targeting x86 architecture (hence amd64 in the name). " \
            "Please use an 'arm64' version of the disk."
