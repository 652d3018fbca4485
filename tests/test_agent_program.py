# SPDX-License-Identifier: Apache-2.0
"""linzer-agent and the relay, without a VM: a socket plays the virtio-serial port.

What stands in is in agent_stage.py.
"""

import fcntl
import os
import pty
import secrets
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest

from agent_stage import AGENT, ends_at_a_new_size, goes_with_its_client, running, stage  # noqa: F401 (fixtures)

MAGIC = b"Linzer\r\x01"


def peak_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def test_output_and_exit_code(stage):
    done = stage.exec("vm", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_words_are_passed_verbatim(stage):
    assert stage.exec("vm", "printf", "%s|", "--", "-x", "a b", "").stdout == "--|-x|a b||"
    hint = "Help:  All that stands behind the VM's name is the command, so leave out '--'\n"
    done = stage.exec("vm", "--", "ls")
    assert done.returncode == 127 and done.stderr.splitlines(keepends=True)[1:] == [hint]
    assert "Help" not in stage.exec("vm", "--", "ls", program="tart").stderr + stage.exec("vm", "false").stderr


def test_signal_and_missing_command(stage):
    assert stage.exec("vm", "sh", "-c", "kill -KILL $$").returncode == 137
    done = stage.exec("vm", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_input_only_when_asked_for(stage):
    assert stage.exec("-i", "vm", "cat", input="some input").stdout == "some input"
    assert stage.exec("vm", "cat", input="some input").stdout == ""
    closed = subprocess.run(f"exec {stage.linzer.program()} exec -i vm cat <&-", shell=True,
                            env=stage.linzer.environment(), capture_output=True, timeout=30)
    assert (closed.returncode, closed.stdout) == (0, b"")


def test_terminal_without_a_terminal_is_80x24(stage):
    assert stage.exec("-t", "vm", "stty", "size", text=False).stdout == b"24 80\r\n"


def test_terminal_is_raw_and_restored(stage):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    before = termios.tcgetattr(slave)
    child = stage.linzer.start("exec", "-it", "vm", "sh", "-c", "stty size; read x; echo got $x",
                               stdin=slave, stdout=slave, stderr=slave)
    seen = b""
    while b"33 99" not in seen:
        seen += os.read(master, 4096)
    assert termios.tcgetattr(slave) != before
    os.write(master, b"word\r")
    while b"got word" not in seen:
        seen += os.read(master, 4096)
    assert child.wait(30) == 0
    assert termios.tcgetattr(slave) == before
    child = stage.linzer.start("exec", "-it", "vm", "sh", "-c", "echo up; sleep 600",
                               stdin=slave, stdout=slave, stderr=slave)
    while b"up" not in seen:
        seen += os.read(master, 4096)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == -signal.SIGTERM
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_new_size_of_the_terminal_arrives(stage):
    assert ends_at_a_new_size(stage) == 7


def test_output_that_nobody_reads_ends_the_command(stage, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    client = stage.linzer.start("exec", "vm", "sh", "-c", f"exec yes 2> {fifo}", stdout=subprocess.PIPE)
    with open(fifo, "rb") as ends_with_the_command:
        assert client.stdout.read(2) == b"y\n"
        client.stdout.close()
        assert client.wait(30) == 128 + signal.SIGPIPE
        assert ends_with_the_command.read() == b""


def test_a_client_that_comes_before_the_agent_is_held(stage):
    stage.agent.kill()
    assert stage.relay.stdout.readline() == "hangup\n"
    early = stage.linzer.start("exec", "vm", "echo", "here", stdout=subprocess.PIPE)
    stage.start_agent()
    assert early.communicate(timeout=30)[0] == b"here\n"


def test_100_mb_both_ways_in_bounded_memory(stage):
    size = 100_000_000
    done = stage.exec("-i", "vm", "cat", input=bytes(size), text=False)
    assert len(done.stdout) == size
    assert peak_kib(stage.agent.pid) < 8 * 1024
    assert peak_kib(stage.relay.pid) < 8 * 1024


def test_many_at_once(stage):
    results = {}

    def one(number):
        results[number] = stage.exec("vm", "sh", "-c", f"sleep 0.1; echo {number}").stdout

    threads = [threading.Thread(target=one, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}\n" for n in range(40)}


def test_a_stalled_client_delays_no_other(stage):
    stalled = stage.linzer.start("exec", "vm", "cat", "/dev/zero", stdout=subprocess.PIPE)
    assert stalled.stdout.read(1) == b"\0"
    for _ in range(3):
        assert stage.exec("vm", "echo", "here", timeout=30).stdout == "here\n"
    assert peak_kib(stage.agent.pid) < 8 * 1024


def test_a_client_that_goes_hangs_up_its_command(stage, tmp_path):
    goes_with_its_client(stage, tmp_path)


def test_agent_that_dies_and_comes_back(stage):
    running = stage.linzer.start("exec", "vm", "sh", "-c", "echo up; exec sleep 600", stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"  # else it may wait for the next agent
    stage.agent.kill()
    assert running.wait(60) == 1
    assert stage.relay.stdout.readline() == "hangup\n"
    stage.start_agent()
    assert stage.exec("vm", "echo", "again").stdout == "again\n"


def test_not_running(linzer):
    linzer("create", "--linux", "--disk-size", "1", "vm", check=True)
    done = linzer("exec", "vm", "true")
    assert (done.returncode, done.stderr) == (2, 'VM "vm" is not running\n')
    done = linzer("exec", "other", "true")
    assert (done.returncode, done.stderr) == (2, 'the specified VM "other" does not exist\n')


# ---- the port itself, spoken to by hand ----


def frame(kind, payload=b"", stream=0):
    return struct.pack(">BBHI", kind, 0, len(payload), stream) + payload


class Host:
    def __init__(self, listener):
        self.socket = listener.accept()[0]
        self.socket.settimeout(30)
        self.bytes = b""

    def read_until(self, wanted):
        while wanted not in self.bytes:
            more = self.socket.recv(65536)
            assert more
            self.bytes += more
        at = self.bytes.index(wanted) + len(wanted)
        self.bytes = self.bytes[at:]

    def greet(self):
        nonce = secrets.token_bytes(16)
        self.socket.sendall(bytes(32776) + frame(1, MAGIC + nonce))
        self.read_until(frame(2, MAGIC + nonce + bytes(16))[:-16])
        while len(self.bytes) < 16:
            self.bytes += self.socket.recv(65536)
        guest = self.bytes[:16]
        self.bytes = self.bytes[16:]
        self.socket.sendall(frame(3, MAGIC + guest))


@pytest.fixture
def port(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "port"))
    listener.listen()
    listener.settimeout(30)
    agent = subprocess.Popen([AGENT, "--device", tmp_path / "port", "--no-vsock"])
    yield listener
    agent.kill()
    agent.wait()
    listener.close()


def opens_a_stream(host):
    """An HTTP/2 server answers on it with its SETTINGS."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    host.socket.sendall(frame(5, stream=1) + frame(6, preface, 1))
    host.read_until(struct.pack(">I", 1) + b"\0\0")


def test_stale_bytes_are_skipped(port):
    host = Host(port)
    fake = secrets.token_bytes(16)
    host.socket.sendall(frame(3, MAGIC + fake) + frame(5, stream=1) + b"junk" * 100_000)
    host.greet()
    opens_a_stream(host)


def test_end_of_file_means_reopen(port):
    for _ in range(3):
        host = Host(port)
        host.greet()
        opens_a_stream(host)
        host.socket.sendall(frame(6, bytes(100), 1)[:50])
        host.socket.close()


def test_a_broken_frame_is_survived(port):
    host = Host(port)
    host.greet()
    host.socket.sendall(b"\xff" * 64)
    host.read_until(frame(4, MAGIC))
    host.greet()
    opens_a_stream(host)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's accounts are replaced (agent_stage.py)")
def test_the_stage_is_not_the_home_of_whoever_runs_the_tests(stage):
    """What those have in their profiles is nothing that these tests may depend on."""
    home = stage.etc.with_name("user")
    (home / ".profile").write_text("export OWN=profile\n")
    assert stage.exec("vm", "sh", "-c", "echo $HOME $OWN; pwd").stdout == f"{home} profile\n{home}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's accounts are replaced (agent_stage.py)")
def test_a_profile_changed_while_it_is_read_is_read_again(stage):
    home = stage.etc.with_name("user")
    os.mkfifo(home / "go")
    (home / ".profile").write_text("read word < ~/go; export OWN=before\n")
    first = stage.linzer.start("exec", "vm", "sh", "-c", "echo $OWN", stdout=subprocess.PIPE, text=True)
    with open(home / "go", "w") as go:  # the shell that reads it has come this far
        (home / ".profile").write_text("export OWN=after\n")
        second = stage.linzer.start("exec", "vm", "sh", "-c", "echo $OWN", stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)
        go.write("\n")
    assert second.communicate(timeout=60)[0] == "after\n"
    assert first.communicate(timeout=60)[0] in ("before\n", "after\n")
