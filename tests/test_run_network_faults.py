# SPDX-License-Identifier: Apache-2.0
"""`linzer run` on hosts that lack something, and with rules that say things twice: one line, and nothing is left."""

import os
import socket
import struct

import pytest

from netlab import UPLINK, WORLD, dns_query
from netlab import Resolver as AnyResolver
from run_net import Runner, laboratory
from test_run_ipv6_only import leases

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
GATEWAY = "10.77.0.1"
QUIET = 0.5  # seconds in which what is closed does not answer
NO_NFT = 'for f in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ ! -e $f ] || mount --bind /dev/null $f; done; exec "$@"'


class WithoutNft(Runner):
    def words(self, *args):
        words = super().words(*args)
        at = words.index(self.linzer.program())
        return [*words[:at], "sh", "-c", NO_NFT, "sh", *words[at:]]


@pytest.fixture
def make_runner(linzer, tmp_path):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    with laboratory(tmp_path / "lab") as lab:
        runners = []

        def make(kind=Runner):
            runners.append(kind(lab, linzer))
            return runners[-1]
        try:
            yield make
        finally:
            for runner in runners:
                runner.end()


@pytest.fixture
def runner(make_runner):
    return make_runner()


# The host

@pytest.mark.parametrize("options", [[], ["--net-softnet"], ["--net-host"], ["--net-bridged=up0"]],
                         ids=["default", "softnet", "host", "bridged"])
def test_without_nft_one_line_names_the_package(make_runner, options):
    runner = make_runner(WithoutNft)
    before = runner.lab.ip("host", "-br link")
    done = runner("run", *options, "vm")
    line, = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("failed to start the network: ") and "package 'nftables'" in line
    assert not (runner.linzer.vm("vm") / "run.json").exists() and runner.lab.leftovers() == ([], "", [])
    assert len(runner.lab.ip("host", "-br link").splitlines()) == len(before.splitlines())


@pytest.mark.parametrize("words", ["addr add 10.77.0.9/24 dev up0", "route add 10.77.0.128/25 dev up0",
                                   "addr add 10.77.0.1/32 dev up0"], ids=["address", "route", "gateway"])
def test_subnet_that_the_host_uses(runner, words):
    runner.linzer("set", "vm", "--ip", "10.77.0.200", check=True)
    runner.lab.ip("host", words)
    done = runner("run", "vm")
    line, = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line == ("failed to start the network: the subnet 10.77.0.0/24 is in use on this host: set another one in "
                    "'/etc/linzer/net.conf'")
    assert runner.lab.taps() == [] and runner.lab.ruleset() == ""


@pytest.mark.parametrize("options", [[], ["--net-softnet-allow=@host,198.51.100.0/24"]], ids=["default", "softnet"])
def test_host_without_a_default_route(runner, options):
    """A guest has its lease and reaches what there is; the way out counts as soon as it comes."""
    runner.lab.ip("host", f"route del default via {WORLD}")
    assert "default" not in runner.lab.ip("host", "route")
    runner.run("vm", *options)
    guest = runner.guest("vm")
    assert leases(guest) == (runner.state("vm")["address"], GATEWAY)
    assert guest.pings(GATEWAY) and guest.pings(UPLINK) and guest.pings(WORLD)
    runner.lab.ip("world", "addr add 198.51.100.77/32 dev lo")
    runner.lab.ip("host", "route add unreachable 198.51.100.77")
    assert not guest.pings("198.51.100.77", QUIET)
    runner.lab.ip("host", "route del unreachable 198.51.100.77")
    runner.lab.ip("host", f"route add default via {WORLD}")
    assert guest.pings("198.51.100.77")


def test_pool_that_runs_out(runner):
    """A clear error at the start; whoever ends gives its address back."""
    (runner.lab.etc / "linzer/net.conf").write_text("subnet = 10.77.0.0/29\n")
    others = [runner.lab.up() for _ in range(5)]
    done = runner("run", "vm")
    line, = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line == ("failed to start the network: all 5 addresses for VMs are taken: set a larger subnet in "
                    "'/etc/linzer/net.conf'")
    assert not (runner.linzer.vm("vm") / "run.json").exists()
    free = others[2].address
    assert others[2].stop() == 0
    runner.run("vm")
    assert runner.state("vm")["address"] == free


# Rules

def test_overlapping_and_duplicate_targets(runner):
    """The longest prefix decides, block among equals, however often and in whatever order they stand."""
    world = [f"198.51.100.{n}" for n in (16, 17, 32, 33)]
    for address in world:
        runner.lab.ip("world", f"addr add {address}/32 dev lo")
        runner.lab.ip("host", f"route add {address} via {WORLD}")
    runner.run("vm", "--net-softnet-allow", "198.51.100.17/32,198.51.100.0/24,198.51.100.0/24,198.51.100.33/32",
               "--net-softnet-block", "198.51.100.16/28,198.51.100.16/28,198.51.100.33", "--net-softnet-allow",
               "198.51.100.0/24,198.51.100.16/28", "--net-softnet-block", "198.51.0.0/16")
    guest = runner.guest("vm")
    assert [guest.pings(address, 1) for address in world] == [False, True, True, False]
    assert guest.pings(WORLD)


def test_overlapping_and_duplicate_lines(runner):
    """The first that matches decides; what stands there again, or is covered, changes nothing."""
    text = (f"pass out to {WORLD}\npass out to {WORLD}\nblock out to 198.51.100.0/24\npass out to {WORLD}\n"
            f"block out to {WORLD}\nblock out to 198.51.100.0/24\npass out to {UPLINK}\nblock any to 198.51.100.1\n")
    runner.linzer("set", "vm", "--net-filter", "-", input=text, check=True)
    runner.run("vm")
    guest = runner.guest("vm")
    assert guest.pings(WORLD) and guest.pings(GATEWAY) and not guest.pings(UPLINK, QUIET)
    assert runner.show("vm")["Filter"] == text


# Names

class Resolver(AnyResolver):
    """Says that every name has the world's address."""

    def answer(self, query):
        return super().answer(query).replace(socket.inet_aton("192.0.2.7"), socket.inet_aton(ADDRESS))


ADDRESS = "9.8.7.6"  # of the world's


def test_a_name_opens_its_address(runner):
    """Of a list of `run`, and of one that `net set` gives; every other name is refused."""
    Resolver(runner.lab)
    runner.lab.ip("world", f"addr add {ADDRESS}/32 dev lo")
    runner.run("vm", "--net-softnet-block=0.0.0.0/0", "--net-softnet-allow=example.org")
    guest = runner.guest("vm")

    def asked(name):
        """-> the code of the answer."""
        return struct.unpack("!H", guest.ask_udp(GATEWAY, 53, dns_query(name))[2:4])[0] & 15

    assert not guest.pings(ADDRESS, QUIET)
    assert asked("www.example.org") == 5 and not guest.pings(ADDRESS, QUIET)
    assert asked("example.org") == 0 and guest.pings(ADDRESS)
    runner("net", "set", "vm", "--block", "0.0.0.0/0", "--allow", "*.example.org", check=True)
    assert not guest.pings(ADDRESS, QUIET)
    assert asked("example.org") == 5 and asked("www.example.org") == 0
    assert guest.pings(ADDRESS)


def test_a_name_opens_no_range_that_is_closed(runner):
    class Private(Resolver):
        def answer(self, query):
            return AnyResolver.answer(self, query).replace(socket.inet_aton("192.0.2.7"), socket.inet_aton(WORLD))

    Private(runner.lab)
    runner.run("vm", "--net-softnet-allow=example.org")
    guest = runner.guest("vm")
    assert guest.ask_udp(GATEWAY, 53, dns_query("example.org")).endswith(socket.inet_aton(WORLD))
    assert not guest.pings(WORLD, QUIET)
