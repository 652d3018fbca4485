# SPDX-License-Identifier: Apache-2.0
"""What a review of the filter's netlink messages looked for: a filter that changed behind the keeper's back, and messages that fail."""

import contextlib
import fcntl
import os
import pathlib
import socket
import struct
import time

import pytest

from netlab import CHANGED, FAILED, OUT, PATIENCE, TO_GUESTS, TO_HOST, TO_WORLD, WORLD, Lab, Resolver, dns_query, policy, rule, udp
from netlan import PEER, STATIC, Lan, frame
from test_net_keeper import waits_for_lock
from test_net_user import User

OPEN, CLOSED = policy([]), policy([rule(0, remotes=TO_WORLD)])


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.setting("ipv4/ping_group_range", "0 2147483647")  # pasta's
    yield lab
    lab.end()


@contextlib.contextmanager
def locked():
    lock = os.open("/run/linzer", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def load(lab, text):
    """Root loads a file of rules, as `systemctl reload nftables` does."""
    path = lab.tmp / "rules"
    path.write_text(text)
    lab.run("host", "nft", "-f", str(path))


def closes(guest, server, seconds=60):
    """Does the world get nothing any more, and the guest answers of the gateway again?"""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            guest.send(udp(guest.address, 5555, WORLD, 7777, b"x"))
            if guest.pings(guest.gateway, 0.3) and not arrived(server):
                return True
        except OSError:
            pass  # the tap is down
    return False


def arrived(server):
    """Takes all that came."""
    count = 0
    try:
        while server.recv(100):
            count += 1
    except TimeoutError:
        return count


def world_server(lab):
    return lab.socket("world", socket.AF_INET, socket.SOCK_DGRAM, bind=(WORLD, 7777), timeout=0.2)


def test_filter_that_was_saved_and_is_loaded_again_is_not_ours(lab):
    """It has all our chains, and the policy of the day when it was saved."""
    keeper = lab.up(policy=OPEN)
    saved = lab.ruleset()
    assert keeper.set_policy(CLOSED)[0] == CHANGED
    server = world_server(lab)
    assert closes(keeper.guest, server)
    load(lab, "flush ruleset\n" + saved)
    assert closes(keeper.guest, server)
    assert keeper.stop() == 0, keeper.process.stderr.read()


def test_saved_addresses_of_names_are_not_ours(lab):
    """... that a name had once, and the keeper has closed since."""
    keeper = lab.up(policy=policy([rule(1, OUT, named=1), rule(0, remotes=TO_WORLD)], ["example.org"]))
    element = f"element inet linzer n-{keeper.interface} {{ {WORLD} }}"
    lab.run("host", "nft", "add " + element)
    saved = lab.ruleset()
    lab.run("host", "nft", "delete " + element)
    server = world_server(lab)
    assert closes(keeper.guest, server)
    load(lab, "flush ruleset\n" + saved)
    assert closes(keeper.guest, server)


EVERY_FORM = [
    rule(0, remote="10.0.0.0/8"), rule(1, remote="10.1.0.0/16"), rule(0, remote="0.0.0.0/8"), rule(0, remote="255.255.255.255/32"),
    rule(1, protocol=17, ports=(53, 53)), rule(0, ports=(1, 1023), guest_ports=(7, 9), guest="0.0.0.0/1"), rule(1, OUT, named=1),
    rule(0, remotes=TO_HOST, remote="10.2.0.0/16"), rule(1, remotes=TO_GUESTS, remote="10.2.3.0/25"),
    rule(0, remotes=TO_HOST | TO_WORLD, remote="10.2.3.4/32", protocol=1),
    rule(0, remote="10.3.0.0/16"), rule(1, remote="10.3.0.1/32"), rule(0, protocol=6)]


def test_what_nft_lists_it_can_load(lab):
    """Else a saved ruleset would be none at the next boot."""
    keeper = lab.up(policy=policy(EVERY_FORM, ["example.org"]))
    saved = lab.ruleset()
    load(lab, "flush ruleset\n" + saved)
    assert keeper.stop() == 0, keeper.process.stderr.read()


def leaves(lan, guest, ear):
    out = frame(lan.mac("peer"), guest.mac, udp(STATIC, 5555, PEER, 7777, b"x"))
    ear.settimeout(0.5)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):  # the card is down
            return bool(guest.leaves(ear, [out]))
    raise AssertionError("nothing leaves")


@pytest.mark.parametrize("bridge", [True, False])
def test_saved_filter_of_a_bridged_card_is_not_ours(tmp_path, bridge):
    with contextlib.ExitStack() as ends:
        lan = Lan(tmp_path, bridge=bridge)
        ends.callback(lan.end)
        keeper = lan.settled()
        ear = lan.ear("peer")
        saved = lan.ruleset()
        assert leaves(lan, keeper.guest, ear)
        assert keeper.set_policy(CLOSED)[0] == CHANGED
        assert not leaves(lan, keeper.guest, ear)
        load(lan, "flush ruleset\n" + saved)
        end = time.monotonic() + 60
        while (passed := leaves(lan, keeper.guest, ear)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not passed
        assert keeper.stop() == 0, keeper.process.stderr.read()


def test_many_messages_that_fail_leave_the_keeper_able(lab):
    """Each of them is answered: more answers than a socket holds."""
    keeper = lab.up(policy=CLOSED)
    many = policy([rule(n % 2, remote=f"100.64.{n >> 8}.{n & 255}/32", protocol=17, ports=(7777, 7777)) for n in range(4000)])
    keeper.guest.router_mac()
    with locked():
        keeper.sock.send(many)
        waits_for_lock(keeper)
        lab.run("host", "nft", "flush", "ruleset")
    kind, fields = keeper.wait_for(CHANGED, FAILED)[:2]
    assert kind == FAILED and "No such file" in fields["text"], fields
    assert closes(keeper.guest, world_server(lab))
    assert keeper.set_policy(many)[0] == CHANGED
    assert keeper.stop() == 0, keeper.process.stderr.read()


def test_known_name_is_answered_while_others_change_the_filter(lab):
    resolver = Resolver(lab)
    resolver.answer = lambda q: (q[:2] + b"\x81\x80" + q[4:6] + b"\0\1\0\0\0\0" + q[12:] + b"\xc0\x0c" +
                                 struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("101.66.0.7")))
    guest = lab.up(policy=policy([rule(1, OUT, named=1), rule(0)], ["example.org"])).guest
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"))
    with locked():
        assert guest.ask_udp(guest.gateway, 53, dns_query("example.org"))


def test_more_rules_than_a_users_socket_takes(lab):
    """A transaction is one message, and its bound the system's: one line says so, and the old policy stays."""
    keeper = User(lab).up(policy=CLOSED)
    guest, server = keeper.guest, world_server(lab)
    most = policy([rule(1, guest="192.168.0.0/16", remote=f"100.64.{n >> 8}.{n & 255}/32", ports=(1, 2), guest_ports=(3, 4))
                   for n in range(8224)])
    kind, fields = keeper.set_policy(most)[:2]
    bound = 2 * int(pathlib.Path("/proc/sys/net/core/wmem_max").read_text())
    if kind == CHANGED:
        assert bound > 10 << 20
        return
    assert fields["text"] == "the rules are too many for a socket of this user (net.core.wmem_max)" and bound < 20 << 20
    assert closes(guest, server), "as before"
    assert keeper.set_policy(OPEN)[0] == CHANGED
    guest.send(udp(guest.address, 5555, WORLD, 7777, b"x"))
    server.settimeout(PATIENCE)  # pasta has to carry it
    assert server.recv(100) == b"x"


def fails(lab, limit):
    """-> what it says, with so few descriptors."""
    keeper = lab.keeper(before=("prlimit", f"--nofile={limit}"))
    try:
        kind, fields, _ = keeper.ask()
    except ConnectionResetError:
        pytest.fail(f"{limit}: it said nothing, and ended with {keeper.wait()}: {keeper.process.stderr.read()}")
    assert kind == FAILED and keeper.wait() == 1
    return fields["text"]


def test_without_descriptors_one_clear_line(lab):
    """Seven are enough to be heard."""
    texts = [fails(lab, limit) for limit in range(7, 16)]
    assert all("Too many open files" in text for text in texts), texts
    assert any("netlink" in text for text in texts), texts
    assert lab.leftovers() == ([], "", [])
