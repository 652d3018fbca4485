# SPDX-License-Identifier: Apache-2.0
"""What a policy lets pass, by real packets: src/net/rules_policy.c against the model of
src/net/policy.h, and what becomes of open flows when a policy takes another's place."""

import contextlib
import ipaddress
import pathlib
import random
import socket
import struct
import threading
import time

import pytest

from netlab import (BOTH, CHANGED, FAILED, IN, OUT, PATIENCE, RULE, SHARED_POLICY, SOFTNET, TO_ALL, TO_GUESTS, TO_HOST, TO_WORLD,
                    UPLINK, WORLD, Lab, dns_query, ipv4, ping, policy, random_mac, rule, tcp, transport, udp)
from test_net_keeper import NOTHING, arrives, gone, udp_server

EVERYTHING = policy([])
NOTHING_PASSES = policy([rule(0)])
FAR = "100.66.0.0/16"  # addresses of the world, all its own
PORTS = (1000, 1001, 1002, 1003)
PKTINFO = 8  # IP_PKTINFO


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.ip("world", f"route add local {FAR} dev lo")
    yield lab
    lab.end()


def far(number):
    return str(ipaddress.ip_network(FAR)[number])


def start(lab, rules=(), **options):
    return lab.up(mode=SOFTNET, policy=policy(list(rules)), **options)


def change(keeper, packet):
    kind, fields, _ = keeper.set_policy(packet)
    assert kind == CHANGED, fields["text"]


def conntrack(lab):
    """The host namespace's open flows, a line for each."""
    with lab.inside("host"):
        return pathlib.Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines()


def passes_udp(guest, server, target, port=7777, sport=None):
    mark = random.randbytes(8)
    guest.send(udp(guest.address, sport or random.randrange(20000, 60000), target, port, mark))
    if hears(server, mark):
        return True
    guest.resolve(guest.gateway, 1.0)  # it answers what came after
    return hears(server, mark)


def hears(server, mark):
    patience = server.gettimeout()
    server.settimeout(0.05)
    try:
        while server.recv(2000) != mark:
            pass
        return True
    except TimeoutError:
        return False
    finally:
        server.settimeout(patience)


def connects(guest, target, port, sport=None):
    """Does a SYN get SYN+ACK or RST?"""
    sport = sport or random.randrange(20000, 60000)
    guest.send(tcp(guest.address, sport, target, port))
    return guest.wait(lambda p: p.proto == 6 and p.source == target and p.dport == sport, 0.4) is not None


# First match, stages, remotes

def test_first_match_decides(lab):
    guest = start(lab, [rule(1, remote="100.66.1.0/24"), rule(0, remote="100.66.0.0/16")]).guest
    server = udp_server(lab, "world", "0.0.0.0")
    assert passes_udp(guest, server, "100.66.1.1") and not passes_udp(guest, server, "100.66.2.1")
    assert passes_udp(guest, server, WORLD)


def test_first_match_decides_between_runs(lab):
    """A rule of ports between prefixes ends the run that is one map."""
    guest = start(lab, [rule(1, remote="100.66.1.1/32"), rule(1, protocol=17, ports=(53, 53)),
                        rule(0, remote="100.66.1.0/24"), rule(1, remote="100.66.0.0/16"), rule(0)]).guest
    server, dns = udp_server(lab, "world", "0.0.0.0"), udp_server(lab, "world", "0.0.0.0", 53)
    assert passes_udp(guest, server, "100.66.1.1") and passes_udp(guest, dns, "100.66.1.2", 53)
    assert not passes_udp(guest, server, "100.66.1.2") and passes_udp(guest, server, "100.66.2.2")
    assert not passes_udp(guest, server, WORLD)


def test_stages_are_conjunct(lab):
    """Neither root's rules nor the VM's own open what another stage closes."""
    (lab.etc / "linzer" / "net.rules").write_text("pass out to 100.66.1.0/24\nblock out to 100.66.9.0/24\n")
    guest = start(lab, [rule(1, stage=1, remote="100.66.9.0/24"), rule(0, stage=1, remote="100.66.1.1/32"),
                        rule(1, stage=2, remote="100.66.1.1/32"), rule(0, stage=2, remote="100.66.1.2/32")]).guest
    server = udp_server(lab, "world", "0.0.0.0")
    answers = {a: passes_udp(guest, server, a) for a in ("100.66.9.9", "100.66.1.1", "100.66.1.2", "100.66.1.3")}
    assert answers == {"100.66.9.9": False, "100.66.1.1": False, "100.66.1.2": False, "100.66.1.3": True}


@pytest.mark.parametrize("closed", [TO_WORLD, TO_HOST, TO_GUESTS, TO_WORLD | TO_HOST, TO_HOST | TO_GUESTS,
                                    TO_WORLD | TO_GUESTS, TO_ALL])
@pytest.mark.parametrize("prefixes", [["0.0.0.0/0"], ["198.51.100.1/32", "198.51.100.2/32", "192.168.64.0/24"]])
def test_remotes_are_told_apart_by_where_they_are(lab, closed, prefixes):
    """... not by their address: the host's uplink and the world share a prefix, as do guests and the gateway."""
    guest = start(lab, [rule(0, OUT, closed, p) for p in prefixes]).guest
    other = start(lab).guest
    host, world = udp_server(lab, "host", "0.0.0.0"), udp_server(lab, "world", "0.0.0.0")
    assert passes_udp(guest, world, WORLD) == (not closed & TO_WORLD)
    assert passes_udp(guest, host, UPLINK) == passes_udp(guest, host, guest.gateway) == (not closed & TO_HOST)
    guest.send(udp(guest.address, 5, other.address, 7, b"neighbour"))
    assert (other.wait(lambda p: p.proto == 17, 0.4) is not None) == (not closed & TO_GUESTS)


def test_ports_and_protocols(lab):
    guest = start(lab, [rule(0, protocol=17, ports=(1001, 1002)), rule(0, protocol=6, ports=(1002, 1003)),
                        rule(0, guest_ports=(3000, 3999)), rule(0, protocol=1)]).guest
    servers = {port: udp_server(lab, "world", "0.0.0.0", port) for port in PORTS}
    assert [passes_udp(guest, servers[p], WORLD, p, 5000 + p) for p in PORTS] == [True, False, False, True]
    assert [connects(guest, WORLD, p, 5000 + p) for p in PORTS] == [True, True, False, False]
    assert [passes_udp(guest, servers[1000], WORLD, 1000, p) for p in (2999, 3000, 3999, 4000)] == \
        [True, False, False, True]
    assert not guest.pings(WORLD, 0.4)


def test_host_side_ports(lab):
    """For what others open: the remote's port is the source's."""
    guest = start(lab, [rule(0, IN, protocol=17, guest_ports=(22, 22)), rule(0, IN, protocol=17, ports=(6000, 6000))]).guest
    got = []
    for port, sport in ((22, 5000), (23, 6000), (23, 5000)):
        s = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", sport))
        with contextlib.suppress(PermissionError):
            s.sendto(b"in", (guest.address, port))
        got.append(guest.wait(lambda p: p.proto == 17 and p.dport == port and p.sport == sport, 0.3) is not None)
    assert got == [False, False, True]


def test_both_guests_policies_have_to_pass(lab):
    free, shut = start(lab), start(lab, [rule(0, IN, TO_GUESTS)])
    quiet = start(lab, [rule(0, OUT, TO_GUESTS)])

    def reaches(one, two):
        one.guest.send(udp(one.guest.address, 7, two.guest.address, 7, b"x"))
        return two.guest.wait(lambda p: p.proto == 17 and p.source == one.guest.address, 0.3) is not None
    assert not reaches(free, shut) and not reaches(quiet, free) and not reaches(quiet, shut)
    assert reaches(shut, free) and reaches(free, quiet)


def test_answers_need_no_hole(lab):
    guest = start(lab, [rule(0, IN), rule(1, OUT, remote=f"{WORLD}/32"), rule(0)]).guest
    server = udp_server(lab, "world", WORLD)
    sender = arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"hello")))
    server.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer")
    assert guest.pings(WORLD)


def test_icmp_errors_of_passed_flows_pass(lab):
    guest = start(lab, [rule(0, protocol=1)]).guest
    guest.send(udp(guest.address, 5555, WORLD, 9, b"nobody is there"))
    error = guest.wait(lambda p: p.proto == 1, 1)
    assert error and error.payload[:2] == b"\3\3" and error.source == WORLD
    assert not guest.pings(WORLD, 0.4)


def test_dns_needs_no_hole(lab):
    """... but that is the gateway's alone."""
    from netlab import Resolver
    Resolver(lab)
    guest = start(lab, [rule(0)]).guest
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"))
    server = udp_server(lab, "world", "0.0.0.0", 53)
    assert not passes_udp(guest, server, WORLD, 53)


@pytest.mark.parametrize("target", [WORLD, UPLINK])
def test_new_tcp_flow_begins_with_syn(lab, target):
    guest = start(lab).guest
    assert connects(guest, target, 9)
    for flags in (0, 1, 4, 16, 18, 3, 6, 24, 41):
        sport = random.randrange(20000, 60000)
        guest.send(tcp(guest.address, sport, target, 9, flags, ack=5))
        assert guest.wait(lambda p: p.proto == 6 and p.dport == sport, 0.15) is None, flags
        assert not any(f"sport={sport} " in line for line in conntrack(lab)), flags


def test_ip_options_are_dropped(lab):
    keeper = start(lab)
    guest, server = keeper.guest, udp_server(lab, "world", WORLD)
    segment = struct.pack("!HHHH", 5, 7777, 8 + 7, 0) + b"options"
    before = keeper.count()
    guest.router_mac()
    for options in (b"\x83\x07\x04\xc6\x33\x64\x02\0", b"\x07\x07\x04\0\0\0\0\0", b"\1\1\1\1"):
        packet = ipv4(guest.address, WORLD, 17, transport(guest.address, WORLD, 17, segment, 6), options=options)
        assert not arrives(server, lambda: guest.send(packet))
    assert keeper.count()[0] == before[0] + 3
    assert passes_udp(guest, server, WORLD)


# The generated maps against the model

def fields(packed):
    names = "stage passes directions remotes protocol named bits guest_bits remote guest".split()
    values = RULE.unpack(packed)
    r = dict(zip(names, values))
    r["ports"], r["guest_ports"] = values[10:12], values[12:14]
    return r


def holds(network, bits, address):
    return ipaddress.ip_address(address) in ipaddress.ip_network((network, bits))


def matches(r, direction, kind, protocol, remote, guest, port, guest_port):
    any_port = r["ports"] == r["guest_ports"] == (0, 65535)
    return r["directions"] & direction and r["remotes"] & kind and r["protocol"] in (0, protocol) and \
        holds(r["remote"], r["bits"], remote) and holds(r["guest"], r["guest_bits"], guest) and \
        (any_port or protocol in (6, 17) and r["ports"][0] <= port <= r["ports"][1] and
         r["guest_ports"][0] <= guest_port <= r["guest_ports"][1])


def model(rules, *flow):
    """policy_passes(), again."""
    rules = [fields(r) for r in rules]
    return all(next((r["passes"] for r in rules if r["stage"] == stage and matches(r, *flow)), 1) for stage in (1, 2))


def prefix_near(chance, addresses):
    bits = chance.choice([0, 1, 7, 8, 16, 24, 28, 30, 31, 31, 32, 32, 32])
    network = int(ipaddress.ip_address(chance.choice(addresses)))
    network ^= (1 << (32 - bits)) * (bits > 0 and chance.random() < 0.3)  # its neighbour
    return str(ipaddress.ip_network((network & (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF, bits)))


def random_rule(chance, addresses, stage):
    wide = chance.random() < 0.7  # plain ones make the maps
    span = lambda low, high: tuple(sorted(chance.choices(range(low, high), k=2)))
    protocol = 0 if wide else chance.choice([0, 17, 17, 6, 1])
    ports = not wide and protocol != 1
    return rule(chance.random() < 0.5, chance.choice([OUT, IN, BOTH, BOTH]), chance.choice([TO_ALL, TO_ALL, TO_ALL, 1, 2, 3, 4, 5, 6]),
                prefix_near(chance, addresses), protocol=protocol, stage=stage,
                ports=span(1000, 1004) if ports and chance.random() < 0.7 else (0, 65535),
                guest_ports=span(10000, 40000) if ports and chance.random() < 0.3 else (0, 65535))


class World:
    """All that a guest may send to: who got which datagram."""

    def __init__(self, lab, other):
        self.lab, self.other = lab, other
        self.targets = [(TO_WORLD, far(n)) for n in (1, 2, 3, 4, 5, 6, 7, 8, 0x100, 0xFFFE)] + [(TO_WORLD, WORLD)] + \
            [(TO_HOST, a) for a in (UPLINK, "100.66.0.9", other.gateway)] + [(TO_GUESTS, other.address)]
        lab.ip("host", "addr add 100.66.0.9/32 dev lo")
        self.servers = [lab.socket(ns, socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", port), timeout=0)
                        for ns in ("host", "world") for port in PORTS]

    def collect(self, wanted):
        """-> the marks of what arrived; waits for what is wanted, and for a moment for what is not."""
        got = set()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for s in self.servers:
                with contextlib.suppress(BlockingIOError):
                    while data := s.recv(100):
                        got.add(data)
            got.update(p.payload[8:] for p in self.other.frames(0.001) if p.proto == 17)
            if wanted <= got:
                end = min(end, time.monotonic() + 0.002)
        return got


def test_random_policies_agree_with_the_model(lab):
    """300 lists of prefixes that overlap, touch, hold all or one, with other rules between."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    keeper, other = start(lab), start(lab).guest
    guest, world = keeper.guest, World(lab, other)
    guest.router_mac()
    other.router_mac()
    addresses = [a for _, a in world.targets]
    local = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    number = 0
    for round in range(300):
        rules = [random_rule(chance, addresses, stage) for stage in (1, 2) for _ in range(chance.randrange(12))]
        change(keeper, policy(rules))
        wanted, sent = set(), []
        for kind, target in chance.sample(world.targets, 9):
            number += 1
            mark, port, sport = b"n%d" % number, chance.choice(PORTS), 10000 + number * 7 % 30000
            guest.send(udp(guest.address, sport, target, port, mark))
            sent.append((mark, target, port, sport))
            if model(rules, OUT, kind, 17, target, guest.address, port, sport):
                wanted.add(mark)
        got = world.collect(wanted)
        assert got == wanted, (seed, round, [s for s in sent if (s[0] in got) != (s[0] in wanted)],
                               [fields(r) for r in rules])
        # what the host opens, from the gateway's address
        port = 20000 + number
        with contextlib.suppress(PermissionError):
            local.sendto(b"in", (guest.address, port))
        into = guest.wait(lambda p: p.proto == 17 and p.dport == port, PATIENCE if
                          (may := model(rules, IN, TO_HOST, 17, guest.gateway, guest.address, local.getsockname()[1], port))
                          else 0.001)
        assert (into is not None) == bool(may), (seed, round)
    assert number == 2700


def test_4096_rules(lab):
    """... each decides on its own address, and the last is as good as the first."""
    mixed = [rule(n % 2, remote=f"{far(n)}/32", protocol=17, ports=(7777, 7777)) for n in range(4095)] + [rule(0)]
    plain = [rule(n % 2, remote=f"{far(n)}/32") for n in range(4095)] + [rule(0)]
    keeper = start(lab)
    guest, server = keeper.guest, udp_server(lab, "world", "0.0.0.0")
    for rules in (mixed, plain):
        change(keeper, policy(rules))
        for n in (1, 3, 2047, 4093):
            assert passes_udp(guest, server, far(n)) and not passes_udp(guest, server, far(n + 1))
        assert not passes_udp(guest, server, far(5001))
    assert "NO-CARRIER" not in lab.ip("host", f"link show {keeper.interface}"), "the tap is up"


# Names

def test_named_addresses(lab):
    from netlab import Resolver
    resolver = Resolver(lab)
    resolver.answer = lambda q: (q[:2] + b"\x81\x80" + q[4:6] + b"\0\1\0\0\0\0" + q[12:] + b"\xc0\x0c" +
                                 struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("101.66.0.7")))
    lab.ip("world", "route add local 101.66.0.0/16 dev lo")
    named = policy([rule(1, OUT, TO_WORLD, named=1), rule(0)], names=["example.org"])
    keeper = lab.up(mode=SOFTNET, policy=named)
    guest, server = keeper.guest, udp_server(lab, "world", "0.0.0.0")
    assert not passes_udp(guest, server, "101.66.0.7")
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.com"))
    assert not passes_udp(guest, server, "101.66.0.7"), "another name's answer opens nothing"
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"))
    assert passes_udp(guest, server, "101.66.0.7") and not passes_udp(guest, server, "101.66.0.8")
    change(keeper, policy([rule(0, IN), rule(1, OUT, TO_WORLD, named=1), rule(0)], names=["example.org", "example.net"]))
    assert passes_udp(guest, server, "101.66.0.7"), "the name is still there"
    lab.run("host", "nft", "flush", "ruleset")
    assert wait_until(lambda: f"n-{keeper.interface}" in lab.ruleset() and "101.66.0.7" in lab.ruleset())
    assert wait_until(lambda: passes_udp(guest, server, "101.66.0.7")), "it came back with the filter"
    assert not passes_udp(guest, server, "101.66.0.8")
    change(keeper, policy([rule(1, OUT, TO_WORLD, named=1), rule(0)], names=["example.net"]))
    assert not passes_udp(guest, server, "101.66.0.7"), "its name is gone"
    assert "101.66.0.7" not in lab.ruleset()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):  # a tap that is down for a moment
            if condition():
                return True
        time.sleep(0.02)
    return condition()


# What is closed

def test_closed_tcp_leaves_the_table_of_connections_soon(lab):
    """The kernel does not count it among the flows that bound a guest."""
    keeper = start(lab)
    keeper.guest.plug("vm")
    listener = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", 0), listen=True)
    client = lab.socket("vm", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((WORLD, listener.getsockname()[1]))
    peer = listener.accept()[0]
    client.close()
    assert peer.recv(1) == b""
    peer.close()
    wait_until(lambda: any("TIME_WAIT" in line for line in conntrack(lab)))
    left, = [int(line.split()[4]) for line in conntrack(lab) if "TIME_WAIT" in line]
    assert left <= 10, "seconds"


# One policy in place of another

class Talk:
    """A TCP connection whose ends both send all the time."""

    def __init__(self, lab, keeper, server_in, address, inward=False):
        if not keeper.guest.pump:
            keeper.guest.plug(f"vm{len(lab.namespaces)}")
            keeper.vm = list(lab.namespaces)[-1]
        client_in = server_in if inward else keeper.vm
        listener = lab.socket(keeper.vm if inward else server_in, socket.AF_INET, socket.SOCK_STREAM,
                              bind=("0.0.0.0", 0), listen=True)
        client = lab.socket(client_in, socket.AF_INET, socket.SOCK_STREAM)
        client.connect((address, listener.getsockname()[1]))
        peer = listener.accept()[0]
        lab.cleanups.append(peer.close)
        self.ends = {"client": client, "server": peer}
        self.got = {name: bytearray() for name in self.ends}
        self.sent = dict.fromkeys(self.ends, 0)  # what the kernel has taken, or is about to
        self.limit = None
        self.stop = False
        self.threads = [threading.Thread(target=f, args=(name,), daemon=True) for name in self.ends
                        for f in (self.send, self.receive)]
        for s in self.ends.values():
            s.settimeout(0.1)
        for t in self.threads:
            t.start()

    def send(self, name):
        sent = 0
        while not self.stop:
            self.sent[name] = sent + 100
            with contextlib.suppress(TimeoutError, OSError):
                sent += self.ends[name].send(bytes((sent + i) % 251 for i in range(100)))
            time.sleep(0.002)

    def receive(self, name):
        while not self.stop:
            with contextlib.suppress(TimeoutError, OSError):
                self.got[name] += self.ends[name].recv(65536)

    def counts(self):
        return {name: len(got) for name, got in self.got.items()}

    def flows(self):
        """Do bytes arrive at both ends?"""
        before = self.counts()
        return wait_until(lambda: all(n > before[name] for name, n in self.counts().items()))

    def is_dead(self, seconds=0.6):
        """Of what was sent since the first of these questions, not a byte arrives. (Before, it may be on its way.)"""
        self.limit = self.limit or {"client": self.sent["server"], "server": self.sent["client"]}
        time.sleep(seconds)
        return all(n <= self.limit[name] for name, n in self.counts().items())

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()
        for got in self.got.values():
            assert got == bytes(i % 251 for i in range(len(got))), "a byte was lost"


@pytest.mark.parametrize("closed", [[rule(0, OUT, remote=f"{WORLD}/32")], [rule(0, protocol=6)], [rule(0, stage=1)],
                                    [rule(0, OUT, TO_WORLD)]])
def test_open_connection_that_is_closed_now_is_cut(lab, closed):
    keeper = start(lab)
    talk = Talk(lab, keeper, "world", WORLD)
    assert talk.flows()
    change(keeper, policy(closed))
    assert talk.is_dead()
    assert not [line for line in conntrack(lab) if f"src={keeper.address}" in line and "ESTABLISHED" in line]
    change(keeper, EVERYTHING)
    assert talk.is_dead(), "a cut flow does not come back"
    talk.end()


@pytest.mark.parametrize("host_may", [True, False])
def test_open_connection_to_the_host_is_cut(lab, host_may):
    """... and the host's end cannot take it up again, even where the host may open flows to the guest."""
    keeper = start(lab)
    talk = Talk(lab, keeper, "host", UPLINK)
    assert talk.flows()
    change(keeper, policy([rule(0, OUT if host_may else BOTH, TO_HOST)]))
    assert talk.is_dead()
    talk.end()


def test_open_connection_from_the_host_is_cut(lab):
    keeper = start(lab)
    keeper.guest.plug("vm")
    keeper.vm = "vm"
    talk = Talk(lab, keeper, "host", keeper.address, inward=True)
    assert talk.flows()
    change(keeper, policy([rule(0, IN, TO_HOST)]))
    assert talk.is_dead()
    change(keeper, policy([rule(1, IN, TO_HOST)]))
    assert talk.is_dead()
    talk.end()


@pytest.mark.parametrize("which", [0, 1])
def test_open_connection_between_guests_is_cut(lab, which):
    keepers = [start(lab), start(lab)]
    for n, keeper in enumerate(keepers):
        keeper.guest.plug(f"g{n}")
        keeper.vm = f"g{n}"
    talk = Talk(lab, keepers[0], "g1", keepers[1].address)
    assert talk.flows()
    change(keepers[which], policy([rule(0, (OUT, IN)[which], TO_GUESTS)]))
    assert talk.is_dead()
    talk.end()


def test_open_connection_through_a_published_port_is_judged_by_whom_it_reaches(lab):
    """The host redirects one of its ports to the world, as Docker does to a container."""
    lab.run("host", "nft", "add table ip pub; add chain ip pub pre { type nat hook prerouting priority -100; }; "
            f"add rule ip pub pre ip daddr {UPLINK} tcp dport 1-65535 dnat to {WORLD}")
    keeper = start(lab)
    talk = Talk(lab, keeper, "world", UPLINK)
    assert talk.flows()
    change(keeper, policy([rule(0, OUT, TO_HOST)]))
    assert talk.flows(), "it does not reach the host"
    change(keeper, policy([rule(0, OUT, TO_WORLD)]))
    assert talk.is_dead()
    talk.end()


def test_open_connection_that_still_passes_is_not_disturbed(lab):
    keeper = start(lab)
    talk = Talk(lab, keeper, "world", WORLD)
    assert talk.flows()
    for n in range(20):
        change(keeper, policy([rule(1, OUT, TO_WORLD, f"{WORLD}/32", protocol=6)] + [rule(0, remote=f"{far(i)}/32") for i in range(n)] +
                              [rule(0)]))
    assert talk.flows()
    talk.end()


def test_open_udp_flow_is_cut_or_goes_on(lab):
    keeper = start(lab)
    guest = keeper.guest
    server, other = udp_server(lab, "world", WORLD), udp_server(lab, "world", far(1), 7778)
    first = arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"1")))
    second = arrives(other, lambda: guest.send(udp(guest.address, 5555, far(1), 7778, b"1")))
    change(keeper, policy([rule(0, OUT, remote=f"{WORLD}/32")]))
    server.sendto(b"late", first)
    other.sendto(b"good", second)
    got = {p.payload[8:] for p in guest.frames(0.3) if p.proto == 17}
    assert got == {b"good"}
    assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"2")))
    assert arrives(other, lambda: guest.send(udp(guest.address, 5555, far(1), 7778, b"2"))) == second


def test_of_many_flows_those_that_are_closed_now_are_cut(lab):
    """More than are listed or cut with one message."""
    keeper = start(lab)
    for n in range(5000):
        keeper.guest.send(udp(keeper.address, 20000 + n, far(1 + n % 2), 7777, b"1"))

    def flows(target):
        return len([line for line in conntrack(lab) if f"src={keeper.address} dst={target} " in line])
    assert (flows(far(1)), flows(far(2))) == (2500, 2500)
    change(keeper, policy([rule(0, OUT, remote=f"{far(2)}/32")]))
    assert (flows(far(1)), flows(far(2))) == (2500, 0)


def test_ping_is_cut(lab):
    keeper = start(lab)
    assert keeper.guest.pings(WORLD)
    change(keeper, policy([rule(0, protocol=1)]))
    assert not [line for line in conntrack(lab) if "icmp" in line]
    assert not keeper.guest.pings(WORLD, 0.4)


def malformed():
    good = policy([rule(0)])
    return {"short": good[:-1], "long": good + b"x", "stage": policy([rule(0, stage=3)]), "host-wide": policy([rule(1, stage=0)]),
            "order": policy([rule(0, stage=2), rule(0, stage=1)]), "verdict": policy([rule(2)]), "direction": policy([rule(0, 4)]),
            "remotes": policy([rule(0, remotes=8)]), "prefix": policy([rule(0, remote="1.2.3.4/24")]),
            "bits": policy([rule(0, remote="1.2.3.4/33")]), "ports": policy([rule(0, ports=(2, 1))]),
            "ports of ICMP": policy([rule(0, protocol=1, ports=(1, 2))]), "name": policy([], names=["a b"]),
            "names": good[:12] + b"\xff\xff" + good[14:], "rules": good[:8] + b"\xff\xff" + good[10:],
            "too many": policy([rule(0)] * 8225)}


@pytest.mark.parametrize("name", malformed())
def test_malformed_policy_leaves_the_old_one(lab, name):
    keeper = start(lab, [rule(0, remote=f"{far(1)}/32")])
    guest, server = keeper.guest, udp_server(lab, "world", "0.0.0.0")
    before = lab.ruleset()
    assert keeper.set_policy(malformed()[name])[0] == FAILED
    assert lab.ruleset() == before
    assert passes_udp(guest, server, WORLD) and not passes_udp(guest, server, far(1))
    change(keeper, EVERYTHING)
    assert passes_udp(guest, server, far(1))


def test_unreadable_rules_of_root_leave_the_old_policy(lab):
    keeper = start(lab, [rule(0, remote=f"{far(1)}/32")])
    (lab.etc / "linzer" / "net.rules").write_text("let everything pass\n")
    kind, fields, _ = keeper.set_policy(EVERYTHING)
    assert kind == FAILED and "net.rules" in fields["text"] and "line 1" in fields["text"]
    assert not passes_udp(keeper.guest, udp_server(lab, "world", "0.0.0.0"), far(1))


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_replacements_under_load(lab, times):
    """What both policies allow is never lost, what both forbid never passes: old flows and new ones."""
    always = [rule(1, OUT, TO_WORLD, f"{far(1)}/32", protocol=17), rule(0, OUT, TO_WORLD, "100.66.0.0/24")]
    one = policy([rule(0, stage=1, remote=f"{far(2)}/32"), *always])
    two = policy([rule(1, remote=f"{far(n)}/31") for n in range(4, 200, 4)] + always)
    keeper = lab.up(mode=SOFTNET, policy=one)
    guest, server = keeper.guest, udp_server(lab, "world", "0.0.0.0")
    server.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    guest.router_mac()
    sent, done = [], threading.Event()

    def load():
        n = 0
        while not done.is_set():
            n += 1
            sport = 5000 if n % 2 else 10000 + n // 2 % 40000
            guest.send(udp(guest.address, sport, far(1), 7777, b"good %d" % n))
            guest.send(udp(guest.address, sport, far(2), 7777, b"bad"))
            sent.append(n)
            time.sleep(0.0005)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for n in range(times):
            change(keeper, (two, one)[n % 2])
    finally:
        done.set()
        thread.join()
    server.settimeout(0.2)
    got = []
    with contextlib.suppress(TimeoutError):
        while data := server.recv(100):
            got.append(data)
    assert len(sent) > times
    # the kernel may change their order, when the sender moves to another processor
    assert sorted(got) == sorted(b"good %d" % n for n in sent), (len(got), len(sent), got.count(b"bad"))


def test_counters_survive_a_replacement(lab):
    keeper = start(lab, [rule(0, OUT, remote=f"{far(1)}/32"), rule(0, IN, TO_HOST)])
    guest = keeper.guest
    guest.router_mac()
    start_at = keeper.count()
    for n in range(5):
        guest.send(udp(guest.address, 9, far(1), 9, b"x"))
    guest.send(udp(far(1), 9, far(2), 9, b"not my address"))
    s = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.suppress(PermissionError):
        s.sendto(b"x", (guest.address, 9))
    counted = keeper.count()
    assert [b - a for a, b in zip(start_at, counted)] == [1, 5, 1]
    change(keeper, policy([rule(0, OUT, stage=1), rule(1)]))
    assert keeper.count() == counted
    guest.send(udp(guest.address, 9, far(1), 9, b"x"))
    assert keeper.count() == (counted[0], counted[1] + 1, counted[2])


# What the kernel remembers of a VM

def test_no_connection_outlives_its_vm(lab):
    keeper, stays = start(lab), start(lab)
    guest, server = keeper.guest, udp_server(lab, "world", WORLD)
    assert passes_udp(guest, server, WORLD) and connects(guest, WORLD, 9) and guest.pings(guest.gateway)
    assert passes_udp(stays.guest, server, WORLD)
    local = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    local.sendto(b"x", (guest.address, 9))
    lab.run("host", "nft", "add table ip pub; add chain ip pub o { type nat hook output priority -100; }; "
            f"add rule ip pub o ip daddr {UPLINK} udp dport 77 dnat to {guest.address}")
    local.sendto(b"published", (UPLINK, 77))
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"published")
    assert len([line for line in conntrack(lab) if keeper.address in line]) >= 4
    assert keeper.stop() == 0
    assert [line for line in conntrack(lab) if f"={keeper.address} " in line] == []
    assert [line for line in conntrack(lab) if f"={stays.address} " in line]


@pytest.mark.parametrize("killed", [False, True])
def test_next_vm_with_the_address_gets_no_packet_of_an_old_flow(lab, killed):
    keep = start(lab)
    mac = random_mac()
    keeper = start(lab, mac=mac)
    server = udp_server(lab, "world", WORLD)
    address = keeper.address
    sender = arrives(server, lambda: keeper.guest.send(udp(address, 5555, WORLD, 7777, b"hello")))
    if killed:
        keeper.process.kill()
        keeper.wait()
        keeper.close_tap()
    else:
        keeper.stop()
    following = start(lab, mac=mac)
    assert following.address == address
    following.guest.router_mac()
    server.sendto(b"for the one before", sender)
    assert following.guest.wait(lambda p: p.proto == 17, 0.4) is None
    assert keep.stop() == following.stop() == 0


def test_flow_that_was_opened_while_there_was_no_filter_is_judged(lab):
    """Somebody else's table keeps connections known meanwhile."""
    lab.run("host", "nft", "add table ip other; add chain ip other f { type filter hook forward priority 0; }; "
            "add rule ip other f ct state established accept")
    keeper = start(lab, [rule(0, OUT, remote=f"{far(1)}/32")])
    guest = keeper.guest
    guest.router_mac()
    lab.ip("world", f"route add {keeper.address}/32 via {UPLINK}")  # without a filter there is no NAT
    server = udp_server(lab, "world", "0.0.0.0")
    assert not passes_udp(guest, server, far(1), sport=5555)
    keeper.process.send_signal(19)  # SIGSTOP
    try:
        lab.run("host", "nft", "delete table inet linzer; delete table netdev linzer")
        assert passes_udp(guest, server, far(1), sport=5555)
    finally:
        keeper.process.send_signal(18)
    assert wait_until(lambda: f"n-{keeper.interface}" in lab.ruleset())
    assert wait_until(lambda: not passes_udp(guest, server, far(1), sport=5555))
    assert not [line for line in conntrack(lab) if f"dst={far(1)} " in line]


@pytest.mark.parametrize("answered", [False, True])
def test_flow_of_the_world_that_came_in_while_there_was_no_filter_goes(lab, answered):
    """Nobody out there opens one to a guest, whatever the policy says."""
    lab.run("host", "nft", "add table ip other; add chain ip other f { type filter hook forward priority 0; }; "
            "add rule ip other f ct state established accept")
    keeper = start(lab)
    guest = keeper.guest
    guest.router_mac()
    lab.ip("world", f"route add {keeper.address}/32 via {UPLINK}")
    server = udp_server(lab, "world", WORLD)

    def comes_in():
        server.sendto(b"x", (keeper.address, 5555))
        return guest.wait(lambda p: p.proto == 17 and p.dport == 5555, 0.5) is not None
    assert not comes_in()
    keeper.process.send_signal(19)  # SIGSTOP
    try:
        lab.run("host", "nft", "delete table inet linzer; delete table netdev linzer")
        assert comes_in()
        if answered:
            assert arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"y")))
    finally:
        keeper.process.send_signal(18)
    assert wait_until(lambda: f"n-{keeper.interface}" in lab.ruleset())
    assert wait_until(lambda: guest.pings(WORLD, 0.3))
    assert not comes_in()
    assert not [line for line in conntrack(lab) if " dport=5555 " in line]


def test_many_changes_of_others_do_not_take_a_tap_down(lab):
    """More news of the filter than a keeper can hold are not the end of the filter."""
    keeper = start(lab)
    guest = keeper.guest
    assert guest.pings(WORLD)
    before = lab.ip("host", f"-s link show {keeper.interface}")
    events = [f"add element inet other big {{ {n >> 16}.{n >> 8 & 255}.{n & 255}.1 }}" for n in range(20000)]
    keeper.process.send_signal(19)
    try:
        path = lab.tmp / "big.nft"
        path.write_text("add table inet other\nadd set inet other big { type ipv4_addr; }\n" + "\n".join(events))
        lab.run("host", "nft", "-f", str(path))
    finally:
        keeper.process.send_signal(18)
    assert keeper.count() == (0, 0, 0)
    assert guest.pings(WORLD)
    changes = lambda text: [line for line in text.splitlines() if "state" in line]
    assert changes(before) == changes(lab.ip("host", f"-s link show {keeper.interface}"))
    lab.run("host", "nft", "delete table inet other")
    lab.run("host", "nft", "flush ruleset")
    assert wait_until(lambda: f"od-{keeper.interface}" in lab.ruleset()), "it still watches"
    assert wait_until(lambda: guest.pings(WORLD, 0.3))


def test_all_is_gone_at_the_end(lab):
    keepers = [start(lab, [rule(0, stage=1, remote=f"{far(1)}/32"), rule(1, protocol=6, ports=(1, 2)), rule(0)])
               for _ in range(3)]
    for keeper in keepers:
        change(keeper, NOTHING_PASSES)
        change(keeper, SHARED_POLICY)
    for keeper in keepers:
        assert keeper.stop() == 0, keeper.process.stderr.read()
    assert lab.leftovers() == NOTHING
    assert gone(lab, 0)
