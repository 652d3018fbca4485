# SPDX-License-Identifier: Apache-2.0
"""Policies of bridged cards: stateful without conntrack, bounded, and replaced while flows are open."""

import socket
import struct

import pytest

import netlab
from netlab import CHANGED, FAILED, IN, OUT, REQUEST, TO_HOST, TO_WORLD, Dhcp, ipv4, ping, policy, rule, tcp, udp
from netlan import HOST, NO_RULES, PEER, ROUTER, STATIC, bridge, frame, hears, lan, lease

FLOWS_MAX, PINGS_MAX = 16384, 1024  # src/net/rules_bridged.h
BLOCK_IN = policy([rule(0, IN)])
BLOCK_OUT = policy([rule(0, OUT)])
BLOCK_ALL = policy([rule(0)])
TCP, UDP, ICMP, GRE = 6, 17, 1, 47
SYN, ACK, FIN, RST, PSH = 2, 16, 1, 4, 8


class Wire:
    """The guest's and a machine's packets, and whether they pass."""

    def __init__(self, lan, machine="peer", **options):
        self.lan, self.machine = lan, machine
        self.keeper = lan.settled(**options)
        self.guest = self.keeper.guest
        self.ear = lan.ear(machine)
        self.hushed = False

    def out(self, *packets):
        """Which of these IPv4 packets of the guest's leave? -> a list of booleans"""
        frames = [frame(self.lan.mac(self.machine), self.guest.mac, p) for p in packets]
        heard = self.guest.leaves(self.ear, frames)
        return [f in heard for f in frames]

    def into(self, *packets):
        """Which of the machine's reach the guest?"""
        frames = [frame(self.guest.mac, self.lan.mac(self.machine), p) for p in packets]
        heard = hears(self.guest, self.lan, self.machine, frames)
        return [f in heard for f in frames]

    def opened(self, sport=5555, dport=80):
        """The guest opens a TCP flow to the peer."""
        if not self.hushed:
            self.lan.hush(self.machine)
            self.hushed = True
        assert self.out(tcp(STATIC, sport, PEER, dport)) == [True]
        assert self.into(tcp(PEER, dport, STATIC, sport, SYN | ACK)) == [True]
        assert self.out(tcp(STATIC, sport, PEER, dport, ACK)) == [True]

    def entered(self, sport=5555, dport=22):
        """The peer opens one to the guest."""
        assert self.into(tcp(PEER, sport, STATIC, dport)) == [True]
        assert self.out(tcp(STATIC, dport, PEER, sport, SYN | ACK)) == [True]
        assert self.into(tcp(PEER, sport, STATIC, dport, ACK)) == [True]

    def flood(self, count):
        """The guest opens UDP flows to that many ports, from 1000 on."""
        to = self.lan.mac(self.machine)
        for port in range(1000, 1000 + count):
            self.guest.send_frame(frame(to, self.guest.mac, udp(STATIC, 1000, PEER, port, b"")))

    def set(self, packet):
        kind, fields, _ = self.keeper.set_policy(packet)
        assert kind == CHANGED, fields["text"]

    def elements(self, name):
        text = self.lan.run("host", "nft", "list", "set", "netdev", self.keeper.interface, name)
        return text.count("expires")


# Stateful

def test_answers_need_no_rule(lan):
    wire = Wire(lan, rules=BLOCK_IN)
    assert wire.into(udp(PEER, 53, STATIC, 5555, b"unasked"), tcp(PEER, 80, STATIC, 5555),
                     tcp(PEER, 80, STATIC, 5555, SYN | ACK), ping(PEER, STATIC)) == [False] * 4
    assert wire.out(udp(STATIC, 5555, PEER, 53, b"question")) == [True]
    assert wire.into(udp(PEER, 53, STATIC, 5555, b"answer"), udp(PEER, 53, STATIC, 5556, b"other port"),
                     udp(PEER, 54, STATIC, 5555, b"other port"), udp(ROUTER, 53, STATIC, 5555, b"other"),
                     tcp(PEER, 53, STATIC, 5555, ACK)) == [True, False, False, False, False]
    wire.opened()
    assert wire.into(tcp(PEER, 80, STATIC, 5555, ACK | PSH), tcp(PEER, 80, STATIC, 5556, ACK)) == [True, False]
    assert wire.guest.pings(PEER)


def test_what_the_lan_opens_is_answered(lan):
    wire = Wire(lan, rules=BLOCK_OUT)
    assert wire.out(udp(STATIC, 53, PEER, 5555, b"unasked"), tcp(STATIC, 22, PEER, 5555),
                    tcp(STATIC, 22, PEER, 5555, SYN | ACK), tcp(STATIC, 22, PEER, 5555, ACK),
                    ping(STATIC, PEER)) == [False] * 5
    wire.entered()
    assert wire.out(tcp(STATIC, 22, PEER, 5555, ACK | PSH)) == [True]
    assert wire.into(udp(PEER, 5555, STATIC, 53, b"question")) == [True]
    assert wire.out(udp(STATIC, 53, PEER, 5555, b"answer")) == [True]
    assert wire.into(ping(PEER, STATIC, 99)) == [True]
    assert wire.out(ipv4(STATIC, PEER, ICMP, b"\0\0\0\0" + ping(PEER, STATIC, 99)[24:]),
                    ipv4(STATIC, PEER, ICMP, b"\0\0\0\0" + ping(PEER, STATIC, 98)[24:])) == [True, False]


def test_a_flow_begins_with_syn_only(lan):
    """And the answering side cannot open one in its place."""
    wire = Wire(lan, rules=policy([rule(0, IN, protocol=GRE)]))
    assert wire.out(*(tcp(STATIC, 5555, PEER, 80, f) for f in (ACK, FIN, RST, SYN | ACK, SYN | FIN, SYN | RST, 0))) == \
        [False] * 7
    assert wire.into(*(tcp(PEER, 80, STATIC, 5555, f) for f in (ACK, FIN, RST, SYN | ACK, SYN | FIN, 0))) == [False] * 6
    wire.opened()
    assert wire.into(tcp(PEER, 80, STATIC, 5555, SYN)) == [False]
    wire.entered()
    assert wire.out(tcp(STATIC, 22, PEER, 5555, SYN)) == [False]


def test_nothing_passes_a_policy_that_blocks_all(lan):
    wire = Wire(lan, rules=BLOCK_ALL)
    assert wire.out(udp(STATIC, 1, PEER, 2, b"x"), tcp(STATIC, 1, PEER, 2), ping(STATIC, PEER),
                    ipv4(STATIC, PEER, GRE, b"x" * 20),
                    udp(STATIC, 68, PEER, 67, b"no DHCP"), udp(STATIC, 68, PEER, 67, b"\1" * 300)) == [False] * 6
    assert wire.into(udp(PEER, 1, STATIC, 2, b"x"), tcp(PEER, 1, STATIC, 2), ping(PEER, STATIC),
                     ipv4(PEER, STATIC, GRE, b"x" * 20), udp(PEER, 67, STATIC, 68, b"no DHCP")) == [False] * 5
    assert wire.guest.resolve(PEER)  # ARP is no matter of policy


def test_lease_is_renewed_under_any_policy(lan):
    lan.serve_dhcp()
    keeper = lan.card(rules=BLOCK_ALL)
    address, client = lease(keeper), Dhcp(keeper.guest)
    for target in (ROUTER, "255.255.255.255"):
        assert client.ask(REQUEST, ciaddr=address, source=address, target=target)[:2] == (netlab.ACK, address)
    # that way leads to the server alone
    client.send(REQUEST, ciaddr=address, source=address, target=PEER)
    assert not client.answer(0.2)


def test_rules_by_their_fields(lan):
    """First match in a stage; every stage has to be passed."""
    (lan.etc / "linzer/net.rules").write_text("block out to 10.9.0.1\n")
    wire = Wire(lan, rules=policy([
        rule(1, OUT, remote="10.9.0.0/24", protocol=TCP, ports=(80, 81), stage=1),
        rule(1, OUT, remote="10.9.0.0/29", protocol=UDP, guest_ports=(53, 53), stage=1),
        rule(1, IN, guest="10.9.0.32/27", ports=(7, 7), stage=1), rule(0, stage=1),
        rule(0, protocol=TCP, ports=(81, 81), stage=2)]))
    assert wire.out(tcp(STATIC, 1, PEER, 80), tcp(STATIC, 1, PEER, 81), tcp(STATIC, 1, PEER, 82),
                    tcp(STATIC, 1, ROUTER, 80), udp(STATIC, 53, PEER, 9, b"x"), udp(STATIC, 54, PEER, 9, b"x")) == \
        [True, False, False, False, True, False]
    assert wire.into(tcp(PEER, 7, STATIC, 1), udp(PEER, 7, STATIC, 2, b"x"), udp(PEER, 8, STATIC, 1, b"x")) == \
        [True, True, False]


def test_host_and_world_are_told_apart(lan):
    """The host is each of its addresses, also one that it gets later; nothing else is."""
    lan.ip("host", "addr add 192.0.2.9/32 dev lo")
    keeper = lan.settled(rules=policy([rule(0, remotes=TO_HOST)]))
    guest, ear = keeper.guest, lan.ear("router")
    frames = [frame(lan.mac("router"), guest.mac, udp(STATIC, 1, target, 2, b"x"))
              for target in (HOST, "192.0.2.9", "192.0.2.10", ROUTER)]
    assert guest.leaves(ear, frames) == frames[2:]
    lan.ip("host", "addr add 192.0.2.10/32 dev lo")
    frames = [frame(lan.mac("router"), guest.mac, udp(STATIC, 3, target, 2, b"x"))
              for target in ("192.0.2.10", "192.0.2.11", ROUTER)]
    assert guest.leaves(ear, frames) == frames[1:]
    assert not lan.pings("host", STATIC, 0.3)
    keeper.set_policy(policy([rule(0, remotes=TO_WORLD)]))
    assert not guest.pings(ROUTER, 0.3) and guest.pings(HOST)
    client = lan.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"from the host", (STATIC, 99))
    assert guest.wait(lambda p: p.proto == 17 and p.dport == 99)


def test_errors_of_the_guests_own_flows_reach_it(lan):
    """Path MTU discovery works behind any policy; nothing else comes in that way."""
    wire = Wire(lan, rules=BLOCK_IN)

    def error(inner, kind=3, code=4):
        return ipv4(ROUTER, STATIC, ICMP, struct.pack("!BBHI", kind, code, 0, 1400) + inner[:28])
    assert wire.into(error(udp(STATIC, 1, PEER, 2, b"")), error(udp(STATIC, 1, PEER, 2, b""), 11, 0),
                     error(udp(PEER, 1, STATIC, 2, b"")), error(udp("10.9.0.41", 1, PEER, 2, b"")),
                     error(b"\x45"), error(udp(STATIC, 1, PEER, 2, b""), 5, 1),
                     ipv4(ROUTER, STATIC, ICMP, error(udp(STATIC, 1, PEER, 2, b""))[20:] + b"x" * 600)) == \
        [True, True, False, False, False, False, False]


def fragments(proto, payload, source=STATIC, target=PEER):
    return [ipv4(source, target, proto, payload[:16], flags=0x2000), ipv4(source, target, proto, payload[16:], flags=2)]


def test_fragments(lan):
    whole = udp(STATIC, 5555, PEER, 53, b"y" * 40)[20:]
    first, rest = fragments(UDP, whole)
    assert Wire(lan).out(first, rest) == [True, True]


def test_fragments_under_a_policy(lan):
    """Judged by address; where ports are looked at, the later ones never pass."""
    wire = Wire(lan, rules=policy([rule(0, OUT, remote="10.9.0.1/32")]))
    assert wire.out(*fragments(UDP, udp(STATIC, 5555, PEER, 53, b"y" * 40)[20:]),
                    *fragments(UDP, udp(STATIC, 5555, ROUTER, 53, b"y" * 40)[20:], target=ROUTER)) == \
        [True, True, False, False]
    wire.set(policy([rule(0, OUT, ports=(54, 54))]))
    assert wire.out(*fragments(UDP, udp(STATIC, 5555, PEER, 53, b"y" * 40)[20:])) == [True, False]
    # one that overlaps the ports of the first, or is too short to hold them
    assert wire.out(ipv4(STATIC, PEER, UDP, b"x" * 8, flags=1), ipv4(STATIC, PEER, TCP, b"\0\1\0\2", flags=0x2000),
                    ipv4(STATIC, PEER, TCP, b"\0\1"), ipv4(STATIC, PEER, UDP, b"")) == [False] * 4


# Bounds

def test_flows_are_bounded_and_fail_closed(bridge):
    wire = Wire(bridge, rules=policy([rule(0, OUT, protocol=GRE)]))
    wire.opened()
    wire.entered()
    wire.flood(FLOWS_MAX + 3000)
    wire.ear = bridge.ear("peer")
    assert wire.elements("flows_out") == FLOWS_MAX
    # no room: not even for what the policy lets through; what is open goes on, and so do others' flows
    assert wire.out(tcp(STATIC, 9, PEER, 9), udp(STATIC, 9, PEER, 9, b""), tcp(STATIC, 5555, PEER, 80, ACK),
                    tcp(STATIC, 22, PEER, 5555, ACK)) == [False, False, True, True]
    wire.entered(sport=6666)


def test_closed_flows_make_room(bridge):
    """A FIN, and a SYN that nobody answered, leave their flow two minutes, an answered one days."""
    wire = Wire(bridge, rules=policy([rule(0, OUT, protocol=GRE)]))

    def expires(port):
        text = bridge.run("host", "nft", "list", "set", "netdev", wire.keeper.interface, "flows_out")
        return text.split(f". {port} expires ")[1].split()[0].rstrip(",")
    bridge.hush("peer")
    assert wire.out(tcp(STATIC, 1, PEER, 81)) == [True]
    assert "d" not in expires(81)
    # the opener alone cannot give it a long life
    assert wire.out(tcp(STATIC, 1, PEER, 81, ACK | PSH)) == [True]
    assert "d" not in expires(81)
    wire.opened(dport=82)
    assert expires(82).startswith("4d")
    assert wire.into(tcp(PEER, 82, STATIC, 5555, FIN | ACK)) == [True]
    assert "d" not in expires(82)
    # half closed: what still comes keeps it
    assert wire.into(tcp(PEER, 82, STATIC, 5555, PSH | ACK)) == [True]
    assert expires(82).startswith("4d")


# Replaced while it is used

def test_change_cuts_only_what_it_forbids(lan):
    wire = Wire(lan, rules=policy([rule(0, protocol=GRE)]))
    wire.opened(dport=80)
    wire.opened(dport=81)
    wire.entered()
    assert wire.out(udp(STATIC, 1, PEER, 53, b"x"), udp(STATIC, 1, PEER, 54, b"x")) == [True, True]
    assert wire.guest.pings(PEER)
    wire.set(policy([rule(0, OUT, ports=(81, 81)), rule(0, OUT, ports=(54, 54))]))
    assert wire.out(tcp(STATIC, 5555, PEER, 80, ACK), tcp(STATIC, 5555, PEER, 81, ACK),
                    tcp(STATIC, 22, PEER, 5555, ACK)) == [True, False, True]
    assert wire.into(tcp(PEER, 80, STATIC, 5555, ACK), tcp(PEER, 81, STATIC, 5555, ACK), udp(PEER, 53, STATIC, 1, b"y"),
                     tcp(PEER, 5555, STATIC, 22, ACK)) == [True, False, True, True]
    wire.set(policy([rule(1, OUT, ports=(80, 80)), rule(0)]))
    assert wire.out(tcp(STATIC, 5555, PEER, 80, ACK), udp(STATIC, 1, PEER, 53, b"x"), tcp(STATIC, 22, PEER, 5555, ACK),
                    ) == [True, False, False]
    assert wire.into(udp(PEER, 54, STATIC, 1, b"y"), tcp(PEER, 5555, STATIC, 22, ACK)) == [False, False]
    wire.set(BLOCK_ALL)
    assert [wire.elements(s) for s in ("flows_out", "flows_in", "pings_out", "pings_in")] == [0] * 4


def test_first_rules_know_who_opened_what(lan):
    """A card without rules remembers who opened its TCP flows, for the rules that may come."""
    wire = Wire(lan)
    wire.opened()
    wire.entered()
    wire.set(BLOCK_OUT)
    assert wire.out(tcp(STATIC, 5555, PEER, 80, ACK), tcp(STATIC, 22, PEER, 5555, ACK)) == [False, True]
    wire.set(NO_RULES)
    wire.opened(dport=82)
    wire.set(BLOCK_IN)
    assert wire.into(tcp(PEER, 5555, STATIC, 22, ACK), tcp(PEER, 82, STATIC, 5555, ACK)) == [False, True]


def test_tcp_flows_of_a_kernel_live_and_die(lan):
    """Real connections, in both directions, with data while the policy changes."""
    keeper = lan.settled(rules=policy([rule(0, protocol=GRE)]))
    keeper.guest.plug("inside")
    pairs = {}
    for name, (client, server, address, port) in {"kept": ("inside", "peer", PEER, 80), "cut": ("inside", "peer", PEER, 81),
                                                  "entered": ("peer", "inside", STATIC, 22)}.items():
        listener = lan.socket(server, socket.AF_INET, socket.SOCK_STREAM, bind=(address, port), listen=True)
        near = lan.socket(client, socket.AF_INET, socket.SOCK_STREAM)
        near.connect((address, port))
        pairs[name] = near, listener.accept()[0]
    kind, _, _ = keeper.set_policy(policy([rule(0, OUT, ports=(81, 81)), rule(0, IN)]))
    assert kind == CHANGED
    for near, _ in pairs.values():
        near.sendall(b"x")
    assert pairs.pop("kept")[1].recv(1) == b"x"
    time.sleep(0.5)  # time to send it again
    for _, far in pairs.values():
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)


def test_thousands_of_flows_are_cut_when_it_answers(lan):
    """4,000 of 8,000: none of them is there, and nothing of them passes, once the change is told."""
    lan.hush("peer")
    wire = Wire(lan, rules=policy([rule(0, OUT, protocol=GRE)]))
    wire.flood(8000)
    assert wire.elements("flows_out") == 8000
    wire.ear = lan.ear("peer")  # the first is full of them
    wire.set(policy([rule(0, IN), rule(0, OUT, ports=(1000, 4999))]))
    ports = [1000, 2999, 4999, 5000, 6999, 8999]
    assert wire.into(*(udp(PEER, port, STATIC, 1000, b"answer") for port in ports)) == [False] * 3 + [True] * 3
    assert wire.out(*(udp(STATIC, 1000, PEER, port, b"more") for port in ports)) == [False] * 3 + [True] * 3
    assert wire.elements("flows_out") == 4000


def test_policy_that_cannot_be_is_refused(bridge):
    wire = Wire(bridge, rules=BLOCK_IN)
    kind, fields, _ = wire.keeper.set_policy(policy([rule(1, named=1)], ["example.org"]))
    assert kind == FAILED and "names" in fields["text"]
    assert wire.into(udp(PEER, 53, STATIC, 5555, b"unasked")) == [False]  # the old one stays


def test_flows_are_forgotten_with_the_address(bridge):
    bridge.serve_dhcp()
    wire = Wire(bridge, rules=BLOCK_IN)
    wire.opened()
    wire.guest.address = "0.0.0.0"
    lease(wire.keeper)
    assert wire.elements("flows_out") == 0


def test_drops_are_counted(lan):
    wire = Wire(lan, rules=policy([rule(0, OUT, remote=f"{PEER}/32"), rule(0, IN)]))
    before = wire.keeper.count()
    wire.out(*[udp(STATIC, 1, PEER, 2, b"x")] * 3)
    wire.into(*[udp(PEER, 1, STATIC, 2, b"x")] * 2)
    wire.guest.send(b"\x60" + b"\0" * 39, type=0x86dd, to=lan.mac("peer"))
    assert [a - b for a, b in zip(wire.keeper.count(), before)] == [1, 3, 2]


def test_four_thousand_lines(bridge):
    """The longest text, set and replaced: the last line counts as the first."""
    rules = [rule(0, OUT, protocol=UDP, ports=(1000 + i, 1000 + i)) for i in range(4096)]
    wire = Wire(bridge, rules=policy(rules))
    assert wire.out(*(udp(STATIC, 1, PEER, port, b"x") for port in (999, 1000, 3000, 5095, 5096))) == \
        [True, False, False, False, True]
    wire.set(policy(rules[:1]))
    assert wire.out(*(udp(STATIC, 1, PEER, port, b"x") for port in (999, 1000, 3000))) == [True, False, True]
