# SPDX-License-Identifier: Apache-2.0
"""What a review of linzer-net looked for: ways around a policy by the kernel's table of connections."""

import contextlib
import errno
import re
import socket
import struct

import pytest

from netlab import (CHANGED, IN, OUT, TO_GUESTS, TO_HOST, TO_WORLD, UPLINK, WORLD, Lab, checksum, ipv4, policy, rule, udp)

CLOSED = policy([rule(0, remotes=TO_GUESTS), rule(0, OUT, TO_HOST)])


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def icmp_error(source, target, quoted, kind=3, code=3):
    head = struct.pack("!BBHI", kind, code, 0, 0)
    data = head + quoted
    return ipv4(source, target, 1, head[:2] + struct.pack("!H", checksum(data)) + data[4:])


def udp_socket(lab, namespace, bind=None, timeout=0.5):
    return lab.socket(namespace, socket.AF_INET, socket.SOCK_DGRAM, bind=bind, timeout=timeout)


def receives(sock):
    """-> who sent what came, None: nothing came; or the error's name."""
    try:
        return sock.recvfrom(2000)[1]
    except TimeoutError:
        return None
    except OSError as e:
        return errno.errorcode[e.errno]


def raw_socket(lab, namespace):
    """Sends IPv4 packets as they are given."""
    s = lab.socket(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    return s


# ICMP errors belong to a flow: to whose?

def test_guest_sends_no_errors_about_another_guests_flows(lab):
    one, two = lab.up(policy=CLOSED).guest, lab.up(policy=CLOSED).guest
    server = udp_socket(lab, "world", (WORLD, 7777))
    two.send(udp(two.address, 5555, WORLD, 7777, b"x"))
    host, port = receives(server)
    assert host == UPLINK
    one.send(icmp_error(one.address, UPLINK, udp(UPLINK, port, WORLD, 7777, b"x")))
    assert not two.wait(lambda p: p.proto == 1, 0.5), "NAT carried it to the other guest"
    # whereas one from the world is for the guest
    raw_socket(lab, "world").sendto(icmp_error(WORLD, UPLINK, udp(UPLINK, port, WORLD, 7777, b"x")), (UPLINK, 0))
    assert two.wait(lambda p: p.proto == 1 and p.source == WORLD)


def test_guest_sends_no_errors_about_the_hosts_flows(lab):
    guest = lab.up(policy=CLOSED).guest
    server = udp_socket(lab, "world", (WORLD, 7777))
    client = udp_socket(lab, "host", (UPLINK, 6666))
    client.connect((WORLD, 7777))
    client.send(b"x")
    assert receives(server) == (UPLINK, 6666)
    guest.send(icmp_error(guest.address, UPLINK, udp(UPLINK, 6666, WORLD, 7777, b"x")))
    assert receives(client) is None


def test_guest_sends_errors_about_its_own_flows(lab):
    guest = lab.up(policy=CLOSED).guest
    server = udp_socket(lab, "world", (WORLD, 7777))
    guest.send(udp(guest.address, 5555, WORLD, 7777, b"x"))
    server.connect(receives(server))
    server.send(b"answer")
    assert guest.wait(lambda p: p.proto == 17)
    guest.send(icmp_error(guest.address, WORLD, udp(WORLD, 7777, guest.address, 5555, b"answer")))
    assert receives(server) == "ECONNREFUSED"


def test_guest_refuses_what_the_host_sends(lab):
    guest = lab.up(policy=CLOSED).guest
    guest.router_mac()
    client = udp_socket(lab, "host")
    client.connect((guest.address, 7777))
    client.send(b"x")
    packet = guest.wait(lambda p: p.proto == 17)
    guest.send(icmp_error(guest.address, guest.gateway, packet.body[:28]))
    assert receives(client) == "ECONNREFUSED"


# The world in a guest's name

def test_world_does_not_speak_in_a_guests_name_to_a_guest(lab):
    one, two = lab.up(policy=policy([])).guest, lab.up(policy=policy([])).guest
    for where in ("all", "up0"):
        lab.setting(f"ipv4/conf/{where}/rp_filter", 0)
    one.send(udp(one.address, 5555, two.address, 7777, b"x"))
    assert two.wait(lambda p: p.proto == 17)
    two.send(udp(two.address, 7777, one.address, 5555, b"answer"))
    assert one.wait(lambda p: p.proto == 17)
    lab.ip("world", f"route add {two.address} via {UPLINK}")
    raw_socket(lab, "world").sendto(udp(one.address, 5555, two.address, 7777, b"spoofed"), (two.address, 0))
    assert not two.wait(lambda p: p.proto == 17, 0.5)


def test_world_does_not_open_the_host_to_a_guest(lab):
    """A neighbour's packet in the guest's name writes down a flow that the guest's policy forbids."""
    guest = lab.up(policy=CLOSED).guest
    for where in ("all", "up0"):
        lab.setting(f"ipv4/conf/{where}/rp_filter", 0)
    server = udp_socket(lab, "host", (UPLINK, 7777))
    guest.send(udp(guest.address, 5555, UPLINK, 7777, b"x"))
    assert receives(server) is None
    raw_socket(lab, "world").sendto(udp(guest.address, 5555, UPLINK, 7777, b"spoofed"), (UPLINK, 0))
    if client := receives(server):
        server.sendto(b"answer", client)
    guest.send(udp(guest.address, 5555, UPLINK, 7777, b"x"))
    assert receives(server) is None


# The input path of DNS

def test_the_hosts_own_redirect_of_dns_opens_nothing(lab):
    guest = lab.up(policy=CLOSED).guest
    server = udp_socket(lab, "host", ("0.0.0.0", 7777))
    lab.run("host", "nft", "table ip admin { chain p { type nat hook prerouting priority dstnat; "
            "udp dport 53 redirect to :7777; }; }")
    guest.send(udp(guest.address, 5555, WORLD, 53, b"x"))
    assert receives(server) is None


# A policy that changes, of either side

def pair_that_talks(lab):
    """-> two keepers whose guests have a flow that the first one opened."""
    one, two = (lab.up(policy=policy([])) for _ in range(2))
    talk(one.guest, two.guest)
    return one, two


def send_there(one, two, data):
    one.send(udp(one.address, 5555, two.address, 7777, data))
    return two.wait(lambda p: p.proto == 17 and p.payload[8:] == data, 0.5) is not None


def send_back(one, two, data):
    two.send(udp(two.address, 7777, one.address, 5555, data))
    return one.wait(lambda p: p.proto == 17 and p.payload[8:] == data, 0.5) is not None


def talk(one, two):
    assert send_there(one, two, b"a") and send_back(one, two, b"b") and send_there(one, two, b"c")


@pytest.mark.parametrize("side", [0, 1])
def test_either_sides_new_policy_cuts_a_flow_of_guests(lab, side):
    keepers = pair_that_talks(lab)
    assert keepers[side].set_policy(policy([rule(0, remotes=TO_GUESTS)]))[0] == CHANGED
    one, two = (k.guest for k in keepers)
    assert not send_back(one, two, b"d") and not send_there(one, two, b"e") and not send_back(one, two, b"f")


@pytest.mark.parametrize("side", [0, 1])
def test_one_direction_closed_cuts_only_flows_opened_in_it(lab, side):
    """The opener's OUT or the other one's IN ends the flow; what the other one opens then passes."""
    keepers = pair_that_talks(lab)
    one, two = (k.guest for k in keepers)
    assert keepers[side].set_policy(policy([rule(0, (OUT, IN)[side], TO_GUESTS)]))[0] == CHANGED
    assert not send_there(one, two, b"d")
    assert send_back(one, two, b"e") and send_there(one, two, b"answer to it")


# Addresses that are not the host's, but whose packets it would take

def test_broadcasts_and_odd_addresses_do_not_reach_the_host(lab):
    guest = lab.up(policy=policy([])).guest
    lab.setting("ipv4/conf/all/route_localnet", 1)
    server = udp_socket(lab, "host", ("0.0.0.0", 7777))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    lab.ip("host", "addr change 198.51.100.1/24 brd 198.51.100.255 dev up0")
    lab.ip("host", "route add local 203.0.113.0/24 dev lo")
    guest.send(udp(guest.address, 5555, "203.0.113.9", 7777, b"x"))
    assert receives(server), "an address that is local by a route is the host's"
    odd = ["198.51.100.255", "198.51.100.0", "255.255.255.255", "0.0.0.0", "127.0.0.1", "127.9.9.9", "224.0.0.1",
           guest.gateway[:guest.gateway.rindex(".")] + ".255"]
    for address in odd:
        guest.send(udp(guest.address, 5555, address, 7777, b"x"))
        guest.send(udp(guest.address, 5556, "203.0.113.9", 7777, b"next"))
        assert receives(server) == (guest.address, 5556), address
    assert guest.pings(guest.gateway)


def test_an_address_that_is_local_by_a_route_is_the_hosts_for_a_policy(lab):
    guest = lab.up(policy=CLOSED).guest
    server = udp_socket(lab, "host", ("0.0.0.0", 7777))
    lab.ip("host", "route add local 203.0.113.0/24 dev lo")
    guest.send(udp(guest.address, 5555, "203.0.113.9", 7777, b"x"))
    assert receives(server) is None


# NAT's ports

def test_guest_takes_no_port_at_which_the_host_serves(lab):
    guest = lab.up().guest
    server, peer = udp_socket(lab, "host", (UPLINK, 5182)), udp_socket(lab, "world", (WORLD, 5182))
    guest.send(udp(guest.address, 5182, WORLD, 5182, b"x"))
    assert receives(peer)
    peer.sendto(b"to the host", (UPLINK, 5182))
    assert receives(server) == (WORLD, 5182)


# A `run` that was taken over kills its keeper, keeps the tap, and waits until root loads a firewall anew

def reaches(guest, server):
    with contextlib.suppress(OSError):  # the tap is down
        guest.send(udp(guest.address, 5555, server.getsockname()[0], 7777, b"x"))
    return receives(server)


# What root empties

def empties(lab, kind):
    """`nft flush` of each set or map (`kind`) of our table that is there."""
    found = re.findall(rf"^\t{kind} (\S+) {{", lab.run("host", "nft", "list", "table", "inet", "linzer"), re.M)
    assert found
    for name in found:
        lab.run("host", "nft", "flush", kind, "inet", "linzer", name)
    return found


@pytest.mark.parametrize("which", ["map", "set"])
def test_what_is_emptied_opens_nothing(lab, which):
    """To the host, through it and from it; what is open already goes on."""
    lab.setting("ipv4/ping_group_range", "0 2147483647")
    closed = policy([rule(0, remotes=TO_GUESTS), rule(0, IN), rule(1, OUT, TO_WORLD, protocol=17), rule(0, OUT)])
    guest = lab.up(policy=closed).guest
    server = udp_socket(lab, "world", (WORLD, 7777))
    guest.send(udp(guest.address, 5555, WORLD, 7777, b"x"))
    server.connect(receives(server))
    assert not guest.pings(guest.gateway, 0.5) and not guest.pings(WORLD, 0.5)
    empties(lab, which)
    assert not guest.pings(guest.gateway, 0.5) and not guest.pings(WORLD, 0.5)
    assert not host_reaches(lab, guest), "from the host"
    server.send(b"answer")
    assert guest.wait(lambda p: p.proto == 17)


@pytest.mark.parametrize("name, target", [("leaving", WORLD), ("leaving", "192.168.64.1"), ("entering", None)])
def test_without_its_element_a_guest_is_closed(lab, name, target):
    """What its policy passes, too: better nothing than what is not judged."""
    guest = lab.up(policy=policy([])).guest
    assert guest.pings(target) if target else host_reaches(lab, guest)
    lab.run("host", "nft", "flush", "map", "inet", "linzer", name)
    assert not (guest.pings(target, 0.5) if target else host_reaches(lab, guest))


def host_reaches(lab, guest, port=7777):
    """Does a UDP packet of the host's arrive?"""
    guest.router_mac()
    with contextlib.suppress(PermissionError):  # dropped
        udp_socket(lab, "host").sendto(b"x", (guest.address, port))
    return guest.wait(lambda p: p.proto == 17 and p.dport == port, 0.5) is not None


def test_next_keeper_closes_the_tap_of_a_killed_one(lab):
    """Flows that were opened while there was no filter end, too."""
    keeper = lab.up(policy=policy([rule(0)]))
    guest = keeper.guest
    guest.router_mac()
    host, world = udp_socket(lab, "host", (UPLINK, 7777)), udp_socket(lab, "world", (WORLD, 7777))
    keeper.process.kill()
    keeper.wait()
    assert not reaches(guest, host) and not reaches(guest, world)
    lab.run("host", "nft", "flush ruleset; table ip admin { chain f { type filter hook forward priority 0; "
            "ct state established accept; }; }")
    lab.ip("world", f"route add {guest.address} via {UPLINK}")
    sender = reaches(guest, world)
    assert sender == (guest.address, 5555), "nothing is left to close it"
    world.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17) and reaches(guest, world)
    lab.up()
    assert not reaches(guest, host) and not reaches(guest, world)


# Whoever drives the helper by hand

def ends_clean(lab, keeper):
    keeper.sock.close()
    keeper.wait(60)
    keeper.close_tap()
    return lab.leftovers() == ([], "", [])


def test_flood_of_policies_unread_and_then_gone(lab):
    keeper = lab.up(policy=CLOSED)
    keeper.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        for _ in range(1000):
            socket.send_fds(keeper.sock, [CLOSED], [0, 0, 0])
    assert ends_clean(lab, keeper)


@pytest.mark.parametrize("packets", [[], ["start"], ["start", "start"], ["policy"], ["start", b""], [b""],
                                     ["start", b"\0" * 205585], ["start", "policy", "start"],
                                     ["start", "policy", b"x"]])
def test_any_order_of_packets_ends_clean(lab, packets):
    keeper = lab.keeper(policy=None)
    forms = {"start": keeper.request(), "policy": CLOSED}
    for packet in packets:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            keeper.sock.send(forms.get(packet, packet))
    assert ends_clean(lab, keeper)
