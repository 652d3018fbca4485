# SPDX-License-Identifier: Apache-2.0
"""exec: its options, agents that do not keep to the protocol, terminals and VMs that go away.

First without a VM (agent_stage.py), or with a few lines in an agent's place; then in a guest.
"""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from agent_impostor import OK_HEADERS, RESET, SETTINGS, Impostor, data, output
from agent_stage import Stage, running, stage  # noqa: F401 (fixtures)
from terminal import Terminal
from test_life import end, start

LOST = "the connection to the VM's agent was lost\n"


# ---- options ----


def test_env_sets_variables(stage):
    done = stage.exec("--env", "A=1=2", "-e", "B=", "-e", "A B=x y", "vm", "env")
    assert {"A=1=2", "B=", "A B=x y"} <= set(done.stdout.splitlines())


def test_env_with_a_key_alone_passes_on_what_is_set_here(stage):
    done = stage.exec("-e", "SET_HERE", "-e", "NOT_SET_HERE", "vm", "env", env={"SET_HERE": "a b"})
    assert "SET_HERE=a b" in done.stdout.splitlines() and "NOT_SET_HERE" not in done.stdout


def test_env_goes_over_what_the_login_and_the_terminal_set(stage):
    done = stage.exec("-t", "-e", "TERM=mine", "-e", "HOME=/x", "vm", "sh", "-c", "echo $TERM $HOME", text=False)
    assert done.stdout == b"mine /x\r\n"


@pytest.mark.parametrize("entry", ["", "=x"])
def test_env_without_a_name_is_refused(stage, entry):
    done = stage.exec("-e", entry, "vm", "true")
    assert (done.returncode, done.stderr) == (1, f"Error: '{entry}' names no variable for --env\n")


def test_too_many_variables_are_refused(stage):
    done = stage.exec(*["-eA=1"] * 1001, "vm", "true")
    assert (done.returncode, done.stderr) == (1, "Error: --env can be given 1000 times at most\n")


def test_workdir(stage, tmp_path):
    assert stage.exec("--workdir", tmp_path, "vm", "pwd").stdout == f"{tmp_path}\n"
    done = stage.exec("-w", tmp_path / "none", "vm", "pwd")
    assert done.returncode == 127 and f"{tmp_path}/none" in done.stderr
    assert stage.exec("-w", "", "vm", "pwd").returncode == 1


def test_detach_returns_at_once_and_the_command_goes_on(stage, tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    started = stage.exec("--detach", "vm", "sh", "-c", f"read line < {go}; echo $line > {done}.new; mv {done}.new {done}")
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    go.write_text("went on\n")
    until = time.monotonic() + 120
    while not done.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert done.read_text() == "went on\n"


@pytest.mark.parametrize("option", ["-i", "-t"])
def test_detach_excludes_input_and_terminal(stage, option):
    done = stage.exec("--detach", option, "vm", "true")
    assert done.returncode == 1 and done.stderr.startswith("Error: --detach excludes -i and -t")


# ---- many ----


def test_100_in_a_row(stage):
    for number in range(100):
        assert stage.exec("vm", "sh", "-c", f"exit {number}").returncode == number


def test_50_at_once(stage):
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        codes = list(pool.map(lambda n: stage.exec("vm", "sh", "-c", f"exit {n}").returncode, range(50)))
    assert codes == list(range(50))


# ---- what goes away ----


@pytest.mark.parametrize("options", ["-t", "-it"])
def test_a_terminal_that_goes_away_ends_the_command(stage, tmp_path, options):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pid, master = pty.fork()
    if pid == 0:
        program = stage.linzer.program()
        os.execve(program, [program, "exec", options, "vm", "sh", "-c", f"exec 9> {fifo}; echo up; exec sleep 600"],
                  stage.linzer.environment())
    with open(fifo, "rb") as ends_with_the_command:
        while os.read(master, 4096).strip() != b"up":
            pass
        os.close(master)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (-signal.SIGHUP, 128 + signal.SIGPIPE)
        assert ends_with_the_command.read() == b""


def test_hang_ups_stay_ignored_where_they_were(stage):
    child = [stage.linzer.program(), "exec", "-it", "vm", "sh", "-c", "echo up; read line; echo got $line"]
    with Terminal(["/usr/bin/env", "--ignore-signal=HUP", *child], stage.linzer.environment()) as terminal:
        terminal.wait_for("up")
        os.kill(terminal.pid, signal.SIGHUP)
        terminal.send("word\r")
        terminal.wait_for("got word")
        assert terminal.end() == 0


def test_a_relay_that_dies_ends_the_call_and_restores_the_terminal(stage):
    # `run` goes when its VM does, and with it the relay
    script = f"before=$(stty -g); {stage.linzer.program()} exec -it vm sh -c 'echo up; sleep 600'; " \
             "echo code $?; test \"$(stty -g)\" = \"$before\" && echo restored"
    with Terminal(["/bin/sh", "-c", script], stage.linzer.environment()) as terminal:
        terminal.wait_for("up")
        stage.relay.kill()
        assert terminal.end() == 0
        assert LOST.strip() in terminal.output and "code 1" in terminal.output and "restored" in terminal.output


# ---- agents that are none ----

@pytest.fixture
def impostor(running):
    made = []
    yield lambda answer: made.append(Impostor(running, answer))
    for one in made:
        one.end()


LIES = {
    "garbage": (b"\xff" * 4096, "the agent does not keep to HTTP/2"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n" * 3, "the agent does not keep to HTTP/2"),
    "garbage later": (SETTINGS + OK_HEADERS + b"\xff" * 4096, "the agent does not keep to HTTP/2"),
    "a message of 4 GiB": (SETTINGS + OK_HEADERS + data(b"\0\xff\xff\xff\xff"),
                           "the agent sent a message that is too long"),
    "a chunk longer than its message": (SETTINGS + OK_HEADERS + data(b"\0\0\0\0\5\x12\x7f\x0a\x7fx"),
                                        "the agent sent a malformed message"),
    "a chunk whose length has 70 bits": (SETTINGS + OK_HEADERS + data(b"\0\0\0\0\x0b\x12" + b"\xff" * 10),
                                         "the agent sent a malformed message"),
    "an exit code that is not low": (SETTINGS + OK_HEADERS + data(b"\0\0\0\0\7\x0a\5\x08\xff\xff\xff\x7f"), ""),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_agent_that_lies(running, impostor, lie):
    answer, message = LIES[lie]
    impostor(lambda client: client.sendall(answer if message else answer + RESET))
    done = running("exec", "vm", "true", timeout=60)
    assert done.returncode == (1 if message else 255)
    assert done.stderr.startswith(message) and done.stderr.count("\n") == (1 if message else 0)


def test_an_agent_that_closes_after_its_greeting(running, impostor):
    def answer(client):
        client.sendall(SETTINGS)
        client.shutdown(socket.SHUT_WR)

    impostor(answer)
    done = running("exec", "vm", "true", timeout=60)
    assert (done.returncode, done.stderr) == (1, LOST)


@pytest.mark.soak  # two minutes; client.test.c has it with a shorter patience
def test_an_agent_that_never_answers(running, impostor):
    impostor(lambda client: None)
    done = running("exec", "vm", "true", timeout=300)
    assert done.returncode == 1
    assert done.stderr == "Failed to connect to the VM using its control socket: the agent does not answer, " \
                          "is the Tart Guest Agent running?\n"


def test_input_is_not_lost_to_an_agent_that_goes_before_it_answers(running):
    impostor = Impostor(running, lambda client: client.shutdown(socket.SHUT_RDWR))
    child = running.start("exec", "-i", "vm", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(b"kept")
    child.stdin.close()
    impostor.thread.join()
    stage = Stage(running)
    try:
        assert child.stdout.read() == b"kept" and child.wait(30) == 0
    finally:
        stage.end()
        impostor.end()


def test_an_agent_that_floods_and_reads_nothing(running, impostor):
    def answer(client):
        while True:
            client.sendall(SETTINGS * 1000)

    impostor(answer)
    done = running("exec", "vm", "true", timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("the agent does not ")


def test_output_without_end_takes_no_memory_here(running, impostor):
    frame = output(bytes(8000))
    sent = 0

    def answer(client):
        nonlocal sent
        client.sendall(SETTINGS + OK_HEADERS)
        while True:  # windows are for others
            client.sendall(frame)
            sent += len(frame)

    impostor(answer)
    child = running.start("exec", "vm", "true", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.read(1) == b"\0"  # and nobody reads on
    peak = 0
    for _ in range(20):
        time.sleep(0.05)
        with open(f"/proc/{child.pid}/status") as status:
            peak = max(peak, next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
    assert sent and peak < 24 * 1024  # KiB
    child.stdout.close()
    assert child.wait(30) in (1, 128 + signal.SIGPIPE)


# ---- in a guest ----


@pytest.fixture(scope="module")
def guest(guests):
    """A running VM that this module's tests share."""
    start(guests, "execs", "--no-graphics")
    guests("exec", "execs", "touch", "/tmp/first", check=True)
    yield "execs"
    end(guests, "execs")


class TestInAGuest:
    def test_what_the_first_command_leaves_in_tmp_stays(self, guests, guest):
        guests("exec", guest, "sudo", "systemctl", "is-system-running", "--wait")  # the end of the boot
        assert guests("exec", guest, "ls", "/tmp/first").stdout == "/tmp/first\n"

    def test_env_workdir_and_detach(self, guests, guest):
        done = guests("exec", "-e", "ONE=1", "-w", "/tmp", guest, "sh", "-c", "echo $ONE; pwd", check=True)
        assert done.stdout == "1\n/tmp\n"
        guests("exec", "-d", "-w", "/tmp", guest, "sh", "-c", "echo $$ > detached; exec sleep 300", check=True)
        script = "until [ -s /tmp/detached ]; do sleep 0.1; done; kill $(cat /tmp/detached)"
        guests("exec", guest, "sh", "-c", script, check=True)

    def test_signals_count_128_more(self, guests, guest):
        assert guests("exec", guest, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM

    def test_a_client_that_is_killed_hangs_up_its_command(self, guests, guest):
        client = guests.start("exec", guest, "sh", "-c", "echo up; exec sleep 4242", stdout=subprocess.PIPE)
        assert client.stdout.readline() == b"up\n"
        client.kill()
        gone = "while pgrep -f '^sleep 4242' > /dev/null; do sleep 0.1; done"
        guests("exec", guest, "sh", "-c", gone, check=True)

    def test_terminal_and_its_new_size(self, guests, guest):
        watch = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"
        with Terminal([guests.program(), "exec", "-it", guest, "sh", "-c", watch], guests.environment()) as terminal:
            terminal.wait_for("24 100", 60)
            fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
            terminal.wait_for("44 111", 60)
            terminal.send("\x03")  # goes to the guest, whose terminal makes the signal
            assert terminal.end() == 128 + signal.SIGINT

    def test_100_in_a_row(self, guests, guest):
        for _ in range(100):
            guests("exec", guest, "true", check=True)

    def test_50_at_once(self, guests, guest):
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda _: guests("exec", guest, "true", check=True, timeout=300), range(50)))

    @pytest.mark.soak
    def test_10000_in_a_row(self, guests, guest):
        for _ in range(10000):
            guests("exec", guest, "true", check=True)

    @pytest.mark.soak
    def test_200_at_once(self, guests, guest):
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            list(pool.map(lambda _: guests("exec", guest, "true", check=True, timeout=600), range(200)))

    def test_bytes_arrive_intact_both_ways(self, guests, guest):
        """bench/exec.py does it with 1 GB, and against ssh."""
        sent = random.Random(5).randbytes(20_000_000)
        there = guests("exec", "-i", guest, "sh", "-c", "cat > /tmp/bytes; sha256sum < /tmp/bytes", input=sent, text=False)
        assert there.stdout.split()[0].decode() == hashlib.sha256(sent).hexdigest()
        assert guests("exec", guest, "cat", "/tmp/bytes", text=False).stdout == sent

    def test_output_that_is_not_read_delays_no_other(self, guests, guest):
        stalled = guests.start("exec", guest, "cat", "/dev/zero", stdout=subprocess.PIPE)
        assert stalled.stdout.read(1) == b"\0"
        assert guests("exec", guest, "echo", "here", check=True).stdout == "here\n"
        stalled.kill()

    def test_a_vm_that_dies_in_the_middle(self, guests, guest):
        """The last one of this module: it starts the VM anew."""
        state = guests.vm(guest) / "run.json"
        client = guests.start("exec", guest, "sh", "-c", "echo up; exec sleep 600", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert client.stdout.readline() == b"up\n"
        os.kill(json.loads(state.read_text())["qemuPid"], signal.SIGKILL)
        assert client.wait(60) == 1
        assert client.stderr.read().decode() == LOST
