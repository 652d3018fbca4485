# SPDX-License-Identifier: Apache-2.0
"""A thousand a day: nothing is left of VMs that were cloned, run, stopped and deleted."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import FORM
from test_life import alive, eventually, interfaces, nft_tables, runtime, status_of


# of a user with no privilege the network is more processes
NETWORK = ("linzer-net",) if FORM != "none" else ("linzer-net", "linzer-talker", "linzer-holder", "linzer-outside",
                                                  "passt", "passt.avx2")
PROGRAMS = ("linzer", "qemu-system-x86", *NETWORK)


def processes(*names):
    found = {}
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if comm.read_text().strip() in names:
                found[int(comm.parent.name)] = network_of(comm.parent)
    here = os.readlink("/proc/self/ns/net")
    return {pid for pid, namespace in found.items() if namespace == here}


def network_of(process):
    """Its network namespace. An ordinary user is not told that of a process with capabilities, and his VMs without any
    are in another one than the tests: there, what is his counts as being here (scripts/as-user has no other user)."""
    if FORM == "root" or status_of(process.name)["Uid"].split()[0] != str(os.geteuid()):
        return os.readlink(process / "ns/net")
    return os.readlink("/proc/self/ns/net")


def what_runs(*names):
    """For a failure's message: what those processes are and wait for."""
    return subprocess.run(["ps", "-o", "pid,ppid,stat,wchan:20,etimes,args", "-p", ",".join(map(str, processes(*names)))],
                          capture_output=True, text=True).stdout


def picture(linzer):
    """Everything that could leak, on the host and in the home, when no VM runs. Processes of a network end after the
    VM that they were for."""
    eventually(lambda: not processes(*PROGRAMS), 120, lambda: what_runs(*PROGRAMS))
    return {
        "interfaces": interfaces(),
        "tables": nft_tables(),
        "routes": subprocess.check_output(["ip", "route", "show", "table", "all"], text=True),
        "neighbours": subprocess.check_output(["ip", "neigh"], text=True),
        # an engine is asked once what it has
        "files": sorted(str(p.relative_to(linzer.home)) for p in linzer.home.rglob("*")
                        if not p.match("cache/engine-*") and p.name not in
                        (".accessed", "console.log", "run.log", "efivars.fd", "last-ip", ".lock")),
        "uids": [p for p in pathlib.Path("/run/linzer/uid").glob("*") if locked(p)],
        "forwarding": pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(),
    }


def locked(path):
    return subprocess.run(["flock", "--nonblock", path, "true"]).returncode != 0


@pytest.fixture
def base(linzer):
    linzer("create", "--linux", "--disk-size", 1, "base", check=True)
    with open(linzer.vm("base") / "disk.img", "r+b") as f:
        f.write(os.urandom(4 << 20))
    linzer("clone", "base", "warm", check=True)
    linzer("delete", "warm", check=True)
    return "base"


def test_hundred_clones(linzer, base):
    before = picture(linzer)
    blocks = sum(p.stat().st_blocks for p in linzer.home.rglob("*") if p.is_file())
    for n in range(100):
        linzer("clone", base, f"vm{n}", check=True)
    assert len(linzer("list", "--quiet").stdout.split()) == 101
    macs = {json.loads((linzer.vm(f"vm{n}") / "config.json").read_text())["macAddress"] for n in range(100)}
    assert len(macs) == 100
    linzer("delete", *[f"vm{n}" for n in range(100)], check=True)
    assert picture(linzer) == before
    assert sum(p.stat().st_blocks for p in linzer.home.rglob("*") if p.is_file()) == blocks


def test_twenty_runs_in_a_row(linzer, base):
    linzer("run", "--detach", base, check=True)
    linzer("stop", base, "--timeout", 1, check=True)
    before = picture(linzer)
    addresses = set()
    for _ in range(20):
        linzer("run", "--detach", base, check=True)
        addresses.add(runtime(linzer, base)["address"])
        linzer("stop", base, "--timeout", 1, check=True)
    assert picture(linzer) == before
    assert len(addresses) == 1


def test_four_at_once(linzer, base):
    names = [f"vm{n}" for n in range(4)]
    for name in names:
        linzer("clone", base, name, check=True)
    before = picture(linzer)
    children = [linzer.start("run", name) for name in names]
    eventually(lambda: all((linzer.vm(name) / "run.json").exists() for name in names), 60)
    states = [runtime(linzer, name) for name in names]
    for key in ("address", "interface", "mac", "qemuPid"):
        assert len({state[key] for state in states}) == 4, key
    uids = {os.stat(f"/proc/{state['qemuPid']}").st_uid for state in states}
    assert len(uids) == 4 if FORM == "root" else uids == {os.geteuid()}
    for name in names:
        linzer("stop", name, "--timeout", 1, check=True)
    assert [child.wait(60) for child in children] == [0] * 4
    after = picture(linzer)
    assert after == before


def test_sigkill_at_any_moment(linzer, base):
    """kill -9 of run at moments spread over its start and its life: all that it had goes."""
    before = picture(linzer)
    for n in range(20):
        child = linzer.start("run", base)
        time.sleep(0.03 * n)
        child.kill()
        child.wait()
        eventually(lambda: not processes("linzer-net", "qemu-system-x86"), 60,
                   lambda: what_runs("linzer-net", "qemu-system-x86"))
        eventually(lambda: interfaces() == before["interfaces"], 60)
        assert nft_tables() == before["tables"]
    linzer("run", "--detach", base, check=True)
    linzer("stop", base, "--timeout", 1, check=True)
    after = picture(linzer)
    before["files"] = after["files"]  # a killed run leaves its sockets until the next one
    assert after == before


def test_same_mac_gets_a_new_one(linzer, base):
    """Two running VMs never share a MAC: the second gets a new one and says so."""
    linzer("clone", base, "twin", check=True)
    path = linzer.vm("twin") / "config.json"
    config = json.loads(path.read_text())
    config["macAddress"] = json.loads((linzer.vm(base) / "config.json").read_text())["macAddress"]
    path.write_text(json.dumps(config))
    linzer("run", "--detach", base, check=True)
    child = linzer.start("run", "twin", stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "There is already a running VM with the same MAC address!\n"
        assert child.stdout.readline() == "Resetting VM to assign a new MAC address...\n"
        eventually(lambda: (linzer.vm("twin") / "run.json").exists(), 60)
        assert runtime(linzer, "twin")["mac"] != runtime(linzer, base)["mac"]
    finally:
        linzer("stop", "twin", "--timeout", 1)
        linzer("stop", base, "--timeout", 1)
        child.wait(60)


def test_keeper_killed_stops_the_vm(linzer, base):
    """A VM is never left with a tap whose filter nobody keeps."""
    child = linzer.start("run", base, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: (linzer.vm(base) / "run.json").exists(), 60)
    state = runtime(linzer, base)
    for pid in processes("linzer-net"):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1 and "network" in err, (out, err)
    eventually(lambda: not alive(state["qemuPid"]), 60)
    assert state["interface"] not in interfaces()
    linzer("run", "--detach", base, check=True)
    linzer("stop", base, "--timeout", 1, check=True)
    assert "linzer" not in nft_tables()
