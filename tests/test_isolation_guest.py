# SPDX-License-Identifier: Apache-2.0
"""Rows of docs/isolation.md from inside a real guest: its own kernel, resolver and sshd.

One guest under `run --net-softnet-block`; `linzer net set` gives it the setup of each row in turn. What it sends is
looked for, and answered, where test_isolation.py does it.
"""

import contextlib
import os
import shutil
import socket
import subprocess

import pytest

from frames import ACK, ICMP, SYN, TCP, UDP
from isolation_guests import Seat
from isolation_lab import LAN, PORT, ZONE, Bench, Field, TapEar
from isolation_table import EVERYTHING, control_of, parse_side
from netlab import PATIENCE
from test_isolation import ROWS
from test_life import eventually
from test_network_guest import WITH_ETC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
ADDRESS, GATEWAY, OTHER = "192.168.64.10", "192.168.64.1", "192.168.64.20"
VM = "net"
IMPATIENCE = 3  # seconds that the guest waits for what shall not come
BLOCKED = "8.8.8.0/24"  # by `run`, until the first row has a setup of its own


class Inside(Bench):
    """A bench whose guest is a real one."""

    def __init__(self, field, linzer):
        super().__init__(field)
        self.linzer, self.sender, self.seconds = linzer, "guest", IMPATIENCE
        self.guest = None  # it speaks for itself
        self.seats["other"] = Seat(self.lab, field.lan_on, parse_side(EVERYTHING), 20, "")
        self.other = self.seats["other"].take()
        self.ears = self.field.ears + [TapEar("other", self.other)]
        self.boot()
        self.at_start = PROBES["softnet-world-tcp"](self), PROBES["softnet-world-udp"](self)

    def boot(self):
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", WITH_ETC, "sh", str(self.lab.etc),
                 self.linzer.program(), "run", "--net-softnet", "--net-softnet-block", BLOCKED, VM]
        with self.lab.inside("host"):
            child = subprocess.Popen(words, env=self.linzer.environment(), stdin=subprocess.DEVNULL)
        self.linzer.children.append(child)
        eventually(lambda: child.poll() is not None or self.shell("true").returncode == 0)
        assert child.poll() is None
        eventually(lambda: ADDRESS in self.shell("ip -4 addr").stdout)
        eventually(lambda: GATEWAY in self.shell("cat /etc/resolv.conf; resolvectl dns").stdout)

    def shell(self, script):
        return self.linzer("exec", VM, "bash", "-c", script)

    def setup_as(self, side):
        """The row's policy, while the guest runs."""
        self.linzer("net", "set", VM, "--allow", side.allow, "--block", side.block, check=True)

    def watch(self, script, is_it):
        """Run it in the guest, and answer what arrives. -> (where it arrived, whether the guest had its answer)"""
        self.pump(0)
        self.arrivals.clear()
        child = subprocess.Popen([self.linzer.program(), "exec", VM, "bash", "-c", script],
                                 env=self.linzer.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        arrival = None
        while child.poll() is None:
            self.pump(0.05)
            if not arrival and (arrival := next(filter(is_it, self.arrivals), None)) and arrival.place != "host":
                self.send(arrival.place, arrival.packet.answer(b"answer"))
        child.stdout.close()
        return arrival and arrival.place, child.returncode == 0


def is_packet(proto, target, port=0):
    """The first of a flow; an earlier one may still send its last."""
    return lambda a: a.packet and (a.packet.proto, a.packet.target, a.packet.dport) == (proto, target, port) and \
        (proto != TCP or a.packet.body[13] & (SYN | ACK) == SYN)


def udp(target, port=PORT):
    return lambda b: b.watch(f"exec 3<>/dev/udp/{target}/{port} && printf question >&3 && "
                             f"test \"$(timeout {b.seconds} head -c 6 <&3)\" = answer", is_packet(UDP, target, port))


def tcp(target, port=PORT):
    return lambda b: b.watch(f"timeout {b.seconds} bash -c 'exec 3<>/dev/tcp/{target}/{port}'", is_packet(TCP, target, port))


def ping(target):
    return lambda b: b.watch(f"ping -c 1 -W {b.seconds} {target}", is_packet(ICMP, target))


def query(name, options=""):
    """Does the guest's resolver find the name? It arrives where ours sees the query."""
    def probe(b):
        seen = len(b.field.resolver.seen)
        found = b.shell(f"{options} getent ahostsv4 {name}")
        asked = any(name.split(".")[0].encode() in text for text, _ in b.field.resolver.seen[seen:])
        return "host" if asked else None, found.returncode == 0 and ZONE[name][-1] in found.stdout
    return probe


def named(name):
    target = ZONE[name][-1]
    return lambda b: b.watch(f"address=$(getent ahostsv4 {name} | head -n 1 | cut -d ' ' -f 1); "
                             f"test $address = {target} && timeout {b.seconds} bash -c \"exec 3<>/dev/tcp/$address/{PORT}\"", is_packet(TCP, target, PORT))


def ssh_from_host(b):
    """Its sshd may start after its agent."""
    def banner():
        with contextlib.suppress(OSError):
            sock = b.lab.socket("host", socket.AF_INET, socket.SOCK_STREAM, timeout=3)
            with sock:
                sock.connect((ADDRESS, 22))
                return sock.recv(4) == b"SSH-"
        return False
    eventually(banner)
    return "guest", True


PROBES = {
    "dns-gateway-tcp": query("example.org", "RES_OPTIONS=use-vc"),
    "softnet-world-udp": udp("1.1.1.1"),
    "softnet-world-tcp": tcp("8.8.8.8"),
    "softnet-world-ping": ping("1.1.1.1"),
    "softnet-10": udp("10.1.2.3"),
    "softnet-192": tcp(LAN),
    "softnet-metadata": tcp("169.254.169.254", 80),
    "softnet-from-host": ssh_from_host,
    "softnet-host-gateway": tcp(GATEWAY),
    "softnet-host-public": tcp("9.9.9.9"),
    "softnet-guest": udp(OTHER),
    "open-host-gateway": tcp(GATEWAY),
    "open-host-public": ping("9.9.9.9"),
    "open-host-not-lan": udp(LAN),
    "guests-both-open": tcp(OTHER),
    "names-prefix": tcp("1.1.1.1"),
    "names-other-address": tcp("5.5.5.99"),
    "names-address": named("example.org"),
    "names-tunnel": query("secret.evil.test"),
}
INSIDE = sorted((row for row in ROWS if row.id in PROBES), key=lambda row: row.setup.text)


@pytest.fixture(scope="module")
def inside(guests, tmp_path_factory):
    guests("clone", "debian", VM, check=True)
    guests("set", VM, "--ip", ADDRESS, check=True)
    field = Field(tmp_path_factory.mktemp("field"))
    for name in ("passwd", "group", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", field.lab.etc)
    field.bench_now = b = None
    try:
        b = field.bench_now = Inside(field, guests)
        yield b
    finally:
        guests("stop", VM, "--timeout", 1)
        field.end()


def test_blocked_from_the_start(inside):
    """--net-softnet-block closes what it names, and nothing beside it."""
    closed, (beside, _answered) = inside.at_start
    assert (closed, beside) == ((None, False), "world")


def test_ten_rows_and_more():
    assert len(INSIDE) == len(PROBES) >= 10


@pytest.mark.parametrize("row", INSIDE, ids=lambda row: row.id)
def test_row(inside, row):
    inside.setup_as(row.setup.guest)
    inside.seconds = PATIENCE if row.passes else IMPATIENCE
    place, answered = PROBES[row.id](inside)
    if row.passes:
        assert (place, answered) == (row.target, True)
        return
    assert (place, answered) == (None, False)
    control, inside.seconds = control_of(row, ROWS), PATIENCE
    assert PROBES[control.id](inside) == (control.target, True)
