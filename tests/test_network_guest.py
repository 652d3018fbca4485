# SPDX-License-Identifier: Apache-2.0
"""The network as a real guest sees it, in a laboratory of namespaces (netlab.py).

The host has one resolver, on a loopback address, and an uplink to a world that knows no way back
to the guests. The subnet is not the default one.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading

import pytest

from netlab import PATIENCE, UPLINK, WORLD, Lab, Resolver
from test_life import eventually, runtime, ssh, status_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
GATEWAY, OTHER = "10.77.0.1", "10.77.99.99"
NAME_ADDRESS = "192.0.2.7"  # what netlab's resolver says
CAP_NET_ADMIN = 1 << 12

# In a mount namespace of its own: "$1" as /etc
WITH_ETC = 'mount --bind "$1" /etc && shift && exec "$@"'


@contextlib.contextmanager
def laboratory(path):
    lab = Lab(path)
    for name in ("passwd", "group", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", lab.etc)
    (lab.etc / "linzer/net.conf").write_text("subnet = 10.77.0.0/16\n")
    try:
        yield lab
    finally:
        lab.end()


def run(lab, linzer, script, *words, name="net"):
    """`linzer run` as the laboratory's host, until its agent answers."""
    wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(lab.etc), *words]
    with lab.inside("host"):
        child = subprocess.Popen([*wrapper, linzer.program(), "run", name], env=linzer.environment(),
                                 stdin=subprocess.DEVNULL)
    linzer.children.append(child)
    eventually(lambda: child.poll() is not None or linzer("exec", name, "true").returncode == 0)
    assert child.poll() is None
    return child


def capabilities(pid):
    status = status_of(pid)
    return {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}


class Guest:
    def __init__(self, lab, linzer, name):
        self.lab, self.linzer, self.name = lab, linzer, name
        with lab.inside("host"):
            self.address = linzer("ip", "--wait", 60, name, check=True).stdout.strip()
        eventually(lambda: self.address in self("ip -4 addr").stdout)  # the agent is up before the network

    def __call__(self, script, check=False):
        return self.linzer("exec", self.name, "sh", "-c", script, check=check)

    def interface(self):
        links = json.loads(self("ip -j link", check=True).stdout)
        return next(link["ifname"] for link in links if link["ifname"] != "lo")


@pytest.fixture(scope="class")
def guest(guests, tmp_path_factory):
    guests("clone", "debian", "net", check=True)
    with laboratory(tmp_path_factory.mktemp("lab")) as lab:
        resolver = Resolver(lab)
        run(lab, guests, WITH_ETC)
        guest = Guest(lab, guests, "net")
        guest.resolver = resolver
        try:
            yield guest
        finally:
            guests("stop", "net", "--timeout", 1, check=True)


class WebServer(threading.Thread):
    """In the world: answers one request after the other, and notes who asks."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.socket = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM, bind=(WORLD, 8080), listen=True,
                                 timeout=None)
        self.clients = []
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, (address, _) = self.socket.accept()
                self.clients.append(address)
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nthe world\n")

    def end(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()


class Sniffer:
    """Every IPv4 ICMP packet that a namespace takes in."""

    def __init__(self, lab, namespace):
        self.socket = lab.socket(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, timeout=0.2)

    def requests(self):
        """Sources of the echo requests that came since the last call."""
        sources = []
        with contextlib.suppress(TimeoutError):
            while True:
                packet, (source, _) = self.socket.recvfrom(2048)
                if packet[(packet[0] & 15) * 4] == 8:
                    sources.append(source)
        return sources


def received(ping):
    """How many answers `ping` counted."""
    return int(re.search(r"(\d+) received", ping.stdout)[1])


def connects(lab, namespace, address, port, seconds=PATIENCE):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError):
        lab.socket(namespace, family, socket.SOCK_STREAM, timeout=seconds).connect((address, port))
        return True
    return False


class TestGuest:
    def test_subnet_of_the_configuration(self, guest):
        assert guest.address.startswith("10.77.") and guest.address != GATEWAY
        assert f"inet {guest.address}/16 " in guest("ip -4 addr", check=True).stdout
        assert f"default via {GATEWAY} " in guest("ip -4 route", check=True).stdout
        assert guest.lab.ip("host", f"route get {guest.address}").split()[2] == runtime(guest.linzer, "net")["interface"]

    @pytest.mark.parametrize("options", ["", "RES_OPTIONS=use-vc"], ids=["udp", "tcp"])
    def test_names_by_a_resolver_on_loopback(self, guest, options):
        before = len(guest.resolver.seen)
        name = f"{'tcp' if options else 'udp'}.linzer.test"
        command = f"{options} getent ahostsv4 {name}"
        eventually(lambda: guest(command).returncode == 0)  # the guest sets its resolver up after it has its address
        assert guest(command, check=True).stdout.split()[0] == NAME_ADDRESS
        queries = [query for query, _ in guest.resolver.seen[before:]]
        assert any(name.split(".")[0].encode() in query for query in queries)

    def test_world_by_nat(self, guest):
        """The world has no route to the guest: it answers to the host's address."""
        server = WebServer(guest.lab)
        try:
            assert guest(f"curl -sS -m 20 http://{WORLD}:8080/", check=True).stdout == "the world\n"
            assert server.clients == [UPLINK]
            assert guest.lab.ip("world", f"route get {guest.address}", check=False) == ""
        finally:
            server.end()

    def test_host_reaches_the_guest(self, guest):
        with guest.lab.inside("host"):
            done = ssh(guest.address, "echo $SSH_CONNECTION")
        assert done.returncode == 0, done
        assert done.stdout.split()[0] == GATEWAY and done.stdout.split()[2] == guest.address

    def test_guest_reaches_the_host(self, guest):
        assert received(guest(f"ping -c 2 -W 5 {GATEWAY}")) == 2
        assert received(guest(f"ping -c 2 -W 5 {UPLINK}")) == 2

    @pytest.mark.parametrize("target", [GATEWAY, UPLINK, WORLD])
    def test_spoofed_source_gets_nowhere(self, guest, target):
        sniffers = [Sniffer(guest.lab, "host"), Sniffer(guest.lab, "world")]
        interface = guest.interface()
        guest(f"sudo ip addr add {OTHER}/32 dev {interface}", check=True)
        try:
            assert received(guest(f"ping -c 2 -W 2 -I {OTHER} {target}")) == 0
            assert [sniffer.requests() for sniffer in sniffers] == [[], []]
        finally:
            guest(f"sudo ip addr del {OTHER}/32 dev {interface}", check=True)
        assert received(guest(f"ping -c 1 -W 5 {target}")) == 1  # and its own does
        assert any(sniffer.requests() for sniffer in sniffers)

    def test_ipv6_goes_nowhere(self, guest):
        """Not even where the guest knows its router's address and MAC."""
        lab, tap, interface = guest.lab, runtime(guest.linzer, "net")["interface"], guest.interface()
        host, world = "fd00:1::1", "fd00:1::2"
        for namespace, address, device in (("host", host, "up0"), ("world", world, "w0")):
            lab.ip(namespace, f"addr add {address}/64 dev {device} nodad")
            lab.socket(namespace, socket.AF_INET6, socket.SOCK_STREAM, bind=(address, 8080), listen=True)
            assert connects(lab, "host", address, 8080)
        lab.setting("ipv6/conf/all/forwarding", 1)
        mac = json.loads(lab.ip("host", f"-j link show dev {tap}"))[0]["address"]
        guest(f"sudo ip addr add fd00:2::2/64 dev {interface} nodad && "
              f"sudo ip neigh replace fd00:2::1 lladdr {mac} dev {interface} nud permanent && "
              f"sudo ip -6 route add default via fd00:2::1 dev {interface}", check=True)
        for target in ("fd00:2::1", host, world):
            assert received(guest(f"ping -6 -c 2 -W 2 {target}")) == 0, target
            assert guest(f"curl -m 2 'http://[{target}]:8080/'").returncode in (7, 28), target
        lab.ip("host", f"route add fd00:2::2/128 dev {tap}", check=False)
        assert connects(lab, "host", guest.address, 22) and not connects(lab, "host", "fd00:2::2", 22, 3)
