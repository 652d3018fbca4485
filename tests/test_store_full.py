# SPDX-License-Identifier: Apache-2.0
"""A full file system during create, clone and set: one line, nothing half-made, every VM as it was."""

import os

import pytest

import vm_disk
from loop_mount import home_on, needs_root

pytestmark = needs_root
MIB = 1 << 20


@pytest.fixture
def space(linzer):
    with home_on(linzer, "ext4", 64 * MIB) as path:
        linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
        vm_disk.fill(linzer.vm("vm"), 8 * MIB)
        yield path


def fill_up(path):
    """Leave no block free; the last ones are taken in small pieces."""
    with open(path / "ballast", "wb", buffering=0) as file:
        for size in (MIB, 4096, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
        try:
            os.fsync(file.fileno())
        except OSError:
            pass


def snapshot(directory):
    """Every file's content and the disk's."""
    files = {p.name: p.read_bytes() for p in directory.iterdir() if p.name not in (".accessed", ".lock")}
    return files, vm_disk.digest(directory)


def assert_refused(done):
    assert done.returncode == 1, done
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [
    ("create", "--linux", "--disk-size", "1", "new"),
    ("clone", "vm", "new"),
    ("clone", "--raw", "vm", "new"),
    ("set", "vm", "--cpu", "3"),
])
def test_nothing_is_half_made(linzer, space, command):
    before = snapshot(linzer.vm("vm"))
    fill_up(space)
    assert_refused(linzer(*command))
    assert linzer("list", "-q", check=True).stdout == "vm\n"
    assert [p.name for p in (linzer.home / "vms").iterdir()] == ["vm"]
    assert list((linzer.home / "tmp").iterdir()) == []
    os.unlink(space / "ballast")
    assert snapshot(linzer.vm("vm")) == before
    linzer(*command, check=True)


def test_set_of_an_overlay(linzer, space):
    linzer("clone", "vm", "copy", check=True)
    vm_disk.write(linzer.vm("copy"), 7, 0)
    before = vm_disk.digest(linzer.vm("copy"))
    fill_up(space)
    assert_refused(linzer("set", "copy", "--flatten"))
    assert_refused(linzer("clone", "copy", "third"))
    assert vm_disk.digest(linzer.vm("copy")) == before
    os.unlink(space / "ballast")
    linzer("clone", "copy", "third", check=True)
    assert vm_disk.digest(linzer.vm("third")) == before


def test_delete_works_on_a_full_disk(linzer, space):
    linzer("clone", "vm", "copy", check=True)
    fill_up(space)
    linzer("delete", "vm", "copy", check=True)
    assert linzer("list", "-q", check=True).stdout == ""
