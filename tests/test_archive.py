# SPDX-License-Identifier: Apache-2.0
"""export and import (contract 2.13, 2.14, 8): VMs as .tvm archives, whole or not at all."""

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import pathlib
import pty
import random
import struct
import subprocess
import time

import pytest

import tvm
import vm_disk
from loop_mount import home_on, mounted, needs_root

MIB = 1 << 20
HERE = pathlib.Path(__file__).resolve().parent
FILES = ["config.json", "disk.img", "nvram.bin"]


@pytest.fixture
def vm(linzer):
    """A VM "vm": some data at odd places, holes between."""
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    with open(linzer.vm("vm") / "disk.img", "r+b") as disk:
        disk.truncate(96 * MIB)
        for offset, size in ((0, 512), (3 * MIB + 77, 5 * MIB), (70 * MIB, 1), (96 * MIB - 3, 3)):
            disk.seek(offset)
            disk.write(random.Random(offset).randbytes(size))
    return linzer


@contextlib.contextmanager
def running(linzer, name):
    """As if it ran: its config.json carries the running lock."""
    with open(linzer.vm(name) / "config.json", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def contents(linzer, name):
    return {file: (linzer.vm(name) / file).read_bytes() for file in FILES}


def data_ranges(path):
    """Where a file has no holes."""
    with open(path, "rb") as file:
        end, size = 0, os.fstat(file.fileno()).st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, end


def assert_nothing_left(linzer, names):
    """Those VMs and nothing half-made, not even what only a clean-up would remove."""
    assert sorted(p.name for p in linzer.home.glob("vms/*")) == sorted(names)
    assert list(linzer.home.glob("vms/.*")) == []
    assert list((linzer.home / "tmp").iterdir()) == []


def archive_of(linzer, path, **parts):
    """An archive by hand of a real VM's files, or of others by their names; None leaves one out."""
    linzer("create", "--linux", "--disk-size", 1, "template", check=True)
    files = {"config.json": (linzer.vm("template") / "config.json").read_bytes(), "disk.img": b"disk" * 3000,
             "nvram.bin": b"nvram"}
    linzer("delete", "template", check=True)
    files.update({key.replace("_", "."): value for key, value in parts.items()})
    body = tvm.directory() + b"".join(tvm.file(name, data) for name, data in files.items() if data is not None)
    path.write_bytes(tvm.container(body))
    return body


def test_a_round_trip_is_the_same_to_the_byte(vm, tmp_path):
    path = tmp_path / "x.tvm"
    done = vm("export", "vm", path, check=True)
    assert (done.stdout, done.stderr) == ("exporting...\n", "")
    before = contents(vm, "vm")
    ranges = list(data_ranges(vm.vm("vm") / "disk.img"))
    assert len(ranges) == 4
    vm("delete", "vm", check=True)
    done = vm("import", path, "vm", check=True)
    assert (done.stdout, done.stderr) == ("importing...\n", "")
    assert contents(vm, "vm") == before  # the MAC, too: nobody has it now
    assert list(data_ranges(vm.vm("vm") / "disk.img")) == ranges
    assert_nothing_left(vm, ["vm"])


def resident(path):
    """How many bytes of a file the page cache holds."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        size = len(mapped)
        pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
        first = ctypes.c_ubyte.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), pages)
        del first  # else the mapping cannot be closed
        assert failed == 0
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


def test_the_holes_of_an_archive_are_not_read(linzer, tmp_path):
    """Also where the data beside them is: every block of an empty disk is a header and a hole."""
    path = tmp_path / "x.tvm"
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    linzer("export", "vm", path, check=True)
    linzer("import", path, "copy", check=True)
    assert resident(path) < path.stat().st_size / 4
    assert vm_disk.digest(linzer.vm("copy")) == vm_disk.digest(linzer.vm("vm"))


def test_the_archive_is_of_apples_form(vm, tmp_path):
    path = tmp_path / "x.tvm"
    vm("export", "vm", path, check=True)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_blocks * 512 < 16 * MIB  # zeroes are holes of the file
    found = list(tvm.entries(tvm.unpack(path.read_bytes())))
    assert [(fields["TYP1"], fields["PATP"].decode()) for fields, _ in found] == \
        [(b"D", ""), (b"F", "config.json"), (b"F", "disk.img"), (b"F", "nvram.bin")]
    keys = ["TYP", "PAT", "UID", "GID", "MOD", "FLG", "MTM", "BTM", "CTM"]
    for fields, content in found:
        assert [key[:3] for key in fields] == keys + ["DAT"] * len(content)
        name = fields["PATP"].decode()
        assert fields["MOD2"] == struct.pack("<H", 0o644 if name else 0o755)
        stat = os.stat(vm.vm("vm") / (name or "config.json"))
        assert struct.unpack("<QI", fields["MTMT"]) == divmod(stat.st_mtime_ns, 10**9)
        if name:
            assert content["DAT"] == (vm.vm("vm") / name).read_bytes()


def test_equal_vms_give_equal_archives(vm, tmp_path):
    for name in "ab":
        vm("export", "vm", tmp_path / name, check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_streams(vm, tmp_path):
    program = vm.program()
    done = subprocess.run(["sh", "-ec", f"{program} export vm - | {program} import - copy"], env=vm.environment(),
                          capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "importing...\n")
    assert done.stderr == "exporting...\n"
    assert vm_disk.digest(vm.vm("copy")) == vm_disk.digest(vm.vm("vm"))
    vm("export", "vm", tmp_path / "file", check=True)
    assert vm("export", "vm", "-", check=True, text=False).stdout == (tmp_path / "file").read_bytes()
    assert_nothing_left(vm, ["vm", "copy"])


@needs_root
def test_a_chain_is_exported_as_one_disk(linzer, tmp_path):
    with home_on(linzer, "ext4", 512 * MIB):
        linzer("create", "--linux", "--disk-size", 1, "base", check=True)
        vm_disk.fill(linzer.vm("base"), 8 * MIB)
        for i, name in enumerate(["one", "two", "three"]):
            linzer("clone", ["base", "one", "two"][i], name, check=True)
            vm_disk.write(linzer.vm(name), 65 + i, (2 + 5 * i) * MIB)
        assert len(vm_disk.layers(linzer.vm("three"))) > 2
        linzer("export", "three", tmp_path / "x.tvm", check=True)
        linzer("import", tmp_path / "x.tvm", "copy", check=True)
        assert not (linzer.vm("copy") / "disk.json").exists()
        assert vm_disk.layers(linzer.vm("copy")) == [{"file": "disk.img", "format": "raw"}]
        assert vm_disk.digest(linzer.vm("copy")) == vm_disk.digest(linzer.vm("three"))
        assert (linzer.vm("copy") / "disk.img").stat().st_blocks * 512 < 10 * MIB


def test_import_gives_a_new_mac_iff_another_vm_has_it(vm, tmp_path):
    def mac(name):
        return json.loads((vm.vm(name) / "config.json").read_text())["macAddress"]

    vm("export", "vm", tmp_path / "x.tvm", check=True)
    before = mac("vm")
    vm("import", tmp_path / "x.tvm", "copy", check=True)
    assert mac("copy") != before
    vm("import", tmp_path / "x.tvm", "vm", check=True)
    assert mac("vm") == before
    vm("delete", "vm", check=True)
    vm("import", tmp_path / "x.tvm", "copy", check=True)
    assert mac("copy") == before


# The default path and its question.

def test_the_default_path(vm, tmp_path):
    vm("export", "vm", check=True, cwd=tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["vm.tvm"]


@pytest.mark.parametrize("answer", ["no\n", "", "\n", "y\n", "YES\n", " yes\n", "yes \n", "yesyes\n"])
def test_only_yes_overwrites(vm, tmp_path, answer):
    (tmp_path / "vm.tvm").write_text("precious")
    done = vm("export", "vm", cwd=tmp_path, input=answer)
    question = "file vm.tvm already exists, are you sure you want to overwrite it? (yes, [no])? "
    assert (done.returncode, done.stdout, done.stderr) == (0, question, "")
    assert (tmp_path / "vm.tvm").read_text() == "precious"


@pytest.mark.parametrize("answer", ["yes\n", "yes"])
def test_yes_overwrites(vm, tmp_path, answer):
    (tmp_path / "vm.tvm").write_text("precious")
    done = vm("export", "vm", cwd=tmp_path, input=answer, check=True)
    assert done.stdout.endswith("? exporting...\n")
    vm("import", tmp_path / "vm.tvm", "copy", check=True)


def test_a_given_path_is_overwritten_without_a_question(vm, tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    (tmp_path / "link").symlink_to("x")
    done = vm("export", "vm", tmp_path / "link", check=True)
    assert done.stdout == "exporting...\n"
    assert (tmp_path / "link").is_symlink()
    assert path.read_bytes()[:4] == b"pbze"


def test_a_fifo_and_a_device_are_written_to(vm, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    child = vm.start("export", "vm", tmp_path / "fifo", stdout=subprocess.DEVNULL)
    vm("import", tmp_path / "fifo", "copy", check=True)
    assert child.wait(60) == 0
    assert vm_disk.digest(vm.vm("copy")) == vm_disk.digest(vm.vm("vm"))
    vm("export", "vm", "/dev/null", check=True)
    assert pathlib.Path("/dev/null").is_char_device()


# What is refused.

def test_a_running_vm_is_not_exported(vm, tmp_path):
    with running(vm, "vm"):
        done = vm("export", "vm", tmp_path / "x.tvm")
        assert (done.returncode, done.stderr) == (1, 'VM "vm" is running\n')
    assert not (tmp_path / "x.tvm").exists()


def test_a_running_vm_is_not_replaced(vm, tmp_path):
    vm("export", "vm", tmp_path / "x.tvm", check=True)
    before = contents(vm, "vm")
    with running(vm, "vm"):
        done = vm("import", tmp_path / "x.tvm", "vm")
        assert (done.returncode, done.stderr) == (1, 'VM "vm" is running\n')
    assert contents(vm, "vm") == before
    assert_nothing_left(vm, ["vm"])


def test_a_vm_that_starts_meanwhile_is_not_replaced(vm, tmp_path):
    vm("export", "vm", tmp_path / "x.tvm", check=True)
    bytes_ = (tmp_path / "x.tvm").read_bytes()
    child = vm.start("import", "-", "vm", stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    child.stdin.write(bytes_[:8 * MIB])
    child.stdin.flush()
    with running(vm, "vm"):
        child.stdin.write(bytes_[8 * MIB:])
        child.stdin.close()
        assert child.wait(60) == 1
    assert child.stderr.read() == b'VM "vm" is running\n'
    child.stdin = None
    assert_nothing_left(vm, ["vm"])


def test_import_wants_a_local_name(vm):
    done = vm("import", "x.tvm", "ghcr.io/a/b")
    assert done.returncode == 64
    assert done.stderr.startswith("Error: <name> should be a local name\nUsage: linzer import <path> <name>\n")


@pytest.mark.parametrize("args, status, text", [
    (("export", "none"), 2, 'the specified VM "none" does not exist\n'),
    (("export", "ghcr.io/a/b"), 2, 'the specified VM "ghcr.io/a/b:latest" does not exist\n'),
    (("export", "vm", "/none/x"), 1, "VM export failed: cannot open '/none': No such file or directory\n"),
    (("export", "vm", "/"), 1, "VM export failed: cannot write '/': Is a directory\n"),
    (("import", "/none", "x"), 1, "VM import failed: cannot open '/none': No such file or directory\n"),
    (("import", "/", "x"), 1, "VM import failed: cannot read: Is a directory\n"),
    (("import", "-", "x"), 1, "VM import failed: the archive is empty\n"),
])
def test_errors(vm, tmp_path, args, status, text):
    done = vm(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (status, text)
    assert_nothing_left(vm, ["vm"])


def test_a_reader_that_goes_away(vm):
    child = vm.start("export", "vm", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.read(1000)
    child.stdout.close()
    assert child.wait(60) == 1
    assert child.stderr.read() == b"exporting...\nVM export failed: cannot write: Broken pipe\n"
    child.stdout = None


def test_no_archive_on_a_terminal(vm):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "wb", buffering=0) as terminal:
        child = vm.start("export", "vm", "-", stdout=terminal, stderr=subprocess.PIPE)
        assert child.wait(60) == 1
        assert child.stderr.read() == b"VM export failed: the standard output is a terminal\n"


# Archives by others.

def test_an_archive_in_tarts_form(linzer):
    """apple.tvm: LZFSE blocks of the reference encoder, all the files that Tart leaves in a VM, xattrs."""
    disk = bytearray(9 * MIB)
    words, x = b"", 1
    while len(words) < 30000:
        x = (x * 1103515245 + 12345) & 0x7fffffff
        word = (x >> 16) % 64
        words += b"%u-%x " % (word, word * word * 7)
    disk[MIB:MIB + 30000] = words[:30000]
    disk[8 * MIB - 500:8 * MIB + 500] = words[:1000]
    linzer("import", HERE / "apple.tvm", "vm", check=True)
    assert (linzer.vm("vm") / "disk.img").read_bytes() == disk
    assert (linzer.vm("vm") / "nvram.bin").read_bytes() == words[:2000] + bytes(2000)
    assert json.loads((linzer.vm("vm") / "config.json").read_text())["macAddress"] == "7e:00:12:34:56:78"
    assert sorted(p.name for p in linzer.vm("vm").iterdir() if p.name[0] != ".") == FILES
    assert not (linzer.vm("vm") / ".explicitly-pulled").exists()
    assert (linzer.vm("vm") / "disk.img").stat().st_blocks * 512 < MIB
    assert "linux" in linzer("get", "vm", "--format", "json", check=True).stdout


def test_other_outer_forms(linzer, tmp_path):
    body = archive_of(linzer, tmp_path / "x")
    for name, form in {"bare": body, "ended": tvm.container(body, end=bytes(16)), "small": tvm.container(body, 100),
                       "stored": tvm.container(body, magic=b"pbz-")}.items():
        (tmp_path / name).write_bytes(form)
        linzer("import", tmp_path / name, name, check=True)
        assert (linzer.vm(name) / "disk.img").read_bytes() == b"disk" * 3000


def test_without_a_root_entry_and_in_any_order(linzer, tmp_path):
    files = {tuple(fields["PATP"].decode() for fields, _ in [entry])[0]: entry[1].get("DAT")
             for entry in tvm.entries(archive_of(linzer, tmp_path / "x"))}
    body = b"".join(tvm.file(name, files[name]) for name in reversed(FILES))
    (tmp_path / "y").write_bytes(tvm.container(body))
    linzer("import", tmp_path / "y", "vm", check=True)
    assert (linzer.vm("vm") / "disk.img").read_bytes() == b"disk" * 3000


def test_what_else_is_in_an_archive_is_never_ours(linzer, tmp_path):
    evil = json.dumps({"version": 1, "size": 1 << 20, "layers": [{"file": "disk.img", "format": "qcow2"}]}).encode()
    extra = {"disk_json": evil, "origin_json": b"{}", "layer-" + "0" * 32: b"x", "_lock": b"x", "config_next_json": b"{",
             "sub/disk_img": b"x", "efivars_fd": b"x"}
    archive_of(linzer, tmp_path / "x", **extra)
    linzer("import", tmp_path / "x", "vm", check=True)
    assert sorted(p.name for p in linzer.vm("vm").iterdir()) == sorted([".lock", *FILES])
    assert (linzer.vm("vm") / "disk.img").read_bytes() == b"disk" * 3000


def test_a_config_that_declares_another_disk_format_makes_no_other_disk(linzer, tmp_path):
    archive_of(linzer, tmp_path / "x")
    config = json.loads(next(c["DAT"] for f, c in tvm.entries(tvm.unpack((tmp_path / "x").read_bytes()))
                             if f["PATP"] == b"config.json"))
    config["diskFormat"] = "qcow2"
    archive_of(linzer, tmp_path / "x", config_json=json.dumps(config).encode())
    linzer("import", tmp_path / "x", "vm", check=True)
    assert not (linzer.vm("vm") / "disk.json").exists()
    assert (linzer.vm("vm") / "disk.img").read_bytes() == b"disk" * 3000


def refused(linzer, path, text):
    done = linzer("import", path, "new")
    assert (done.returncode, done.stdout) == (1, "importing...\n")
    assert done.stderr == f"VM import failed: {text}\n"
    assert_nothing_left(linzer, [])


@pytest.mark.parametrize("missing", FILES)
def test_an_archive_that_lacks_a_file(linzer, tmp_path, missing):
    archive_of(linzer, tmp_path / "x", **{missing.replace(".", "_"): None})
    refused(linzer, tmp_path / "x", "archive does not contain a runnable VM")


ROOT = tvm.directory()
DAMAGED = "the archive is damaged: "
BAD = {
    "garbage": (b"hello, world", "not an archive of a VM"),
    "a zip": (b"PK\3\4" + bytes(100), "not an archive of a VM"),
    "lz4": (b"pbz4" + bytes(100), "the archive is compressed with LZ4, which is not supported"),
    "zlib": (b"pbzz" + bytes(100), "the archive is compressed with zlib, which is not supported"),
    "lzma": (b"pbzx" + bytes(100), "the archive is compressed with LZMA, which is not supported"),
    "lzbitmap": (b"pbzb" + bytes(100), "the archive is compressed with LZBITMAP, which is not supported"),
    "encrypted": (b"AEA1" + bytes(100), "the archive is encrypted, which is not supported"),
    "huge blocks": (b"pbze" + struct.pack(">Q", 1 << 40),
                    f"the archive has blocks of {1 << 40} bytes: 1 to 67108864 can be read"),
    "a block that lies": (b"pbze" + struct.pack(">QQQ", 4096, 1 << 50, 5) + b"hello",
                          DAMAGED + f"a block of {1 << 50} bytes in 5"),
    "a block that grew": (b"pbze" + struct.pack(">QQQ", 4096, 5, 6) + b"hello!", DAMAGED + "a block of 5 bytes in 6"),
    "lzfse that is none": (b"pbze" + struct.pack(">QQQ", 4096, 100, 16) + b"no LZFSE at all!",
                           "LZFSE data are damaged: more than was announced"),
    "lzfse without end": (b"pbze" + struct.pack(">QQQ", 4096, 100, 13) + b"bvx-\5\0\0\0hello",
                          "LZFSE data are damaged: it has no end"),
    "trailing garbage": (tvm.container(ROOT, end=b"x"), "the archive is truncated"),
    "after the end": (tvm.container(ROOT, end=bytes(17)), "the archive goes on after its end"),
    "no entry": (tvm.container(ROOT + b"this is no entry"), DAMAGED + "no entry where one should be"),
    "a bad header": (tvm.container(tvm.header(b"TYP1F", b"XXX?")), DAMAGED + "an entry's header"),
    "sizes that overflow": (tvm.container(tvm.header(b"TYP1F", tvm.blob("XAT", 2**64 - 1), tvm.blob("ACL", 1))),
                            DAMAGED + "an entry's header"),
    "metadata without end": (tvm.container(tvm.header(b"TYP1F", tvm.blob("XAT", 1 << 60)) + b"x"),
                             "the archive is truncated"),
    "a long path": (tvm.container(tvm.file("x" * 5000, b"")), DAMAGED + "an entry's header"),
    "a NUL in a path": (tvm.container(tvm.file("disk.img\0x", b"")), DAMAGED + "an entry's header"),
    "a path up": (tvm.container(tvm.file("../../evil", b"x")), "the archive has a path outside of it: '../../evil'"),
    "a path up inside": (tvm.container(tvm.file("a/../../b", b"x")), "the archive has a path outside of it: 'a/../../b'"),
    "an absolute path": (tvm.container(tvm.file("/etc/evil", b"x")), "the archive has a path outside of it: '/etc/evil'"),
    "a path that drives a terminal": (tvm.container(tvm.file("../\x1b[2J", b"x")), None),
    "a link": (tvm.container(tvm.link("disk.img", "/etc/shadow")), "the archive has a link: 'disk.img'"),
    "another link": (tvm.container(tvm.link("x", "/etc/shadow")), "the archive has a link: 'x'"),
    "a directory for a disk": (tvm.container(tvm.directory("disk.img")), "'disk.img' in the archive is not a file"),
    "a device for a disk": (tvm.container(tvm.header(b"TYP1B", tvm.text("PAT", "disk.img"))),
                            "'disk.img' in the archive is not a file"),
    "two disks": (tvm.container(tvm.file("disk.img", b"a") + tvm.file("disk.img", b"b")),
                  "the archive has 'disk.img' twice"),
    "two configs": (tvm.container(tvm.file("config.json", b"{}") * 2), "the archive has 'config.json' twice"),
    "an empty disk": (tvm.container(tvm.file("disk.img", b"")), "'disk.img' in the archive is empty"),
    "a huge disk": (tvm.container(tvm.file("disk.img", b"x", size=(1 << 46) + 1)),
                    f"'disk.img' in the archive is larger than {1 << 46} bytes"),
    "a huge config": (tvm.container(tvm.file("config.json", b"x", size=MIB + 1)),
                      f"'config.json' in the archive is larger than {MIB} bytes"),
    "a huge nvram": (tvm.container(tvm.file("nvram.bin", b"x", size=128 * MIB + 1)),
                     f"'nvram.bin' in the archive is larger than {128 * MIB} bytes"),
    "a disk cut off": (tvm.container(tvm.file("disk.img", b"x", size=1 << 40)), "disk.img: the archive is truncated"),
    "too many entries": (tvm.container(ROOT * 4096), "the archive has more than 4096 entries"),
    "a config of nonsense": (tvm.container(b"".join(tvm.file(name, b"{") for name in FILES)), None),
    "a config of a bad type": (tvm.container(b"".join(tvm.file(n, b'{"version":"x"}') for n in FILES)), None),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives(linzer, tmp_path, case):
    archive, text = BAD[case]
    (tmp_path / "x").write_bytes(archive)
    if text is not None:
        refused(linzer, tmp_path / "x", text)
        return
    done = linzer("import", tmp_path / "x", "new")
    assert done.returncode == 1 and done.stderr.startswith("VM import failed: ")
    assert len(done.stderr.splitlines()) == 1 and done.stderr[:-1].isprintable()
    assert_nothing_left(linzer, [])


@pytest.mark.parametrize("form", ["stored", "bare", "lzfse"])
def test_truncated_anywhere(linzer, tmp_path, form):
    if form == "lzfse":
        archive = (HERE / "apple.tvm").read_bytes()
    else:
        body = archive_of(linzer, tmp_path / "x")
        archive = body if form == "bare" else tvm.container(body, 2000)
    for i in range(20):
        (tmp_path / "x").write_bytes(archive[:len(archive) * i // 20])
        done = linzer("import", tmp_path / "x", "new")
        assert done.returncode == 1
        assert done.stderr.startswith("VM import failed: ") and len(done.stderr.splitlines()) == 1
        assert_nothing_left(linzer, [])
    (tmp_path / "x").write_bytes(archive)
    linzer("import", tmp_path / "x", "new", check=True)


def test_a_failed_import_leaves_the_vm_that_was_there(vm, tmp_path):
    vm("export", "vm", tmp_path / "x", check=True)
    before = contents(vm, "vm")
    os.truncate(tmp_path / "x", os.stat(tmp_path / "x").st_size - 100)
    assert vm("import", tmp_path / "x", "vm").returncode == 1
    assert contents(vm, "vm") == before
    assert_nothing_left(vm, ["vm"])


# Killed, and no room.

def test_a_killed_import_leaves_nothing(vm, tmp_path):
    vm("export", "vm", tmp_path / "x", check=True)
    archive = (tmp_path / "x").read_bytes()
    for part in range(1, 10):
        child = vm.start("import", "-", "new", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        child.stdin.write(archive[:len(archive) * part // 10])
        child.stdin.flush()
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdin = None
        assert vm("list", "-q", check=True).stdout == "vm\n"  # which collects
        assert_nothing_left(vm, ["vm"])


def test_a_killed_export_leaves_nothing(vm, tmp_path):
    where = tmp_path / "out"
    where.mkdir()
    (where / "x").write_text("old")
    rng = random.Random(5)
    killed = 0
    for _ in range(20):
        child = vm.start("export", "vm", where / "x", stdout=subprocess.DEVNULL)
        time.sleep(rng.random() * 0.15)
        child.kill()
        killed += child.wait() != 0
        assert os.listdir(where) == ["x"]
        with open(where / "x", "rb") as file:
            assert file.read(4) in (b"old", b"pbze")
    assert killed > 0
    if (where / "x").read_bytes()[:4] == b"pbze":
        vm("import", where / "x", "copy", check=True)
        assert vm_disk.digest(vm.vm("copy")) == vm_disk.digest(vm.vm("vm"))


@needs_root
def test_no_room_to_import(vm, tmp_path):
    vm("export", "vm", tmp_path / "x", check=True)
    with home_on(vm, "ext4", 4 * MIB):
        done = vm("import", tmp_path / "x", "new")
        assert done.returncode == 1
        assert done.stderr.startswith("VM import failed: ") and "No space left on device" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert_nothing_left(vm, [])


@needs_root
def test_no_room_to_export(vm):
    with mounted("ext4", 4 * MIB) as path:
        (path / "x").write_text("old")
        done = vm("export", "vm", path / "x")
        assert done.returncode == 1
        assert done.stderr == "VM export failed: cannot write: No space left on device\n"
        assert (path / "x").read_text() == "old"
        assert [p.name for p in path.iterdir() if p.name != "lost+found"] == ["x"]


def test_a_cached_image_is_exported(vm, tmp_path):
    digest = "sha256:" + "0123456789abcdef" * 4
    repository = vm.home / "cache/OCIs/ghcr.io/org/image"
    (repository / digest).mkdir(parents=True)
    for name in FILES:
        subprocess.run(["cp", "--sparse=always", vm.vm("vm") / name, repository / digest / name], check=True)
        (repository / digest / name).chmod(0o400)
    (repository / "latest").symlink_to(repository / digest)
    for i, name in enumerate(["ghcr.io/org/image", "ghcr.io/org/image:latest", f"ghcr.io/org/image@{digest}"]):
        vm("export", name, tmp_path / "x", check=True)
        vm("import", tmp_path / "x", f"copy{i}", check=True)
        assert vm_disk.digest(vm.vm(f"copy{i}")) == vm_disk.digest(vm.vm("vm"))
