# SPDX-License-Identifier: Apache-2.0
"""What takes longer than a second says so on a terminal, and nothing where there is none. The work is held up until its
line was seen; pull's and push's own lines are test_pull.py's and test_push.py's."""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import ROOT
from terminal import SECONDS, Terminal

CLEARED = "\r\x1b[K"
SIZE = 1_000_000_000


@pytest.fixture
def vm(linzer):
    """A VM of 1 GB of which nothing is written."""
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    return "vm"


def run_on(terminal):
    """To the end; gives the last of what stands on the terminal."""
    assert terminal.end() == 0, terminal.output
    assert CLEARED in terminal.output
    return terminal.output.rsplit(CLEARED, 1)[1]


class HeldStream:
    """A FIFO's other end: reads or writes `size` bytes, then waits for go_on()."""

    def __init__(self, path, work):
        self.go = threading.Event()
        os.mkfifo(path)
        self.thread = threading.Thread(target=work, args=(path, self.go), daemon=True)
        self.thread.start()

    def go_on(self):
        self.go.set()


def read_slowly(path, go):
    with open(path, "rb") as file:
        file.read(10 << 20)
        go.wait(600)
        while file.read(1 << 20):
            pass


def test_export(linzer, vm, tmp_path):
    stream = HeldStream(tmp_path / "out.tvm", read_slowly)
    with Terminal([linzer.program(), "export", vm, tmp_path / "out.tvm"], linzer.environment()) as terminal:
        terminal.wait_for("exporting: 1%, ")
        terminal.wait_for_match(f" of 1 GB, {SECONDS}")
        stream.go_on()
        assert run_on(terminal) == ""


def test_import(linzer, vm, tmp_path):
    linzer("export", vm, tmp_path / "vm.tvm", check=True)

    def write_slowly(path, go):
        with open(tmp_path / "vm.tvm", "rb") as archive, open(path, "wb") as file:
            file.write(archive.read(10 << 20))
            file.flush()
            go.wait(600)
            with contextlib.suppress(BrokenPipeError):
                while data := archive.read(1 << 20):
                    file.write(data)

    stream = HeldStream(tmp_path / "in.tvm", write_slowly)
    with Terminal([linzer.program(), "import", tmp_path / "in.tvm", "copy"], linzer.environment()) as terminal:
        terminal.wait_for("importing: ")
        terminal.wait_for_match(f" MB, {SECONDS}\x1b\\[K")  # of a stream nobody knows how much there is
        stream.go_on()
        assert run_on(terminal) == ""
    assert linzer("get", "copy").returncode == 0


def stop_child(pid, word):
    """SIGSTOP to the child that has `word` among its arguments, as soon as there is one."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if word in pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    os.kill(int(child), signal.SIGSTOP)
                    return int(child)
    raise AssertionError("no such child")


def test_create_from_an_image(linzer, tmp_path):
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(os.urandom(16 << 20) * 10)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    with Terminal([linzer.program(), "create", "--from-image", image, "vm"], linzer.environment()) as terminal:
        child = stop_child(terminal.pid, b"convert")
        terminal.wait_for("reading the image: ")
        terminal.wait_for_match(f", {SECONDS}\x1b\\[K")
        os.kill(child, signal.SIGCONT)
        assert run_on(terminal) == ""


@contextlib.contextmanager
def busy_cache(linzer):
    """Somebody else changes the cache meanwhile."""
    (linzer.home / "cache").mkdir(exist_ok=True)
    with open(linzer.home / "cache/.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_prune(linzer, vm):
    with Terminal([linzer.program(), "prune", "--all"], linzer.environment()) as terminal:
        assert terminal.end() == 0 and terminal.output == ""  # at once: no word
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(busy_cache(linzer))
        terminal = stack.enter_context(Terminal([linzer.program(), "prune", "--all"], linzer.environment()))
        terminal.wait_for_match(f"pruning: {SECONDS}")
        lock.close()
        assert run_on(terminal) == ""


@pytest.mark.parametrize("words, line", [
    (["set", "vm", "--flatten"], f"changing the disk: 0 bytes, {SECONDS}"),
    (["set", "vm", "--recovery-partition", "delete"], f"changing the disk: 0 bytes, {SECONDS}"),
    (["clone", "vm", "twin"], f"cloning: {SECONDS}"),
])
def test_what_changes_or_copies_a_disk(linzer, vm, words, line):
    """Somebody else changes the VM's disk meanwhile."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        file = lock.enter_context(open(linzer.vm(vm) / ".lock", "a"))
        fcntl.flock(file, fcntl.LOCK_EX)
        terminal = stack.enter_context(Terminal([linzer.program(), *words], linzer.environment()))
        terminal.wait_for_match(line)
        lock.close()
        assert run_on(terminal) == ""


@contextlib.contextmanager
def stand_in(linzer, vm, *how):
    """As if the VM ran."""
    child = subprocess.Popen([sys.executable, ROOT / "tests/stand_in.py", linzer.vm(vm), *how], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_stop(linzer, vm):
    with stand_in(linzer, vm, "ignore=USR2,INT") as child, \
            Terminal([linzer.program(), "stop", vm, "-t", "600"], linzer.environment()) as terminal:
        terminal.wait_for_match(f"stopping: {SECONDS}")
        child.kill()
        assert run_on(terminal) == ""


def test_ip(linzer, vm):
    state = linzer.vm(vm) / "run.json"
    with stand_in(linzer, vm), Terminal([linzer.program(), "ip", "--wait", "600", vm], linzer.environment()) as terminal:
        terminal.wait_for_match(f"waiting for an address: {SECONDS}")
        (linzer.vm(vm) / "new").write_text(json.dumps({**json.loads(state.read_text()), "address": "10.1.2.3", "leased": True}))
        (linzer.vm(vm) / "new").rename(state)
        assert run_on(terminal) == "10.1.2.3\r\n"


def test_run_until_the_guest_answers(linzer, vm):
    """A guest that has no agent, and is stopped."""
    command = [linzer.program(), "run", "--wait-ready", "--net-none", "--no-graphics", vm]
    with Terminal(command, linzer.environment()) as terminal:
        terminal.wait_for_match(f"waiting for the guest: {SECONDS}")
        terminal.read(0.1)
        until = time.monotonic() + 60
        while not (linzer.vm(vm) / "run.json").exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        linzer("stop", vm, "-t", 1, check=True)
        assert terminal.end() == 1
        assert terminal.output.rsplit(CLEARED, 1)[1] == \
            "'run' ended before the guest's agent answered, see run.log\r\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_no_longer_waits_leaves_the_vm_running(linzer, vm, number):
    waiting = linzer.start("run", "--wait-ready", "--net-none", "--no-graphics", vm)
    while not (linzer.vm(vm) / "run.json").exists():
        assert waiting.poll() is None
        time.sleep(0.1)
    waiting.send_signal(number)
    assert waiting.wait(60) == (1 if number == signal.SIGINT else -number)

    def state():
        return json.loads(linzer("get", vm, "--format", "json", check=True).stdout)["State"]

    assert state() == "running"
    linzer("stop", vm, "-t", 1, check=True)
    assert state() == "stopped"


@pytest.mark.parametrize("ci", [False, True])
def test_without_a_terminal_there_is_no_line(linzer, vm, tmp_path, ci):
    """Pipes; or a terminal, but CI is set. Waits until the line would have been there."""
    stream = HeldStream(tmp_path / "out.tvm", read_slowly)
    command = [linzer.program(), "export", vm, tmp_path / "out.tvm"]
    threading.Timer(2, stream.go_on).start()
    if ci:
        with Terminal(command, linzer.environment(CI="true")) as terminal:
            assert terminal.end() == 0
            assert terminal.output == "exporting...\r\n"
    else:
        done = linzer(*command[1:], check=True)
        assert (done.stdout, done.stderr) == ("exporting...\n", "")
