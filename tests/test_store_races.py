# SPDX-License-Identifier: Apache-2.0
"""Many verbs upon few names at once: every command succeeds or says why in one line, and nothing is left over."""

import random
import subprocess
import threading

import pytest

import vm_disk

NAMES = ["a", "b", "c"]
WORKERS = 6
ROUNDS = 40
EXPECTED = ["does not exist", "failed to rename a non-existent local VM", "already exists, delete it first!"]


def commands(seed):
    """A reproducible mixture."""
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        one, two = rng.choice(NAMES), rng.choice(NAMES)
        yield rng.choice([
            ("clone", "base", one), ("clone", "base", one), ("clone", one, two), ("delete", one), ("rename", one, two),
            ("set", one, "--cpu", str(rng.randrange(1, 9))), ("set", one, "--disk-size", str(rng.randrange(2, 9))),
            ("list",), ("get", one),
        ])


def expected(done):
    if done.returncode == 0:
        return True
    lines = done.stderr.splitlines()
    return any(text in lines[0] for text in EXPECTED) or "should be larger than the current disk size" in lines[0]


def test_everything_at_once(linzer):
    linzer("create", "--linux", "--disk-size", 1, "base", check=True)
    vm_disk.fill(linzer.vm("base"), 4 << 20)
    before = vm_disk.digest(linzer.vm("base"))
    surprises = []

    def work(seed):
        for command in commands(seed):
            try:
                done = linzer(*command)
            except subprocess.TimeoutExpired:
                surprises.append((command, "deadlock"))
                return
            if not expected(done):
                surprises.append((command, done.returncode, done.stderr))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert surprises == []
    names = linzer("list", "-q", check=True).stdout.split()
    assert "base" in names
    assert sorted(p.name for p in (linzer.home / "vms").iterdir()) == names
    assert list((linzer.home / "tmp").iterdir()) == []
    # nobody ever wrote to a disk: every copy, of whatever generation, begins as base does
    for name in names:
        linzer("clone", name, "probe", check=True)
        linzer("set", "probe", "--disk-size", 9, check=False)
        assert len(vm_disk.layers(linzer.vm(name))) <= 9
        assert begins_as_base(linzer, name)
    assert vm_disk.digest(linzer.vm("base")) == before


def begins_as_base(linzer, name):
    compare = ["qemu-img", "compare", vm_disk.image(linzer.vm("base")), vm_disk.image(linzer.vm(name))]
    # 0: identical; sizes may differ, what is beyond is zero: then it says so and is 0 too
    return subprocess.run(compare, capture_output=True).returncode == 0


@pytest.mark.parametrize("verb", [("delete", "vm"), ("rename", "vm", "other")])
def test_two_at_once_succeed_once(linzer, verb):
    for _ in range(10):
        linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
        children = [linzer.start(*verb, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    for _ in range(2)]
        ended = sorted((child.communicate(timeout=60)[1], child.returncode) for child in children)
        assert ended[0] == ("", 0)
        assert ended[1][1] == (2 if verb[0] == "delete" else 64)
        linzer("delete", "other")
