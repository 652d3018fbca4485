# SPDX-License-Identifier: Apache-2.0
"""DHCP and DNS as linzer-net's talker serves them, asked from the guest's side of the tap."""

import os
import pathlib
import re
import socket
import struct
import time

import pytest

from netlab import (ACK, BROADCAST, DECLINE, DISCOVER, INFORM, LEASED, NAK, OFFER, RELEASE, REQUEST, Dhcp,
                    Lab, Resolver, dns_query, random_mac, udp)

aton = socket.inet_aton


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


@pytest.fixture
def guest(lab):
    return lab.up().guest


def select_offer(guest):
    return [(50, aton(guest.address)), (54, aton(guest.gateway))]


def test_dialogue(lab, guest):
    dhcp = Dhcp(guest)
    kind, address, options, packet = dhcp.ask(DISCOVER, [(61, b"\x01client"), (55, bytes([1, 3, 6, 26]))])
    assert (kind, address) == (OFFER, guest.address)
    assert packet.to == guest.mac
    assert options[54] == options[3] == options[6] == aton(guest.gateway)
    assert options[1] == aton("255.255.255.0")
    assert options[26] == struct.pack("!H", 1500)
    assert options[51] == struct.pack("!I", 3600)
    assert options[61] == b"\x01client"
    kind, address, options, _ = dhcp.ask(REQUEST, select_offer(guest))
    assert (kind, address) == (ACK, guest.address)
    kind, fields, fds = guest.keeper.receive()
    assert (kind, fields["address"], fds) == (LEASED, guest.address, [])


def test_mtu_of_the_uplink_is_told(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.ip("host", "link set up0 mtu 1400")
        options = Dhcp(lab.up().guest).ask(DISCOVER)[2]
        assert options[26] == struct.pack("!H", 1400)
    finally:
        lab.end()


def test_renew_rebind_and_reboot(guest):
    dhcp = Dhcp(guest)
    renewed = dhcp.ask(REQUEST, ciaddr=guest.address, source=guest.address, target=guest.gateway)
    assert renewed[:2] == (ACK, guest.address)
    assert (renewed[3].to, renewed[3].target) == (guest.mac, guest.address)
    assert dhcp.ask(REQUEST, ciaddr=guest.address, source=guest.address)[:2] == (ACK, guest.address)
    assert dhcp.ask(REQUEST, [(50, aton(guest.address))])[:2] == (ACK, guest.address)


def test_broadcast_is_used_when_asked_for(guest):
    assert Dhcp(guest).ask(DISCOVER, broadcast=True)[3].to == BROADCAST


@pytest.mark.parametrize("wrong", ["192.168.64.1", "10.0.0.9", "192.168.64.254"])
def test_wrong_address_is_refused(guest, wrong):
    kind, address, options, packet = Dhcp(guest).ask(REQUEST, [(50, aton(wrong))])
    assert (kind, address) == (NAK, "0.0.0.0")
    assert packet.to == BROADCAST
    assert 51 not in options and 3 not in options


def test_inform_gets_settings_without_an_address(guest):
    kind, address, options, _ = Dhcp(guest).ask(INFORM, ciaddr=guest.address, source=guest.address)
    assert (kind, address) == (ACK, "0.0.0.0")
    assert 51 not in options and options[3] == aton(guest.gateway)


def test_release_and_decline_change_nothing(guest):
    dhcp = Dhcp(guest)
    assert dhcp.ask(RELEASE, ciaddr=guest.address, source=guest.address, target=guest.gateway,
                    timeout=0.3) is None
    assert dhcp.ask(DECLINE, [(50, aton(guest.address))], timeout=0.3) is None
    assert dhcp.ask(DISCOVER)[:2] == (OFFER, guest.address)


@pytest.mark.parametrize("case", ["other server", "other client", "relayed", "other frame", "no address"])
def test_what_is_not_for_us_gets_no_answer(guest, case):
    other = random_mac()
    fields = {
        "other server": dict(options=[(50, aton(guest.address)), (54, aton("192.168.64.200"))]),
        "other client": dict(options=[(50, aton(guest.address))], chaddr=other),
        "relayed": dict(options=[(50, aton(guest.address))], giaddr="10.0.0.1"),
        "other frame": dict(options=[(50, aton(guest.address))], frame_mac=other),
        "no address": dict(),
    }[case]
    dhcp = Dhcp(guest)
    assert dhcp.ask(REQUEST, timeout=0.3, **fields) is None
    assert dhcp.ask(DISCOVER)[0] == OFFER


def test_a_dhcp_server_of_the_host_is_no_conflict(lab, guest):
    server = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", 67), timeout=0.5)
    assert Dhcp(guest).ask(DISCOVER)[0] == OFFER
    with pytest.raises(TimeoutError):
        server.recv(2000)


def test_flood_is_answered_at_a_bounded_rate(guest):
    """Twenty at once, and then ten a second (src/net/talker.c)."""
    dhcp, began = Dhcp(guest), time.monotonic()
    for _ in range(300):
        dhcp.send(DISCOVER)
    assert dhcp.answer()[0] == OFFER
    answers = 1 + sum(p.dport == 68 for p in guest.frames(0.5))
    assert answers <= 21 + 10 * (time.monotonic() - began)


def test_malformed_dhcp_is_survived(guest):
    dhcp = Dhcp(guest)
    good = dhcp.message(DISCOVER)
    for bad in (b"", b"\x01", good[:100], good[:240], good[:242], good[:240] + b"\x35\xff\x01",
                good[:240] + bytes([53, 2, 1, 1, 255]), b"\x02" + good[1:], good[:236] + b"xxxx" + good[240:]):
        guest.send(udp("0.0.0.0", 68, "255.255.255.255", 67, bad), to=BROADCAST)
    assert guest.wait(lambda p: p.dport == 68, 0.3) is None
    assert dhcp.ask(DISCOVER)[0] == OFFER


def test_flood_of_queries_is_relayed_at_a_bounded_rate(lab, guest):
    resolver = Resolver(lab)
    head = guest.router_mac() + guest.mac + b"\x08\0"
    flood = [head + udp(guest.address, 20000 + i, guest.gateway, 53, b"not a query") for i in range(4000)]
    began = time.monotonic()
    for frame in flood:
        guest.send_frame(frame)
    let_through = 1000 + 1000 * (time.monotonic() - began)  # at once, and a second (src/net/rules.c)
    counters = lab.run("host", "nft", "list", "chain", "netdev", "linzer", guest.keeper.interface)
    dropped = int(re.search(r"udp dport 53 limit .* counter packets (\d+)", counters)[1])
    assert dropped >= 4000 - 1.1 * let_through and not resolver.seen


def test_dns_through_a_resolver_on_loopback(lab, guest):
    resolver = Resolver(lab)
    answer = guest.ask_udp(guest.gateway, 53, dns_query("example.org", 0xABCD))
    assert answer[:2] == b"\xab\xcd" and answer.endswith(aton("192.0.2.7"))
    for _ in range(30):
        assert guest.ask_udp(guest.gateway, 53, dns_query("example.org", 0xABCD))
    assert len({query[:2] for query, _ in resolver.seen}) > 20, "numbers are random"
    assert len({client[1] for _, client in resolver.seen}) > 20, "ports are random"


def test_dns_of_the_host_is_no_conflict(lab, guest):
    Resolver(lab)
    host = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", 53), timeout=0.5)
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org")).endswith(aton("192.0.2.7"))
    with pytest.raises(TimeoutError):
        host.recv(2000)


def test_dns_takes_the_next_resolver_and_notices_a_new_file(lab, guest):
    lab.resolv.write_text("nameserver 127.0.0.9\nnameserver 127.0.0.10\n")
    Resolver(lab, "127.0.0.10")
    assert guest.ask_udp(guest.gateway, 53, dns_query("a.example")).endswith(aton("192.0.2.7"))
    lab.resolv.write_text("# other\nnameserver 127.0.0.11\n")
    Resolver(lab, "127.0.0.11")
    assert guest.ask_udp(guest.gateway, 53, dns_query("b.example")).endswith(aton("192.0.2.7"))


def test_dns_without_a_resolver_fails_at_once(guest):
    answer = guest.ask_udp(guest.gateway, 53, dns_query("example.org", 0x4242))
    assert answer[:2] == b"\x42\x42" and answer[3] & 15 == 2


def test_malformed_dns_is_dropped(lab, guest):
    resolver = Resolver(lab)
    good = dns_query("example.org")
    for bad in (b"", b"\0", good[:11], good[:-1], good + b"\0", good[:2] + b"\x81" + good[3:],
                good[:5] + b"\2" + good[6:], good[:12] + b"\xc0\x0c" + good[-4:], b"\xff" * 600):
        guest.send(udp(guest.address, 5000, guest.gateway, 53, bad))
    assert guest.ask_udp(guest.gateway, 53, good)
    assert len(resolver.seen) == 1


def test_only_the_right_answer_is_accepted(lab, guest):
    resolver = Resolver(lab)
    honest = resolver.answer
    resolver.answer = lambda q: bytes([q[0] ^ 1]) + honest(q)[1:]
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"), timeout=0.5) is None
    resolver.answer = lambda q: honest(dns_query("evil.org", int.from_bytes(q[:2], "big")))
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"), timeout=0.5) is None
    resolver.answer = honest
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"))


def read_exactly(sock, size):
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_dns_over_tcp(lab, guest):
    Resolver(lab, extra=3000)  # an answer of 48 KB
    guest.plug("guest")
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((guest.gateway, 53))
    for ident in (1, 2):
        query = dns_query("example.org", ident)
        client.sendall(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(read_exactly(client, 2), "big")
        answer = read_exactly(client, size)
        assert len(answer) == size > 48000 and answer[:2] == ident.to_bytes(2, "big")
    client.sendall(b"\0\x05hello")
    assert client.recv(1) == b"", "nonsense ends the connection"


def test_dns_flood_over_tcp_is_bounded(lab, guest):
    Resolver(lab)
    guest.plug("guest")
    clients = []
    for _ in range(20):
        clients.append(lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM))
        clients[-1].connect((guest.gateway, 53))
    talker = guest.keeper.talker()
    assert len(os.listdir(f"/proc/{talker}/fd")) <= 8 + 8
    for client in clients:
        client.close()


def test_talker_can_do_nothing(guest):
    talker = guest.keeper.talker()
    status = dict(line.split(":\t", 1) for line in
                  pathlib.Path(f"/proc/{talker}/status").read_text().splitlines() if ":\t" in line)
    assert all(int(status[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) and status["Uid"].split()[0] != "0"
    assert status["Groups"].strip() == ""
    links = {os.readlink(f"/proc/{talker}/fd/{fd}").split(":")[0] for fd in
             os.listdir(f"/proc/{talker}/fd") if int(fd) > 2}
    assert links == {"socket"}


def test_keeper_of_root_has_two_capabilities(guest):
    status = pathlib.Path(f"/proc/{guest.keeper.process.pid}/status").read_text()
    net_admin_and_kill = 1 << 12 | 1 << 5
    for kind in ("CapEff", "CapPrm"):
        assert f"{kind}:\t{net_admin_and_kill:016x}\n" in status


def test_both_are_small(guest):
    Dhcp(guest).ask(DISCOVER)
    guest.ask_udp(guest.gateway, 53, dns_query("example.org"), timeout=0.5)
    total = 0
    for pid in (guest.keeper.process.pid, guest.keeper.talker()):
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(rollup.split("Pss:")[1].split()[0])
    print("keeper and talker together:", total, "KiB")
    assert total <= 4096
