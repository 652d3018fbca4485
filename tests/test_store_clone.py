# SPDX-License-Identifier: Apache-2.0
"""clone on each kind of file system (design decision 2)."""

import time

import pytest

import vm_disk
from loop_mount import FILE_SYSTEMS, home_on, needs_root, used

pytestmark = needs_root
MIB = 1 << 20


@pytest.fixture(params=FILE_SYSTEMS)
def space(request, linzer):
    with home_on(linzer, request.param, 8 << 30) as path:
        yield path


def make(linzer, name, megabytes=64):
    linzer("create", "--linux", "--disk-size", 1, name, check=True)
    vm_disk.fill(linzer.vm(name), megabytes * MIB)


def eventually(condition, seconds=30):
    """xfs frees the blocks of a deleted file in the background."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def test_clone_takes_less_than_a_megabyte(linzer, space):
    make(linzer, "vm", 512)
    linzer("clone", "vm", "first", check=True)
    before = used(space)
    for i in range(10):
        linzer("clone", "vm", f"c{i}", check=True)
    assert used(space) - before < 10 * 1000 * 1000
    assert vm_disk.digest(linzer.vm("c9")) == vm_disk.digest(linzer.vm("vm"))


@pytest.mark.parametrize("first", ["source", "clone"])
def test_neither_sees_the_others_writes(linzer, space, first):
    make(linzer, "vm")
    linzer("clone", "vm", "copy", check=True)
    vm_disk.write(linzer.vm("vm"), 1, 0)
    vm_disk.write(linzer.vm("copy"), 2, 0)
    linzer("clone", "copy", "third", check=True)
    vm_disk.write(linzer.vm("copy"), 3, MIB)
    assert vm_disk.holds(linzer.vm("vm"), 1, 0)
    assert vm_disk.holds(linzer.vm("third"), 2, 0)
    gone, left, byte = ("vm", "copy", 2) if first == "source" else ("copy", "vm", 1)
    expected = vm_disk.digest(linzer.vm(left))
    linzer("delete", gone, check=True)
    assert vm_disk.digest(linzer.vm(left)) == expected
    assert vm_disk.holds(linzer.vm(left), byte, 0)
    assert vm_disk.holds(linzer.vm("third"), 2, 0)
    assert not vm_disk.holds(linzer.vm("third"), 3, MIB)


def test_deleting_gives_all_back(linzer, space):
    linzer("list", check=True)
    empty = used(space)
    make(linzer, "vm", 128)
    for i in range(5):
        linzer("clone", "vm", f"c{i}", check=True)
        vm_disk.write(linzer.vm(f"c{i}"), i, 0)
    for name in ["vm", *(f"c{i}" for i in range(5))]:
        linzer("delete", name, check=True)
    assert eventually(lambda: used(space) - empty < 8 * MIB)  # what the file system itself grew by
    assert list((linzer.home / "vms").iterdir()) == []
    assert list((linzer.home / "tmp").iterdir()) == []


def test_twenty_generations(linzer, space):
    make(linzer, "g0")
    for i in range(1, 21):
        linzer("clone", f"g{i - 1}", f"g{i}", check=True)
        vm_disk.write(linzer.vm(f"g{i}"), i, i * MIB)
        linzer("delete", f"g{i - 1}", check=True)
    assert len(vm_disk.layers(linzer.vm("g20"))) <= 9
    for i in range(1, 21):
        assert vm_disk.holds(linzer.vm("g20"), i, i * MIB)
