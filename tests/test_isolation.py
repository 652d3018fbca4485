# SPDX-License-Identifier: Apache-2.0
"""The matrix: every row of docs/isolation.md as frames on the wire, alone and beside 200 other guests.

A row's builder sends its packet, marked, from the row's sender. It returns None (the packet arrives where its
mark does), or a bool, or a function that is asked for the bool when all has had its time.
"""

import contextlib
import os
import pathlib
import random
import socket
import struct
import time

import pytest

import frames
from conftest import ROOT
from frames import TCP, UDP
from isolation_lab import IMPATIENCE, LAN, LAN_HOST, OK, PORT, REFUSED, ZONE, Field, dial, lease, resolve, token
from isolation_table import Malformed, control_of, read_tables
from netlab import (ACK, BROADCAST, DISCOVER, OFFER, PATIENCE, RELEASE, REQUEST, UPLINK, WORLD, Dhcp, arp, dns_query, ipv4,
                    ping, random_mac, udp)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
TABLE = pathlib.Path(ROOT / "docs/isolation.md").read_text()
ROWS = read_tables(TABLE)

# Builders

NAMES = {"gateway": lambda b: b.guest.gateway, "guest": lambda b: b.guest.address, "other": lambda b: b.other.address,
         "uplink": lambda b: UPLINK, "world": lambda b: WORLD, "lan": lambda b: LAN}


def address(b, name):
    return NAMES[name](b) if name in NAMES else name


def own_source(b):
    """Of whoever sends."""
    return address(b, "gateway" if b.sender == "host" else b.sender)


def packet(b, proto, target, mark, port=PORT, source=None, sport=None):
    source, target = address(b, source) if source else own_source(b), address(b, target)
    sport = sport or random.randrange(20000, 60000)
    if proto == UDP:
        return udp(source, sport, target, port, mark)
    if proto == TCP:
        return frames.segment(source, sport, target, port, mark)
    if proto == frames.ICMP:
        return ping(source, target, random.randrange(65536), mark)
    return frames.gre(source, target, mark)


def sends(proto, target, port=PORT, **fields):
    return lambda b, mark: b.send(b.sender, packet(b, proto, target, mark, port, **fields))


def udp_to(target, port=PORT, **fields):
    return sends(UDP, target, port, **fields)


def tcp_to(target, port=PORT, **fields):
    return sends(TCP, target, port, **fields)


def ping_to(target):
    return sends(frames.ICMP, target)


def gre_to(target):
    return sends(frames.GRE, target)


def from_mac(target, source="guest", whose=None):
    """A frame with another MAC than the guest's."""
    def build(b, mark):
        body = packet(b, UDP, target, mark, source=source)
        mac = b.other.mac if whose else random_mac()
        b.guest.send(body, mac=mac, to=b.next_hop(b.guest, body))
    return build


def straight_to_other(b, mark):
    b.guest.send(packet(b, UDP, "other", mark), to=b.other.mac)


def broadcast(target, port=PORT):
    """By every MAC that it might get through with."""
    def build(b, mark):
        body = packet(b, UDP, target, mark, port)
        for to in (BROADCAST, b"\x01\0\x5e" + body[17:20], None):
            b.guest.send(body, to=to)
    return build


def fresh(target="1.1.1.1", source="guest", dhcp=(), passed=0):
    """Of a guest just started, after these DHCP messages."""
    def build(b, mark):
        guest = b.fresh()
        for kind in dhcp:
            if kind == RELEASE:
                Dhcp(guest).send(kind, source=guest.address, target=guest.gateway, ciaddr=guest.address)
            else:
                assert lease(b, kind, [(50, socket.inet_aton(guest.address))]) == ACK
        # not by b.send(): it would ask who has the address, and show its own
        guest.send(packet(b, UDP, target, mark, source=source), to=b.field.own_mac("lan") if guest.bridged else None)
    return build


def arp_of(operation=1, mac=None, sender="guest", target="gateway", frame_mac=None):
    """ARP with the mark in the frame's padding."""
    def build(b, mark):
        who = address(b, sender)
        inner = random_mac() if mac else b.guest.mac
        b.guest.send(arp(operation, inner, who, address(b, target), BROADCAST if operation == 2 else b"\0" * 6) + mark,
                     type=0x0806, to=BROADCAST, mac=random_mac() if frame_mac else None)
    return build


def arp_from_lan(b, mark):
    mac = b.field.own_mac("lan")
    b.field.frame("lan", BROADCAST, b"\x08\x06" + arp(1, mac, LAN, b.guest.address) + mark)


def tagged(*tags, target="gateway"):
    def build(b, mark):
        body = packet(b, UDP, target, mark)
        to = b.next_hop(b.guest, body) or b.guest.router_mac()
        b.guest.send_frame(to + b.guest.mac + b"".join(struct.pack("!HH", *tag) for tag in tags) + b"\x08\0" + body)
        return None if b.guest.bridged else lambda: b.behind_gate(mark)
    return build


def tagged_from_lan(b, mark):
    b.field.frame("lan", b.guest.mac, b"\x81\0\0\5\x08\0" + packet(b, UDP, "guest", mark))


def ipv6_out(b, mark):
    b.guest.send(frames.udp6("fe80::2", "fe80::1", mark), type=0x86DD)


def router_advertisement(b, mark):
    body = frames.router_advertisement("fe80::2", mark)
    if b.sender == "lan":
        b.field.frame("lan", b"\x33\x33\0\0\0\1", b"\x86\xdd" + body)
    else:
        b.guest.send(body, type=0x86DD, to=b"\x33\x33\0\0\0\1")


def ipv6_in(b, mark):
    """The host's own IPv6, as if somebody had turned it on."""
    tap = b.guest.keeper.interface
    b.lab.setting(f"ipv6/conf/{tap}/disable_ipv6", 0)
    b.lab.ip("host", f"addr replace fe80::1/64 dev {tap} nodad")
    b.lab.ip("host", f"-6 neigh replace fe80::2 lladdr {b.guest.mac.hex(':')} dev {tap} nud permanent")
    sock = b.lab.socket("host", socket.AF_INET6, socket.SOCK_DGRAM)
    with b.lab.inside("host"), contextlib.suppress(PermissionError):
        sock.sendto(mark, ("fe80::2", PORT, 0, socket.if_nametoindex(tap)))
    sock.close()


def lldp(b, mark):
    b.guest.send(b"\x02\x07\x04" + b.guest.mac + b"\xfe\x0e" + mark, type=0x88CC, to=b"\x01\x80\xc2\0\0\x0e")


def spanning_tree(b, mark):
    b.guest.send_frame(b"\x01\x80\xc2\0\0\0" + b.guest.mac + frames.spanning_tree(mark))


def options(text, target="1.1.1.1"):
    def build(b, mark):
        b.send("guest", frames.with_options(b.guest.address, target, text or frames.loose_route(target), mark))
    return build


def fragmented(target, port=PORT, source=None, proto=UDP, cut=64):
    """Two pieces, the mark in each of 14 bytes or more."""
    def build(b, mark):
        payload = mark + b"-" * (64 - 8 - len(mark)) + b"-" * 10 + mark
        for piece in frames.fragments(packet(b, proto, target, payload, port, source), cut, random.randrange(65536)):
            b.send("guest", piece)
    return build


def runt(b, mark):
    """The frame ends in the middle of its source address."""
    head = ipv4(b.guest.address, b.guest.gateway, UDP, b"")[:12]
    frame = b.guest.router_mac() + b.guest.mac + b"\x08\0" + head[:4] + mark[:10]
    with contextlib.suppress(OSError):
        b.guest.send_frame(frame)
    return lambda: b.behind_gate(mark[:10])


def jumbo(source="guest"):
    return lambda b, mark: b.guest.send(packet(b, UDP, "gateway", mark + b"-" * 8958, source=source))


def answer(b, mark):
    """The guest asks first."""
    question = token()
    b.guest.send(packet(b, UDP, "1.1.1.1", question, source="guest"))
    arrival = b.arrives(question, "world")
    assert arrival, "the question"
    b.send("world", arrival.packet.answer(mark))


def icmp_error(asked):
    """About a packet of the guest's, or about one that it never sent."""
    def build(b, mark):
        question = token()
        lost = packet(b, UDP, "1.1.1.1", question, source="guest")
        if asked:
            b.guest.send(lost)
            arrival = b.arrives(question, "world")
            assert arrival, "the question"
            lost = arrival.packet.packet
        b.send("world", frames.unreachable(WORLD, socket.inet_ntoa(lost[12:16]), lost, mark))
        return b.arrives(mark, "guest") is not None if asked else None
    return build


def redirect(target):
    """About a packet of the target's: one that it sent, where that is the other guest."""
    def build(b, mark):
        victim, question = address(b, target), token()
        lost = udp(victim, 5555, "1.1.1.1", PORT, question)
        if target == "other":
            b.send("other", lost)
            assert b.arrives(question, "world"), "the question"
        b.send("guest", frames.redirect(b.guest.address, victim, lost, mark))
    return build


def igmp(b, mark):
    b.guest.send(frames.igmp_report(b.guest.address, "224.0.0.251", mark), to=b"\x01\0\x5e\0\0\xfb")


def tcp_middle(b, mark):
    b.guest.send(frames.segment(b.guest.address, 5555, "1.1.1.1", 80, mark, frames.ACK | frames.PUSH, ack=7))


def dhcp(kind, expected, ask=False, **fields):
    """Does our server answer as it should?"""
    def build(b, mark):
        given = {key: address(b, value) if isinstance(value, str) else value for key, value in fields.items()}
        wanted = [(50, socket.inet_aton(b.guest.address))] if ask else []
        return lease(b, kind, wanted, **given) == expected
    return build


def dhcp_foreign_client(b, mark):
    return lease(b, REQUEST, [(50, socket.inet_aton(b.guest.address))], b.patience, chaddr=random_mac()) == ACK


def dhcp_client(target):
    """A client's message, marked, to somebody else's server."""
    def build(b, mark):
        message = Dhcp(b.guest).message(DISCOVER, [(12, mark)])
        source, to = (b.guest.address, None) if target != "255.255.255.255" else ("0.0.0.0", BROADCAST)
        b.guest.send(udp(source, 68, target, 67, message), to=to)
        return b.arrives(mark, "lan") is not None if to else None
    return build


def dhcp_server(target):
    """A server's message, marked."""
    def build(b, mark):
        message = b"\2" + Dhcp(b.guest).message(OFFER, [(12, mark)])[1:]
        goal = address(b, target)
        body = udp(own_source(b), 67, goal, 68, message)
        if b.sender == "lan":
            b.field.frame("lan", BROADCAST, b"\x08\0" + body)
            return b.arrives(mark, "guest") is not None
        b.guest.send(body, to=BROADCAST if goal == "255.255.255.255" else None)
        return None
    return build


def flood(count, port, rate, message):
    """As many as can be; do more get through the gate than `rate` a second and as many at once?"""
    def build(b, mark):
        to = BROADCAST if port == 67 else b.guest.router_mac()
        body = udp(*(("0.0.0.0", 68, "255.255.255.255") if port == 67 else (b.guest.address, 5353, b.guest.gateway)),
                   port, message(b))
        began = time.monotonic()
        for _ in range(count):
            b.guest.send(body, to=to)
        bound = rate * (2.5 + max(0, time.monotonic() - began - 1))
        b.settle()
        passed = sum(a.place == "gate" and a.packet.dport == port for a in b.arrivals if a.packet)
        b.seats["regular"].spent = True  # what it still may send belongs to no other setup
        assert passed >= rate / 2, "a flood must not shut out all"
        return passed > bound
    return build


def flows_of(b, guest):
    """In the host's table of connections."""
    with b.lab.inside("host"):
        table = pathlib.Path("/proc/thread-self/net/nf_conntrack").read_text()
    return table.count(f" src={guest.address} dst=1.1.1.1 ")


def flood_of_flows(proto, count, bound):
    """A guest of its own opens as many flows as it can: what the next row finds is the regular one's. Has it more than
    `bound`? What it opened first goes on."""
    def build(b, mark):
        guest, again = b.fresh(), token()
        first = {"port": 9, "source": guest.address, "sport": 40000}
        b.send("guest", packet(b, UDP, "1.1.1.1", mark, **first))
        assert b.arrives(mark, "world")
        for port in range(10, count + 10):
            b.send("guest", packet(b, proto, "1.1.1.1", b"", port, source=guest.address, sport=40001))
        opened = flows_of(b, guest)
        assert opened > bound // 16, "who floods has his part"
        b.send("guest", packet(b, UDP, "1.1.1.1", again, **first))
        assert b.arrives(again, "world"), "what was open did not go on"
        return opened > bound
    return build


def asks(name, **fields):
    """Does our relay answer with an address?"""
    return lambda b, mark: resolve(b, name, **fields) == (OK, ZONE[name.lower()][-1:])


def refused(name, **fields):
    def build(b, mark):
        seen = len(b.field.resolver.seen)
        response = resolve(b, name, **fields)
        assert response, "an answer, be it a refusal"
        assert response[0] != REFUSED or len(b.field.resolver.seen) == seen, "the query went out all the same"
        return response[0] != REFUSED
    return build


def named(name, place=None, tcp=False):
    """To an address of the name, which was asked for before, by the sender or whom `place` says."""
    def build(b, mark):
        assert resolve(b, name, place or b.sender, tcp) == (OK, ZONE[name][-1:])
        tcp_to(ZONE[name][-1])(b, mark)
    return build


def dials(target, port, guest_port):
    return lambda b, mark: dial(b, b.sender, target, port, guest_port)


def lan_multicast(b, mark):
    b.send("guest", packet(b, UDP, "224.0.0.251", mark, 5353))
    return b.arrives(mark, "lan") is not None


# id -> builder: one for each row, in the table's order

GATE = {
    "gate-own": udp_to("1.1.1.1"),
    "gate-source-mac": from_mac("gateway"),
    "gate-source-mac-other": from_mac("gateway", source="other", whose="other"),
    "gate-source-address": udp_to("1.1.1.1", source="other"),
    "gate-source-gateway": udp_to("1.1.1.1", source="gateway"),
    "gate-source-none": udp_to("gateway", source="0.0.0.0"),
    "gate-source-before-lease": fresh(),
    "gate-source-spoofed-before-lease": fresh(source="192.168.64.66"),
    "gate-source-spoofed-in-lease": fresh(source="192.168.64.66", dhcp=[REQUEST]),
    "gate-source-spoofed-released": fresh(source="192.168.64.66", dhcp=[REQUEST, RELEASE]),
    "gate-arp-own": arp_of(),
    "gate-arp-probe": arp_of(sender="0.0.0.0"),
    "gate-arp-sender-address": arp_of(sender="other"),
    "gate-arp-sender-mac": arp_of(mac="foreign"),
    "gate-arp-frame-mac": arp_of(frame_mac="foreign"),
    "gate-arp-gratuitous-gateway": arp_of(operation=2, sender="gateway"),
    "gate-arp-beyond-subnet": arp_of(target="uplink"),
    "gate-ipv6-out": ipv6_out,
    "gate-ipv6-router": router_advertisement,
    "gate-ipv6-in": ipv6_in,
    "gate-vlan": tagged((0x8100, 5)),
    "gate-vlan-priority": tagged((0x8100, 0)),
    "gate-vlan-double": tagged((0x88A8, 5), (0x8100, 5)),
    "gate-lldp": lldp,
    "gate-options": options(frames.RECORD_ROUTE),
    "gate-source-route": options(None),
    "gate-fragments": fragmented("1.1.1.1"),
    "gate-fragments-spoofed": fragmented("1.1.1.1", source="other"),
    "gate-loopback": udp_to("127.0.0.1"),
    "gate-multicast": broadcast("224.0.0.251", 5353),
    "gate-broadcast": broadcast("255.255.255.255"),
    "gate-broadcast-subnet": broadcast("192.168.64.255"),
    "gate-broadcast-lan": broadcast("192.168.77.255"),
    "gate-runt": runt,
    "gate-jumbo": jumbo(),
    "gate-jumbo-spoofed": jumbo("other"),
}

SERVED = {
    "dhcp-discover": dhcp(DISCOVER, OFFER),
    "dhcp-under-softnet": dhcp(REQUEST, ACK, ask=True),
    "dhcp-renew-unicast": dhcp(REQUEST, ACK, source="guest", ciaddr="guest", target="gateway"),
    "dhcp-rebind": dhcp(REQUEST, ACK, source="guest", ciaddr="guest"),
    "dhcp-under-text": dhcp(REQUEST, ACK, source="guest", ciaddr="guest", target="gateway"),
    "dhcp-under-text-ports": dhcp(REQUEST, ACK, ask=True),
    "dhcp-foreign-client": dhcp_foreign_client,
    "dhcp-not-to-world": dhcp_client("1.1.1.1"),
    "dhcp-server": dhcp_server("255.255.255.255"),
    "dhcp-server-to-other": dhcp_server("other"),
    "dhcp-flood": flood(400, 67, 100, lambda b: Dhcp(b.guest).message(DISCOVER)),
    "dns-gateway": asks("example.org"),
    "dns-gateway-tcp": asks("example.org", tcp=True),
    "dns-gateway-no-local": asks("example.org"),
    "dns-uplink": udp_to("uplink", 53),
    "dns-flood": flood(3000, 53, 1000, lambda b: dns_query("example.org")),
    "flood-flows": flood_of_flows(UDP, 40000, 32768 + 1),
    "flood-tcp": flood_of_flows(TCP, 12000, 8000),
}

SHARED = {
    "shared-world-udp": udp_to("1.1.1.1"),
    "shared-world-tcp": tcp_to("1.1.1.1"),
    "shared-world-ping": ping_to("1.1.1.1"),
    "shared-world-gre": gre_to("1.1.1.1"),
    "shared-private": udp_to("10.1.2.3"),
    "shared-lan": udp_to("lan"),
    "shared-metadata": tcp_to("169.254.169.254", 80),
    "shared-host-gateway": tcp_to("gateway"),
    "shared-host-uplink": udp_to("uplink"),
    "shared-host-inner": udp_to("172.17.0.1"),
    "shared-from-host": tcp_to("guest", 22),
    "shared-from-host-ping": ping_to("guest"),
    "shared-answer": answer,
    "shared-icmp-error": icmp_error(asked=True),
    "shared-icmp-stray": icmp_error(asked=False),
    "shared-redirect": redirect("gateway"),
    "shared-redirect-guest": redirect("other"),
    "shared-igmp": igmp,
    "shared-tcp-middle": tcp_middle,
    "shared-from-world": tcp_to("guest", 22),
    "shared-from-world-ping": ping_to("guest"),
    "shared-from-world-spoofed": udp_to("guest", source="gateway"),
    "shared-from-lan": udp_to("guest"),
    "shared-no-router": udp_to("lan"),
    "shared-no-router-back": udp_to("1.1.1.1"),
    "shared-guest": udp_to("other"),
    "shared-guest-arp": arp_of(target="other"),
    "shared-guest-by-mac": straight_to_other,
    "shared-guest-as-host": udp_to("other", source="gateway"),
}

SOFTNET = {
    "softnet-world-udp": udp_to("1.1.1.1"),
    "softnet-world-tcp": tcp_to("8.8.8.8"),
    "softnet-world-ping": ping_to("1.1.1.1"),
    "softnet-10": udp_to("10.1.2.3"),
    "softnet-172": tcp_to("172.16.5.5"),
    "softnet-192": tcp_to("lan"),
    "softnet-metadata": tcp_to("169.254.169.254", 80),
    "softnet-cgnat": udp_to("100.64.1.1"),
    "softnet-this-network": udp_to("0.1.2.3"),
    "softnet-loopback": udp_to("127.0.0.1"),
    "softnet-protocols": udp_to("192.0.0.1"),
    "softnet-documentation": udp_to("203.0.113.7"),
    "softnet-documentation-1": udp_to("192.0.2.7"),
    "softnet-documentation-2": udp_to("world"),
    "softnet-benchmark": udp_to("198.18.0.1"),
    "softnet-multicast": broadcast("239.255.255.250", 1900),
    "softnet-reserved": udp_to("240.0.0.1"),
    "softnet-answer": answer,
    "softnet-from-world": tcp_to("guest", 22),
    "softnet-from-private": udp_to("guest", source="10.1.2.3"),
    "softnet-from-lan": tcp_to("guest", 22),
    "softnet-from-host": tcp_to("guest", 22),
    "softnet-from-host-ping": ping_to("guest"),
    "softnet-host-gateway": tcp_to("gateway"),
    "softnet-host-gateway-ping": ping_to("gateway"),
    "softnet-host-uplink": tcp_to("uplink"),
    "softnet-host-inner": tcp_to("172.17.0.1"),
    "softnet-host-public": tcp_to("9.9.9.9"),
    "softnet-guest": udp_to("other"),
    "softnet-guest-in": udp_to("guest"),
}

OPENING = {
    "open-host-gateway": tcp_to("gateway"),
    "open-host-uplink": udp_to("uplink"),
    "open-host-public": ping_to("9.9.9.9"),
    "open-host-not-lan": udp_to("lan"),
    "open-one-address": udp_to("172.17.0.1"),
    "open-one-address-gateway": udp_to("gateway"),
    "open-gateway-address": tcp_to("gateway"),
    "open-host-but-one": udp_to("172.17.0.1"),
    "open-host-but-one-rest": udp_to("gateway"),
    "close-host-but-one": udp_to("172.17.0.1"),
    "close-host-but-one-rest": udp_to("gateway"),
    "open-covering": udp_to("172.17.0.1"),
    "open-covering-public": udp_to("9.9.9.9"),
    "open-covering-world": udp_to("172.16.5.5"),
    "open-all-private": udp_to("10.1.2.3"),
    "open-all-metadata": tcp_to("169.254.169.254", 80),
    "open-all-lan": tcp_to("lan"),
    "open-all-host": tcp_to("gateway"),
    "open-all-from-world": tcp_to("guest", 22),
    "open-all-answer": answer,
    "close-all-world": udp_to("1.1.1.1"),
    "close-all-host": udp_to("gateway"),
    "close-all-from-host": tcp_to("guest", 22),
    "close-all-one-lan": udp_to("10.1.2.3"),
    "close-all-but-one-lan": udp_to("8.8.8.8"),
    "block-host-in": tcp_to("guest", 22),
    "block-host-out": tcp_to("gateway"),
    "longest-block": udp_to("10.1.9.9"),
    "longest-allow": udp_to("10.1.2.3"),
    "longest-short": udp_to("10.2.3.4"),
    "longest-tie": udp_to("10.1.2.3"),
    "longest-tie-beside": udp_to("8.8.8.8"),
    "host-bits": udp_to("10.9.9.9"),
}

DIRECTED = {
    "port-allow": tcp_to("10.1.2.3", 443),
    "port-allow-udp": udp_to("10.1.2.3", 443),
    "port-other": tcp_to("10.1.2.3", 80),
    "port-ping": ping_to("10.1.2.3"),
    "port-block": udp_to("1.1.1.1", 53),
    "port-block-last": tcp_to("1.1.1.1", 60),
    "port-block-beyond": udp_to("1.1.1.1", 61),
    "port-block-fragments": fragmented("1.1.1.1", 53),
    "port-block-fragments-beyond": fragmented("1.1.1.1", 61),
    "in-block-host": tcp_to("guest", 22),
    "in-block-host-out": udp_to("1.1.1.1"),
    "in-block-port": tcp_to("guest", 22, sport=5555),
    "in-block-port-beside": tcp_to("guest", 22, sport=7000),
    "in-allow-guest": tcp_to("guest"),
    "in-allow-guest-out": tcp_to("other"),
    "out-allow-guest": tcp_to("other"),
    "out-allow-guest-in": tcp_to("guest"),
    "bare-beside-directed": tcp_to("guest", 22),
    "bare-beside-directed-out": udp_to("1.1.1.1"),
    "bare-beside-directed-world": udp_to("8.8.8.8"),
}

TEXT = {
    "text-first-pass": udp_to("1.1.1.1"),
    "text-first-rest": udp_to("1.2.3.4"),
    "text-first-block": udp_to("1.1.1.1"),
    "text-no-match": udp_to("8.8.8.8"),
    "text-port": udp_to("1.1.1.1", 53),
    "text-port-tcp": tcp_to("1.1.1.1", 53),
    "text-port-beside": udp_to("1.1.1.1", 54),
    "text-port-ping": ping_to("1.1.1.1"),
    "text-port-fragments": fragmented("1.1.1.1", 53),
    "text-port-fragments-beside": fragmented("1.1.1.1", 54),
    "text-tiny-fragment": fragmented("1.1.1.1", 53, proto=TCP, cut=8),
    "text-port-range": tcp_to("8.8.8.8", 6010),
    "text-port-range-udp": udp_to("8.8.8.8", 6010),
    "text-guest-port": udp_to("8.8.8.8", sport=1000),
    "text-guest-port-beside": udp_to("8.8.8.8", sport=1001),
    "text-proto-icmp": ping_to("1.1.1.1"),
    "text-proto-number": gre_to("1.1.1.1"),
    "text-proto-beside": udp_to("1.1.1.1"),
    "text-in-port": tcp_to("guest", 22),
    "text-in-port-beside": tcp_to("guest", 23),
    "text-in-port-out": tcp_to("1.1.1.1", 22),
    "text-in-whitelist": tcp_to("guest", 22),
    "text-in-whitelist-rest": tcp_to("guest", 22, source="uplink"),
    "text-block-in-answer": answer,
    "text-block-in-host": ping_to("guest"),
    "text-block-out-answer": tcp_to("guest", 22),
    "text-block-out": udp_to("1.1.1.1"),
    "text-whitelist": udp_to("1.1.1.1"),
    "text-whitelist-world": udp_to("8.8.8.8"),
    "text-whitelist-host": udp_to("gateway"),
    "text-whitelist-from-host": tcp_to("guest", 22),
    "text-whitelist-dns": asks("example.org"),
    "text-block-local-out": udp_to("gateway"),
    "text-block-local-uplink": udp_to("uplink"),
    "text-block-local-in": tcp_to("guest", 22),
    "text-block-local-world": udp_to("1.1.1.1"),
    "text-pass-local": udp_to("gateway"),
    "text-pass-local-world": udp_to("1.1.1.1"),
    "text-opens-nothing-guest": udp_to("other"),
    "text-opens-nothing-metadata": tcp_to("169.254.169.254", 80),
    "text-opens-nothing-world": udp_to("1.1.1.1"),
    "text-opens-nothing-softnet": udp_to("10.3.3.3"),
    "text-and-softnet": udp_to("10.1.2.3"),
    "text-and-softnet-both": udp_to("10.2.3.4"),
    "host-wide": udp_to("1.1.1.1"),
    "host-wide-beside": udp_to("8.8.8.8"),
    "host-wide-own": udp_to("8.8.8.8"),
    "host-wide-own-beside": udp_to("1.1.1.1"),
    "host-wide-softnet": udp_to("10.1.2.3"),
    "host-wide-softnet-beside": udp_to("10.2.3.4"),
    "no-local-out": udp_to("gateway"),
    "no-local-in": tcp_to("guest", 22),
    "no-local-world": udp_to("1.1.1.1"),
    "no-local-text": udp_to("gateway"),
    "no-local-text-world": udp_to("1.1.1.1"),
}

NAMED = {
    "names-prefix": tcp_to("1.1.1.1"),
    "names-address": named("example.org"),
    "names-other-address": tcp_to("5.5.5.99"),
    "names-unasked": tcp_to(ZONE["late.test"][-1]),
    "names-case": asks("eXample.ORG"),
    "names-alias": named("alias.wild.test"),
    "names-below-wildcard": named("a.b.wild.test", tcp=True),
    "names-wildcard-itself": refused("wild.test"),
    "names-below": refused("www.example.org"),
    "names-tunnel": refused("secret.evil.test"),
    "names-tunnel-tcp": refused("secret.evil.test", tcp=True),
    "names-tunnel-direct": udp_to("8.8.8.8", 53),
    "names-private-answer": named("private.wild.test"),
    "names-host-answer": named("host.wild.test"),
    "names-longer-block": named("blocked.wild.test"),
    "names-open-query": asks("secret.evil.test"),
    "names-others": named("example.org", place="other"),
    "names-others-beside": tcp_to("1.1.1.1"),
    "names-others-own": named("example.org"),
}

EXPOSED = {
    "expose-world": dials(UPLINK, 18080, 80),
    "expose-lan": dials(LAN_HOST, 18081, 81),
    "expose-host": dials(UPLINK, 18080, 80),
    "expose-loopback": dials("127.0.0.1", 18080, 80),
    "expose-other-port": dials(UPLINK, 18082, 80),
    "expose-inner-port": tcp_to("guest", 80),
    "expose-closed": dials(UPLINK, 18080, 80),
    "expose-shared": dials(UPLINK, 18080, 80),
    "expose-text": dials(UPLINK, 18080, 80),
    "expose-text-beside": dials(UPLINK, 18081, 81),
}

GUESTS = {
    "guests-both-open": tcp_to("other"),
    "guests-both-open-back": ping_to("guest"),
    "guests-spoofed": udp_to("other", source="192.168.64.77"),
    "guests-arp-spoofed": arp_of(operation=2, sender="gateway"),
    "guests-broadcast": broadcast("192.168.64.255"),
    "guests-subnet": udp_to("other"),
    "guests-subnet-host": udp_to("gateway"),
    "guests-one-closed": udp_to("other"),
    "guests-one-closed-back": udp_to("guest"),
    "guests-one-closed-world": udp_to("1.1.1.1"),
    "guests-one-shared": udp_to("other"),
    "guests-one-shared-back": udp_to("guest"),
    "guests-one-shared-world": udp_to("10.1.2.3"),
    "guests-one-shared-other": udp_to("10.1.2.3"),
    "guests-port": udp_to("other", 5000),
    "guests-port-beside": udp_to("other", 5001),
    "guests-no-local": udp_to("other"),
    "guests-no-local-back": udp_to("guest"),
    "guests-no-local-world": udp_to("10.1.2.3"),
    "guests-no-local-other": udp_to("10.1.2.3"),
    "guests-text": tcp_to("guest", 22),
    "guests-text-beside": tcp_to("guest", 23),
    "guests-by-exposed": dials(UPLINK, 18080, 80),
}

HOST_ONLY = {
    "hostonly-host": tcp_to("gateway"),
    "hostonly-from-host": tcp_to("guest", 22),
    "hostonly-dhcp": dhcp(DISCOVER, OFFER),
    "hostonly-dns": refused("example.org"),
    "hostonly-world": udp_to("1.1.1.1"),
    "hostonly-private": udp_to("10.1.2.3"),
    "hostonly-lan": udp_to("lan"),
    "hostonly-guest": udp_to("other"),
    "hostonly-shared-guest": udp_to("other"),
    "hostonly-shared-guest-back": udp_to("guest"),
    "hostonly-shared-guest-host": udp_to("gateway"),
    "hostonly-shared-guest-world": udp_to("10.1.2.3"),
    "hostonly-from-world": tcp_to("guest", 22),
    "hostonly-exposed": dials(UPLINK, 18080, 80),
}

BRIDGED = {
    "bridged-lan": udp_to("lan"),
    "bridged-from-lan": tcp_to("guest", 22),
    "bridged-from-lan-ping": ping_to("guest"),
    "bridged-arp": arp_of(target="lan"),
    "bridged-from-lan-arp": arp_from_lan,
    "bridged-host": tcp_to("gateway"),
    "bridged-from-host": tcp_to("guest", 22),
    "bridged-multicast": lan_multicast,
    "bridged-dhcp": dhcp_client("255.255.255.255"),
    "bridged-dhcp-answer": dhcp_server("255.255.255.255"),
    "bridged-dhcp-server": dhcp_server("255.255.255.255"),
    "bridged-source-mac": from_mac("lan"),
    "bridged-source-address": udp_to("lan", source="192.168.77.66"),
    "bridged-before-shown": fresh("lan"),
    "bridged-arp-address": arp_of(operation=2, sender="gateway"),
    "bridged-arp-mac": arp_of(mac="foreign", target="lan"),
    "bridged-ipv6": router_advertisement,
    "bridged-ipv6-in": router_advertisement,
    "bridged-vlan": tagged((0x8100, 5), target="lan"),
    "bridged-vlan-in": tagged_from_lan,
    "bridged-spanning-tree": spanning_tree,
    "bridged-options": options(frames.RECORD_ROUTE, LAN),
    "bridged-text-out": udp_to("lan", 53),
    "bridged-text-out-beside": udp_to("lan", 54),
    "bridged-text-fragments": fragmented("lan", 53),
    "bridged-text-in": tcp_to("guest", 22),
    "bridged-text-in-beside": tcp_to("guest", 23),
    "bridged-state": tcp_to("lan"),
    "bridged-state-in": tcp_to("guest"),
    "bridged-state-out": tcp_to("guest"),
    "bridged-state-out-closed": udp_to("lan"),
    "bridged-no-local": udp_to("gateway"),
    "bridged-no-local-in": tcp_to("guest", 22),
    "bridged-no-local-lan": udp_to("lan"),
}

BUILDERS = {**GATE, **SERVED, **SHARED, **SOFTNET, **OPENING, **DIRECTED, **TEXT, **NAMED, **EXPOSED, **GUESTS,
            **HOST_ONLY, **BRIDGED}


# The table

def test_every_row_has_a_builder_and_every_builder_a_row():
    assert [row.id for row in ROWS] == list(BUILDERS)


TOP = "| id | setup | from -> to | packet | Softnet or Anka | Linzer | why |\n|---|---|---|---|---|---|---|\n"
GOOD = "| `a` | `shared` | guest -> host | x | y | passes | |\n"


def test_a_good_row_is_read():
    row, below = read_tables(TOP + GOOD + "| `b` | | host -> guest | x | y | dropped, refused | z |\n")
    assert row.passes and not below.passes and below.setup == row.setup
    assert (below.sender, below.target) == ("host", "guest")


@pytest.mark.parametrize("row", [
    GOOD + GOOD,  # an id twice
    GOOD.replace("`a`", "a"), GOOD.replace("`a`", "`A b`"), GOOD.replace("`shared`", ""),
    GOOD.replace("`shared`", "shared"),
    GOOD.replace("shared", "sharing"), GOOD.replace("shared", "shared allow=10.0.0.0/8"),
    GOOD.replace("shared", "softnet allow"), GOOD.replace("shared", "shared no-local=1"),
    GOOD.replace("shared", "softnet expose=80"), GOOD.replace("shared", "softnet foo=1"),
    GOOD.replace("shared", 'shared filter="block'), GOOD.replace("guest -> host", "guest to host"),
    GOOD.replace("guest -> host", "guest -> moon"), GOOD.replace("passes", "pass"),
    GOOD.replace("passes", "passes (some)"),
    GOOD.replace("| x |", "| |"), GOOD.replace("| y |", "| y | y |"), GOOD.replace("| |\n", "|\n"),
    GOOD.replace(" |\n", "\n"),
    GOOD.replace("passes", "dropped"),  # nothing in its setup passes: a test of it could not fail
])
def test_a_malformed_row_is_an_error(row):
    with pytest.raises(Malformed, match="line [34]: "):
        read_tables(TOP + row)


def test_a_malformed_head_is_an_error():
    with pytest.raises(Malformed, match="line 1: "):
        read_tables(TOP.replace("why", "because") + GOOD)


# The rows

@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    field = Field(tmp_path_factory.mktemp("field"))
    yield field
    field.end()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    field = Field(tmp_path_factory.mktemp("field"), crowded=True)
    yield field
    field.end()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    field = Field(tmp_path_factory.mktemp("field"), opened=True)
    yield field
    field.end()


@pytest.fixture(scope="module", params=["alone", "crowded"])
def field(request):
    yield request.getfixturevalue(request.param)


def attempt(b, row, patience=None):
    """Send it. -> (mark, what the builder returned)"""
    b.use(None)
    b.sender, b.patience, mark = row.sender, patience or (PATIENCE if row.passes else IMPATIENCE), token()
    return mark, BUILDERS[row.id](b, mark)


def assert_passes(b, row):
    mark, result = attempt(b, row)
    if result is not None:
        assert result is True
        return
    arrival = b.arrives(mark, row.target)
    assert arrival, f"it did not arrive, but here: {b.places_of(mark, row.sender)}"
    assert b.answered(arrival, row.sender), "its answer did not come back"


def did_arrive(b, row, mark, result):
    if result is None:
        return b.places_of(mark, row.sender)
    return result() if callable(result) else result


def cases():
    """The rows, by setup; those of a LAN twice."""
    for row in sorted(ROWS, key=lambda row: row.setup.text):
        if row.setup.guest.mode == "bridged":
            yield pytest.param(row, "br0", id=f"{row.id}-bridge")
            yield pytest.param(row, "l0", id=f"{row.id}-interface")
        else:
            yield pytest.param(row, "br0", id=row.id)


@pytest.mark.parametrize("row, interface", sorted(cases(), key=lambda case: case.values[1]))
def test_row(field, row, interface):
    b = field.bench(row.setup, interface)
    b.begin()
    if row.passes:
        assert_passes(b, row)
        return
    mark, result = attempt(b, row)
    assert_passes(b, control_of(row, ROWS))
    b.settle()
    assert not did_arrive(b, row, mark, result)


# That the rows which are dropped could fail: with our filter out of the way, each arrives

# ... but these, of which somebody else has the last word
UNFILTERED = {
    "gate-source-none": "no kernel takes this source for anything but DHCP",
    "shared-guest-by-mac": "nobody has this MAC on the guest's own wire",
    "shared-from-world-spoofed": "no kernel takes its own address as a source from outside",
    "dhcp-foreign-client": "the talker",
    "names-wildcard-itself": "the talker", "names-below": "the talker", "names-tunnel": "the talker",
    "names-tunnel-tcp": "the talker", "hostonly-dns": "the talker",
    "expose-other-port": "nobody listens",
    "expose-text": "the talker's socket was made, or not, by the filter's word",
}
DROPPED = {}
for each in ROWS:
    if not each.passes and each.id not in UNFILTERED:
        DROPPED.setdefault(each.setup, []).append(each)


@pytest.mark.parametrize("setup", DROPPED, ids=lambda setup: DROPPED[setup][0].id)
def test_without_the_filter_it_would_arrive(opened, setup):
    b, kept = opened.bench(setup), []
    for row in DROPPED[setup]:
        b.begin()
        mark, result = attempt(b, row, PATIENCE)
        if result is None:
            b.until(lambda a: b.places_of(mark, row.sender))
        b.settle()
        if not did_arrive(b, row, mark, result):
            kept.append(row.id)
    assert not kept
