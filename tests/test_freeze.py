# SPDX-License-Identifier: Apache-2.0
"""Clones of running VMs: what was acknowledged is on the disk, and no clone ever changes.

A guest writes numbered pages past its page cache and says each number when the disk has it
(mini_guest.c). A disk is right if it holds exactly what writing up to some number leaves, and if that number
is at least the last one that was acknowledged in time.
"""

import fcntl
import hashlib
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import mini_guest
import scratch
import vm_disk
from conftest import Linzer
from loop_mount import home_on, needs_root
from mini_guest import AREA, PAGE, SLOTS
from test_life import alive, eventually, runtime

KILLS = 6  # in every run; fifty in a soak


@pytest.fixture(scope="module")
def disk(image_home):
    return mini_guest.image(image_home)


def make(linzer, disk, name="mini"):
    linzer("create", "--from-image", disk, name, check=True)
    linzer("set", name, "--cpu", 1, "--memory", 512, check=True)


@pytest.fixture(scope="module")
def minis(disk, tmp_path_factory):
    """A home with the VM "mini", which is only cloned."""
    with scratch.directory() as place:
        linzer = Linzer(place / "home", tmp_path_factory.mktemp("names"))
        make(linzer, disk)
        yield linzer
        clear(linzer)
        linzer.end()


@pytest.fixture
def home(minis):
    """The same, with nothing else in it."""
    clear(minis, keep={"mini"})
    return minis


def clear(linzer, keep=frozenset()):
    for name in set(listed(linzer)) - keep:
        linzer("stop", name, "--timeout", 1)
        linzer("delete", name)


def listed(linzer):
    return linzer("list", "--quiet", check=True).stdout.split()


def boot(linzer, name):
    linzer("run", "--wait-ready", name, check=True)


def stop(linzer, name):
    """When it returns, nobody has the disk any more."""
    linzer.switch_off(name)


class Writer:
    """A guest that writes; `acknowledged` is the last number that we were told of."""

    def __init__(self, linzer, name, tag, first):
        self.acknowledged = first - 1
        self.child = linzer.start("exec", name, "/init", "write", tag, first, 1 << 40, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        for line in self.child.stdout:
            if line.endswith("\n"):
                self.acknowledged = int(line)

    def wait_for_more(self, count=3):
        wanted = self.acknowledged + count
        eventually(lambda: self.acknowledged >= wanted, 120)

    def end(self):
        """When its VM or its client ended. Return: the last number."""
        self.thread.join(120)
        assert not self.thread.is_alive()
        self.child.wait(120)
        return self.acknowledged

    def stop(self):
        self.child.kill()
        return self.end()


def content(directory):
    """The whole disk, read offline through all its layers."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="linzer-test-") as flat:
        subprocess.run(["qemu-img", "convert", "-O", "raw", vm_disk.image(directory), flat.name], check=True)
        return pathlib.Path(flat.name).read_bytes()


def digest(directory):
    return hashlib.sha256(content(directory)).hexdigest()


def cells(disk):
    """(tag, number) of each page of the area; no page is torn."""
    found = []
    for at in range(AREA, AREA + SLOTS * PAGE, PAGE):
        assert disk[at:at + PAGE] == disk[at:at + 16] * (PAGE // 16), f"torn page at {at}"
        found.append(struct.unpack("<QQ", disk[at:at + 16]))
    return found


def cells_of_guest(linzer, name):
    lines = linzer("exec", name, "/init", "read", check=True).stdout.splitlines()
    return [tuple(map(int, line.split())) for line in lines]


def left_by(history, last):
    """What the area holds when numbers up to `last` were written; history: (tag, its first number)."""
    found = [(0, 0)] * SLOTS
    for number in range(max(1, last - SLOTS + 1), last + 1):
        tag = [tag for tag, first in history if first <= number][-1]
        found[number % SLOTS] = (tag, number)
    return found


def last_number(found, history):
    """Up to which number the area was written: all of them, and nothing else."""
    last = max(number for _, number in found)
    assert found == left_by(history, last)
    return last


def last_on_disk(linzer, name, history):
    return last_number(cells(content(linzer.vm(name))), history)


def kill_run(linzer, name):
    """-> when to look: everything of that run is gone."""
    state = runtime(linzer, name)
    os.kill(state["pid"], signal.SIGKILL)
    return state


def kill_qemu(linzer, name):
    state = runtime(linzer, name)
    os.kill(state["qemuPid"], signal.SIGKILL)
    return state


class Killing:
    """One source that is cloned, killed and run again, and all of its clones."""

    def __init__(self, linzer):
        self.linzer, self.history, self.last = linzer, [], 0
        self.finished = {}  # name of a clone -> its digest when it was done
        self.took = 0.05  # seconds, a clone
        self.serial = 0
        self.cut = 0  # clones that did not come about
        linzer("clone", "mini", "source", check=True)

    def start(self):
        tag = len(self.history) + 1
        self.history.append((tag, self.last + 1))
        boot(self.linzer, "source")
        self.writer = Writer(self.linzer, "source", tag, self.last + 1)
        self.writer.wait_for_more()

    def begin_clone(self):
        self.serial += 1
        name = f"c{self.serial}"
        before = self.writer.acknowledged
        return name, before, self.linzer.start("clone", "source", name, stderr=subprocess.PIPE, text=True)

    def look_at(self, name, before, child):
        """A clone that is done is whole and holds what was acknowledged before it began."""
        _, errors = child.communicate(timeout=60)
        exists = name in listed(self.linzer)
        if child.returncode >= 0:
            assert exists == (child.returncode == 0), errors
            assert len(errors.splitlines()) == (child.returncode != 0), errors
        if not exists:
            self.cut += 1
            return
        disk = content(self.linzer.vm(name))
        assert last_number(cells(disk), self.history) >= before
        self.finished[name] = hashlib.sha256(disk).hexdigest()

    def clone(self):
        began = time.monotonic()
        clone = self.begin_clone()
        clone[2].wait(60)
        self.took = time.monotonic() - began
        self.look_at(*clone)
        assert clone[0] in self.finished

    def kill_clone(self, moment):
        """The clone command is killed; its source goes on."""
        clone = self.begin_clone()
        time.sleep(moment * self.took)
        clone[2].kill()
        self.look_at(*clone)
        self.writer.wait_for_more()
        self.clone()

    def kill_source(self, kill, moment):
        clone = self.begin_clone()
        time.sleep(moment * self.took)
        state = kill(self.linzer, "source")
        self.look_at(*clone)
        eventually(lambda: not alive(state["qemuPid"]) and not alive(state["pid"]), 60)
        self.check_source()

    def check_source(self):
        """Nothing that was acknowledged is lost, read offline and by a clone of the stopped VM."""
        acknowledged = self.writer.end()
        self.linzer("clone", "source", "probe", check=True)
        self.last = last_on_disk(self.linzer, "source", self.history)
        assert self.last >= acknowledged
        assert digest(self.linzer.vm("probe")) == digest(self.linzer.vm("source"))
        self.linzer("delete", "probe", check=True)

    def check_clones(self, newest=None):
        """What is listed is whole; the content of all (or the newest) is what it was."""
        assert set(listed(self.linzer)) == {"mini", "source", *self.finished}
        for name in list(self.finished)[-newest if newest else None:]:
            assert digest(self.linzer.vm(name)) == self.finished[name], name
        assert [p.name for p in (self.linzer.home / "tmp").iterdir() if p.is_dir()] == []

    def point(self, number, moment):
        """Of ten points, two kill the clone command, two QEMU and six `run`."""
        self.start()
        self.clone()
        if number % 5 == 3:
            self.kill_clone(moment)
            stop(self.linzer, "source")
            self.check_source()
        else:
            self.kill_source(kill_qemu if number % 5 == 1 else kill_run, moment)
        self.check_clones(newest=4)


def kill_at(home, count):
    killing = Killing(home)
    for number in range(count):
        killing.point(number, 1.1 * (number * 7 % count) / count)
    killing.start()  # it still runs
    killing.clone()
    stop(home, "source")
    killing.check_source()
    killing.check_clones()
    print(f"{count} kills, {killing.cut} cut a clone short, {len(killing.finished)} clones, {killing.last} pages")


def test_kill_9_at_6_points_around_a_freeze(home):
    kill_at(home, KILLS)


@pytest.mark.soak
def test_kill_9_at_50_points_around_a_freeze(home):
    kill_at(home, 50)


def test_clone_of_a_running_clone_of_a_running_source(home):
    """Three deep, written to on all sides, deleted from the top."""
    for name, source, tag in (("a", "mini", 1), ("b", "a", 2), ("c", "b", 3)):
        home("clone", source, name, check=True)
        boot(home, name)
        home("exec", name, "/init", "write", tag, 1 + 100 * tag, 50, check=True)
        home("clone", name, f"{name}-early", check=True)
        home("exec", name, "/init", "write", tag, 51 + 100 * tag, 50, check=True)
    by_a, by_b, by_c = ({tag: range(1 + 100 * tag, 101 + 100 * tag)} for tag in (1, 2, 3))
    expected = {"a": by_a, "b": by_a | by_b, "c": by_a | by_b | by_c,
                "a-early": {1: range(101, 151)}, "b-early": by_a | {2: range(201, 251)},
                "c-early": by_a | by_b | {3: range(301, 351)}}

    def area(name):
        found = [(0, 0)] * SLOTS
        for tag, numbers in expected[name].items():
            for number in numbers:
                found[number % SLOTS] = (tag, number)
        return found

    for name in ("a", "b", "c"):
        assert cells_of_guest(home, name) == area(name)
    stop(home, "a")
    assert cells(content(home.vm("a"))) == area("a")
    home("delete", "a", check=True)
    for name in ("b", "c"):
        assert cells_of_guest(home, name) == area(name)
    stop(home, "b")
    stop(home, "c")
    for gone in ("c-early", "b", "a-early", "c", "b-early"):
        for name in set(listed(home)) - {"mini"}:
            assert cells(content(home.vm(name))) == area(name), (gone, name)
        home("delete", gone, check=True)
    assert listed(home) == ["mini"]


def test_a_source_that_is_written_to_between_clones_stays_shallow(home):
    """Twelve freezes of one run; then the next run of a clone, and a clone of the source, merge them."""
    home("clone", "mini", "source", check=True)
    boot(home, "source")
    for i in range(12):
        home("exec", "source", "/init", "write", 1, 1 + 10 * i, 10, check=True)
        home("clone", "source", f"c{i}", check=True)
    assert len(vm_disk.layers(home.vm("source"))) > 8
    assert len(vm_disk.layers(home.vm("c11"))) > 8
    assert cells_of_guest(home, "source") == left_by([(1, 1)], 120)
    stop(home, "source")
    before = {name: digest(home.vm(name)) for name in listed(home)}
    home("clone", "source", "merged", check=True)
    assert len(vm_disk.layers(home.vm("source"))) <= 8
    assert len(vm_disk.layers(home.vm("merged"))) <= 8
    assert digest(home.vm("merged")) == before["source"]
    assert {name: digest(home.vm(name)) for name in before} == before
    boot(home, "c11")
    assert len(vm_disk.layers(home.vm("c11"))) <= 8
    assert cells_of_guest(home, "c11") == left_by([(1, 1)], 120)
    stop(home, "c11")
    for i in range(11):
        assert last_on_disk(home, f"c{i}", [(1, 1)]) == 10 * (i + 1)


def test_four_clones_at_once_of_a_running_source(home):
    home("clone", "mini", "source", check=True)
    boot(home, "source")
    writer = Writer(home, "source", 1, 1)
    writer.wait_for_more()
    before = writer.acknowledged
    clones = [home.start("clone", "source", f"c{i}") for i in range(4)]
    assert [clone.wait(60) for clone in clones] == [0] * 4
    writer.wait_for_more()
    stop(home, "source")
    acknowledged = writer.end()
    for i in range(4):
        assert before <= last_on_disk(home, f"c{i}", [(1, 1)])
    assert last_on_disk(home, "source", [(1, 1)]) >= acknowledged


@pytest.mark.parametrize("after", [0, 0.02, 0.05])
def test_clone_while_the_source_is_being_stopped(home, after):
    """It comes about whole or not at all, and the source loses nothing."""
    home("clone", "mini", "source", check=True)
    boot(home, "source")
    writer = Writer(home, "source", 1, 1)
    writer.wait_for_more()
    before, engine = writer.acknowledged, runtime(home, "source")["qemuPid"]
    stopping = home.start("stop", "source", "--timeout", 1)
    time.sleep(after)
    done = home("clone", "source", "copy")
    assert stopping.wait(60) == 0
    acknowledged = writer.end()
    eventually(lambda: not alive(engine), 60)  # whose `run` is killed after a second
    assert (done.returncode, done.stderr) == (0, "")
    assert last_on_disk(home, "copy", [(1, 1)]) >= before
    assert last_on_disk(home, "source", [(1, 1)]) >= acknowledged


@pytest.fixture
def writing(home):
    """Holds what a QEMU holds that writes to the disk of "source", until it is called."""
    F_OFD_SETLK, BYTE = 37, 101
    home("clone", "mini", "source", check=True)
    with open(home.vm("source") / "disk.img", "rb") as disk:
        fcntl.fcntl(disk, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, BYTE, 1, 0))
        yield disk.close


@pytest.mark.parametrize("verb", [["clone", "source", "copy"], ["run", "--detach", "source"],
                                  ["set", "source", "--disk-size", "1"]], ids=["clone", "run", "set"])
def test_a_dying_qemu_is_waited_for(home, writing, verb):
    """That of a killed `run` has the disk for some milliseconds after the running lock has gone."""
    waiting = home.start(*verb, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    assert waiting.poll() is None
    assert "copy" not in listed(home) and not (home.vm("source") / "run.json").exists()
    writing()
    assert waiting.wait(30) == 0, waiting.stderr.read()


def test_a_disk_that_another_qemu_uses_is_refused(home, writing):
    done = home("clone", "source", "copy")
    assert (done.returncode, done.stderr) == (1, 'another QEMU uses the disk of VM "source"\n')
    assert listed(home) == ["mini", "source"]


def test_clone_of_a_vm_whose_qemu_does_not_answer(home):
    """One line, and nothing has changed: it goes on, and can be cloned when it is stopped."""
    home("clone", "mini", "source", check=True)
    boot(home, "source")
    writer = Writer(home, "source", 1, 1)
    writer.wait_for_more()
    qemu = runtime(home, "source")["qemuPid"]
    os.kill(qemu, signal.SIGSTOP)
    try:
        before = vm_disk.layers(home.vm("source"))
        done = home("clone", "source", "copy")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
        assert vm_disk.layers(home.vm("source")) == before
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert "copy" not in listed(home)
    writer.wait_for_more()
    stop(home, "source")
    acknowledged = writer.end()
    home("clone", "source", "copy", check=True)
    assert last_on_disk(home, "source", [(1, 1)]) >= acknowledged
    assert digest(home.vm("copy")) == digest(home.vm("source"))


@needs_root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_clone_of_a_running_vm_shares_extents(linzer, disk, kind):
    """Where the file system can, the disk stays one raw file; the clone is what a power cut would leave."""
    with home_on(linzer, kind, 1 << 30):
        make(linzer, disk, "source")
        boot(linzer, "source")
        try:
            writer = Writer(linzer, "source", 1, 1)
            before = []
            for i in range(5):
                writer.wait_for_more(20)
                before.append(writer.acknowledged)
                linzer("clone", "source", f"c{i}", check=True)
            for i in range(5):
                assert not (linzer.vm(f"c{i}") / "disk.json").exists()
                assert last_on_disk(linzer, f"c{i}", [(1, 1)]) >= before[i]
        finally:
            stop(linzer, "source")
        acknowledged = writer.end()
        assert not (linzer.vm("source") / "disk.json").exists()
        assert last_on_disk(linzer, "source", [(1, 1)]) >= acknowledged
        boot(linzer, "c0")
        assert last_number(cells_of_guest(linzer, "c0"), [(1, 1)]) >= before[0]
        stop(linzer, "c0")
