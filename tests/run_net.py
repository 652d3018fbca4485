# SPDX-License-Identifier: Apache-2.0
"""`linzer run` in a laboratory of namespaces (netlab.py), with guests that never boot: their firmware finds
nothing on the disk. The test stops QEMU, takes a card's tap from it, and is the guest there.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import signal
import struct
import subprocess
import types

import netlab
from test_life import eventually, status_of
from test_network_guest import WITH_ETC, laboratory

__all__ = ["Runner", "laboratory"]

TUNGETVNETHDRSZ = 0x800454D7
PIDFD_OPEN, PIDFD_GETFD = 434, 438
HEADER = 10  # bytes before a frame, as netlab.Guest has them

libc = ctypes.CDLL(None, use_errno=True)


def syscall(*words):
    r = libc.syscall(*words)
    if r < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return r


def take_descriptor(pid, number):
    """A copy of another process' descriptor."""
    process = syscall(PIDFD_OPEN, pid, 0)
    try:
        return syscall(PIDFD_GETFD, process, number, 0)
    finally:
        os.close(process)


def taps_of(pid):
    """The descriptors of process `pid` that are taps, which QEMU has in the order of its cards."""
    found = []
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "\niff:" in info.read_text():
                found.append(int(info.name))
    return sorted(found)


class Runner:
    """The program as the laboratory's host."""

    def __init__(self, lab, linzer):
        self.lab, self.linzer, self.guests, self.stopped = lab, linzer, [], []
        (lab.etc / "linzer/net.conf").write_text("subnet = 10.77.0.0/24\n")

    def words(self, *args):
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", WITH_ETC, "sh", str(self.lab.etc),
                self.linzer.program(), *map(str, args)]

    def __call__(self, *args, check=False, timeout=120, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        if "input" in options:
            del options["stdin"]
        with self.lab.inside("host"):
            done = subprocess.run(self.words(*args), capture_output=True, text=True, timeout=timeout,
                                  env=self.linzer.environment(), **options)
        assert not check or done.returncode == 0, (args, done.returncode, done.stdout, done.stderr)
        return done

    def run(self, name, *options, **how):
        return self("run", "--detach", *options, name, check=True, **how)

    def state(self, name):
        return json.loads((self.linzer.vm(name) / "run.json").read_text())

    def show(self, name):
        return json.loads(self("net", "show", "--format", "json", name, check=True).stdout)

    def guest(self, name, number=0, address=None):
        """We are the guest on its card, with its address or, on a LAN, this one."""
        state = self.state(name)
        card = state["cards"][number]
        os.kill(state["qemuPid"], signal.SIGSTOP)
        eventually(lambda: status_of(state["qemuPid"])["State"].split()[0] == "T", 60)
        self.stopped.append(state["qemuPid"])
        tap = take_descriptor(state["qemuPid"], taps_of(state["qemuPid"])[number])
        size = struct.unpack("i", fcntl.ioctl(tap, TUNGETVNETHDRSZ, b"\0" * 4))[0]
        assert size == HEADER, "the firmware drives the card"
        address = address or card["address"]
        gateway = address.rsplit(".", 1)[0] + ".1"
        guest = netlab.Guest(types.SimpleNamespace(lab=self.lab, tap=tap, mac=netlab.mac_bytes(card["mac"]),
                                                   address=address, gateway=gateway))
        self.guests.append(guest)
        return guest

    def end(self):
        for guest in self.guests:
            guest.unplug()
            os.close(guest.tap)
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for name in self.linzer("list", "--quiet").stdout.split():
            self.linzer("stop", name, "--timeout", 1)
