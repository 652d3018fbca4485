# SPDX-License-Identifier: Apache-2.0
"""Guests as the tables of docs/isolation.md describe them, each with a keeper of its own."""

import dataclasses
import subprocess

from conftest import BUILD
from isolation_table import MODES, Side, parse_side
from netlab import CHANGED

GATEWAYS = {"shared": "192.168.64.1", "softnet": "192.168.64.1", "host": "192.168.128.1", "bridged": "192.168.77.1"}
CROWD = 200
CROWD_SIDES = ("shared", "softnet allow=10.0.0.0/8 block=10.1.0.0/16,8.8.8.0/24",
               'shared filter="block in; pass out to 1.1.1.1; block any"', "softnet block=0.0.0.0/0 allow=example.org",
               "host")


def compile_policy(side):
    """The packet NET_POLICY that `run` would send."""
    words = [str(BUILD / "src/net/test-net-policy-tool"), side.mode]
    for option, value in (("--allow", side.allow), ("--block", side.block), ("--filter", side.filter)):
        words += [option, value] if value else []
    done = subprocess.run(words + ["--no-local"] * side.no_local, capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (side, done.stderr)
    return done.stdout


def network_of(side):
    return GATEWAYS[side.mode].rpartition(".")[0]


def send_start(lab, side, number, policy, interface=""):
    """-> a keeper that was asked for the network of a guest of this side."""
    bridged = side.mode == "bridged"
    keeper = lab.keeper(mode=MODES.index(side.mode) + 1, policy=policy, exposed=side.expose,
                        wanted="0.0.0.0" if bridged else f"{network_of(side)}.{number}", fixed=0 if bridged else 1,
                        interface=interface.encode() if bridged else b"")
    keeper.send_start()
    return keeper


def start_crowd(lab):
    """Two hundred guests of several modes, started side by side. -> their keepers"""
    sides = [parse_side(text) for text in CROWD_SIDES]
    policies = [compile_policy(side) for side in sides]
    kinds = [i % len(sides) for i in range(CROWD)]
    keepers = [send_start(lab, sides[kind], 30 + i, policies[kind]) for i, kind in enumerate(kinds)]
    for keeper in keepers:
        keeper.sock.settimeout(300)  # the last has all others before it
        keeper.started(keeper.receive())
    return keepers


def lasting(side):
    """What of it a running guest cannot change."""
    return dataclasses.replace(side, **{name: getattr(Side, name) for name in
                                        ("allow", "block", "filter", "host_wide", "no_local")})


class Seat:
    """A guest of a side, and its keeper. `root` is the text of net.rules."""

    def __init__(self, lab, interface, side, number, root):
        self.lab, self.side, self.number, self.root = lab, side, number, root
        self.keeper = send_start(lab, side, number, compile_policy(side), interface)
        self.guest, self.spent = None, False

    def take(self):
        """When it has started. -> the guest (netlab.Guest)"""
        self.keeper.started(self.keeper.receive())
        self.guest = guest = self.keeper.guest
        address = f"{network_of(self.side)}.{self.number}"
        guest.bridged = self.side.mode == "bridged"
        if guest.bridged:
            guest.address, guest.gateway = address, GATEWAYS[self.side.mode]
        assert guest.address == address, "the address that it wanted"
        return guest

    def is_for(self, side, root):
        return (self.side, self.root, self.spent) == (side, root, False)

    def can_become(self, side):
        return lasting(self.side) == lasting(side) and not self.spent

    def become(self, side, root):
        """The same guest, with another policy from now on."""
        kind, fields, _ = self.keeper.set_policy(compile_policy(side))
        assert kind == CHANGED, fields["text"]
        self.side, self.root = side, root


def end_keepers(lab, keepers):
    """All at once."""
    for keeper in keepers:
        keeper.sock.close()
    for keeper in keepers:
        keeper.end()
        lab.keepers.remove(keeper)


def kill_crowd(lab, keepers):
    """Without the work of an orderly end: their namespace goes next, with all that they leave."""
    for keeper in keepers:
        keeper.process.kill()
    end_keepers(lab, keepers)
