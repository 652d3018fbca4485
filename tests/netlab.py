# SPDX-License-Identifier: Apache-2.0
"""A laboratory for linzer-net: network namespaces, and guests without a VM.

`Lab` makes two namespaces: "host", where keepers run, and "world", its uplink
(198.51.100.1 -- 198.51.100.2). A `Keeper` is build/linzer-net with the test as
its `run`; `Keeper.guest` speaks Ethernet on the tap that it gave. Whatever a
killed test run left is removed by the next one, by the number in their names.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import pathlib
import random
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

from conftest import BUILD

NET = BUILD / "linzer-net"
MAGIC = 0x4C5A4E32
START, POLICY, COUNT, STARTED, FAILED, LEASED, CHANGED, COUNTED = range(1, 9)
MESSAGE = struct.Struct("=II3Q6sBB4s4sI16s16s256s4x")
START_FORM = struct.Struct("=IIBB6s4sI16s256s")
RULE = struct.Struct("=8B4s4s4H")
SHARED, SOFTNET, HOST_ONLY, BRIDGED = range(1, 5)
OUT, IN, BOTH = 1, 2, 3
TO_WORLD, TO_HOST, TO_GUESTS, TO_ALL = 1, 2, 4, 7
GROUP = 0x4C5A
NOBODYS = (5, 6, 77, 200, 250)  # last numbers of addresses in 192.168.64.0/24 that a test takes for nobody's
WORLD, UPLINK = "198.51.100.2", "198.51.100.1"
BROADCAST = b"\xff" * 6
PATIENCE = 60  # seconds for what comes, if it does, at once on an idle machine
SLICE = 0.05  # seconds; a longer wait is several of these

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def sh(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, (words, done.stderr)
    return done.stdout


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


LOCKS = pathlib.Path("/run/linzer-test-net")


def try_lock(number):
    """-> a descriptor that holds the number as long as this process lives, or None."""
    LOCKS.mkdir(exist_ok=True)
    fd = os.open(LOCKS / str(number), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        os.close(fd)
        return None


def sweep():
    """Namespaces of test runs that were killed: nobody holds their number."""
    for name in sh("ip", "netns", "list", check=False).split():
        match = re.fullmatch(r"lzt-(\d+)-\w+", name)
        if match and (fd := try_lock(match[1])) is not None:
            sh("ip", "netns", "del", name, check=False)
            os.close(fd)


def take_number():
    """Process numbers would not do: test runs have PID namespaces of their own."""
    return next((n, fd) for n in itertools.count() if (fd := try_lock(n)) is not None)


class Lab:
    def __init__(self, tmp_path, uplink=True):
        sweep()
        self.number, self.lock = take_number()
        self.tmp = pathlib.Path(tmp_path)
        self.keepers, self.namespaces, self.cleanups = [], {}, []
        self.etc = self.tmp / "etc"
        (self.etc / "linzer").mkdir(parents=True)
        self.resolv = self.etc / "resolv.conf"
        self.resolv.write_text("nameserver 127.0.0.53\n")
        self.add_namespace("host")
        if uplink:
            self.add_namespace("world")
            self.ip("host", "link add up0 type veth peer name w0")
            self.ip("host", f"link set w0 netns {self.name('world')}")
            self.ip("host", f"addr add {UPLINK}/24 dev up0")
            self.ip("host", "link set up0 up")
            self.ip("world", f"addr add {WORLD}/24 dev w0")
            self.ip("world", "link set w0 up")
            self.ip("host", f"route add default via {WORLD}")

    def name(self, namespace):
        return f"lzt-{self.number}-{namespace}"

    def add_namespace(self, namespace):
        sh("ip", "netns", "add", self.name(namespace))
        self.namespaces[namespace] = os.open(f"/run/netns/{self.name(namespace)}", os.O_RDONLY)
        self.ip(namespace, "link set lo up")

    def ip(self, namespace, words, check=True):
        return sh("ip", "-n", self.name(namespace), *words.split(), check=check)

    @contextlib.contextmanager
    def inside(self, namespace):
        """This thread's sockets and children are in the namespace."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        setns(self.namespaces[namespace])
        try:
            yield
        finally:
            setns(own)
            os.close(own)

    def run(self, namespace, *words, check=True):
        with self.inside(namespace):
            return sh(*words, check=check)

    def socket(self, namespace, *args, bind=None, listen=False, timeout=PATIENCE):
        with self.inside(namespace):
            s = socket.socket(*args)
        s.settimeout(timeout)
        if bind:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(bind)
        if listen:
            s.listen()
        self.cleanups.append(s.close)
        return s

    def setting(self, path, value=None):
        """A file beneath /proc/sys/net as the host namespace sees it."""
        with self.inside("host"):
            path = pathlib.Path("/proc/sys/net") / path
            if value is not None:
                path.write_text(str(value))
            return path.read_text().strip()

    def keeper(self, **options):
        keeper = Keeper(self, **options)
        self.keepers.append(keeper)
        return keeper

    def up(self, **options):
        """A keeper that has started its network."""
        keeper = self.keeper(**options)
        keeper.start()
        return keeper

    def taps(self):
        lines = self.ip("host", "-o link").splitlines()
        return sorted(m[0] for m in (re.search(r"lz[0-9a-f]{8}", line) for line in lines) if m)

    def ruleset(self):
        return self.run("host", "nft", "list", "ruleset")

    def leftovers(self):
        """All that linzer-net may ever leave in the host namespace."""
        routes = [r for r in self.ip("host", "-4 route").splitlines() if "lz" in r]
        return self.taps(), self.ruleset(), routes

    def end(self):
        for keeper in self.keepers:
            keeper.end()
        for cleanup in self.cleanups:
            cleanup()
        for namespace, fd in self.namespaces.items():
            os.close(fd)
            sh("ip", "netns", "del", self.name(namespace), check=False)
        os.close(self.lock)


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def slices(seconds):
    """Waits for what may come within the time. One counts as a slice however long it took: while this machine stood still,
    or ran others, nobody could answer."""
    left, last = seconds, time.monotonic()
    while left > 0:
        yield min(left, SLICE)
        now = time.monotonic()
        left, last = left - min(now - last, SLICE), now


def random_mac():
    """One that does not begin at an address of NOBODYS (src/net/subnet.c), as one of fifty does."""
    while True:
        mac, start = bytes([0x52, 0x54, 0x00]) + random.randbytes(3), 2166136261
        for byte in mac:
            start = (start ^ byte) * 16777619 & 0xFFFFFFFF
        if 2 + start % 253 not in NOBODYS:
            return mac


def place(fd):
    """In the child: the descriptor becomes number 3 (all others are CLOEXEC)."""
    if fd == 3:
        os.set_inheritable(3, True)
    else:
        os.dup2(fd, 3)


def rule(passes, directions=BOTH, remotes=TO_ALL, remote="0.0.0.0/0", guest="0.0.0.0/0", protocol=0, named=0,
         ports=(0, 65535), guest_ports=(0, 65535), stage=2):
    """One rule of src/net/policy.h."""
    address, bits = remote.split("/")
    own, own_bits = guest.split("/")
    return RULE.pack(stage, passes, directions, remotes, protocol, named, int(bits), int(own_bits),
                     socket.inet_aton(address), socket.inet_aton(own), *ports, *guest_ports)


def policy(rules, names=(), only=0):
    """The packet NET_POLICY."""
    text = b"".join(n.encode() + b"\0" for n in names)
    return struct.pack("=IIHHHBB", MAGIC, POLICY, len(rules), len(names), len(text), only, 0) + \
        b"".join(rules) + text


# what policy_add_mode() makes of the default mode
SHARED_POLICY = policy([rule(0, remotes=TO_GUESTS), rule(0, OUT, TO_WORLD, "169.254.0.0/16")])


class Keeper:
    """linzer-net, and our end of its socket."""

    def __init__(self, lab, mac=None, wanted="0.0.0.0", program=NET, before=(), mode=SHARED, policy=SHARED_POLICY,
                 fixed=0, exposed=(), interface=b""):
        self.lab, self.mac, self.wanted, self.policy = lab, mac or random_mac(), wanted, policy
        self.wish = dict(mode=mode, fixed=fixed, exposed=exposed, interface=interface)
        self.sock, theirs = self.make_pair()
        self.tap = self.guest = None
        # /etc (resolv.conf, linzer/net.conf) is the laboratory's, for this keeper alone
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                 'mount --bind "$1" /etc && shift && exec "$@"', "sh", str(lab.etc), *before,
                 str(program)]
        with lab.inside("host"):
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, close_fds=False, preexec_fn=lambda: place(theirs.fileno()))
        theirs.close()
        self.sock.settimeout(PATIENCE)

    def make_pair(self):
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def request(self, **fields):
        f = dict(magic=MAGIC, kind=START, mac=self.mac, wanted=socket.inet_aton(self.wanted), **self.wish)
        f.update(fields)
        ports = b"".join(struct.pack("=HH", *p) for p in f["exposed"])
        return START_FORM.pack(f["magic"], f["kind"], f["mode"], f["fixed"], f["mac"], f["wanted"],
                               f.get("exposed_count", len(f["exposed"])), f["interface"], ports)

    def receive(self):
        """-> (kind, fields, descriptors), or None at end of file."""
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 4)
        if not data:
            return None
        _, kind, gate, out, into, mac, isolated, _, address, gateway, prefix, interface, neighbours, text = MESSAGE.unpack(data)
        fields = dict(mac=mac, address=socket.inet_ntoa(address), gateway=socket.inet_ntoa(gateway),
                      prefix=prefix, interface=interface.rstrip(b"\0").decode(), neighbours=neighbours.rstrip(b"\0").decode(), isolated=isolated,
                      drops=(gate, out, into), text=text.rstrip(b"\0").decode())
        return kind, fields, fds

    def set_policy(self, packet):
        """-> what the keeper answers."""
        self.sock.send(packet)
        return self.wait_for(CHANGED, FAILED)

    def count(self):
        self.sock.send(MESSAGE.pack(MAGIC, COUNT, 0, 0, 0, b"", 0, 0, b"", b"", 0, b"", b"", b""))
        return self.wait_for(COUNTED)[1]["drops"]

    def wait_for(self, *kinds):
        while (answer := self.receive() or (None, {"text": self.last_words()}))[0] not in kinds:
            assert answer[0] == LEASED, answer
        return answer

    def send_start(self, **fields):
        self.sock.send(self.request(**fields))
        if self.policy is not None:
            with contextlib.suppress(OSError):  # it may have refused the start already
                self.sock.send(self.policy)

    def ask(self, **fields):
        self.send_start(**fields)
        return self.receive()

    def start(self):
        self.started(self.ask())

    def started(self, answer):
        kind, fields, fds = answer
        assert kind == STARTED, fields["text"]
        self.__dict__.update({k: v for k, v in fields.items() if k != "mac"})
        self.tap, = fds
        os.set_inheritable(self.tap, False)
        os.set_blocking(self.tap, False)
        self.guest = Guest(self)

    def last_words(self):
        self.wait()
        return self.process.stderr.read()

    def close(self):
        """What `run` does at its end; QEMU may still hold the tap."""
        self.sock.close()

    def close_tap(self):
        if self.tap is not None:
            if self.guest:
                self.guest.unplug()
            os.close(self.tap)
            self.tap = None

    def wait(self, timeout=PATIENCE):
        """As Popen's, which looks every 50 ms only."""
        if self.process.returncode is None:
            fd = os.pidfd_open(self.process.pid)
            end = select.poll()
            end.register(fd, select.POLLIN)
            end.poll(timeout * 1000)
            os.close(fd)
        return self.process.wait(0)

    def stop(self):
        self.close()
        status = self.wait()
        self.close_tap()
        return status

    def talker(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = children.read_text().split()
        assert len(pids) == 1, pids
        return int(pids[0])

    def end(self):
        self.sock.close()
        self.close_tap()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.process.stderr.close()


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, proto, payload, ttl=64, ident=0, flags=0, options=b""):
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, length, ident, flags, ttl, proto,
                       0, socket.inet_aton(source), socket.inet_aton(target)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def transport(source, target, proto, segment, at):
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, proto,
                                                                               len(segment))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment) or 0xFFFF) + segment[at + 2:]


def udp(source, sport, target, dport, payload):
    segment = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ipv4(source, target, 17, transport(source, target, 17, segment, 6))


def tcp(source, sport, target, dport, flags=2, seq=1000, ack=0):
    segment = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0)
    return ipv4(source, target, 6, transport(source, target, 6, segment, 16))


def ping(source, target, ident=7, data=b"linzer"):
    head = struct.pack("!BBHHH", 8, 0, 0, ident, 1)
    return ipv4(source, target, 1, head[:2] + struct.pack("!H", checksum(head + data)) + head[4:] + data)


def arp(operation, mac, address, target, target_mac=b"\0" * 6):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, socket.inet_aton(address),
                       target_mac, socket.inet_aton(target))


class Packet:
    """A frame that the guest received, taken apart."""

    def __init__(self, frame):
        self.frame = frame
        self.to, self.by, (self.type,) = frame[:6], frame[6:12], struct.unpack("!H", frame[12:14])
        self.body = frame[14:]
        self.proto = self.sport = self.dport = None
        if self.type == 0x0800:
            size = (self.body[0] & 15) * 4
            total, = struct.unpack("!H", self.body[2:4])
            self.proto = self.body[9]
            self.source, self.target = (socket.inet_ntoa(self.body[i:i + 4]) for i in (12, 16))
            self.payload = self.body[size:total]
            if self.proto in (6, 17):
                self.sport, self.dport = struct.unpack("!HH", self.payload[:4])


class Guest:
    """Speaks Ethernet on the tap (each frame behind a virtio-net header of 10 bytes)."""

    def __init__(self, keeper):
        self.keeper, self.tap, self.mac = keeper, keeper.tap, keeper.mac
        self.address, self.gateway = keeper.address, keeper.gateway
        self.router = None
        self.silent = False
        self.pump = None

    def send_frame(self, frame):
        os.write(self.tap, b"\0" * 10 + frame)

    def send(self, body, type=0x0800, mac=None, to=None):
        self.send_frame((to or self.router_mac()) + (mac or self.mac) + struct.pack("!H", type) + body)

    def frames(self, timeout=PATIENCE):
        """Those of the time."""
        for wait in slices(timeout):
            if select.select([self.tap], [], [], wait)[0]:
                with contextlib.suppress(BlockingIOError):
                    packet = Packet(os.read(self.tap, 65536)[10:])
                    self.answer_arp(packet)
                    yield packet

    def answer_arp(self, p):
        """As any kernel does while it receives."""
        if p.type == 0x0806 and p.body[6:8] == b"\0\1" and p.body[24:28] == socket.inet_aton(self.address) and \
                not self.silent:
            self.send(arp(2, self.mac, self.address, socket.inet_ntoa(p.body[14:18]), p.by), type=0x0806, to=p.by)

    def wait(self, wanted, timeout=PATIENCE):
        """The first frame for which wanted(packet) is true, or None."""
        return next((p for p in self.frames(timeout) if wanted(p)), None)

    def router_mac(self):
        if not self.router:
            self.router = self.resolve(self.gateway)
            assert self.router, "nobody answers for the gateway"
        return self.router

    def resolve(self, address, timeout=PATIENCE):
        self.send(arp(1, self.mac, self.address, address), type=0x0806, to=BROADCAST)
        answer = self.wait(lambda p: p.type == 0x0806 and p.body[6:8] == b"\0\2" and
                           p.body[14:18] == socket.inet_aton(address), timeout)
        return answer and answer.body[8:14]

    def pings(self, target, timeout=PATIENCE):
        ident = random.randrange(65536)
        self.send(ping(self.address, target, ident))
        return self.wait(lambda p: p.proto == 1 and p.payload[0] == 0 and p.source == target and
                         p.payload[4:6] == struct.pack("!H", ident), timeout) is not None

    def ask_udp(self, target, port, data, timeout=PATIENCE, sport=None):
        sport = sport or random.randrange(20000, 60000)
        self.send(udp(self.address, sport, target, port, data))
        answer = self.wait(lambda p: p.proto == 17 and p.sport == port and p.dport == sport, timeout)
        return answer and answer.payload[8:]

    def plug(self, namespace):
        """Give a namespace this guest's card: a kernel's own TCP behind the tap."""
        lab = self.keeper.lab
        lab.add_namespace(namespace)
        lab.ip(namespace, f"link add g0 address {self.mac.hex(':')} type veth peer name p0")
        for words in ("link set p0 up", "link set g0 up", f"addr add {self.address}/24 dev g0",
                      f"route add default via {self.gateway}"):
            lab.ip(namespace, words)
        packets = lab.socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, 0, timeout=None)
        packets.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
        packets.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        packets.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        packets.bind(("p0", 3))
        self.pump = Pump(self.tap, packets)

    def unplug(self):
        if self.pump:
            self.pump.end()
            self.pump = None


class Pump(threading.Thread):
    """Carries frames, virtio-net header and all, between a tap and a packet socket."""

    def __init__(self, tap, packets):
        super().__init__(daemon=True)
        self.tap, self.packets = tap, packets
        self.stop, self.wake = os.pipe()
        self.start()

    def run(self):
        while True:
            ready = select.select([self.tap, self.packets, self.stop], [], [])[0]
            if self.stop in ready:
                return
            with contextlib.suppress(OSError):
                if self.tap in ready:
                    self.packets.send(os.read(self.tap, 70000))
                if self.packets in ready:
                    os.write(self.tap, self.packets.recv(70000))

    def end(self):
        os.write(self.wake, b"x")
        self.join()
        os.close(self.stop)
        os.close(self.wake)


DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)


class Dhcp:
    """A DHCP client on a guest's tap."""

    def __init__(self, guest):
        self.guest = guest
        self.xid = random.randrange(1 << 32)

    def message(self, kind, options=(), ciaddr="0.0.0.0", chaddr=None, broadcast=False, giaddr="0.0.0.0"):
        head = struct.pack("!BBBBIHH4s4s4s4s16s192s4s", 1, 1, 6, 0, self.xid, 0, broadcast << 15,
                           socket.inet_aton(ciaddr), b"", b"", socket.inet_aton(giaddr),
                           chaddr or self.guest.mac, b"", b"\x63\x82\x53\x63")
        options = [(53, bytes([kind])), *options]
        return head + b"".join(bytes([c, len(v)]) + v for c, v in options) + b"\xff"

    def send(self, kind, options=(), source="0.0.0.0", target="255.255.255.255", frame_mac=None, **fields):
        packet = udp(source, 68, target, 67, self.message(kind, options, **fields))
        to = BROADCAST if target == "255.255.255.255" else None
        self.guest.send(packet, mac=frame_mac, to=to)

    def answer(self, timeout=PATIENCE):
        """-> (type, yiaddr, options, packet) or None."""
        p = self.guest.wait(lambda p: p.proto == 17 and p.dport == 68 and p.sport == 67, timeout)
        if not p:
            return None
        m = p.payload[8:]
        assert m[4:8] == struct.pack("!I", self.xid)
        options, at = {}, 240
        while m[at] != 255:
            options[m[at]] = m[at + 2:at + 2 + m[at + 1]]
            at += 2 + m[at + 1]
        return options[53][0], socket.inet_ntoa(m[16:20]), options, p

    def ask(self, *args, timeout=PATIENCE, **kwargs):
        self.send(*args, **kwargs)
        return self.answer(timeout)


def dns_query(name, ident=0x1234, kind=1):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


class Resolver(threading.Thread):
    """A DNS server in the host namespace, over UDP and TCP; answers each A query with 192.0.2.7."""

    def __init__(self, lab, address="127.0.0.53", extra=0, sockets=None):
        super().__init__(daemon=True)
        self.udp, self.tcp = sockets or (
            lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=(address, 53), timeout=None),
            lab.socket("host", socket.AF_INET, socket.SOCK_STREAM, bind=(address, 53), listen=True, timeout=None))
        self.extra, self.seen = extra, []
        self.stop, self.wake = os.pipe()
        lab.cleanups.insert(0, self.end)
        self.start()

    def answer(self, query):
        record = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("192.0.2.7"))
        count = 1 + self.extra
        return query[:2] + b"\x81\x80" + query[4:6] + struct.pack("!HHH", count, 0, 0) + query[12:] + \
            record * count

    def run(self):
        while True:
            ready = select.select([self.udp, self.tcp, self.stop], [], [])[0]
            if self.stop in ready:
                return
            if self.udp in ready:
                query, client = self.udp.recvfrom(65535)
                self.seen.append((query, client))
                self.udp.sendto(self.answer(query), client)
            if self.tcp in ready:
                connection, client = self.tcp.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(3)
                    while head := connection.recv(2, socket.MSG_WAITALL):
                        query = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
                        self.seen.append((query, client))
                        answer = self.answer(query)
                        connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def end(self):
        os.write(self.wake, b"x")
        self.join()
        os.close(self.stop)
        os.close(self.wake)
