# SPDX-License-Identifier: Apache-2.0
"""linzer-agent and the relay, without a VM: a socket plays the virtio-serial port.

The host's side is build/src/agent/agent-relay-stand-in, which is src/agent/relay.c as `run` has
it; commands go through `linzer exec` to a stand-in VM whose control.sock it serves.
"""

import os
import pwd
import subprocess

import pytest

from conftest import BUILD, ROOT

AGENT = BUILD / "linzer-agent"
RELAY = BUILD / "src" / "agent" / "agent-relay-stand-in"


class Stage:
    """A running stand-in VM, its relay, and an agent in its "guest"."""

    def __init__(self, linzer):
        self.linzer = linzer
        self.port = linzer.home / "port"
        self.children = []
        self.relay = self.start(RELAY, self.port, linzer.vm("vm") / "control.sock",
                                stdout=subprocess.PIPE, text=True)
        while not self.port.exists():
            assert self.relay.poll() is None
        self.agent = self.start_agent()

    def start(self, *args, **options):
        child = subprocess.Popen(list(map(str, args)), stdin=subprocess.DEVNULL, **options)
        self.children.append(child)
        return child

    def start_agent(self):
        agent = self.start(AGENT, "--device", self.port, "--no-vsock", "--user", pwd.getpwuid(os.geteuid()).pw_name)
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
