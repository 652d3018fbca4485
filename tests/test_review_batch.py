# SPDX-License-Identifier: Apache-2.0
"""What a review of the filter's netlink messages looked for: a filter that changed behind the keeper's back, and messages that fail."""

import fcntl
import os
import socket
import time

import pytest

from netlab import CHANGED, FAILED, TO_WORLD, WORLD, Lab, policy, rule, udp

CLOSED = policy([rule(0, remotes=TO_WORLD)])
LOCK = "/run/linzer"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def closes(guest, server, seconds=5):
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


def test_many_messages_that_fail_leave_the_keeper_able(lab):
    """Each of them is answered: more answers than a socket holds."""
    keeper = lab.up(policy=CLOSED)
    many = policy([rule(n % 2, remote=f"100.64.{n >> 8}.{n & 255}/32", protocol=17, ports=(7777, 7777)) for n in range(4000)])
    keeper.guest.router_mac()
    lock = os.open(LOCK, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    keeper.sock.send(many)
    time.sleep(0.5)  # it waits for the lock
    lab.run("host", "nft", "flush", "ruleset")
    os.close(lock)
    kind, fields = keeper.wait_for(CHANGED, FAILED)[:2]
    assert kind == FAILED and "No such file" in fields["text"], fields
    assert closes(keeper.guest, world_server(lab))
    assert keeper.set_policy(many)[0] == CHANGED
    assert keeper.stop() == 0, keeper.process.stderr.read()


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
