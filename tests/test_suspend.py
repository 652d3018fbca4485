# SPDX-License-Identifier: Apache-2.0
"""Suspend and resume, on real QEMU with a real guest: one VM for most of it, which goes through all tests."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from test_life import BOOT, alive, end, eventually, runtime

COUNT = "setsid sh -c 'while :; do n=$((n+1)); echo $n >/dev/shm/count; sleep 0.2; done' </dev/null >/dev/null 2>&1 &"


def state_of(linzer, name):
    return json.loads(linzer("get", name, "--format", "json", check=True).stdout)["State"]


def run(linzer, name, *options):
    return linzer("run", "--wait-ready", "--no-graphics", *options, name, timeout=BOOT)


def suspend(linzer, name):
    pids = runtime(linzer, name)["pid"], runtime(linzer, name)["qemuPid"]
    linzer("suspend", name, check=True)
    log = linzer.vm(name) / "run.log"
    eventually(lambda: not any(alive(pid) for pid in pids) or "Failed" in log.read_text())
    assert state_of(linzer, name) == "suspended", log.read_text()


def sh(linzer, name, script):
    return linzer("exec", name, "sh", "-c", script, check=True).stdout


def count(linzer, name):
    return int(sh(linzer, name, "cat /dev/shm/count"))


@pytest.fixture(scope="module")
def sleeper(guests):
    guests("clone", "debian", "sleeper", check=True)
    assert run(guests, "sleeper").returncode == 0
    sh(guests, "sleeper", COUNT)
    yield "sleeper"
    end(guests, "sleeper")


def test_a_guest_goes_on_where_it_was(guests, sleeper):
    boot = sh(guests, sleeper, "cat /proc/sys/kernel/random/boot_id")
    before = count(guests, sleeper)
    suspend(guests, sleeper)
    state = guests.vm(sleeper) / "state"
    assert {path.name: path.stat().st_mode & 0o777 for path in state.iterdir()} == \
        {"device": 0o600, "memory": 0o600, "state.json": 0o600}
    done = run(guests, sleeper)
    assert done.returncode == 0, done
    assert sh(guests, sleeper, "cat /proc/sys/kernel/random/boot_id") == boot
    eventually(lambda: count(guests, sleeper) > before)
    assert not state.exists() and not list(guests.vm(sleeper).glob("state.*"))
    assert state_of(guests, sleeper) == "running"
