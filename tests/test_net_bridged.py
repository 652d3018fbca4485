# SPDX-License-Identifier: Apache-2.0
"""Bridged cards on a LAN: addresses, who reaches whom, what a hostile guest cannot send; nothing is left."""

import random
import signal
import socket
import struct
import time

import pytest

from netlab import (ACK, BRIDGED, BROADCAST, CHANGED, DISCOVER, FAILED, LEASED, OFFER, PATIENCE, RELEASE, REQUEST, Dhcp, arp,
                    ipv4, ping, policy, random_mac, rule, tcp, udp)
from test_life import eventually
from test_net_keeper import UserKeeper, capable_copy, lock_directory
from netlan import (HOST, NO_RULES, PEER, ROUTER, STATIC, LanGuest, bridge, frame, hears, lan,
                    lease, plain)

NOTHING = ([], "", [])
OTHER = bytes.fromhex("525400999999")


def gone(lan, seconds=60):
    end = time.monotonic() + seconds
    while lan.leftovers() != NOTHING and time.monotonic() < end:
        time.sleep(0.02)
    return lan.leftovers() == NOTHING


def learns(keeper, *addresses):
    """The guest uses one address after the other: does the keeper, which judges them in this order, say so of
    the last one, and only of it?"""
    for keeper.guest.address in addresses:
        keeper.guest.mark()
    return keeper.wait_for(LEASED)[1]["address"] == addresses[-1]


# Addresses

def test_lease_of_the_lans_server(lan):
    lan.serve_dhcp()
    keeper = lan.card()
    guest, address = keeper.guest, lease(keeper)
    assert address.startswith("10.9.0.1")
    assert guest.pings(ROUTER) and guest.pings(PEER)
    # renewed, by the server's address and by broadcast
    client = Dhcp(guest)
    for target in (ROUTER, "255.255.255.255"):
        assert client.ask(REQUEST, ciaddr=address, source=address, target=target)[:2] == (ACK, address)


def test_address_of_dhcp_moves(lan):
    lan.serve_dhcp()
    keeper = lan.card()
    lease(keeper)
    client, first = Dhcp(keeper.guest), keeper.guest.address
    client.send(RELEASE, [(54, socket.inet_aton(ROUTER))], ciaddr=first, source=first, target=ROUTER)
    address = lease(keeper, "10.9.0.177")
    assert address == "10.9.0.177" != first
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(HOST)
    keeper.guest.address = first
    assert not keeper.guest.resolve(ROUTER, timeout=0.3)


def test_static_address_is_learnt_by_its_first_arp(lan):
    keeper = lan.card()
    keeper.guest.settle(STATIC)
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(PEER)


def test_probe_of_an_address_is_answered(lan):
    """Duplicate address detection works before there is an address."""
    guest = lan.card().guest
    guest.send(arp(1, guest.mac, "0.0.0.0", PEER), type=0x0806, to=BROADCAST)
    assert guest.wait(lambda p: p.type == 0x0806 and p.body[14:18] == socket.inet_aton(PEER))
    guest.send(arp(1, guest.mac, "0.0.0.0", STATIC), type=0x0806, to=BROADCAST)
    assert not guest.wait(lambda p: p.type == 0x0806 and p.body[14:18] == socket.inet_aton(STATIC), 0.3)


@pytest.mark.parametrize("address", [HOST, ROUTER, PEER, "10.9.0.0", "10.9.0.255", "127.0.0.1", "224.0.0.251",
                                     "255.255.255.255", "0.0.0.1"])
def test_address_of_somebody_else_is_not_taken(lan, address):
    """The host's own, its gateway's, another machine's (the host never heard of it), and what is no machine's."""
    assert learns(lan.card(), address, STATIC)


def test_address_of_a_machine_that_left(lan):
    """What the host's neighbour table remembers does not count."""
    lan.ip("host", f"neigh add {STATIC} lladdr {OTHER.hex(':')} dev {lan.interface} nud stale")
    guest = lan.settled().guest
    assert guest.pings(HOST) and lan.pings("router", ROUTER)


def test_second_address_only_by_dhcp(lan):
    lan.serve_dhcp()
    keeper = lan.settled()
    keeper.guest.address = "10.9.0.41"
    keeper.guest.mark()
    keeper.guest.address = "0.0.0.0"
    told = []
    address = lease(keeper, told=told)
    assert keeper.guest.pings(ROUTER) and address not in (STATIC, "10.9.0.41")
    assert told == [address]


def test_two_cards_never_have_one_address(lan):
    first, second = lan.settled(), lan.card()
    assert learns(second, STATIC, "10.9.0.41")
    assert first.guest.pings(ROUTER)
    first.stop()
    third = lan.card()
    assert learns(third, STATIC)


# Who reaches whom

def test_host_and_guest_reach_each_other(lan):
    guest = lan.settled().guest
    assert guest.pings(HOST)
    server = lan.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=(HOST, 7777))
    guest.router = None
    guest.send(udp(STATIC, 5555, HOST, 7777, b"hello"), to=guest.resolve(HOST))
    data, sender = server.recvfrom(2000)
    assert (data, sender) == (b"hello", (STATIC, 5555))
    server.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer").source == HOST
    # and the host begins
    client = lan.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"from the host", (STATIC, 99))
    packet = guest.wait(lambda p: p.proto == 17 and p.dport == 99)
    assert packet.source == HOST and packet.payload[8:] == b"from the host"


def test_host_reaches_the_guest_by_tcp(lan):
    keeper = lan.settled()
    keeper.guest.plug("inside")
    server = lan.socket("inside", socket.AF_INET, socket.SOCK_STREAM, bind=(STATIC, 22), listen=True)
    for machine in ("host", "peer"):
        client = lan.socket(machine, socket.AF_INET, socket.SOCK_STREAM)
        client.connect((STATIC, 22))
        accepted, sender = server.accept()
        client.sendall(b"x" * 100000)
        size = 0
        while size < 100000:
            size += len(accepted.recv(100000))
        assert sender[0] == {"host": HOST, "peer": PEER}[machine]
        accepted.close()


def test_lan_keeps_the_hosts_mac(lan):
    """The host's way to the guest does not show on the LAN, and does not take its neighbours away."""
    assert lan.pings("peer", HOST) and lan.pings("router", HOST)
    guest = lan.settled().guest
    assert guest.pings(HOST)
    lan.run("host", "ip", "neigh", "flush", "all")
    client = lan.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"from the host", (STATIC, 99))
    assert guest.wait(lambda p: p.proto == 17 and p.dport == 99)
    for machine in ("peer", "router"):
        lan.run(machine, "ip", "neigh", "flush", "all")
        assert lan.pings(machine, HOST)
        assert lan.mac("host").hex(":") in lan.ip(machine, f"neigh show {HOST}")


def test_lan_and_guest_reach_each_other(lan):
    keeper = lan.settled()
    keeper.guest.plug("inside")
    assert lan.pings("peer", STATIC) and lan.pings("inside", PEER)


def test_multicast_and_broadcast_reach_the_guest(lan):
    guest = lan.settled().guest
    mdns = bytes.fromhex("01005e0000fb")
    frames = [frame(mdns, lan.mac("peer"), udp(PEER, 5353, "224.0.0.251", 5353, b"mdns")),
              frame(BROADCAST, lan.mac("peer"), udp(PEER, 9, "10.9.0.255", 9, b"broadcast"))]
    assert hears(guest, lan, "peer", frames) == frames


def test_guests_reach_each_other(lan):
    """Two guests on one LAN are two machines of it."""
    first, second = lan.settled(), lan.settled("10.9.0.41")
    second.guest.plug("inside")
    assert first.guest.resolve("10.9.0.41") == second.mac
    first.guest.router = second.mac
    assert first.guest.pings("10.9.0.41")


# What does not pass

def probe(guest, target=STATIC, **fields):
    return frame(BROADCAST, guest.mac, arp(1, guest.mac, "0.0.0.0", target), 0x0806)


def bad_arp(guest, lan):
    """ARP that says something about another's address or MAC."""
    own, other = guest.mac, OTHER
    good = arp(2, own, STATIC, PEER, lan.mac("peer"))
    return {
        "gratuitous for the gateway": frame(BROADCAST, own, arp(2, own, ROUTER, ROUTER), 0x0806),
        "request as the gateway": frame(BROADCAST, own, arp(1, own, ROUTER, PEER), 0x0806),
        "answer for the peer": frame(lan.mac("router"), own, arp(2, own, PEER, ROUTER), 0x0806),
        "answer for the host": frame(lan.mac("router"), own, arp(2, own, HOST, ROUTER), 0x0806),
        "for another MAC": frame(BROADCAST, own, arp(2, other, STATIC, PEER), 0x0806),
        "by another MAC": frame(BROADCAST, other, arp(1, other, STATIC, PEER), 0x0806),
        "answer from nobody": frame(BROADCAST, own, arp(2, own, "0.0.0.0", PEER), 0x0806),
        "reverse": frame(BROADCAST, own, arp(3, own, STATIC, PEER), 0x0806),
        "of another hardware": frame(BROADCAST, own, b"\0\6" + good[2:], 0x0806),
        "of another protocol": frame(BROADCAST, own, good[:2] + b"\x86\xdd" + good[4:], 0x0806),
        "with long addresses": frame(BROADCAST, own, good[:4] + b"\x08\4" + good[6:] + b"\0" * 8, 0x0806),
        "cut off": frame(BROADCAST, own, good[:20], 0x0806),
    }


def bad_frames(guest, lan):
    """Frames that no guest may send, whatever it knows."""
    own, to = guest.mac, lan.mac("peer")
    hello = udp(STATIC, 5555, PEER, 7777, b"hello")
    offer = b"\2\1\6\0" + b"\0" * 24 + own + b"\0" * 202 + b"\x63\x82\x53\x63" + b"\x35\1\2\xff"
    redirect = struct.pack("!BBH4s", 5, 1, 0, socket.inet_aton(STATIC)) + hello[:28]
    return {
        "another MAC": frame(to, OTHER, hello),
        "the host's MAC": frame(to, lan.mac("host"), hello),
        "another address": frame(to, own, udp("10.9.0.44", 5555, PEER, 7777, b"hello")),
        "the host's address": frame(to, own, udp(HOST, 5555, PEER, 7777, b"hello")),
        "the gateway's address": frame(to, own, udp(ROUTER, 5555, PEER, 7777, b"hello")),
        "no address": frame(to, own, udp("0.0.0.0", 5555, PEER, 7777, b"hello")),
        "VLAN": frame(to, own, b"\0\7\x08\0" + hello, 0x8100),
        "priority tag": frame(to, own, b"\0\0\x08\0" + hello, 0x8100),
        "VLAN in VLAN": frame(to, own, b"\0\7\x81\0\0\7\x08\0" + hello, 0x88a8),
        "ARP in VLAN": frame(BROADCAST, own, b"\0\7\x08\6" + arp(1, own, STATIC, PEER), 0x8100),
        "IPv6": frame(to, own, b"\x60" + b"\0" * 39, 0x86dd),
        "router advertisement": frame(bytes.fromhex("333300000001"), own,
                                      bytes.fromhex("60000000001000ff") +
                                      ipv6("fe80::5054:ff:fe99:9999") + ipv6("ff02::1") +
                                      bytes.fromhex("86000000400007080000000000000000"), 0x86dd),
        "spanning tree": frame(bytes.fromhex("0180c2000000"), own, bytes.fromhex("424203") + b"\0" * 40, 38),
        "LLDP": frame(bytes.fromhex("0180c200000e"), own, b"\2\7\4" + own + b"\0" * 40, 0x88cc),
        "pause": frame(bytes.fromhex("0180c2000001"), own, b"\0\1\xff\xff" + b"\0" * 42, 0x8808),
        "IP options": frame(to, own, ipv4(STATIC, PEER, 17, hello[20:], options=b"\x83\x07\4" + b"\x0a\x09\0\1\0")),
        "IP version 5": frame(to, own, b"\x55" + hello[1:]),
        "short header": frame(to, own, b"\x44" + hello[1:]),
        "loopback": frame(to, own, udp(STATIC, 5555, "127.0.0.1", 7777, b"hello")),
        "DHCP server": frame(BROADCAST, own, udp(STATIC, 67, "255.255.255.255", 68, offer)),
        "DHCP server to one": frame(to, own, udp(STATIC, 67, PEER, 68, offer)),
        "DHCP server without address": frame(BROADCAST, own, udp("0.0.0.0", 67, "255.255.255.255", 68, offer)),
        "DHCP client for another": frame(BROADCAST, own, udp("0.0.0.0", 68, "255.255.255.255", 67,
                                                            discover(OTHER))),
        "no DHCP on its ports": frame(BROADCAST, own, udp("0.0.0.0", 68, "255.255.255.255", 67, b"secret" * 50)),
        "redirect": frame(to, own, ipv4(STATIC, PEER, 1, redirect)),
        "runt": frame(to, own, b"\x45"),
        "empty": frame(to, own, b""),
    }


def ipv6(text):
    return socket.inet_pton(socket.AF_INET6, text)


def discover(chaddr):
    return b"\1\1\6\0" + b"\0" * 24 + chaddr + b"\0" * 202 + b"\x63\x82\x53\x63" + b"\x35\1\1\xff"


def names_of(frames, some):
    return [name for name, f in frames.items() if f in some]


def test_nothing_but_dhcp_and_probes_without_an_address(lan):
    guest, ear = lan.card().guest, lan.ear("peer")
    guest.address = "0.0.0.0"
    frames = {**bad_frames(guest, lan), "own address": frame(lan.mac("peer"), guest.mac,
                                                             udp(STATIC, 5555, PEER, 7777, b"hello"))}
    frames.pop("DHCP server without address")
    assert names_of(frames, guest.leaves(ear, frames.values())) == []
    good = [probe(guest), frame(BROADCAST, guest.mac, udp("0.0.0.0", 68, "255.255.255.255", 67, discover(guest.mac)))]
    assert guest.leaves(ear, good) == good


def test_spoofed_frames_do_not_leave(lan):
    keeper, ear = lan.settled(), lan.ear("peer")
    guest = keeper.guest
    frames = {**bad_frames(guest, lan), **bad_arp(guest, lan)}
    assert names_of(frames, guest.leaves(ear, frames.values())) == []
    good = [frame(lan.mac("peer"), guest.mac, udp(STATIC, 5555, PEER, 7777, b"hello"))]
    assert guest.leaves(ear, good) == good
    assert keeper.count()[0] >= len(frames) - 2  # the tap itself takes no runts


def test_spoofed_frames_do_not_leave_with_a_lease(lan):
    lan.serve_dhcp()
    keeper, ear = lan.card(), lan.ear("peer")
    lease(keeper)
    guest = keeper.guest
    frames = {**bad_frames(guest, lan), **bad_arp(guest, lan)}
    assert names_of(frames, guest.leaves(ear, frames.values())) == []


def test_spoofed_frames_do_not_reach_the_host(lan):
    guest = lan.settled().guest
    server = lan.socket("host", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", 7777))
    mac = guest.resolve(HOST)
    for source in (PEER, ROUTER, HOST, "0.0.0.0", "10.9.0.44"):
        guest.send(udp(source, 5555, HOST, 7777, b"hello"), to=mac)
    guest.send(udp(STATIC, 5555, "127.0.0.1", 7777, b"hello"), to=mac)
    guest.send(udp(STATIC, 5555, HOST, 7777, b"hello"), to=mac, mac=OTHER)
    guest.send(udp(STATIC, 5556, HOST, 7777, b"good"), to=mac)
    assert server.recvfrom(2000) == (b"good", (STATIC, 5556))


def test_probes_of_others_addresses_do_not_leave_once_it_has_one(lan):
    """Else it could keep machines from taking theirs."""
    guest, ear = lan.settled().guest, lan.ear("peer")
    assert guest.leaves(ear, [probe(guest, PEER)]) == []
    assert guest.leaves(ear, [probe(guest, STATIC)]) == [probe(guest, STATIC)]


def test_arp_is_limited(lan):
    guest, ear = lan.settled().guest, lan.ear("peer")
    for _ in range(1000):
        guest.send(arp(1, guest.mac, STATIC, PEER), type=0x0806, to=BROADCAST)
    last = frame(lan.mac("peer"), guest.mac, udp(STATIC, 5555, PEER, 7777, b"the last one"))
    guest.send_frame(last)
    heard = 0
    while (f := ear.recv(2000))[:len(last)] != last:
        heard += f[12:14] == b"\x08\x06"
    assert 0 < heard < 500


def test_what_does_not_reach_the_guest(lan):
    guest, by = lan.settled().guest, lan.mac("peer")
    hello = udp(PEER, 5555, STATIC, 7777, b"hello")
    frames = {
        "another's": frame(OTHER, by, hello),
        "IPv6": frame(guest.mac, by, b"\x60" + b"\0" * 39, 0x86dd),
        "IPv6 multicast": frame(bytes.fromhex("333300000001"), by, b"\x60" + b"\0" * 39, 0x86dd),
        "VLAN": frame(guest.mac, by, b"\0\7\x08\0" + hello, 0x8100),
        "another address": frame(guest.mac, by, udp(PEER, 5555, "10.9.0.41", 7777, b"hello")),
        "IP options": frame(guest.mac, by, ipv4(PEER, STATIC, 17, hello[20:], options=b"\x83\x07\4" + b"\0" * 5)),
        "another's lease": frame(BROADCAST, by, udp(PEER, 67, "255.255.255.255", 68, b"\2" + discover(OTHER)[1:])),
    }
    good = frame(guest.mac, by, hello)
    assert names_of(frames, hears(guest, lan, "peer", [*frames.values(), good])) == []
    assert hears(guest, lan, "peer", [good]) == [good]


def test_foreign_lease_is_not_learnt(lan):
    """Another guest's DHCP answers do not leave; those of the LAN for another machine do not count."""
    keeper = lan.card()
    answer = b"\2" + discover(OTHER)[1:16] + socket.inet_aton("10.9.0.66") + discover(OTHER)[20:-2] + b"\5\xff"
    lan.speak("router", frame(BROADCAST, lan.mac("router"), udp(ROUTER, 67, "255.255.255.255", 68, answer)))
    # its own pretended answer to itself
    own = answer.replace(OTHER, keeper.mac)
    keeper.guest.send_frame(frame(BROADCAST, keeper.mac, udp(ROUTER, 67, "255.255.255.255", 68, own)))
    keeper.guest.settle(STATIC)  # the first address that the keeper tells of


def ack(mac, address, xid):
    """A server's answer that gives the address."""
    message = discover(mac)
    return b"\2\1\6\0" + struct.pack("!I", xid) + message[8:16] + socket.inet_aton(address) + message[20:-2] + b"\5\xff"


def neighbour_gives(lan, keeper, address, xid, seconds=0.5):
    """A neighbour that is no DHCP server answers the guest: is that believed within the time?"""
    keeper.sock.settimeout(seconds)
    for to, target in ((BROADCAST, "255.255.255.255"), (keeper.mac, address)):
        lan.speak("peer", frame(to, lan.mac("peer"), udp(PEER, 67, target, 68, ack(keeper.mac, address, xid))))
    try:
        return keeper.wait_for(LEASED)[1]["address"] == address
    except TimeoutError:
        return False
    finally:
        keeper.sock.settimeout(2 * PATIENCE)
        list(keeper.guest.frames(0.2))  # they come to the guest all the same


def test_ack_that_nobody_asked_for_moves_nothing(lan):
    """Neither before the guest's first question, nor between two of them, nor with the number of an old one."""
    lan.serve_dhcp()
    keeper = lan.card()
    assert not neighbour_gives(lan, keeper, "10.9.0.66", 0)
    client = Dhcp(keeper.guest)
    kind, offered, options, _ = client.ask(DISCOVER)
    assert kind == OFFER
    assert not neighbour_gives(lan, keeper, "10.9.0.66", client.xid ^ 1)
    asked = [(50, socket.inet_aton(offered)), (54, options[54])]
    assert client.ask(REQUEST, asked)[:2] == (ACK, offered)
    keeper.guest.address = offered
    assert keeper.wait_for(LEASED)[1]["address"] == offered
    for xid in (client.xid, client.xid ^ 1, 0):
        assert not neighbour_gives(lan, keeper, "10.9.0.66", xid)
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(PEER)


def test_ack_to_what_the_guest_asked_counts(lan):
    """So the one above is not for want of a right form."""
    keeper = lan.settled()
    client = Dhcp(keeper.guest)
    client.send(REQUEST, [(50, socket.inet_aton("10.9.0.66"))])
    assert neighbour_gives(lan, keeper, "10.9.0.66", client.xid, PATIENCE)


# The interface

def refused(lan, interface, **options):
    keeper = lan.keeper(mode=BRIDGED, interface=interface.encode(), policy=NO_RULES, **options)
    kind, fields, _ = keeper.ask()
    assert kind == FAILED
    keeper.wait()
    return fields["text"]


def test_one_mac_once_on_one_lan(lan):
    mac = random_mac()
    lan.card(mac=mac)
    text = refused(lan, lan.interface, mac=mac)
    assert mac.hex(":") in text and lan.interface in text


def test_unknown_interface_names_those_that_are_there(lan):
    assert refused(lan, "br9") == f'no bridge interfaces matched "br9", available interfaces: {lan.interface}'


def test_interfaces_that_cannot_be_used(lan):
    lan.ip("host", "link add down0 type bridge")
    lan.ip("host", "tuntap add tun0 mode tun")
    lan.ip("host", "link set tun0 up")
    for name, why in (("lo", "loopback"), ("down0", "down"), ("tun0", "not Ethernet")):
        text = refused(lan, name)
        assert why in text and text.endswith(f"available interfaces: {lan.interface}")
    keeper = lan.card()
    assert "another VM's" in refused(lan, keeper.interface)
    keeper.stop()
    assert gone(lan)


def test_port_of_a_bridge_cannot_be_used(bridge):
    assert "use its bridge" in refused(bridge, "eth1")


def test_wireless_interface_cannot_be_used(plain, tmp_path):
    fake = tmp_path / "phy80211"
    before = ("sh", "-c", "mount -t tmpfs none /sys && mkdir -p /sys/class/net/eth1/phy80211 && exec \"$@\"", "sh")
    text = refused(plain, "eth1", before=before)
    assert "wireless" in text and text.endswith("available interfaces: none")
    assert not fake.exists()


def test_interface_that_is_used_otherwise(plain):
    """A macvlan that has the interface for itself: the kernel lets no other beside it."""
    plain.ip("host", "link add pass0 link eth1 type macvlan mode passthru")
    text = refused(plain, "eth1")
    assert text.startswith("cannot bridge to 'eth1'")
    assert gone(plain)


def test_mtu_is_that_of_the_lan(lan):
    lan.ip("switch", "link set host mtu 1400")
    lan.ip("host", "link set eth1 mtu 1400")
    keeper = lan.card()
    assert "mtu 1400" in lan.ip("host", f"link show {keeper.interface}")


def test_two_cards_of_one_vm(lan):
    keepers = [lan.settled(f"10.9.0.{40 + i}") for i in range(3)]
    assert len({k.interface for k in keepers}) == 3
    assert all(k.guest.pings(ROUTER) for k in keepers)


def test_host_without_an_address(lan):
    """Nothing for the host then, but the guest is on the LAN all the same."""
    lan.ip("host", f"addr flush dev {lan.interface}")
    guest = lan.settled().guest
    assert guest.pings(PEER) and not guest.resolve(HOST, timeout=0.3)


def test_address_of_the_host_that_comes_later(lan):
    lan.ip("host", f"addr flush dev {lan.interface}")
    keeper = lan.settled()
    lan.ip("host", f"addr add {HOST}/24 dev {lan.interface}")
    end = time.monotonic() + 60
    while not keeper.guest.resolve(HOST, timeout=0.3):
        assert time.monotonic() < end
    assert keeper.guest.pings(HOST)


def test_host_that_hides_its_addresses(plain):
    """arp_ignore: the host answers only where the address is the interface's own."""
    plain.setting("ipv4/conf/all/arp_ignore", 1)
    guest = plain.settled().guest
    assert guest.pings(HOST)


# Ordinary users

@pytest.fixture
def user(lan, lock_directory):
    """-> a keeper of a user with file capabilities."""
    with capable_copy() as program:
        def start():
            keeper = UserKeeper(lan, program, mode=BRIDGED, interface=lan.interface.encode(), policy=NO_RULES)
            lan.keepers.append(keeper)
            return keeper
        yield start


@pytest.mark.parametrize("conf", [None, "bridge = br7 eth7\n"])
def test_user_has_no_bridge_that_root_did_not_name(lan, user, conf):
    if conf:
        (lan.etc / "linzer/net.conf").write_text(conf)
    keeper = user()
    kind, fields, _ = keeper.ask()
    assert kind == FAILED
    assert fields["text"] == f"cannot bridge to '{lan.interface}': '/etc/linzer/net.conf' does not allow it"
    keeper.wait()
    assert gone(lan)


def test_user_has_the_bridge_that_root_names(lan, user):
    (lan.etc / "linzer/net.conf").write_text(f"bridge = {lan.interface}\n")
    keeper = user()
    keeper.start()
    keeper.guest = LanGuest(keeper)
    keeper.guest.settle(STATIC)
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(HOST)
    assert keeper.set_policy(policy([rule(0)]))[0] == CHANGED
    assert not keeper.guest.pings(ROUTER, 0.3)
    assert keeper.count()[1] > 0
    assert keeper.stop() == 0
    assert gone(lan)


# The end

def test_nothing_is_left(lan):
    keeper = lan.settled()
    assert not gone(lan, 0)
    assert keeper.stop() == 0
    assert gone(lan)


def test_nothing_is_left_of_many(lan):
    keepers = [lan.settled(f"10.9.0.{40 + i}") for i in range(4)]
    for keeper in random.sample(keepers, 4):
        assert keeper.stop() == 0
    assert gone(lan)


def test_killed_keeper_is_swept_by_the_next(lan):
    keeper = lan.settled()
    keeper.process.send_signal(signal.SIGKILL)
    keeper.wait()
    keeper.close_tap()
    assert not gone(lan, 0)
    following = lan.settled()
    assert following.interface == keeper.interface and following.guest.pings(HOST)
    assert following.stop() == 0
    assert gone(lan)


def test_card_of_a_killed_keeper_is_closed_as_long_as_its_tap_is_held(lan):
    keeper, ear = lan.settled(), lan.ear("peer")
    keeper.process.send_signal(signal.SIGKILL)
    keeper.wait()
    assert lan.settled("10.9.0.41").interface != keeper.interface
    frames = bad_frames(keeper.guest, lan)
    assert names_of(frames, keeper.guest.leaves(ear, frames.values())) == []


def test_killed_while_it_starts(lan):
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.08):
        keeper = lan.keeper(mode=BRIDGED, interface=lan.interface.encode(), policy=NO_RULES)
        keeper.send_start()
        time.sleep(delay)
        keeper.process.send_signal(signal.SIGKILL)
        keeper.wait()
        keeper.end()
    assert lan.settled().stop() == 0
    assert gone(lan)


def test_filter_that_is_taken_away_comes_back(lan):
    keeper, ear = lan.settled(), lan.ear("peer")
    lan.run("host", "nft", "flush", "ruleset")
    eventually(lambda: f"table netdev {keeper.interface} " in lan.ruleset(), 60)  # until then all passes
    eventually(lambda: keeper.guest.resolve(ROUTER, timeout=0.3), 60)  # and then it goes up again
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(HOST)
    frames = bad_frames(keeper.guest, lan)
    assert names_of(frames, keeper.guest.leaves(ear, frames.values())) == []
    assert keeper.stop() == 0
    assert gone(lan)
