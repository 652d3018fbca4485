# SPDX-License-Identifier: Apache-2.0
"""Whole VMs on another network than the default: on the host's LAN. (A user without privilege: test_life_as_user.py.)"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from netlan import HOST, PEER, Lan
from test_life import BOOT, eventually, runtime, ssh_once
from test_network_guest import WITH_ETC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
NOTHING = ([], "", [])
OTHER_HOST, OTHER = "10.8.0.2", "10.8.0.1"  # of a second LAN, whose server says nothing of a router
SAY = 'timeout 20 bash -c "exec 3<>/dev/tcp/$1/$2; echo hello >&3; cat <&3 >/dev/null"'


def start(lab, linzer, script, *words, options=()):
    """`linzer run OPTIONS net` in the laboratory's host."""
    wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(lab.etc), *words]
    with lab.inside("host"):
        child = subprocess.Popen([*wrapper, linzer.program(), "run", *options, "net"], env=linzer.environment(),
                                 stdin=subprocess.DEVNULL)
    linzer.children.append(child)
    return child


def ssh_until(lab, address, command, *options):
    """As a user who waits for the guest does."""
    end = time.monotonic() + BOOT
    with lab.inside("host"):
        while True:
            done = ssh_once(address, *options, command)
            if done.returncode == 0 or time.monotonic() > end:
                return done
            time.sleep(1)


@contextlib.contextmanager
def laboratory(guests, tmp_path, bridge):
    """A LAN with dnsmasq as its server, and the VM "net", which is gone afterwards."""
    guests("clone", "debian", "net", check=True)
    lab = Lan(tmp_path, bridge=bridge)
    try:
        lab.serve_dhcp()
        for name in ("passwd", "group", "nsswitch.conf"):
            shutil.copy(f"/etc/{name}", lab.etc)
        yield lab
    finally:
        guests("stop", "net", "--timeout", 1)
        eventually(lambda: guests("delete", "net").returncode == 0, 60)
        lab.end()


def test_bridged_vm_by_arp_and_ssh(guests, tmp_path):
    """run --no-graphics --net-bridged=IF, ip --resolver=arp, ssh: on a LAN whose server is dnsmasq."""
    with laboratory(guests, tmp_path, bridge=False) as lab:
        child = start(lab, guests, WITH_ETC, options=("--no-graphics", f"--net-bridged={lab.interface}"))
        address = address_by_arp(lab, guests, child)
        with lab.inside("host"):
            assert guests("ip", "net", check=True).stdout.strip() == address
        assert ssh_until(lab, address, "id -un").stdout == "admin\n"
        guests("stop", "net", "--timeout", 5, check=True)
        child.wait(BOOT)
        eventually(lambda: lab.leftovers() == NOTHING, 60)


def address_by_arp(lab, guests, child):
    with lab.inside("host"):
        eventually(lambda: child.poll() is not None or
                   guests("ip", "--resolver=arp", "net").returncode == 0, BOOT)
        address = guests("ip", "--resolver=arp", "--wait", 10, "net", check=True).stdout.strip()
    assert address.rsplit(".", 1)[0] == HOST.rsplit(".", 1)[0]
    return address


class TwoCards:
    """The VM "net" with a card on the LAN, by the host's bridge, and one on another LAN, by a plain interface."""

    def __init__(self, lab, guests):
        self.lab, self.guests = lab, guests
        lab.add_namespace("other")
        lab.ip("host", f"link add eth2 type veth peer name eth1 netns {lab.name('other')}")
        for machine, link, address in (("host", "eth2", OTHER_HOST), ("other", "eth1", OTHER)):
            lab.ip(machine, f"link set {link} up")
            lab.ip(machine, f"addr add {address}/24 dev {link}")
        lab.serve_dhcp("10.8.0.100,10.8.0.199", ["--dhcp-option=3"], machine="other")

    def run(self):
        self.child = start(self.lab, self.guests, WITH_ETC, options=("--no-graphics", "--net-bridged=br0", "--net-bridged=eth2"))
        eventually(lambda: self.child.poll() is not None or self.guests("exec", "net", "true").returncode == 0)
        eventually(lambda: all(card["address"] != "0.0.0.0" for card in self.cards()))
        self.address = address_by_arp(self.lab, self.guests, self.child)  # of all the first card's
        return [card["address"] for card in self.cards()]

    def cards(self):
        return runtime(self.guests, "net")["cards"]

    def sh(self, script, *words):
        return self.guests("exec", "net", "sh", "-c", script, "sh", *words, check=True).stdout

    def seen(self):
        """What the guest has: MAC -> (interface, addresses)."""
        return {link["address"]: (link["ifname"], [a["local"] for a in link["addr_info"] if a["family"] == "inet"])
                for link in json.loads(self.sh("ip -j addr")) if link["ifname"] != "lo"}

    def hears(self, machine, target):
        """A new connection of the guest's to a machine of one of its LANs. -> by whose address and MAC it comes"""
        server = self.lab.socket(machine, socket.AF_INET, socket.SOCK_STREAM, bind=(target, 0), listen=True, timeout=BOOT)
        self.sh(f"{SAY} sh \"$@\" </dev/null >/dev/null 2>&1 &", target, str(server.getsockname()[1]))
        connection, (source, _) = server.accept()
        with server, connection:
            connection.settimeout(BOOT)
            assert connection.recv(100) == b"hello\n"
        return source, re.search(r"lladdr (\S+)", self.lab.ip(machine, f"neigh show {source}"))[1]

    def dials(self, machine, address):
        """A new connection of a machine's to the guest's sshd, which starts after the agent."""
        end = time.monotonic() + BOOT
        while True:
            with self.lab.socket(machine, socket.AF_INET, socket.SOCK_STREAM, timeout=BOOT) as client:
                try:
                    client.connect((address, 22))
                    return client.recv(4)
                except ConnectionRefusedError:
                    assert time.monotonic() < end
            time.sleep(0.5)

    def works(self):
        """Both ways over both cards, also from the host."""
        (first, second) = ((card["address"], card["mac"]) for card in self.cards())
        assert self.hears("peer", PEER) == first and self.hears("other", OTHER) == second
        for machine, (address, _) in (("peer", first), ("other", second), ("host", first), ("host", second)):
            assert self.dials(machine, address) == b"SSH-", (machine, address)


def test_two_cards_on_two_lans(guests, tmp_path):
    """Each has a MAC of its own, an address of its LAN's and that LAN's traffic; and so again after suspend and resume."""
    with laboratory(guests, tmp_path, bridge=True) as lab:
        vm = TwoCards(lab, guests)
        addresses = vm.run()
        first, second = vm.cards()
        assert (first["parent"], second["parent"]) == ("br0", "eth2") and first["mac"] != second["mac"]
        assert addresses[0] == vm.address and addresses[1].startswith("10.8.0.")
        seen = vm.seen()
        assert {mac: found for mac, (_, found) in seen.items()} == {card["mac"]: [card["address"]] for card in (first, second)}
        vm.works()
        boot = vm.sh("cat /proc/sys/kernel/random/boot_id")
        guests("suspend", "net", check=True)
        assert vm.child.wait(BOOT) == 0
        eventually(lambda: lab.leftovers() == NOTHING, 60)
        assert vm.run() == addresses and vm.seen() == seen and vm.sh("cat /proc/sys/kernel/random/boot_id") == boot
        vm.works()
        guests("stop", "net", "--timeout", 5, check=True)
        vm.child.wait(BOOT)
        eventually(lambda: lab.leftovers() == NOTHING, 60)
