# SPDX-License-Identifier: Apache-2.0
"""The laboratory of the matrix test: guests, a host, a world and a LAN that see what arrives.

`Field` is made once: netlab.Lab, the host's addresses, the LAN, a resolver, and 200 other guests if
asked for. `Bench` is two guests on it, of one setup after the other. What is sent carries a token of 14
bytes; what holds a token and reaches a place, in a protocol's hands and not only on a wire, has arrived there:

  world, lan     a packet socket on their own end of the wire (their kernels answer nothing to it)
  host           raw sockets, behind all filters; for what is not IPv4, packet sockets of its type
                 on the guest's tap, which hear what the gate lets through
  guest, other   the tap's descriptor
"""

import contextlib
import fcntl
import json
import os
import random
import select
import socket
import struct
import time
from dataclasses import dataclass

from frames import ACK, GRE, ICMP, IGMP, PUSH, RST, SYN, TCP, UDP, Heard, segment
from isolation_guests import Seat, end_keepers, kill_crowd, start_crowd
from netlab import BROADCAST, PATIENCE, UPLINK, WORLD, Dhcp, Lab, Packet, Resolver, arp, dns_query

LAN_HOST, LAN = "192.168.77.1", "192.168.77.7"
GROUPS = ("224.0.0.251", "239.255.255.250")
HOST_ADDRESSES = ("172.17.0.1", "9.9.9.9")
PORT = 7777  # open on the host
VNET_HEADER = 10  # bytes before each frame of a tap
SETTLE = 0.03  # seconds after the control arrived, in which what was sent before it would have, too
IMPATIENCE = 0.5  # ... for what should not, where nothing else tells that its time is over
REFUSED, OK = 5, 0
SOL_PACKET, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE, SIOCGIFHWADDR = 263, 23, 33, 0x8927

# name -> (names that it stands for and at last an address)
ZONE = {
    "example.org": ["5.5.5.5"], "www.example.org": ["5.5.5.6"], "late.test": ["5.5.5.7"], "wild.test": ["5.5.5.8"],
    "a.b.wild.test": ["5.5.5.9"], "alias.wild.test": ["cdn.evil.test", "5.5.5.10"], "private.wild.test": ["10.1.2.3"],
    "host.wild.test": ["9.9.9.9"], "blocked.wild.test": ["5.6.7.8"], "secret.evil.test": ["5.5.5.11"],
}


def token():
    return os.urandom(14)


def labels(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


class Zone(Resolver):
    """Answers from ZONE, with aliases as such."""

    def answer(self, query):
        name, at = [], 12
        while query[at]:
            name.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        owner, records = b"\xc0\x0c", b""
        chain = ZONE.get(".".join(name), [])
        for step in chain:
            kind, data = (1, socket.inet_aton(step)) if step == chain[-1] else (5, labels(step))
            records += owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
            owner = data
        head = query[:2] + (b"\x81\x80" if chain else b"\x81\x83")
        return head + query[4:6] + struct.pack("!HHH", len(chain), 0, 0) + query[12:at + 5] + records


@dataclass
class Arrival:
    place: str
    data: bytes  # all of it, with its frame where there is one
    packet: Heard = None  # if it is IPv4


class Ear:
    """A socket by which things arrive at a place."""

    def __init__(self, place, sock, framed=True):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.place, self.sock, self.framed = place, sock, framed

    def fileno(self):
        return self.sock.fileno()

    def hear(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.sock.recv(70000)
                head = 14 if self.framed else 0
                is_ip = not self.framed or data[12:14] == b"\x08\0"
                packet = Heard(data[head:]) if is_ip and len(data) >= head + 28 else None
                yield Arrival(self.place, data, packet)

    def close(self):
        self.sock.close()


class TapEar:
    """The same for a guest, who answers ARP meanwhile as any kernel does."""

    def __init__(self, place, guest):
        self.place, self.guest = place, guest

    def fileno(self):
        return self.guest.tap

    def hear(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                p = Packet(os.read(self.guest.tap, 70000)[VNET_HEADER:])
                self.guest.answer_arp(p)
                yield Arrival(self.place, p.frame, Heard(p.body) if p.type == 0x0800 else None)

    def close(self):
        pass


def packet_ear(lab, namespace, place, interface, kind=3):
    sock = lab.socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, kind))
    return Ear(place, sock)


def mac_of(lab, namespace, interface):
    with lab.inside(namespace), socket.socket() as sock:
        return fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("40s", interface.encode()))[18:24]


class Field:
    """The places, and who else is there."""

    def __init__(self, tmp_path, crowded=False, opened=False):
        """`crowded`: with 200 other guests; `opened`: without our filter, for a guest's whole life."""
        self.lab = Lab(tmp_path)
        self.bench_now, self.key, self.crowd, self.opened = None, None, [], opened
        # "alone" every setup is one that guests start with; elsewhere most of them come to guests that run
        self.changes = crowded or opened
        try:
            self.furnish()
            if crowded:
                self.crowd = start_crowd(self.lab)
        except BaseException:
            self.end()
            raise

    def furnish(self):
        lab = self.lab
        for address in HOST_ADDRESSES:
            lab.ip("host", f"addr add {address}/32 dev lo")
        self.add_lan()
        for namespace, address in (("world", WORLD), ("lan", LAN)):
            self.silence(namespace, address)
        # a neighbour who knows where the host's networks are
        lab.ip("world", f"route add 192.168.0.0/16 via {UPLINK}")
        self.resolver = Zone(lab)
        self.open_host()
        self.out = lab.socket("host", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.wires = {"world": packet_ear(lab, "world", "world", "w0"), "lan": packet_ear(lab, "lan", "lan", "e0")}
        self.ears = [*self.wires.values()] + [
            Ear("host", lab.socket("host", socket.AF_INET, socket.SOCK_RAW, p), False) for p in (UDP, TCP, ICMP, IGMP, GRE)]

    def add_lan(self):
        lab = self.lab
        lab.add_namespace("lan")
        lab.ip("host", "link add br0 type bridge")
        lab.ip("host", "link add l0 type veth peer name e0")
        lab.ip("host", f"link set e0 netns {lab.name('lan')}")
        lab.ip("lan", f"addr add {LAN}/24 dev e0")
        for words in ("link set br0 up", "link set l0 up"):
            lab.ip("host", words)
        lab.ip("lan", "link set e0 up")
        lab.ip("lan", f"route add default via {LAN_HOST}")
        self.lan_on = None
        self.join_lan("br0")
        (lab.etc / "linzer/net.conf").write_text("bridge = br0 l0\n")

    def join_lan(self, interface):
        """The host is in the LAN by its bridge, or by the plain interface."""
        if interface == self.lan_on:
            return
        if self.lan_on:
            self.lab.ip("host", f"addr del {LAN_HOST}/24 dev {self.lan_on}")
        self.lab.ip("host", "link set l0 master br0" if interface == "br0" else "link set l0 nomaster")
        self.lab.ip("host", f"addr add {LAN_HOST}/24 dev {interface}")
        self.lan_on = interface

    def silence(self, namespace, address):
        """Its kernel resolves and dials, but what comes for the address is ours to answer."""
        self.lab.run(namespace, "nft", "add table ip quiet; "
                     "add chain ip quiet input { type filter hook input priority 0; }; "
                     f"add rule ip quiet input ip daddr {address} ct state != established drop")

    def open_host(self):
        """No answer of the kernel's ("port unreachable") ends a flow."""
        self.udp = self.lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", PORT))
        self.tcp = self.lab.socket("host", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", PORT), listen=True)

    def write(self, place, packet, guest=None):
        """Send an IPv4 packet from the host, the world or the LAN."""
        if place == "host":
            with contextlib.suppress(PermissionError):  # that is how a sender learns of a filter
                self.out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            return
        near = mac_of(self.lab, "host", "up0" if place == "world" else self.lan_on)
        if guest and guest.bridged:
            near = guest.mac
        self.frame(place, near, b"\x08\0" + packet)

    def own_mac(self, place):
        return mac_of(self.lab, place, "w0" if place == "world" else "e0")

    def frame(self, place, to, body):
        self.wires[place].sock.send(to + self.own_mac(place) + body)

    def bench(self, setup, interface="br0"):
        """The bench, of this setup."""
        if self.key == (setup, interface):
            return self.bench_now
        if interface != self.lan_on:
            self.clear()
            self.join_lan(interface)
        self.key = None
        self.bench_now = self.bench_now or Bench(self)
        try:
            self.bench_now.arrange(setup)
        except BaseException:
            self.clear()
            raise
        self.key = setup, interface
        return self.bench_now

    def clear(self):
        """End the guests; the next setup starts its own."""
        if self.bench_now:
            self.bench_now.end()
        self.bench_now = self.key = None

    def end(self):
        with contextlib.suppress(Exception):
            self.clear()
        kill_crowd(self.lab, self.crowd)
        self.lab.end()


class Bench:
    """Two guests, and what arrived anywhere since the last row began."""

    def __init__(self, field):
        self.field, self.lab, self.setup = field, field.lab, None
        self.rules = self.lab.etc / "linzer/net.rules"
        self.seats, self.visitors, self.arrivals, self.ears, self.regular_ears = {}, [], [], [], []
        self.member, self.patience = None, PATIENCE

    def arrange(self, setup):
        """For a setup: who has what it says stays, who can be changed is, others leave and come anew."""
        self.setup, root = setup, setup.guest.host_wide
        self.write_rules(root)
        sides = {"regular": (setup.guest, 10), "other": (setup.other, 20)}
        self.dismiss([name for name, seat in self.seats.items() if not self.may_keep(seat, sides[name][0], root)])
        new = set(sides) - set(self.seats)
        for name in new:
            self.seats[name] = Seat(self.lab, self.field.lan_on, *sides[name], root)
        for name, (side, _) in sides.items():
            if name in new:
                self.seats[name].take()
            elif not self.seats[name].is_for(side, root):
                self.seats[name].become(side, root)
        self.regular, self.other = self.seats["regular"].guest, self.seats["other"].guest
        if new:
            self.attend(new)
        if self.field.opened:
            self.open()
        self.begin()

    def write_rules(self, text):
        """Root's, for all guests; no file without any."""
        if text:
            self.rules.write_text(text)
        else:
            self.rules.unlink(missing_ok=True)

    def may_keep(self, seat, side, root):
        return seat.is_for(side, root) or self.field.changes and seat.can_become(side)

    def dismiss(self, names):
        """End these guests, and those of single rows."""
        self.use(None)
        if "regular" in names:
            self.hush()
        leaving, self.visitors = [self.seats.pop(name) for name in names] + self.visitors, []
        end_keepers(self.lab, [seat.keeper for seat in leaving])
        # who comes next has the same address on the LAN, and another MAC
        if any(seat.side.mode == "bridged" for seat in leaving):
            self.lab.ip("host", f"neigh flush dev {self.field.lan_on}")

    def attend(self, new):
        """Hear those who have just come."""
        if "regular" in new:
            self.regular_ears = self.listen(self.regular)
        self.regular_ears = [ear for ear in self.regular_ears if ear.place != "other"] + [TapEar("other", self.other)]
        self.use(None)
        if "regular" in new:
            self.show(self.regular)

    def hush(self):
        """Nobody hears the regular guest any more."""
        if self.member:
            self.member.close()
        for ear in self.regular_ears:
            ear.close()
        self.member, self.regular_ears = None, []
        self.use(None)

    def listen(self, guest):
        """The guest's own ear, and the host's for what the gate lets through."""
        ears = [TapEar("guest", guest)]
        if guest.bridged:
            return ears
        self.join_groups(guest)
        types = {"host": (0x0806, 0x86DD, 0x88CC), "gate": (0x0800, 0x8100)}
        return ears + [packet_ear(self.lab, "host", place, guest.keeper.interface, kind)
                       for place, kinds in types.items() for kind in kinds]

    def open(self):
        """From now on our filter lets through all, and so does the kernel as far as it can."""
        listed = json.loads(self.lab.run("host", "nft", "-j", "list", "chains"))["nftables"]
        chains = [entry["chain"] for entry in listed if "chain" in entry]
        rules = [f"insert rule {c['family']} {c['table']} {c['name']} accept;" for c in chains
                 if c.get("type") == "filter" and c["table"].startswith(("linzer", "lz"))]
        assert rules
        self.lab.run("host", "nft", "".join(rules))
        for where in ("all", *self.lab.taps()):
            for name, value in (("rp_filter", 0), ("accept_local", 1), ("route_localnet", 1),
                                ("accept_source_route", 1)):
                self.lab.setting(f"ipv4/conf/{where}/{name}", value)

    def join_groups(self, guest):
        """On the guest's tap the host is a member of these, as one with a mDNS daemon is."""
        self.member = self.lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
        with self.lab.inside("host"):
            index = socket.if_nametoindex(guest.keeper.interface)
        for group in GROUPS:
            self.member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                   struct.pack("=4s4si", socket.inet_aton(group), b"", index))

    def begin(self):
        """For the next row."""
        self.use(None)
        self.pump(0)
        self.arrivals.clear()

    def use(self, guest):
        """For this row, another guest; None: the regular one."""
        self.guest = guest or self.seats.get("regular") and self.seats["regular"].guest
        self.ears = self.field.ears + ([TapEar("guest", guest), TapEar("other", self.other)] if guest else
                                       self.regular_ears)

    def fresh(self):
        """For this row, a guest just started, of which nothing was heard yet."""
        seat = Seat(self.lab, self.field.lan_on, self.setup.guest, 11 + len(self.visitors), self.setup.guest.host_wide)
        self.visitors.append(seat)
        self.use(seat.take())
        if self.field.opened:
            self.open()
        return self.guest

    def show(self, guest):
        """On a bridge: let it be seen what address the guest has."""
        if guest.bridged:
            guest.send(arp(1, guest.mac, guest.address, guest.gateway), type=0x0806, to=BROADCAST)
            kind, fields, _ = guest.keeper.receive()
            assert fields["address"] == guest.address, kind

    def pump(self, timeout):
        """Take in what arrives within the time, or what is there."""
        poll = select.poll()
        ears = {ear.fileno(): ear for ear in self.ears}
        for fd in ears:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(timeout * 1000):
            self.arrivals += ears[fd].hear()

    def until(self, wanted, timeout=PATIENCE):
        """The first arrival for which wanted(arrival) is true, or None."""
        end, at = time.monotonic() + timeout, 0
        while True:
            for at, arrival in enumerate(self.arrivals[at:], at + 1):
                if wanted(arrival):
                    return arrival
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.pump(left)

    def settle(self):
        self.until(lambda a: False, SETTLE)

    def places_of(self, mark, but):
        """Where something with these bytes arrived, other than where it came from."""
        return {a.place for a in self.arrivals if a.place not in (but, "gate") and mark in a.data}

    def behind_gate(self, mark):
        return any(a.place == "gate" and mark in a.data for a in self.arrivals)

    def arrives(self, mark, place, timeout=PATIENCE):
        return self.until(lambda a: a.place == place and mark in a.data, timeout)

    def actor(self, place):
        return {"guest": self.guest, "other": self.other}[place]

    def send(self, place, packet):
        """An IPv4 packet from a place."""
        if place in ("guest", "other"):
            self.actor(place).send(packet, to=self.next_hop(self.actor(place), packet))
        else:
            self.field.write(place, packet, self.guest)

    def next_hop(self, guest, packet):
        """On a LAN there is no router between us."""
        if not guest.bridged:
            return None
        target = socket.inet_ntoa(packet[16:20])
        if target.startswith("224."):
            return b"\x01\0\x5e" + packet[17:20]
        near = guest.resolve(target)
        assert near, f"nobody answers for {target}"
        return near

    def answered(self, arrival, sender):
        """Send back the answer to what arrived. Does it come to the sender?"""
        mark, heard = token(), arrival.packet
        if not heard:
            return self.until(lambda a: a.place == sender and a.data[12:14] == b"\x08\x06" and a.data[20:22] == b"\0\2")
        self.send(arrival.place, heard.answer(mark))
        return self.until(lambda a: a.place == sender and (mark in a.data or a.packet and
                                                           a.packet.is_kernels_answer(heard)))

    def end(self):
        self.dismiss(list(self.seats))
        self.write_rules("")


class Stream:
    """A guest's own TCP, as little of it as a test needs."""

    def __init__(self, bench, place, address, port, peer=None, peer_port=None):
        self.bench, self.place, self.address, self.port = bench, place, address, port
        self.peer, self.peer_port = peer, peer_port
        self.seq, self.ack, self.received = random.randrange(1 << 31), 0, b""

    def is_ours(self, arrival):
        p = arrival.packet
        return p and arrival.place == self.place and p.proto == TCP and p.dport == self.port and \
            (self.peer is None or (p.source, p.sport) == (self.peer, self.peer_port))

    def send(self, flags, payload=b""):
        self.bench.send(self.place, segment(self.address, self.port, self.peer, self.peer_port, payload, flags,
                                            self.seq, self.ack))
        self.seq += len(payload) + bool(flags & SYN)

    def take(self, packet):
        """-> its flags; what it carries is kept and acknowledged."""
        seq, = struct.unpack("!I", packet.body[4:8])
        data = packet.body[(packet.body[12] >> 4) * 4:]
        total, = struct.unpack("!H", packet.packet[2:4])
        data = data[:max(0, total - 20 - (packet.body[12] >> 4) * 4)]
        if packet.body[13] & SYN:
            self.ack = seq + 1
        elif seq == self.ack and data:
            self.received += data
            self.ack += len(data)
            self.send(ACK)
        return packet.body[13]

    def connect(self, timeout=PATIENCE):
        self.send(SYN)
        arrival = self.bench.until(self.is_ours, timeout)
        if not arrival or self.take(arrival.packet) & (SYN | ACK) != SYN | ACK:
            return False
        self.send(ACK)
        return True

    def accept(self, timeout):
        arrival = self.bench.until(lambda a: self.is_ours(a) and a.packet.body[13] & (SYN | ACK) == SYN, timeout)
        if not arrival:
            return False
        self.peer, self.peer_port = arrival.packet.source, arrival.packet.sport
        self.take(arrival.packet)
        self.send(SYN | ACK)
        return True

    def write(self, data):
        self.send(ACK | PUSH, data)

    def close(self):
        self.send(RST | ACK)

    def read(self, wanted, timeout=PATIENCE):
        """Until `wanted(self.received)`."""
        end = time.monotonic() + timeout
        seen = 0
        while not wanted(self.received) and (left := end - time.monotonic()) > 0:
            arrivals = self.bench.arrivals
            for seen, arrival in enumerate(arrivals[seen:], seen + 1):
                if self.is_ours(arrival):
                    self.take(arrival.packet)
            if not wanted(self.received):
                self.bench.pump(left)
        return wanted(self.received)


def dial(bench, place, address, port, guest_port):
    """Does a connection to the host's port end at the guest's, both ways? `place`: who dials."""
    mark, back = token(), token()
    if place == "other":
        client = Stream(bench, place, bench.other.address, random.randrange(20000, 60000), address, port)
        if not client.connect(bench.patience):
            return False
        client.write(mark)
    else:
        client = bench.lab.socket(place, socket.AF_INET, socket.SOCK_STREAM, timeout=bench.patience)
        try:
            client.connect((address, port))
            client.sendall(mark)
        except OSError:
            return False
    server = Stream(bench, "guest", bench.guest.address, guest_port)
    if not server.accept(bench.patience):
        return False
    assert server.read(lambda data: mark in data), "a connection without its data"
    server.write(back)
    if place == "other":
        assert client.read(lambda data: back in data), "no way back"
        client.close()
    else:
        client.settimeout(PATIENCE)
        assert client.recv(100) == back
        client.close()
    return True


def resolve(bench, name, place="guest", tcp=False, server=None):
    """Ask for a name. -> (response code, addresses), or None without an answer."""
    guest = bench.actor(place)
    query, server = dns_query(name, random.randrange(65536)), server or guest.gateway
    if tcp:
        stream = Stream(bench, place, guest.address, random.randrange(20000, 60000), server, 53)
        if not stream.connect():
            return None
        stream.write(struct.pack("!H", len(query)) + query)
        stream.read(lambda data: len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"))
        stream.close()
        answer = stream.received[2:]
    else:
        answer = guest.ask_udp(server, 53, query, timeout=3)
    if not answer:
        return None
    # addresses are the last records; each of 16 bytes in the form that Zone writes
    return answer[3] & 15, [socket.inet_ntoa(answer[-4:])] if answer[3] & 15 == OK and answer[7] else []


def lease(bench, kind, options=(), patience=PATIENCE, **fields):
    """Ask for a lease as a client does. -> what the server said, or None"""
    answer = Dhcp(bench.guest).ask(kind, options, timeout=patience, **fields)
    return answer and answer[0]
