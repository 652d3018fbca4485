# SPDX-License-Identifier: Apache-2.0
"""`linzer run` on a host that has IPv6 alone: no IPv4 address or route but loopback's."""

import os
import shutil
import socket
import struct

import pytest

import scratch
from conftest import BUILD
from netlab import ACK, DISCOVER, OFFER, REQUEST, Dhcp, Lab, Resolver, dns_query
from run_net import Runner
from test_net_user import User
from test_network_modes_guest import PlainLinzer
from test_run_network_user import UsersRunner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
HOST, DNS = "2001:db8::2", "2001:db8::53"
LINK_LOCAL = "fe80::53"


class WorldResolver(Resolver):
    """A DNS server of the world's that has IPv6 alone."""

    def __init__(self, lab, address):
        family = (socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM)
        udp, tcp = (lab.socket("world", *f, timeout=None) for f in family)
        with lab.inside("world"):
            scope = socket.if_nametoindex("w0") if address.startswith("fe80") else 0
            for s in (udp, tcp):
                s.bind((address, 53, 0, scope))
            tcp.listen()
        super().__init__(lab, sockets=(udp, tcp))


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "lab", uplink=False)
    for name in ("passwd", "group", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", lab.etc)
    (lab.etc / "linzer/net.conf").write_text("subnet = 10.77.0.0/24\n")
    lab.resolv.write_text(f"nameserver {DNS}\n")
    lab.setting("ipv4/ping_group_range", "0 2147483647")
    lab.add_namespace("world")
    lab.ip("host", f"link add up0 type veth peer name w0 netns {lab.name('world')}")
    for namespace, device, addresses in (("world", "w0", (DNS, LINK_LOCAL)), ("host", "up0", (HOST,))):
        for address in addresses:
            lab.ip(namespace, f"addr add {address}/64 dev {device} nodad")
        lab.ip(namespace, f"link set {device} up")
    lab.ip("host", f"route add default via {DNS}")
    assert lab.ip("host", "-4 route") == "" and lab.ip("host", "-4 -o addr").count("inet ") == 1  # lo's
    yield lab
    lab.end()


@pytest.fixture(params=["root", "user"])
def runner(request, lab, linzer):
    with scratch.directory() as place:
        if request.param == "root":
            runner = Runner(lab, linzer)
        else:
            user = User(lab)
            place.chmod(0o755)
            for name in ("linzer", "linzer-net"):
                shutil.copy(BUILD / name, place / name)
            (place / "home").mkdir()
            os.chown(place / "home", user.uid, user.uid)
            runner = UsersRunner(lab, PlainLinzer(place / "home", place, user))
        try:
            runner("create", "--linux", "--disk-size", 1, "vm", check=True)
            yield runner
        finally:
            runner.end()
            runner.linzer.end()


def leases(guest):
    """As a DHCP client: -> the address, and the server that says so."""
    client = Dhcp(guest)
    kind, offered, options, _ = client.ask(DISCOVER)
    assert kind == OFFER
    kind, address, options, _ = client.ask(REQUEST, [(50, socket.inet_aton(offered)), (54, options[54])])
    assert kind == ACK
    return address, socket.inet_ntoa(options[6])


@pytest.mark.parametrize("options", [[], ["--net-softnet"], ["--net-host"]], ids=["default", "softnet", "host"])
def test_a_guest_has_its_lease(runner, options):
    runner.run("vm", *options)
    guest = runner.guest("vm")
    assert leases(guest) == (runner.state("vm")["address"], guest.gateway)
    if "--net-softnet" not in options:
        assert guest.pings(guest.gateway)


@pytest.mark.parametrize("address", [DNS, LINK_LOCAL], ids=["global", "of the link"])
@pytest.mark.parametrize("options", [[], ["--net-softnet"]], ids=["default", "softnet"])
def test_names_by_a_resolver_of_ipv6(runner, options, address):
    if address == LINK_LOCAL:
        runner.lab.resolv.write_text(f"nameserver {LINK_LOCAL}%up0\n")
    resolver = WorldResolver(runner.lab, address)
    runner.run("vm", *options)
    guest = runner.guest("vm")
    answer = guest.ask_udp(guest.gateway, 53, dns_query("example.org"))
    assert answer and answer[:2] == b"\x12\x34" and answer.endswith(socket.inet_aton("192.0.2.7"))
    assert len(resolver.seen) == 1 and resolver.seen[0][0][2:] == dns_query("example.org")[2:]


def test_names_over_tcp(runner):
    resolver = WorldResolver(runner.lab, DNS)
    runner.run("vm")
    guest = runner.guest("vm")
    guest.plug("guest")
    client = runner.lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((guest.gateway, 53))
    query = dns_query("example.org")
    client.sendall(struct.pack("!H", len(query)) + query)
    size, = struct.unpack("!H", client.recv(2, socket.MSG_WAITALL))
    assert client.recv(size, socket.MSG_WAITALL).endswith(socket.inet_aton("192.0.2.7"))
    assert len(resolver.seen) == 1


@pytest.mark.parametrize("interface", ["up0", "br0"])
def test_a_bridged_card_starts_and_ends(lab, linzer, interface):
    """On a plain interface and on a bridge; the LAN's IPv4, if it has any, is not the host's."""
    runner = Runner(lab, linzer)
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    lab.ip("host", "link add br0 type bridge")
    lab.ip("host", "link set br0 up")
    try:
        runner.run("vm", f"--net-bridged={interface}")
        card, = runner.state("vm")["cards"]
        assert (card["parent"], card["address"]) == (interface, "0.0.0.0")
        linzer("stop", "vm", "--timeout", 1, check=True)
        assert lab.leftovers() == ([], "", [])
    finally:
        runner.end()
