# SPDX-License-Identifier: Apache-2.0
"""Frames and packets that an honest guest never sends, and answers to those that arrived.

Beside netlab.py's builders of plain packets: fragments, options, tags, IPv6. Pure functions of bytes.
"""

import socket
import struct
from dataclasses import dataclass

from netlab import checksum, ipv4, transport

ICMP, IGMP, TCP, UDP, GRE = 1, 2, 6, 17, 47
SYN, RST, PUSH, ACK = 2, 4, 8, 16


def segment(source, sport, target, dport, payload=b"", flags=SYN, seq=1000, ack=0):
    """A TCP segment in its packet."""
    body = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0) + payload
    return ipv4(source, target, TCP, transport(source, target, TCP, body, 16))


def datagram(source, sport, target, dport, payload):
    """A UDP datagram without its packet."""
    body = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return transport(source, target, UDP, body, 6)


def gre(source, target, payload):
    return ipv4(source, target, GRE, b"\0\0\x88\xbe" + payload)


def with_options(source, target, options, payload):
    """UDP behind options of the IPv4 header (a multiple of four bytes)."""
    return ipv4(source, target, UDP, datagram(source, 5555, target, 7777, payload), options=options)


RECORD_ROUTE = bytes([7, 7, 4, 0, 0, 0, 0, 1])


def loose_route(through):
    return bytes([131, 7, 4]) + socket.inet_aton(through) + b"\1"


def fragments(packet, cut, ident=0x77):
    """The packet (without options) in two pieces; the first carries `cut` bytes of its payload."""
    head, body = packet[:20], packet[20:]
    source, target = (socket.inet_ntoa(head[i:i + 4]) for i in (12, 16))
    assert cut % 8 == 0 and 0 < cut < len(body)
    return (ipv4(source, target, head[9], body[:cut], ident=ident, flags=0x2000),
            ipv4(source, target, head[9], body[cut:], ident=ident, flags=cut // 8))


def icmp_about(head, source, target, lost, payload):
    """ICMP about a packet, of which it quotes the beginning."""
    body = head + lost[:28] + payload
    return ipv4(source, target, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def unreachable(source, target, lost, payload):
    return icmp_about(b"\3\1\0\0\0\0\0\0", source, target, lost, payload)


def redirect(source, target, lost, payload):
    """"There is a shorter way for this: by me.\""""
    return icmp_about(b"\5\1\0\0" + socket.inet_aton(source), source, target, lost, payload)


def igmp_report(source, group, payload):
    body = b"\x16\0\0\0" + socket.inet_aton(group) + payload
    return ipv4(source, group, IGMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def ipv6(source, target, header, payload):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), header, 255, socket.inet_pton(socket.AF_INET6, source),
                       socket.inet_pton(socket.AF_INET6, target)) + payload


def checked_ipv6(source, target, header, body, at):
    """With the body's checksum at offset `at`."""
    pseudo = b"".join(socket.inet_pton(socket.AF_INET6, a) for a in (source, target))
    total = checksum(pseudo + struct.pack("!II", len(body), header) + body)
    return ipv6(source, target, header, body[:at] + struct.pack("!H", total) + body[at + 2:])


def udp6(source, target, payload):
    return checked_ipv6(source, target, UDP, struct.pack("!HHHH", 5555, 7777, 8 + len(payload), 0) + payload, 6)


def router_advertisement(source, payload):
    """To all nodes; the payload of 14 bytes in an option that nobody knows."""
    assert len(payload) == 14
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\xfd\2" + payload
    return checked_ipv6(source, "ff02::1", 58, body, 2)


def spanning_tree(payload):
    """Everything behind the addresses: length, LLC, a bridge's hello."""
    body = b"\x42\x42\x03" + struct.pack("!HBBB", 0, 0, 0, 0) + b"\0" * 27 + payload
    return struct.pack("!H", len(body)) + body


@dataclass
class Heard:
    """An IPv4 packet that arrived somewhere."""
    packet: bytes

    def __post_init__(self):
        size = (self.packet[0] & 15) * 4
        self.proto, self.body = self.packet[9], self.packet[size:]
        self.source, self.target = (socket.inet_ntoa(self.packet[i:i + 4]) for i in (12, 16))
        self.sport = self.dport = 0
        if self.proto in (TCP, UDP):
            self.sport, self.dport = struct.unpack("!HH", self.body[:4])

    def answer(self, payload):
        """What the one who got it would send back."""
        here, there = self.target, self.source
        if self.proto == UDP:
            return ipv4(here, there, UDP, datagram(here, self.dport, there, self.sport, payload))
        if self.proto == TCP:
            seq, = struct.unpack("!I", self.body[4:8])
            return segment(here, self.dport, there, self.sport, payload, SYN | ACK, 9000, seq + 1)
        if self.proto == ICMP:
            head = b"\0\0\0\0" + self.body[4:8]
            total = checksum(head + payload)
            return ipv4(here, there, ICMP, head[:2] + struct.pack("!H", total) + head[4:] + payload)
        return ipv4(here, there, self.proto, b"\0\0\x88\xbe" + payload)

    def is_kernels_answer(self, to):
        """Did a kernel answer `to` of its own (a handshake's second step)?"""
        return self.proto == to.proto == TCP and (self.sport, self.dport) == (to.dport, to.sport) and \
            self.body[13] & (SYN | ACK) == SYN | ACK
