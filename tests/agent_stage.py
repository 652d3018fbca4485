# SPDX-License-Identifier: Apache-2.0
"""linzer-agent and the relay, without a VM: a socket plays the virtio-serial port.

The host's side is build/src/agent/agent-relay-stand-in, which is src/agent/relay.c as `run` has
it; commands go through `linzer exec` to a stand-in VM whose control.sock it serves.

The agent asks a login shell for the environment of commands. The home of whoever runs the tests, and what this machine
does at a login, are no part of that: as root the agent sees a home, accounts and a profile of the test's own. An
ordinary user of the tests has a home of his own in any case (scripts/as-user).
"""

import fcntl
import os
import pathlib
import pty
import pwd
import signal
import struct
import subprocess
import termios

import pytest

from conftest import BUILD, ROOT

AGENT = BUILD / "linzer-agent"
RELAY = BUILD / "src" / "agent" / "agent-relay-stand-in"
# "$1" holds what replaces the files of /etc that this machine has; what follows is executed
OWN_ETC = """for file in passwd profile environment default/locale; do
	[ ! -e "/etc/$file" ] || mount --bind "$1/$(basename "$file")" "/etc/$file" || exit
done
shift; exec "$@"
"""


class Stage:
    """A running stand-in VM, its relay, and an agent in its "guest"."""

    def __init__(self, linzer):
        self.linzer = linzer
        self.port = linzer.home / "port"
        self.children = []
        self.etc = linzer.home.parent / "etc"
        self.relay = self.start(RELAY, self.port, linzer.vm("vm") / "control.sock",
                                stdout=subprocess.PIPE, text=True)
        while not self.port.exists():
            assert self.relay.poll() is None
        self.agent = self.start_agent()

    def start(self, *args, **options):
        child = subprocess.Popen(list(map(str, args)), stdin=subprocess.DEVNULL, **options)
        self.children.append(child)
        return child

    def own_etc(self):
        """Words that begin the agent's command: in a mount namespace that ends with it."""
        home = self.etc.with_name("user")
        for directory in (self.etc, home):
            directory.mkdir(exist_ok=True)
        for name in ("profile", "environment", "locale"):
            (self.etc / name).touch()
        others = [line for line in pathlib.Path("/etc/passwd").read_text().splitlines() if line.split(":")[2] != "0"]
        (self.etc / "passwd").write_text("\n".join([f"root:x:0:0::{home}:/bin/bash", *others, ""]))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_ETC, "sh", self.etc]

    def start_agent(self):
        words = self.own_etc() if os.geteuid() == 0 else []
        agent = self.start(*words, AGENT, "--device", self.port, "--no-vsock", "--user",
                           pwd.getpwuid(os.geteuid()).pw_name)
        assert self.relay.stdout.readline() == "ready\n"
        return agent

    def exec(self, *args, **options):
        return self.linzer("exec", *args, **options)

    def end(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.relay.stdout.close()


@pytest.fixture
def running(linzer):
    """The VM "vm" is run as far as anybody can see, but nobody serves its control.sock."""
    linzer("create", "--linux", "--disk-size", "1", "vm", check=True)
    run = subprocess.Popen(["/usr/bin/python3", ROOT / "tests" / "stand_in.py", linzer.vm("vm")],
                           stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"ready\n"
    yield linzer
    run.kill()
    run.communicate()


@pytest.fixture
def stage(running):
    stage = Stage(running)
    yield stage
    stage.end()


def ends_at_a_new_size(stage):
    """A command on a terminal that sees its size, then another one, and exits with 7. Return: exec's exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    child = stage.linzer.start("exec", "-it", "vm", "sh", "-c",
                               "trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.02; done",
                               stdin=slave, stdout=slave, stderr=slave)
    seen = b""
    while b"33 99" not in seen:
        seen += os.read(master, 4096)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
    child.send_signal(signal.SIGWINCH)  # the terminal is not its controlling one
    while b"44 111" not in seen:
        seen += os.read(master, 4096)
    code = child.wait(60)
    os.close(master)
    os.close(slave)
    return code


def goes_with_its_client(stage, tmp_path):
    """A command whose client is killed; returns when it has ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    client = stage.linzer.start("exec", "vm", "sh", "-c", f"exec sleep 600 > {fifo}")
    with open(fifo, "rb") as ends_with_the_command:
        client.kill()
        assert ends_with_the_command.read() == b""
