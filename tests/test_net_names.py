# SPDX-License-Identifier: Apache-2.0
"""Names in a policy: whose addresses open, when, and what the DNS relay refuses."""

import contextlib
import random
import socket
import struct
import threading
import time

import pytest

from netlab import CHANGED, OUT, PATIENCE, TO_HOST, TO_WORLD, Lab, Resolver, dns_query, policy, rule, tcp, udp

FAILURE, REFUSED = 2, 5
A, CNAME, NULL, TXT, AAAA, ANY = 1, 5, 10, 16, 28, 255

# what is there of the world
OPEN_TO_NAMES = [rule(1, OUT, TO_WORLD, named=1), rule(0, OUT, TO_WORLD)]


def only(*names):
    return policy(OPEN_TO_NAMES, names, only=1)


def encoded(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


def name_of(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    return ".".join(labels).lower()


def record(owner, kind, data, ttl=60):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def address(text, owner=b"\xc0\x0c", ttl=60):
    return record(owner, A, socket.inet_aton(text), ttl)


class Zone(Resolver):
    """A resolver with a table: name -> records; `count` lies about their number."""

    def __init__(self, lab, table=()):
        self.table, self.count, self.gate = dict(table), None, threading.Event()
        self.gate.set()
        super().__init__(lab)

    def answer(self, query):
        self.gate.wait(10)
        records = self.table.get(name_of(query), [])
        question = query[12:query.index(b"\0", 12) + 5]
        count = len(records) if self.count is None else self.count
        return query[:2] + b"\x81\x80\0\1" + struct.pack("!HHH", count, 0, 0) + question + b"".join(records)

    def asked(self):
        return [name_of(query) for query, _ in self.seen]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.run("world", "ip", "route", "add", "local", "5.0.0.0/8", "dev", "lo")
    yield lab
    lab.end()


def ask(guest, name, kind=A):
    return guest.ask_udp(guest.gateway, 53, dns_query(name, random.randrange(65536), kind))


def code(answer):
    return answer[3] & 15


def reaches(guest, target, timeout=0.4):
    """A closed port of the world says so with a reset."""
    port = random.randrange(20000, 60000)
    guest.send(tcp(guest.address, port, target, 9))
    return guest.wait(lambda p: p.proto == 6 and p.source == target and p.dport == port, timeout) is not None


def test_only_the_named_name_opens(lab):
    zone = Zone(lab, {"example.org": [address("5.5.5.5")], "www.example.org": [address("5.5.5.6")]})
    guest = lab.up(policy=only("example.org")).guest
    assert not reaches(guest, "5.5.5.5")
    answer = ask(guest, "example.org")
    assert code(answer) == 0 and answer.endswith(socket.inet_aton("5.5.5.5"))
    assert reaches(guest, "5.5.5.5")
    assert code(ask(guest, "www.example.org")) == REFUSED
    assert code(ask(guest, "example.org.evil.net")) == REFUSED
    assert not reaches(guest, "5.5.5.6") and not reaches(guest, "5.5.5.4")
    assert zone.asked() == ["example.org"]


def test_names_below_a_star(lab):
    Zone(lab, {"example.org": [address("5.5.5.5")], "a.b.example.org": [address("5.5.5.6")],
               "badexample.org": [address("5.5.5.7")]})
    guest = lab.up(policy=only("*.example.org")).guest
    assert code(ask(guest, "example.org")) == code(ask(guest, "badexample.org")) == REFUSED
    assert code(ask(guest, "A.b.Example.ORG")) == 0
    assert reaches(guest, "5.5.5.6") and not reaches(guest, "5.5.5.5") and not reaches(guest, "5.5.5.7")


@pytest.mark.parametrize("kind", [A, NULL, TXT, AAAA, ANY])
def test_no_tunnel_where_everything_is_blocked(lab, kind):
    zone = Zone(lab)
    guest = lab.up(policy=only("example.org")).guest
    answer = ask(guest, "c2VjcmV0.tunnel.net", kind)
    assert code(answer) == REFUSED and answer[6:12] == b"\0" * 6
    assert not zone.seen


def test_no_name_is_allowed(lab):
    zone = Zone(lab)
    guest = lab.up(policy=only()).guest
    assert code(ask(guest, "example.org")) == REFUSED
    assert not zone.seen


def test_labels_that_only_look_like_the_name(lab):
    """A dot within a label; nothing at all; a label with a byte that no name has."""
    zone = Zone(lab)
    guest = lab.up(policy=only("example.org", "*.example.org")).guest
    for labels in (b"\x0bexample.org\0", b"\x05a.exa\x04mple\x03org\0", b"\0", b"\x07example\x04or\0g\0",
                   b"\x01*\x07example\x03org\0", b"\x02\xc3\xa4\x07example\x03org\0"):
        query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\1\0\1"
        assert code(guest.ask_udp(guest.gateway, 53, query)) == REFUSED, labels
    assert not zone.seen


def test_other_classes_and_operations_are_dropped(lab):
    zone = Zone(lab, {"example.org": [address("5.5.5.5")]})
    guest = lab.up(policy=only("example.org")).guest
    good = dns_query("example.org")
    for bad in (good[:-1] + b"\3", good[:2] + b"\x21" + good[3:]):
        assert guest.ask_udp(guest.gateway, 53, bad, timeout=0.3) is None
    assert code(guest.ask_udp(guest.gateway, 53, good)) == 0
    assert len(zone.seen) == 1


def test_other_names_pass_where_not_everything_is_blocked(lab):
    Zone(lab, {"example.org": [address("5.5.5.5")], "other.net": [address("5.6.6.6"), address("5.5.5.9")]})
    rules = [rule(1, OUT, TO_WORLD, named=1), rule(0, OUT, TO_WORLD, "5.5.0.0/16")]
    guest = lab.up(policy=policy(rules, ["example.org"])).guest
    assert code(ask(guest, "other.net")) == code(ask(guest, "example.org")) == 0
    assert reaches(guest, "5.6.6.6") and reaches(guest, "5.5.5.5")
    assert not reaches(guest, "5.5.5.9"), "an address that only another name gave"


def test_chain_of_aliases(lab):
    """In any order; what does not hang on the question's name opens nothing."""
    edge = encoded("edge.cdn.net")
    Zone(lab, {
        "www.example.org": [record(b"\xc0\x0c", CNAME, encoded("www.cdn.net")),
                            record(encoded("www.cdn.net"), CNAME, edge), address("5.5.5.5", edge)],
        "back.example.org": [address("5.5.5.6", edge), record(b"\xc0\x0c", CNAME, edge)],
        "poison.example.org": [address("5.5.5.7"), address("5.5.5.8", encoded("victim.net")),
                               record(encoded("victim.net"), CNAME, edge), address("5.5.5.9", edge)],
    })
    guest = lab.up(policy=only("*.example.org")).guest
    for name in ("www", "back", "poison"):
        assert code(ask(guest, f"{name}.example.org")) == 0
    for good in ("5.5.5.5", "5.5.5.6", "5.5.5.7"):
        assert reaches(guest, good), good
    for bad in ("5.5.5.8", "5.5.5.9"):
        assert not reaches(guest, bad), bad


def test_closed_ranges_are_not_opened(lab):
    lab.run("world", "ip", "route", "add", "local", "10.9.0.0/16", "dev", "lo")
    closed = ("10.9.0.1", "127.0.0.1", "169.254.169.254", "224.0.0.1")
    Zone(lab, {"example.org": [address(a) for a in (*closed, "5.5.5.5")]})
    guest = lab.up(policy=only("example.org")).guest
    ask(guest, "example.org")
    assert reaches(guest, "5.5.5.5"), "beside them"
    assert not reaches(guest, "10.9.0.1")
    table = lab.ruleset()
    assert "5.5.5.5" in table and not any(a in table for a in closed)


def test_host_is_not_opened_by_a_name(lab):
    """DNS rebinding: a name that says that it is the host's own address."""
    lab.ip("host", "addr add 5.5.5.1/32 dev lo")
    Zone(lab, {"example.org": [address("5.5.5.1")]})
    rules = [*OPEN_TO_NAMES, rule(0, OUT, TO_HOST)]
    guest = lab.up(policy=policy(rules, ["example.org"], only=1)).guest
    ask(guest, "example.org")
    assert not reaches(guest, "5.5.5.1")


def test_open_before_the_answer_arrives(lab):
    """A guest that connects as soon as it has the answer, a hundred times; nothing is sent twice."""
    Zone(lab, {f"n{i}.example.org": [address(f"5.1.{i}.9")] for i in range(100)})
    guest = lab.up(policy=only("*.example.org")).guest
    guest.router_mac()
    for i in range(100):
        assert code(ask(guest, f"n{i}.example.org")) == 0
        assert reaches(guest, f"5.1.{i}.9", PATIENCE), i


def test_every_address_opens(lab):
    """More than fit into one request to the keeper."""
    Zone(lab, {"example.org": [address(f"5.5.5.{i}") for i in range(1, 51)]})
    guest = lab.up(policy=only("example.org")).guest
    assert len(ask(guest, "example.org")) > 50 * 16
    for i in range(1, 51):
        assert reaches(guest, f"5.5.5.{i}"), i


@pytest.mark.parametrize("seconds", [3, pytest.param(58, marks=pytest.mark.soak)])
def test_ttl_of_nothing_lives_for_a_minute(lab, seconds):
    Zone(lab, {"example.org": [address("5.5.5.5", ttl=0)]})
    guest = lab.up(policy=only("example.org")).guest
    ask(guest, "example.org")
    time.sleep(seconds)
    assert reaches(guest, "5.5.5.5")


@pytest.mark.soak
def test_address_closes_at_the_end_of_its_life(lab):
    """But not while a flow uses it."""
    Zone(lab, {"example.org": [address("5.5.5.5", ttl=0)], "www.example.org": [address("5.5.5.6", ttl=600)],
               "used.example.org": [address("5.5.5.7", ttl=0)]})
    guest = lab.up(policy=only("example.org", "www.example.org", "used.example.org")).guest
    server = lab.socket("world", socket.AF_INET, socket.SOCK_DGRAM, bind=("5.5.5.7", 7777))
    for name in ("example.org", "www.example.org", "used.example.org"):
        ask(guest, name)
    for _ in range(8):
        guest.send(udp(guest.address, 5555, "5.5.5.7", 7777, b"question"))
        data, client = server.recvfrom(100)
        server.sendto(b"answer", client)
        assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer")
        time.sleep(70 / 8)
    assert reaches(guest, "5.5.5.6") and reaches(guest, "5.5.5.7") and not reaches(guest, "5.5.5.5")


def pointer(at):
    return struct.pack("!H", 0xC000 | at)


def hostile_answers():
    start = 12 + len(encoded("example.org")) + 4  # of the first record; its data are 12 bytes behind
    steps = [12, *(start + 12 + 2 * i for i in range(400))]  # each leads to the one before
    ladder = b"".join(pointer(at) for at in steps)
    return {
        "pointer to itself": [record(pointer(start), A, b"\5\5\5\6")],
        "pointer forwards": [record(pointer(start + 12), A, b"\5\5\5\6"), address("5.5.5.6", pointer(start + 30))],
        "pointer into the header": [record(pointer(0), A, b"\5\5\5\6")],
        "alias of itself": [record(b"\xc0\x0c", CNAME, b"\xc0\x0c")],
        "circle of aliases": [record(b"\xc0\x0c", CNAME, encoded("b.net")),
                              record(encoded("b.net"), CNAME, b"\xc0\x0c")],
        "pointers to pointers": [record(b"\xc0\x0c", AAAA, ladder), address("5.5.5.6", pointer(start + 12 + 2 * 400))],
        "length beyond the end": [address("5.5.5.6")[:-6] + b"\xff\xff\5\5\5\6"],
        "length of three": [record(b"\xc0\x0c", A, b"\5\5\5")],
        "half a record": [address("5.5.5.6")[:9]],
        "reserved label": [record(b"\x80x", A, b"\5\5\5\6")],
        "a label too long": [b"?example"],
        "other class": [b"\xc0\x0c" + struct.pack("!HHIH", A, 3, 60, 4) + b"\5\5\5\6"],
    }


@pytest.mark.parametrize("case", hostile_answers())
def test_hostile_answers(lab, case):
    """Whatever the guest makes of them: nothing opens, and what is good in later ones does."""
    zone = Zone(lab, {"example.org": hostile_answers()[case]})
    guest = lab.up(policy=only("example.org")).guest
    ask(guest, "example.org")
    assert not reaches(guest, "5.5.5.6", timeout=0.2)
    zone.table["example.org"] = [address("5.5.5.5")]
    assert code(ask(guest, "example.org")) == 0
    assert reaches(guest, "5.5.5.5")


@pytest.mark.parametrize("count", [0, 1, 65535])
def test_counts_that_lie(lab, count):
    zone = Zone(lab, {"example.org": [address("5.5.5.5"), address("5.5.5.6")]})
    zone.count = count
    guest = lab.up(policy=only("example.org")).guest
    ask(guest, "example.org")
    opened = [a for a in ("5.5.5.5", "5.5.5.6") if reaches(guest, a)]
    assert len(opened) == min(count, 2)


def test_thousand_records(lab):
    """What is beyond the bounds is not opened; nothing breaks."""
    Zone(lab, {"example.org": [address(f"5.2.{i >> 8}.{i & 255}") for i in range(1000)]})
    guest = lab.up(policy=only("example.org")).guest
    guest.router_mac()
    answer = ask_large(lab, guest, "example.org")
    assert len(answer) > 16000
    assert reaches(guest, "5.2.0.0") and reaches(guest, "5.2.0.255")
    assert not reaches(guest, "5.2.3.231")
    assert code(ask(guest, "www.example.org")) == REFUSED


def ask_large(lab, guest, name):
    """With a kernel that puts fragments together."""
    guest.plug("guest")
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((guest.gateway, 53))
    client.send(dns_query(name))
    answer = client.recv(65535)
    guest.unplug()
    return answer


def test_keeper_that_knows_enough_is_an_error_for_the_guest(lab):
    """Its table is full: the guest must not get an address that stays closed."""
    Zone(lab, {f"n{j}.example.org": [address(f"5.{j}.{i >> 7}.{i & 127}") for i in range(250)] for j in range(6)})
    guest = lab.up(policy=only("*.example.org")).guest
    codes = [code(ask(guest, f"n{j}.example.org")) for j in range(6)]
    assert codes[0] == 0 and codes[-1] == FAILURE
    assert codes == sorted(codes)
    assert reaches(guest, "5.0.0.1") and not reaches(guest, "5.5.0.1")


def read_exactly(sock, size):
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def read_answer(client):
    return read_exactly(client, int.from_bytes(read_exactly(client, 2), "big"))


def ask_tcp(client, name, kind=A):
    query = dns_query(name, random.randrange(65536), kind)
    client.sendall(len(query).to_bytes(2, "big") + query)
    answer = read_answer(client)
    assert answer[:2] == query[:2]
    return answer


def test_names_over_tcp(lab):
    """The same, in one connection; the answer to a permitted name is larger than the relay's buffer."""
    filler = [record(b"\xc0\x0c", TXT, b"\xff" + b"x" * 255)] * 120
    zone = Zone(lab, {"example.org": [address("5.5.5.5"), *filler]})
    guest = lab.up(policy=only("example.org")).guest
    guest.plug("guest")
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((guest.gateway, 53))
    for _ in range(2):
        assert code(ask_tcp(client, "tunnel.net", TXT)) == REFUSED
        answer = ask_tcp(client, "example.org", ANY)
        assert code(answer) == 0 and len(answer) > 30000
    target = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(ConnectionRefusedError):
        target.connect(("5.5.5.5", 9))
    assert zone.asked() == ["example.org", "example.org"]


def test_wrong_answer_over_tcp_ends_the_connection(lab):
    zone = Zone(lab)
    honest = zone.answer
    zone.answer = lambda q: honest(dns_query("evil.org", int.from_bytes(q[:2], "big")))
    guest = lab.up(policy=only("example.org")).guest
    guest.plug("guest")
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((guest.gateway, 53))
    query = dns_query("example.org")
    client.sendall(len(query).to_bytes(2, "big") + query)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


def test_policy_that_changes(lab):
    Zone(lab, {"example.org": [address("5.5.5.5")], "example.net": [address("5.5.5.6")]})
    keeper = lab.up(policy=only("example.org"))
    guest = keeper.guest
    assert code(ask(guest, "example.net")) == REFUSED and code(ask(guest, "example.org")) == 0
    for _ in range(20):
        assert keeper.set_policy(only("example.net"))[0] == CHANGED
        assert code(ask(guest, "example.org")) == REFUSED and code(ask(guest, "example.net")) == 0
        assert reaches(guest, "5.5.5.6") and not reaches(guest, "5.5.5.5", timeout=0.1)
        assert keeper.set_policy(only("other.org", "example.org"))[0] == CHANGED
        assert code(ask(guest, "example.net")) == REFUSED and code(ask(guest, "example.org")) == 0
        assert reaches(guest, "5.5.5.5") and not reaches(guest, "5.5.5.6", timeout=0.1)


@pytest.mark.parametrize("then", ["still allowed", "no more"])
def test_policy_that_changes_while_a_query_waits(lab, then):
    """The list at the time of the answer counts."""
    zone = Zone(lab, {"example.org": [address("5.5.5.5")]})
    keeper = lab.up(policy=only("example.org"))
    guest = keeper.guest
    zone.gate.clear()
    guest.send(dns_packet(guest, "example.org"))
    end = time.monotonic() + 60
    while not zone.seen and time.monotonic() < end:
        time.sleep(0.01)
    names = ["a.net", "b.net", "*.example.org", "example.org"] if then == "still allowed" else ["a.net"]
    assert keeper.set_policy(only(*names))[0] == CHANGED
    zone.gate.set()
    answer = guest.wait(lambda p: p.proto == 17 and p.sport == 53).payload[8:]
    assert code(answer) == (0 if then == "still allowed" else REFUSED)
    assert reaches(guest, "5.5.5.5") == (then == "still allowed")


def dns_packet(guest, name):
    return udp(guest.address, 5353, guest.gateway, 53, dns_query(name))


def test_queries_never_pass_between_lists(lab):
    """Two policies in turn, while the guest asks for a name that neither allows."""
    zone = Zone(lab, {"example.org": [address("5.5.5.5")]})
    keeper = lab.up(policy=only("example.org"))
    guest = keeper.guest
    for i in range(100):
        keeper.sock.send(only("example.org", f"n{i}.example.org"))
        guest.send(dns_packet(guest, "tunnel.net"))
        assert keeper.wait_for(CHANGED)[0] == CHANGED
    assert code(ask(guest, "example.org")) == 0
    assert zone.asked() == ["example.org"]
