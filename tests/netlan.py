# SPDX-License-Identifier: Apache-2.0
"""A LAN for bridged cards: a switch with the machines "host" (where keepers run), "router" (10.9.0.1, with
dnsmasq as the LAN's DHCP server) and "peer" (10.9.0.7), each a network namespace.

The host is on the LAN by its interface eth1 (10.9.0.2), or with `bridge` by a Linux bridge br0
whose port eth1 is.
"""

import contextlib
import random
import socket
import struct
import subprocess

import pytest

from netlab import (ACK, BRIDGED, BROADCAST, DISCOVER, LEASED, OFFER, PATIENCE, REQUEST, SLICE, Dhcp, Guest, Lab, arp, checksum,
                    policy, slices)

ROUTER, HOST, PEER = "10.9.0.1", "10.9.0.2", "10.9.0.7"
ADDRESSES = {"router": ROUTER, "host": HOST, "peer": PEER}
STATIC = "10.9.0.40"  # outside the pool
NO_RULES = policy([])


class Lan(Lab):
    def __init__(self, tmp_path, bridge):
        super().__init__(tmp_path, uplink=False)
        self.bridge = bridge
        self.interface = "br0" if bridge else "eth1"
        self.add_namespace("switch")
        self.ip("switch", "link add sw0 type bridge")
        self.ip("switch", "link set sw0 up")
        for machine in ("host", "router", "peer"):
            self.connect(machine)
        self.ip("host", f"route add default via {ROUTER}")

    def connect(self, machine):
        if machine != "host":
            self.add_namespace(machine)
        self.ip(machine, f"link add eth1 type veth peer name {machine} netns {self.name('switch')}")
        self.ip("switch", f"link set {machine} master sw0 up")
        self.ip(machine, "link set eth1 up")
        port = "eth1"
        if machine == "host" and self.bridge:
            self.ip("host", "link add br0 type bridge")
            self.ip("host", "link set eth1 master br0")
            self.ip("host", "link set br0 up")
            port = "br0"
        self.ip(machine, f"addr add {ADDRESSES[machine]}/24 dev {port}")

    def serve_dhcp(self, pool="10.9.0.100,10.9.0.199", options=(), machine="router"):
        """dnsmasq on the router, or on whoever that is in another LAN, ended with the laboratory."""
        words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth1",
                 "--bind-interfaces", f"--dhcp-range={pool},1h", "--no-ping", "--pid-file=", "--user=root",
                 f"--dhcp-leasefile={self.tmp / f'leases-{machine}'}", "--log-facility=-", *options]
        with self.inside(machine):
            server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
        self.cleanups.append(lambda: stop(server))
        for line in server.stderr:
            if "sockets bound exclusively" in line:
                return server
        raise AssertionError("dnsmasq did not start")

    def card(self, rules=NO_RULES, **options):
        """A keeper whose guest is on the LAN, without an address."""
        keeper = self.up(mode=BRIDGED, interface=self.interface.encode(), policy=rules, **options)
        assert keeper.address == "0.0.0.0"
        keeper.guest = LanGuest(keeper)
        return keeper

    def settled(self, address=STATIC, **options):
        """The same, with a static address that is known."""
        keeper = self.card(**options)
        keeper.guest.settle(address)
        return keeper

    def mac(self, machine):
        port = self.interface if machine == "host" else "eth1"
        return bytes.fromhex(self.ip(machine, f"-o link show {port}").split("link/ether ")[1][:17].replace(":", ""))

    def hush(self, machine):
        """Its kernel answers nothing that nobody listens for: no RST, no ICMP."""
        self.run(machine, "nft", "add table ip quiet; "
                 "add chain ip quiet output { type filter hook output priority 0; }; "
                 "add rule ip quiet output tcp flags & rst != 0 drop; "
                 "add rule ip quiet output icmp type destination-unreachable drop")

    def ear(self, machine, protocol=3):
        """Hears every frame that comes to a machine's interface (of the host: eth1)."""
        s = self.socket(machine, socket.AF_PACKET, socket.SOCK_RAW, 0)
        s.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        s.bind(("eth1", protocol))
        return s

    def speak(self, machine, frame):
        """Send a frame from a machine's interface."""
        with contextlib.closing(self.socket(machine, socket.AF_PACKET, socket.SOCK_RAW, 0)) as s:
            s.bind(("eth1", 0x0800))
            s.send(frame)

    def pings(self, machine, target, timeout=PATIENCE):
        """A machine's kernel pings."""
        s = self.socket(machine, socket.AF_INET, socket.SOCK_RAW, 1, timeout=SLICE)
        ident = random.randrange(65536)
        head = struct.pack("!BBHHH", 8, 0, 0, ident, 1)
        s.sendto(head[:2] + struct.pack("!H", checksum(head)) + head[4:], (target, 0))
        with contextlib.closing(s):
            for _ in slices(timeout):
                with contextlib.suppress(TimeoutError):
                    answer, sender = s.recvfrom(2000)
                    if sender[0] == target and answer[20] == 0 and answer[24:26] == struct.pack("!H", ident):
                        return True
        return False

    def leftovers(self):
        """All that a bridged card may ever leave on the host."""
        links = [line.split(": ")[1] for line in self.ip("host", "-o link").splitlines()]
        routes = [r for r in self.ip("host", "-4 route").splitlines() if "lz" in r]
        return [n for n in links if n.startswith("lz")], self.ruleset(), routes


@pytest.fixture(params=["bridge", "interface"])
def lan(request, tmp_path):
    """Both kinds, one after the other."""
    lan = Lan(tmp_path, bridge=request.param == "bridge")
    yield lan
    lan.end()


@pytest.fixture
def bridge(tmp_path):
    lan = Lan(tmp_path, bridge=True)
    yield lan
    lan.end()


@pytest.fixture
def plain(tmp_path):
    lan = Lan(tmp_path, bridge=False)
    yield lan
    lan.end()


def stop(server):
    server.kill()
    server.wait()
    server.stderr.close()


class LanGuest(Guest):
    """A guest of a bridged card."""

    def __init__(self, keeper):
        super().__init__(keeper)
        self.gateway = ROUTER

    def settle(self, address):
        """Take a static address as any machine does, by using it; then the gateway answers."""
        self.address = address
        self.mark()
        assert self.keeper.wait_for(LEASED)[1]["address"] == address
        assert self.resolve(self.gateway), "nobody answers for the gateway"

    def send_frame(self, frame):
        """What the card does not take, or while it is down, is lost."""
        with contextlib.suppress(OSError):
            super().send_frame(frame)

    def pings(self, target, timeout=PATIENCE):
        self.router = self.resolve(target, max(timeout, 3.0))
        answered = bool(self.router) and super().pings(target, timeout)
        self.router = None
        return answered

    def mark(self):
        """A frame that passes in any state, and that can be told from all others. -> that frame"""
        number = socket.inet_ntoa(random.randbytes(4))
        # with an address: asked by it; without: a probe
        frame = BROADCAST + self.mac + b"\x08\x06" + arp(1, self.mac, self.address, number)
        self.send_frame(frame)
        return frame

    def leaves(self, ear, frames):
        """Which of these frames does `ear` hear? In order."""
        for frame in frames:
            self.send_frame(frame)
        mark, heard = self.mark(), []
        while (frame := ear.recv(70000))[:len(mark)] != mark:
            heard.append(frame)
        # short frames may have been filled up
        return [f for f in frames if any(h.startswith(f) for h in heard)]

    def router_mac(self):
        if not self.router:
            self.router = self.keeper.lab.mac("router")
        return self.router


def lease(keeper, wanted=None, told=None):
    """As a DHCP client: -> the address, once the keeper knows it too. In `told`: of which it spoke until then."""
    client = Dhcp(keeper.guest)
    kind, offered, options, _ = client.ask(DISCOVER, [(50, socket.inet_aton(wanted))] if wanted else [])
    assert kind == OFFER
    kind, address, _, _ = client.ask(REQUEST, [(50, socket.inet_aton(offered)), (54, options[54])])
    assert kind == ACK
    keeper.guest.address = address
    told = [] if told is None else told
    while address not in told:
        told.append(keeper.wait_for(LEASED)[1]["address"])
    return address


def hears(guest, lab, machine, frames):
    """Which of these frames does the guest get that a machine sends? In order."""
    mark = BROADCAST + lab.mac(machine) + b"\x08\x06" + arp(1, lab.mac(machine), ADDRESSES[machine],
                                                           socket.inet_ntoa(random.randbytes(4)))
    for frame in [*frames, mark]:
        lab.speak(machine, frame)
    heard = []
    for packet in guest.frames(PATIENCE):
        if packet.frame[:len(mark)] == mark:
            return [f for f in frames if any(h.startswith(f) for h in heard)]
        heard.append(packet.frame)
    raise AssertionError("the guest hears nothing")


def frame(to, by, body, type=0x0800):
    return to + by + struct.pack("!H", type) + body
