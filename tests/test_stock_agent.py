# SPDX-License-Identifier: Apache-2.0
"""A guest that has the stock agent and not ours: what `run` has behind control.sock (agent-relay-stand-in) dials it.

Here a Unix socket is what it dials; the agent is a gRPC server of other people's making (stock_agent.py). The guest's
virtio-serial port is there all the time, and silent unless a test says so. Over real vsock: test_vsock_guest.py.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time

import pytest

import stock_agent
from agent_stage import RELAY, Stage, ends_at_a_new_size, goes_with_its_client, running  # noqa: F401 (fixture)
from conftest import ROOT

LIMIT = 60  # seconds for what takes a moment


class StockStage(Stage):
    """The guest's port is open, and nobody reads or writes there until start_agent()."""

    def __init__(self, linzer):
        self.linzer, self.children, self.etc = linzer, [], linzer.home.parent / "etc"
        self.port, self.stock = linzer.home / "port", linzer.home / "stock"
        self.relay = self.start(RELAY, self.port, linzer.vm("vm") / "control.sock", self.stock,
                                stdout=subprocess.PIPE, text=True)
        self.guest = socket.socket(socket.AF_UNIX)
        while self.guest.connect_ex(str(self.port)) != 0:  # not there, or not listening yet
            assert self.relay.poll() is None
            time.sleep(0.01)

    def start_stock(self):
        agent = self.start("/usr/bin/python3", ROOT / "tests" / "stock_agent.py", f"unix:{self.stock}",
                           stdout=subprocess.PIPE, text=True)
        assert agent.stdout.readline() == "ready\n"
        return agent

    def says(self, line):
        assert self.relay.stdout.readline() == line + "\n"

    def end(self):
        super().end()
        self.guest.close()
        for child in self.children:
            if child.stdout:
                child.stdout.close()


@pytest.fixture
def silent(running):  # noqa: F811
    """No agent at all yet."""
    stage = StockStage(running)
    yield stage
    stage.end()


@pytest.fixture
def stage(silent):
    silent.agent = silent.start_stock()
    silent.says("ready")
    return silent


class Liar:
    """Listens where the agent would, and does with each connection what `act` does."""

    def __init__(self, path, act):
        self.path, self.act, self.count = path, act, 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(300)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.socket.accept()[0]
                self.count += 1
                threading.Thread(target=self.serve_one, args=(connection,), daemon=True).start()

    def serve_one(self, connection):
        with connection, contextlib.suppress(OSError):
            self.act(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.path.unlink()


def until_the_end(connection):
    while connection.recv(65536):
        pass


def test_output_and_exit_code(stage):
    done = stage.exec("vm", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_input_only_when_asked_for(stage):
    assert stage.exec("-i", "vm", "cat", input="some input").stdout == "some input"
    assert stage.exec("vm", "cat", input="some input").stdout == ""


def test_a_megabyte_both_ways(stage):
    content = os.urandom(1 << 20)
    assert stage.exec("-i", "vm", "cat", input=content, text=False).stdout == content


def test_a_terminal_and_its_new_size(stage):
    assert ends_at_a_new_size(stage) == 7


def test_its_address(stage):
    done = stage.linzer("ip", "--resolver", "agent", "vm")
    assert (done.returncode, done.stdout) == (0, stock_agent.ADDRESS + "\n")


def test_cp_both_ways(stage, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_bytes(os.urandom(300_000))
    os.symlink("deep/file", tmp_path / "tree" / "link")
    stage.linzer("cp", tmp_path / "tree", f"vm:{there}", check=True)
    stage.linzer("cp", f"vm:{there}", back, check=True)
    for copy in (there, back):
        assert (copy / "deep" / "file").read_bytes() == (tmp_path / "tree" / "deep" / "file").read_bytes()
        assert os.readlink(copy / "link") == "deep/file"


def test_many_at_once(stage):
    results = {}

    def one(number):
        results[number] = stage.exec("vm", "echo", str(number)).stdout

    threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}\n" for n in range(20)}


def test_a_client_that_goes_ends_its_command(stage, tmp_path):
    goes_with_its_client(stage, tmp_path)


def test_a_reader_that_stalls_stalls_the_command_alone(stage):
    """64 MB that nobody reads are held by nobody in between."""
    slow = stage.linzer.start("exec", "vm", "head", "-c", "64000000", "/dev/zero", stdout=subprocess.PIPE)
    assert slow.stdout.read(1) == b"\0"
    assert stage.exec("vm", "echo", "quick").stdout == "quick\n"
    with open(f"/proc/{stage.relay.pid}/status") as status:
        assert next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) < 8 * 1024
    assert len(slow.stdout.read()) == 64_000_000 - 1
    assert slow.wait(LIMIT) == 0


def test_an_agent_that_comes_late(silent):
    early = silent.linzer.start("exec", "vm", "echo", "here", stdout=subprocess.PIPE)
    time.sleep(1)  # its first attempts find nobody
    silent.start_stock()
    assert early.communicate(timeout=LIMIT)[0] == b"here\n"


def test_an_agent_that_ends_and_comes_back(stage):
    busy = stage.linzer.start("exec", "vm", "sh", "-c", "echo up; sleep 600", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert busy.stdout.readline() == b"up\n"
    stage.agent.kill()
    stage.says("lost")
    assert busy.wait(LIMIT) == 1
    assert b"lost" in busy.stderr.read()
    stage.start_stock()
    stage.says("ready")
    assert stage.exec("vm", "echo", "again").stdout == "again\n"


def test_ours_is_preferred(silent, tmp_path):
    """While our agent is in session nobody dials, whoever listens there."""
    silent.guest.close()
    silent.says("hangup")
    silent.start_agent()
    with Liar(silent.stock, until_the_end) as liar:
        assert silent.exec("vm", "echo", "ours").stdout == "ours\n"
        assert liar.count == 0


def test_ours_takes_over(silent):
    """Ours greets while the other one is silent: who waits is served, and it is told once."""
    silent.guest.close()
    silent.says("hangup")
    late = silent.linzer.start("exec", "vm", "echo", "ours", stdout=subprocess.PIPE)
    silent.start_agent()  # reads one "ready"
    assert late.communicate(timeout=LIMIT)[0] == b"ours\n"


def hang_up(connection):
    """At once, or with unread bytes, which the other side sees as a reset."""
    if next(turns) % 2:
        connection.recv(1)


turns = itertools.count()


def no_http2(connection):
    connection.sendall(b"SSH-2.0-nothing\r\n")
    until_the_end(connection)


def half_an_answer(connection):
    connection.recv(1)
    connection.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0")


@pytest.mark.parametrize("act", [hang_up, no_http2, half_an_answer])
def test_liars(silent, act):
    """One clear line, exit status 1; then an agent that is honest is served."""
    with Liar(silent.stock, act) as liar:
        done = silent.exec("vm", "true")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        until = time.monotonic() + LIMIT
        while liar.count <= 1:  # it is tried again, by and by
            assert time.monotonic() < until
            time.sleep(0.05)
    silent.start_stock()
    assert silent.exec("vm", "echo", "honest").stdout == "honest\n"


def test_who_takes_connections_and_is_silent(silent):
    """It is no agent, delays only who asks it, and nothing is lost when it goes."""
    heard = []  # before the first is there, which may be at once
    with Liar(silent.stock, lambda connection: heard.append(connection.dup()) or until_the_end(connection)):
        assert silent.linzer("ip", "--resolver", "agent", "vm").returncode == 1
        before = len(heard)
        waiting = silent.linzer.start("exec", "-i", "vm", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while len(heard) == before:
            assert waiting.poll() is None
    silent.agent = silent.start_stock()
    for connection in heard:
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
    silent.says("ready")
    assert waiting.communicate(b"kept", timeout=LIMIT)[0] == b"kept"


def test_a_reset_in_the_middle_keeps_what_came(silent):
    """Output that came before is not lost; then one line and exit status 1."""
    relayed = threading.Event()

    def cut(connection):
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(str(behind))
            threading.Thread(target=pump, args=(real, connection), daemon=True).start()
            with contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    real.sendall(data)

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if b"before" in data:
                    relayed.set()
                    sink.shutdown(socket.SHUT_RDWR)

    behind = silent.linzer.home / "behind"
    silent.stock, front = behind, silent.stock
    silent.start_stock()
    with Liar(front, cut):
        done = silent.exec("vm", "sh", "-c", "echo before; sleep 600")
    assert relayed.is_set()
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert len(done.stderr.splitlines()) == 1


def test_nobody_listens(silent):
    done = silent.exec("vm", "true")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_clients_are_bounded(stage):
    """256 silent clients are served; one more waits until one of them goes."""
    clients = []
    control = str(stage.linzer.vm("vm") / "control.sock")

    def connect():
        client = socket.socket(socket.AF_UNIX)
        client.connect(control)
        clients.append(client)
        return client

    for _ in range(256):
        connect().settimeout(LIMIT)
    # each is through to the server, whose first word each has heard
    for client in clients:
        assert client.recv(1)
    waiting = stage.linzer.start("exec", "vm", "echo", "room", stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(2)
    clients.pop().close()
    assert waiting.communicate(timeout=LIMIT)[0] == b"room\n"
    for client in clients:
        client.close()
