# SPDX-License-Identifier: Apache-2.0
"""linzer-net's keeper: who may talk to whom, and that nothing of it is ever left."""

import contextlib
import errno
import fcntl
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import scratch
from netlab import (ACK, BRIDGED, BROADCAST, DISCOVER, FAILED, LEASED, NET, OFFER, REQUEST, STARTED, UPLINK, WORLD, Dhcp,
                    Keeper, Lab, arp, ipv4, ping, random_mac, sh, tcp, udp)
from test_life import eventually

NOTHING = ([], "", [])


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def gone(lab, seconds=60):
    """Is everything of linzer-net gone within the time?"""
    end = time.monotonic() + seconds
    while lab.leftovers() != NOTHING and time.monotonic() < end:
        time.sleep(0.02)
    return lab.leftovers() == NOTHING


def udp_server(lab, namespace, address, port=7777):
    return lab.socket(namespace, socket.AF_INET, socket.SOCK_DGRAM, bind=(address, port), timeout=0.4)


def arrives(server, send):
    """Does what send() sends reach the UDP server? -> the sender or None"""
    send()
    try:
        return server.recvfrom(2000)[1]
    except TimeoutError:
        return None


def is_dropped(server, guest, send):
    """Does what send() sends not reach the host's UDP server before what the guest sends next?"""
    send()
    sport = random.randrange(20000, 60000)
    guest.send(udp(guest.address, sport, guest.gateway, 7777, b"next"))
    return server.recvfrom(2000)[1] == (guest.address, sport)


# Who may talk to whom

def test_guest_reaches_gateway_and_world_by_nat(lab):
    guest = lab.up().guest
    assert guest.pings(guest.gateway) and guest.pings(WORLD)
    server = udp_server(lab, "world", WORLD)
    sender = arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"hello")))
    assert sender[0] == UPLINK
    server.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer").source == WORLD


def test_guest_reaches_services_of_the_host(lab):
    guest = lab.up().guest
    server = udp_server(lab, "host", "0.0.0.0")
    for address in (guest.gateway, UPLINK):
        assert arrives(server, lambda: guest.send(udp(guest.address, 5555, address, 7777, b"hello"))) == \
            (guest.address, 5555)


def test_host_reaches_guest(lab):
    guest = lab.up().guest
    guest.router_mac()
    host = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    host.sendto(b"hello", (guest.address, 22))
    packet = guest.wait(lambda p: p.proto == 17)
    assert packet.source == guest.gateway and packet.to == guest.mac
    guest.send(udp(guest.address, 22, guest.gateway, packet.sport, b"answer"))
    assert host.recv(100) == b"answer"


def test_guest_stack_carries_tcp_to_the_world(lab):
    guest = lab.up().guest
    guest.plug("guest")
    server = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM, bind=(WORLD, 8080), listen=True)
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((WORLD, 8080))
    connection, peer = server.accept()
    assert peer[0] == UPLINK
    data, received = random.randbytes(1 << 20), b""
    sender = threading.Thread(target=lambda: (client.sendall(data), client.close()))
    sender.start()
    while more := connection.recv(65536):
        received += more
    sender.join()
    connection.close()
    assert received == data


def test_guests_do_not_reach_each_other(lab):
    one, two = lab.up().guest, lab.up().guest
    assert one.address != two.address
    one.send(ping(one.address, two.address))
    one.send(udp(one.address, 5555, two.address, 7777, b"x"))
    one.send(tcp(one.address, 5555, two.address, 22))
    # also not in the other's name, nor to the other's card on our own wire
    one.send(udp(one.address, 5555, two.address, 7777, b"x"), to=two.mac)
    assert two.wait(lambda p: p.type == 0x0800, 0.5) is None
    assert not one.pings(two.address, 0.3)
    # by way of the world, as an answer to nothing
    assert one.resolve(two.address), "proxy ARP keeps the subnet whole for the guest"


def test_world_does_not_reach_guest(lab):
    guest = lab.up().guest
    lab.ip("world", f"route add 192.168.64.0/24 via {UPLINK}")
    world = lab.socket("world", socket.AF_INET, socket.SOCK_DGRAM)
    world.sendto(b"hello", (guest.address, 22))
    stream = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM, timeout=0.3)
    with pytest.raises(OSError):
        stream.connect((guest.address, 22))
    assert guest.wait(lambda p: p.type == 0x0800, 0.4) is None


def test_the_host_is_no_router_for_others(lab):
    """Forwarding is on for our guests only: between other interfaces nothing passes that did not before."""
    lab.add_namespace("third")
    lab.ip("host", "link add up1 type veth peer name t0")
    lab.ip("host", f"link set t0 netns {lab.name('third')}")
    lab.ip("host", "addr add 203.0.113.1/24 dev up1")
    lab.ip("host", "link set up1 up")
    lab.ip("third", "addr add 203.0.113.2/24 dev t0")
    lab.ip("third", "link set t0 up")
    lab.ip("third", "route add default via 203.0.113.1")
    lab.ip("world", f"route add 203.0.113.0/24 via {UPLINK}")
    server = udp_server(lab, "world", WORLD)
    third = lab.socket("third", socket.AF_INET, socket.SOCK_DGRAM)

    def passes():
        return arrives(server, lambda: third.sendto(b"x", (WORLD, 7777)))

    assert not passes()
    keeper = lab.up()
    assert keeper.guest.pings(WORLD) and keeper.guest.pings("203.0.113.2")
    assert not passes()
    assert lab.setting("ipv4/ip_forward") == "0"
    assert keeper.stop() == 0
    assert [lab.setting(f"ipv4/conf/{i}/forwarding") for i in ("up0", "up1", "default")] == ["0"] * 3
    lab.setting("ipv4/ip_forward", 1)
    assert passes(), "a router"
    keeper = lab.up()
    assert passes(), "stays a router"
    keeper.stop()
    assert lab.setting("ipv4/ip_forward") == "1" and passes()


def neighbour(lab, address):
    """The complete entry of /proc/net/arp, as `linzer ip --resolver arp` looks for it."""
    lines = lab.run("host", "cat", "/proc/net/arp").splitlines()
    return any(line.split()[0] == address and int(line.split()[2], 16) & 2 for line in lines)


def test_neighbour_table_knows_only_a_guest_that_spoke(lab):
    guest = lab.up().guest
    host = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    guest.silent = True
    assert not neighbour(lab, guest.address)
    host.sendto(b"are you there?", (guest.address, 22))
    assert guest.wait(lambda p: p.type == 0x0806 and p.body[24:28] == socket.inet_aton(guest.address))
    assert not neighbour(lab, guest.address)
    assert guest.pings(guest.gateway)
    assert neighbour(lab, guest.address)


def test_route_localnet_stays_off(lab):
    guest = lab.up().guest
    server = udp_server(lab, "host", "127.0.0.1")
    assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, "127.0.0.1", 7777, b"x")))
    for where in ("all", "default", guest.keeper.interface):
        assert lab.setting(f"ipv4/conf/{where}/route_localnet") == "0"


# The gate

def spoofed(guest, other):
    """Name -> a frame that must not pass, and would reach the host's UDP server or change its tables."""
    good = udp(guest.address, 5555, guest.gateway, 7777, b"x")
    router = guest.router_mac()
    head = router + guest.mac
    return {
        "source address": head + b"\x08\0" + udp(other, 5555, guest.gateway, 7777, b"x"),
        "gateway's address": head + b"\x08\0" + udp(guest.gateway, 5555, guest.gateway, 7777, b"x"),
        "world's address": head + b"\x08\0" + udp(WORLD, 5555, guest.gateway, 7777, b"x"),
        "no address": head + b"\x08\0" + udp("0.0.0.0", 5555, guest.gateway, 7777, b"x"),
        "source MAC": router + random_mac() + b"\x08\0" + good,
        "VLAN": head + b"\x81\0\0\x05\x08\0" + good,
        "priority tag": head + b"\x81\0\0\0\x08\0" + good,
        "VLAN 802.1ad": head + b"\x88\xa8\0\x05\x08\0" + good,
        "VLAN twice": head + b"\x88\xa8\0\x05\x81\0\0\x05\x08\0" + good,
        "IPv6": head + b"\x86\xdd" + struct.pack("!IHBB16s16s", 6 << 28, 0, 59, 64, b"\xfe\x80" + b"\1" * 14,
                                                 b"\xff\2" + b"\0" * 13 + b"\1"),
        "LLDP": b"\x01\x80\xc2\0\0\x0e" + guest.mac + b"\x88\xcc" + b"\0" * 50,
        "runt": head[:13],
        "jumbo": head + b"\x08\0" + udp(other, 5555, guest.gateway, 7777, b"x" * 9000),
    }


def test_gate_drops_what_is_not_the_guests_own(lab):
    guest, other = lab.up().guest, lab.up()
    server = udp_server(lab, "host", "0.0.0.0")
    assert arrives(server, lambda: guest.send(udp(guest.address, 1, guest.gateway, 7777, b"x")))
    with lab.inside("host"):
        watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    watch.bind((guest.keeper.interface, 0x88CC))
    watch.settimeout(0.3)
    for name, frame in spoofed(guest, other.address).items():
        if name == "runt":
            with pytest.raises(OSError, match="Invalid argument"):
                guest.send_frame(frame)
        else:
            assert is_dropped(server, guest, lambda: guest.send_frame(frame)), name
    with pytest.raises(TimeoutError):
        watch.recv(2000)
    watch.close()
    assert guest.pings(guest.gateway), "and the guest still has its network"


def test_gate_drops_spoofed_arp(lab):
    guest, other = lab.up().guest, lab.up()
    guest.router_mac(), other.guest.router_mac()

    def neighbours():
        return sorted(" ".join(line.split()[:5]) for line in lab.ip("host", "-4 neigh").splitlines() if "lz" in line)

    before = neighbours()
    assert len(before) == 2

    def answers(body, mac=None):
        guest.send(body, type=0x0806, to=BROADCAST, mac=mac)
        return guest.wait(lambda p: p.type == 0x0806, 0.3)

    assert answers(arp(1, guest.mac, guest.address, guest.gateway))
    for mac, address in ((guest.mac, other.address), (guest.mac, guest.gateway), (other.mac, guest.address),
                         (random_mac(), other.address)):
        assert not answers(arp(1, mac, address, guest.gateway)), (mac, address)
    assert not answers(arp(1, guest.mac, guest.address, guest.gateway), mac=other.mac)
    guest.send(arp(2, guest.mac, guest.gateway, guest.gateway, BROADCAST), type=0x0806, to=BROADCAST)
    guest.send(arp(2, guest.mac, other.address, other.address, BROADCAST), type=0x0806, to=BROADCAST)
    assert other.guest.pings(other.gateway) and guest.pings(guest.gateway)
    assert neighbours() == before


def test_proxy_arp_ends_with_the_subnet(lab):
    """Nobody learns from ARP which other addresses and networks the host has."""
    guest = lab.up().guest
    assert guest.resolve("192.168.64.200")
    for address in (UPLINK, WORLD, "198.51.100.77", "127.0.0.1", "192.168.65.1"):
        assert not guest.resolve(address, 0.2), address


def test_broadcast_and_multicast_reach_nobody(lab):
    guest, other = lab.up().guest, lab.up().guest
    server = udp_server(lab, "host", "0.0.0.0")
    server.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                      socket.inet_aton("224.0.0.251") + socket.inet_aton(guest.gateway))
    outside = udp_server(lab, "world", "0.0.0.0")
    for target in ("192.168.64.255", "255.255.255.255", "224.0.0.251", "224.0.0.1", "198.51.100.255", "192.168.64.0"):
        packet = udp(guest.address, 5555, target, 7777, b"x")
        assert is_dropped(server, guest, lambda: (guest.send(packet), guest.send(packet, to=BROADCAST))), target
    assert other.wait(lambda p: p.type == 0x0800, 0.2) is None
    assert not arrives(outside, lambda: None)


def test_fragments_are_the_guests_own_too(lab):
    guest, other = lab.up().guest, lab.up()
    server = udp_server(lab, "host", "0.0.0.0")

    def pieces(source):
        whole = udp(source, 5555, guest.gateway, 7777, b"x" * 64)[20:]
        for flags, part in ((0x2000, whole[:32]), (4, whole[32:])):
            guest.send(ipv4(source, guest.gateway, 17, part, ident=77, flags=flags))

    assert arrives(server, lambda: pieces(guest.address))
    assert not arrives(server, lambda: pieces(other.address))


def test_address_probe_is_not_answered(lab):
    """Duplicate address detection (RFC 5227) must not find the guest's own address taken."""
    guest = lab.up().guest
    guest.send(arp(1, guest.mac, "0.0.0.0", guest.address), type=0x0806, to=BROADCAST)
    assert guest.wait(lambda p: p.type == 0x0806, 0.5) is None


def test_gate_is_closed_before_dhcp_and_after(lab):
    keeper = lab.up()
    guest = keeper.guest
    server = udp_server(lab, "host", "0.0.0.0")
    wrong = "192.168.64.250"
    for _ in range(2):
        assert not arrives(server, lambda: guest.send(udp(wrong, 1, guest.gateway, 7777, b"x")))
        assert Dhcp(guest).ask(REQUEST, [(50, socket.inet_aton(guest.address))])[0] == ACK


# Addresses

def test_same_mac_same_address_and_wanted_is_honoured(lab):
    mac = random_mac()
    first = lab.up(mac=mac)
    address = first.address
    assert first.stop() == 0
    assert lab.up(mac=mac).address == address
    assert lab.up(wanted="192.168.64.77").address == "192.168.64.77"
    assert lab.up(wanted="192.168.64.77").address != "192.168.64.77", "taken"
    for bad in ("192.168.64.1", "192.168.64.0", "192.168.64.255", "8.8.8.8", "127.0.0.1"):
        address = lab.up(wanted=bad).address
        assert address != bad and address.startswith("192.168.64.")


def conf(lab, text):
    (lab.etc / "linzer" / "net.conf").write_text(text)


def test_subnet_from_the_configuration(lab):
    conf(lab, "# ours\nsubnet = 10.77.0.0/16\n")
    keeper = lab.up(wanted="10.77.200.9")
    assert (keeper.address, keeper.gateway, keeper.prefix) == ("10.77.200.9", "10.77.0.1", 16)
    assert keeper.guest.pings(WORLD)
    assert Dhcp(keeper.guest).ask(DISCOVER)[2][1] == socket.inet_aton("255.255.0.0")


def test_pool_runs_out_with_a_clear_error(lab):
    conf(lab, "subnet = 10.77.0.0/29\n")
    addresses = {lab.up().address for _ in range(5)}
    assert addresses == {f"10.77.0.{i}" for i in range(2, 7)}
    kind, fields, _ = lab.keeper().ask()
    assert kind == FAILED and "all 5 addresses for VMs are taken" in fields["text"]


@pytest.mark.parametrize("text, words", [
    ("subnet = 10.0.0.0/8\n", "line 1: a subnet must be between /16 and /29"),
    ("\nsubnet = 10.0.0.1/24\n", "line 2: '10.0.0.1/24' is not the address of a subnet"),
    ("gateway = x\n", "line 1: unknown key 'gateway'"),
    ("subnet\n", "line 1: expected 'key = value'"),
    ("subnet = 10.0.0.0/24\nsubnet = 10.0.1.0/24", "line 2: 'subnet' is given twice"),
])
def test_wrong_configuration_is_an_error(lab, text, words):
    conf(lab, text)
    kind, fields, _ = lab.keeper().ask()
    assert kind == FAILED and words in fields["text"] and "/etc/linzer/net.conf" in fields["text"]
    assert gone(lab)


@pytest.mark.parametrize("mode, owner", [(0o666, 0), (0o620, 0), (0o644, 1234)])
def test_configuration_that_others_can_write_is_refused(lab, mode, owner):
    conf(lab, "subnet = 10.77.0.0/24\n")
    file = lab.etc / "linzer" / "net.conf"
    file.chmod(mode)
    os.chown(file, owner, owner)
    kind, fields, _ = lab.keeper().ask()
    assert kind == FAILED and "only root can write" in fields["text"]


@pytest.mark.parametrize("words", ["addr add 192.168.64.9/24 dev up0", "route add 192.168.64.0/25 dev up0",
                                   "addr add 192.168.64.1/32 dev up0"])
def test_subnet_that_the_host_uses_is_an_error(lab, words):
    lab.ip("host", words)
    kind, fields, _ = lab.keeper(wanted="192.168.64.5").ask()
    assert kind == FAILED and "192.168.64.0/24 is in use on this host" in fields["text"]
    assert lab.taps() == [] and lab.ruleset() == ""


# Nothing is left

def test_orderly_end(lab):
    keeper = lab.up()
    keeper.close()  # the tap's descriptor stays open, as QEMU's would
    assert keeper.wait() == 0, keeper.process.stderr.read()
    assert lab.leftovers() == NOTHING


def test_tap_made_persistent_by_its_holder_goes_too(lab):
    """A hostile QEMU asks the kernel to keep the tap (TUNSETPERSIST)."""
    keeper = lab.up()
    fcntl.ioctl(keeper.tap, 0x400454CB, 1)
    keeper.close()
    assert keeper.wait() == 0 and lab.leftovers() == NOTHING


def test_sigterm(lab):
    keeper = lab.up()
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait() == 0 and gone(lab, 0)


def test_end_of_the_talker_ends_all(lab):
    keeper = lab.up()
    os.kill(keeper.talker(), signal.SIGKILL)
    assert keeper.receive() is None
    keeper.wait()
    assert gone(lab, 0)


def test_talker_that_does_not_leave_is_killed(lab):
    keeper = lab.up()
    talker = keeper.talker()
    os.kill(talker, signal.SIGSTOP)
    keeper.close()
    assert keeper.wait() == 0 and gone(lab, 0)
    with pytest.raises(OSError):
        os.readlink(f"/proc/{talker}/exe")


def test_killed_caller_leaves_nothing(lab):
    """`run` is killed: all that the keeper sees is the end of its socket, QEMU may still hold the tap."""
    ready_r, ready_w = os.pipe()
    child = os.fork()
    if child == 0:
        keeper = lab.up()
        os.write(ready_w, b"%d" % keeper.process.pid)
        signal.pause()
        os._exit(0)
    os.close(ready_w)
    assert os.read(ready_r, 20)
    os.close(ready_r)
    assert len(lab.taps()) == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone(lab)


def test_killed_keeper_stays_closed_and_is_swept(lab):
    keeper = lab.up(wanted="192.168.64.5")
    talker = keeper.talker()
    keeper.process.kill()
    assert keeper.receive() is None, "`run` sees it and ends the VM"
    keeper.wait()
    server = udp_server(lab, "host", "0.0.0.0")
    guest = keeper.guest
    guest.router = b"\x02L" + socket.inet_aton(guest.address)
    assert not arrives(server, lambda: guest.send(udp("192.168.64.6", 1, guest.gateway, 7777, b"x")))
    assert lab.up(wanted="192.168.64.5").address != "192.168.64.5", "in use as long as QEMU lives"
    keeper.close_tap()
    assert f"lz{0xc0a84005:08x}" in lab.ruleset()
    third = lab.up()
    assert f"lz{0xc0a84005:08x}" not in lab.ruleset(), "swept by the next"
    assert lab.up(wanted="192.168.64.5").address == "192.168.64.5"
    assert third.guest.pings(WORLD)
    end = time.monotonic() + 60
    while os.path.exists(f"/proc/{talker}/exe") and time.monotonic() < end:
        time.sleep(0.01)
    for k in lab.keepers[1:]:
        assert k.stop() == 0
    assert lab.leftovers() == NOTHING


def test_last_one_cleans_up_after_a_killed_one(lab):
    first, second = lab.up(), lab.up()
    first.process.kill()
    first.wait()
    first.close_tap()
    assert second.stop() == 0 and gone(lab, 0)
    assert lab.setting("ipv4/conf/up0/forwarding") == "0"


def test_half_of_the_filter_deleted_is_no_leftover(lab):
    keeper = lab.up()
    keeper.process.kill()
    keeper.wait()
    keeper.close_tap()
    lab.run("host", "nft", "delete", "table", "inet", "linzer")
    assert lab.up().stop() == 0 and gone(lab, 0)


def waits_for_lock(keeper):
    """Wait until the keeper waits for the lock of /run/linzer (proc(5): locks)."""
    end = time.monotonic() + 60
    while not re.search(rf"-> FLOCK .* {keeper.process.pid} ", pathlib.Path("/proc/locks").read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_late_teardown_spares_the_next_of_the_same_name(lab):
    """A VM is killed and runs again before its first keeper got the lock to clean up."""
    old = lab.up(wanted="192.168.64.5")
    lock = os.open("/run/linzer", os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new = lab.keeper(wanted="192.168.64.5")
    new.send_start()
    waits_for_lock(new)
    old.close()
    old.close_tap()
    waits_for_lock(old)
    os.close(lock)
    new.started(new.receive())
    assert old.wait() == 0, old.process.stderr.read()
    assert new.guest.pings(WORLD)
    assert new.stop() == 0 and gone(lab, 0)


def closed_again(lab, one, two, server):
    """Frames that must not pass; the first ones may, until the keepers have noticed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            one.send(udp(one.address, 1, two.address, 7777, b"x"))
            one.send(udp(two.address, 1, one.gateway, 7777, b"x"))
            passed = two.wait(lambda p: p.proto == 17, 0.1) or arrives(server, lambda: None)
            if not passed and one.pings(WORLD, 0.2) and two.pings(WORLD, 0.2):
                return True
        except OSError as e:
            assert e.errno == errno.EIO, "down"
    return False


@pytest.mark.parametrize("words", ["flush ruleset", "delete table inet linzer", "delete table netdev linzer"])
def test_filter_taken_away_is_put_back(lab, words):
    """As by `systemctl restart nftables`: running guests are closed again, and go on."""
    one, two = lab.up(), lab.up()
    assert one.guest.pings(WORLD) and two.guest.pings(WORLD)
    server = udp_server(lab, "host", "0.0.0.0")
    for _ in range(2):
        lab.run("host", "nft", *words.split())
        assert closed_again(lab, one.guest, two.guest, server)
        assert not arrives(server, lambda: one.guest.send(udp(two.address, 1, one.gateway, 7777, b"x")))
    assert Dhcp(one.guest).ask(DISCOVER)[0] == OFFER, "the talker's sockets go on"
    third = lab.up()
    assert not third.guest.pings(one.address, 0.3) and third.guest.pings(WORLD)
    for keeper in (third, one, two):
        assert keeper.stop() == 0, keeper.process.stderr.read()
    assert gone(lab, 0) and lab.setting("ipv4/conf/up0/forwarding") == "0"


def test_flushed_ruleset_does_not_stop_the_teardown(lab):
    keeper = lab.up()
    keeper.process.send_signal(signal.SIGSTOP)
    lab.run("host", "nft", "flush", "ruleset")
    keeper.close()  # and the keeper hears of both at once
    keeper.process.send_signal(signal.SIGCONT)
    assert keeper.wait() == 0, keeper.process.stderr.read()
    assert lab.leftovers() == NOTHING and lab.setting("ipv4/conf/up0/forwarding") == "0"


def test_damaged_filter_is_made_anew_by_the_next_first(lab):
    keeper = lab.up()
    keeper.process.kill()
    keeper.wait()
    keeper.close_tap()
    lab.run("host", "nft", "flush", "set", "inet", "linzer", "guests")
    lab.run("host", "nft", "delete", "table", "netdev", "linzer")
    keeper = lab.up()
    assert keeper.guest.pings(WORLD)
    assert keeper.stop() == 0 and gone(lab, 0)
    assert lab.setting("ipv4/conf/up0/forwarding") == "0"


def test_twenty_in_a_row_leak_nothing(lab):
    mac = random_mac()
    addresses = set()
    for _ in range(20):
        keeper = lab.up(mac=mac)
        addresses.add(keeper.address)
        assert keeper.stop() == 0
        assert lab.leftovers() == NOTHING
    assert len(addresses) == 1


def churn(lab, goes_on, stop):
    """Start, use a little and end keepers, half of them by SIGKILL, as long as it goes on."""
    chance = random.Random()
    while goes_on() and not stop:
        keeper = Keeper(lab)
        try:
            if chance.random() < 0.3:  # somewhere in its start
                keeper.send_start()
                time.sleep(chance.random() * 0.15)
                keeper.process.kill()
            else:
                keeper.start()
                time.sleep(chance.random() * 0.1)
                if chance.random() < 0.5:
                    keeper.process.kill()
        except Exception as e:  # told to the main thread
            stop.append(e)
        finally:
            keeper.end()


@pytest.mark.parametrize("seconds", [
    6, pytest.param(60, marks=pytest.mark.soak)])
def test_probe_never_passes_while_helpers_come_and_go(lab, seconds):
    """Eight helpers come and go by kill -9 while one guest tries all the time what it may not."""
    one, two = lab.up(), lab.up()
    guest = one.guest
    server = udp_server(lab, "host", "0.0.0.0")
    server.settimeout(0)
    outside = udp_server(lab, "world", WORLD, 7778)
    outside.settimeout(0)
    guest.router_mac()
    stop, end, probes, good = [], time.monotonic() + seconds, 0, 0

    def goes_on():
        return time.monotonic() < end or probes <= seconds * 20

    threads = [threading.Thread(target=churn, args=(lab, goes_on, stop)) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        guest.send(udp(guest.address, 1, two.address, 7777, b"to the other"))
        guest.send(udp(two.address, 1, guest.gateway, 7777, b"as the other"))
        guest.send(udp("10.9.8.7", 1, WORLD, 7778, b"as nobody"))
        guest.send(udp(guest.address, 1, WORLD, 7778, b"good"))
        probes += 1
        time.sleep(0.002)
        assert two.guest.wait(lambda p: p.proto == 17, 0.001) is None
        for s, allowed in ((server, ()), (outside, (b"good",))):
            try:
                while data := s.recv(100):
                    assert data in allowed
                    good += 1
            except BlockingIOError:
                pass
    for thread in threads:
        thread.join()
    assert not stop, stop
    assert probes > seconds * 20 and good > probes * 0.9, (probes, good)
    one.stop()
    two.stop()
    assert gone(lab, 0)


def state(lab):
    """All that a host's network is: what a cycle must not change."""
    with lab.inside("host"):
        settings = {str(p): p.read_text() for p in pathlib.Path("/proc/sys/net/ipv4").glob("conf/*/forwarding")}
        flows = pathlib.Path("/proc/thread-self/net/nf_conntrack").read_text()
    rules = [lab.ip("host", words) for words in ("-o link show up0", "-4 rule", "-4 route show table all", "-4 addr")]
    return settings, rules, lab.leftovers(), [line for line in flows.splitlines() if "192.168.64." in line]


def files():
    """Of the helper: descriptors and processes are its own, files would be here. (Those of users are other tests'.)"""
    found = []
    for path in (p for d in ("/run/linzer", "/tmp", "/var/tmp") for p in pathlib.Path(d).glob("*linzer-net*")):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid == 0:
                found.append(str(path))
    return sorted(found)


def helpers():
    """What lives of any linzer-net's."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has just ended
            if re.match(r"Name:\tlinzer-.*\n(?s:.*)State:\t[^Z]", status.read_text()):
                found.append(status.parent.name)
    return found


def cycle(lab, chance, mac):
    """Start, use, end one network, one in four by SIGKILL. -> was it killed?"""
    keeper = Keeper(lab, mac=mac, exposed=((2000, 22),))
    kill = chance.random() < 0.25
    try:
        if kill and chance.random() < 0.5:  # somewhere in its start
            keeper.send_start()
            time.sleep(chance.random() * 0.15)
        else:
            keeper.start()
            keeper.guest.send(udp(keeper.address, 5555, WORLD, 9, b"x"))
        if kill:
            keeper.process.kill()
        talker = keeper.process.pid
        keeper.close()
        status = keeper.wait()
        assert kill or status == 0, keeper.process.stderr.read()
        assert not pathlib.Path(f"/proc/{talker}").exists()
    finally:
        keeper.end()
    return kill


@pytest.mark.parametrize("cycles", [30, pytest.param(1000, marks=pytest.mark.soak)])
def test_cycles_leave_nothing_behind(lab, cycles):
    """... in a subnet of six addresses, so that one that is not given back would be missed."""
    conf(lab, "subnet = 192.168.64.0/29\n")
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    lab.up().stop()
    before, before_files = state(lab), files()
    for n in range(cycles):
        killed = cycle(lab, chance, random_mac() if n % 2 else b"\x52\x54\0\1\2\3")
        if not killed:
            assert state(lab) == before, (seed, n)
    if killed:
        lab.up().stop()
    assert state(lab) == before, seed
    assert files() == before_files
    eventually(lambda: helpers() == [], 60, lambda: f"{helpers()} are left")  # a killed keeper's talker has yet to end


# Privilege and hostile callers

def hostile_messages():
    good = dict(fixed=0)
    return {
        "magic": dict(magic=1), "kind": dict(kind=STARTED), "kind 0": dict(kind=0), "kind large": dict(kind=99),
        "no MAC": dict(mac=b"\0" * 6), "multicast MAC": dict(mac=b"\x01" * 6), "mode": dict(mode=9), "mode 0": dict(mode=0),
        "fixed": dict(fixed=2), "fixed to nothing": dict(fixed=1), "interface": dict(interface=b"eth0"),
        "interface without end": dict(mode=BRIDGED, interface=b"x" * 16), "bridged to nothing": dict(mode=BRIDGED),
        "ports": dict(exposed_count=65), "ports left": dict(exposed=((1, 1),), exposed_count=0),
        "port 0": dict(exposed=((0, 1),)), "port twice": dict(exposed=((7, 1), (7, 2))), "fine": good,
    }


@pytest.mark.parametrize("name", hostile_messages())
def test_hostile_start_is_refused(lab, name):
    kind, fields, fds = lab.keeper().ask(**hostile_messages()[name])
    if name == "fine":
        assert kind == STARTED
        os.close(fds[0])
    else:
        assert (kind, fds) == (FAILED, []) and fields["text"]
        assert gone(lab, 0)


def test_what_the_caller_leaves_to_the_helper_does_not_matter(lab, tmp_path):
    """Ignored signals, a current directory, limits: inherited by any program."""
    keeper = lab.up(before=("env", "-C", str(tmp_path), "--ignore-signal=CHLD", "--block-signal"))
    assert os.readlink(f"/proc/{keeper.process.pid}/cwd") == "/"
    assert keeper.guest.pings(WORLD)
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait() == 0 and gone(lab, 0)


@pytest.mark.parametrize("size", [1, 100, 307, 1000])
def test_start_of_another_size_is_refused(lab, size):
    keeper = lab.keeper()
    keeper.sock.send((keeper.request() * 4)[:size])
    assert keeper.receive()[0] == FAILED and gone(lab, 0)


def test_descriptors_in_a_start_are_closed(lab):
    keeper = lab.keeper()
    r, w = os.pipe()
    socket.send_fds(keeper.sock, [keeper.request()], [w])
    keeper.sock.send(keeper.policy)
    os.close(w)
    assert keeper.receive()[0] == STARTED
    assert os.read(r, 1) == b"", "nobody else holds the pipe"
    os.close(r)


@pytest.mark.parametrize("kind", ["nothing", "file", "stream", "network", "argument"])
def test_not_started_by_run(kind):
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    fds = {"file": os.open("/dev/null", os.O_RDWR), "stream": pair[1].fileno(),
           "network": (inet := socket.socket()).fileno()}
    fd = fds.get(kind)
    done = subprocess.run([str(NET)] + ["x"] * (kind == "argument"), capture_output=True, text=True,
                          close_fds=False, stdin=subprocess.DEVNULL,
                          preexec_fn=lambda: os.dup2(fd, 3) if fd else os.closerange(3, 100))
    os.close(fds["file"])
    inet.close()
    for s in pair:
        s.close()
    assert done.returncode in (1, 64) and done.stderr == "linzer-net is started by 'linzer run'\n"


@contextlib.contextmanager
def capable_copy(capabilities="cap_net_admin,cap_net_raw+ep"):
    with scratch.directory() as place:
        place.chmod(0o755)
        copy = pathlib.Path(shutil.copy(NET, place))
        copy.chmod(0o755)
        if capabilities:
            sh("setcap", capabilities, str(copy))
        yield copy


@pytest.fixture
def lock_directory():
    """As tmpfiles.d makes it for the group of those who may (here: group 60123)."""
    os.makedirs("/run/linzer", mode=0o700, exist_ok=True)
    before = os.stat("/run/linzer")
    os.chown("/run/linzer", 0, 60123)
    os.chmod("/run/linzer", 0o750)
    yield
    os.chown("/run/linzer", before.st_uid, before.st_gid)
    os.chmod("/run/linzer", before.st_mode & 0o7777)


# as udev makes it
TUN_FOR_ALL = ('mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && '
               'exec "$@"')


class UserKeeper(Keeper):
    """An ordinary user as `run`: the socket pair is made by that user, as SO_PEERCRED tells."""

    def __init__(self, lab, program, uid=60001, group=60123, peer=None, **options):
        self.peer = uid if peer is None else peer
        lab.tmp.parent.chmod(0o755)
        super().__init__(lab, program=program,
                         before=("sh", "-c", TUN_FOR_ALL, "sh", "setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"),
                         **options)

    def make_pair(self):
        os.seteuid(self.peer)
        try:
            return super().make_pair()
        finally:
            os.seteuid(0)


def test_file_capabilities(lab, lock_directory):
    with capable_copy() as program:
        keeper = UserKeeper(lab, program)
        lab.keepers.append(keeper)
        keeper.start()
        status = pathlib.Path(f"/proc/{keeper.process.pid}/status").read_text()
        assert "Uid:\t60001\t60001" in status and "CapEff:\t0000000000001000\n" in status
        status = pathlib.Path(f"/proc/{keeper.talker()}/status").read_text()
        assert "CapEff:\t0000000000000000\n" in status and "Seccomp:\t2\n" in status
        guest = keeper.guest
        assert Dhcp(guest).ask(REQUEST, [(50, socket.inet_aton(guest.address))])[0] == ACK
        assert keeper.receive()[0] == LEASED
        assert guest.pings(WORLD) and guest.pings(guest.gateway)
        root = lab.up()
        assert root.stop() == 0, "root's and a user's come and go side by side"
        assert keeper.stop() == 0, keeper.process.stderr.read()
        assert lab.leftovers() == NOTHING
        assert lab.setting("ipv4/conf/up0/forwarding") == "0"


def test_install_caps(tmp_path):
    """`make install-caps` on an /etc and a /run of the test's own; twice is as once."""
    script = pathlib.Path(__file__).parent.parent / "scripts" / "install-caps"
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("group", "gshadow", "passwd", "login.defs", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", etc)
    words = ('mount --bind "$1" /etc && mount -t tmpfs none /run && umask 077 && "$2" "$3" && "$2" "$3" && '
             'stat -c "%a %U %G" "$3" /run/linzer && getcap "$3" && cat /etc/tmpfiles.d/linzer.conf')
    with capable_copy(capabilities="") as program:
        lines = sh("unshare", "-m", "--propagation", "private", "sh", "-c", words, "sh", str(etc), str(script),
                   str(program)).splitlines()
        assert lines[2:] == ["750 root linzer", "750 root linzer", f"{program} cap_net_admin,cap_net_raw=ep",
                             "d /run/linzer 0750 root linzer"]


def test_user_outside_the_group_is_refused(lab, lock_directory):
    with capable_copy() as program:
        keeper = UserKeeper(lab, program, group=60001)
        lab.keepers.append(keeper)
        kind, fields, _ = keeper.ask()
        assert kind == FAILED and "/run/linzer" in fields["text"]


def test_other_users_socket_is_refused(lab, lock_directory):
    """A second user who got hold of somebody's socket drives the helper by hand."""
    with capable_copy() as program:
        keeper = UserKeeper(lab, program, peer=60002)
        lab.keepers.append(keeper)
        assert keeper.wait() == 1
        assert "serves the user who started it only" in keeper.process.stderr.read()
        assert gone(lab, 0)


@pytest.mark.parametrize("capabilities", ["cap_net_raw+ep", "cap_net_admin+ep"])
def test_half_of_the_privilege_one_clear_line(lab, capabilities):
    with capable_copy(capabilities) as program:
        keeper = UserKeeper(lab, program)
        lab.keepers.append(keeper)
        keeper.send_start()  # it says why, whether it read this or not
        keeper.sock.settimeout(2)
        keeper.wait()
        kind, fields, _ = keeper.receive()
        assert kind == FAILED
        assert fields["text"] == "linzer-net needs root or its file capabilities (make install-caps)"


def test_without_nft_one_line_names_the_package(lab):
    keeper = lab.keeper(before=("sh", "-c", "for f in /usr/sbin/nft /sbin/nft /usr/bin/nft; do "
                                "[ -e $f ] && mount --bind /dev/null $f; done; exec \"$@\"", "sh"))
    kind, fields, _ = keeper.ask()
    assert kind == FAILED and "package 'nftables'" in fields["text"]
    keeper.wait()
    assert lab.taps() == []


def test_without_tun_one_clear_line(lab):
    keeper = lab.keeper(before=("sh", "-c", "mount -t tmpfs none /dev && exec \"$@\"", "sh"))
    kind, fields, _ = keeper.ask()
    assert kind == FAILED and "kernel module 'tun'" in fields["text"]
    assert gone(lab, 0)
