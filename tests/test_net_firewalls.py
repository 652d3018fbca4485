# SPDX-License-Identifier: Apache-2.0
"""Linzer's network on hosts that have a firewall already: src/net/doors.h."""

import re
import socket
import subprocess
import time

import pytest

from netlan import PEER, ROUTER, STATIC, Lan, lease
from netlab import PATIENCE, SOFTNET, UPLINK, WORLD, Lab, Resolver, dns_query, policy, random_mac, rule, udp
from test_net_keeper import NOTHING, arrives, gone, udp_server


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def nft(lab, *lines):
    path = lab.tmp / "rules.nft"
    path.write_text("\n".join(lines) + "\n")
    lab.run("host", "nft", "-f", str(path))


def docker(lab):
    """As Docker leaves the filter of a host, by iptables-nft."""
    for words in ("-P FORWARD DROP", "-N DOCKER", "-N DOCKER-USER", "-N DOCKER-FORWARD", "-A DOCKER-USER -j RETURN",
                  "-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD",
                  "-A DOCKER-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -o docker0 -j ACCEPT",
                  "-A DOCKER-FORWARD -i docker0 ! -o docker0 -j ACCEPT"):
        lab.run("host", "iptables-nft", *words.split())


def ufw(lab):
    """The shape of "deny incoming, deny routed"."""
    for words in ("-N ufw-before-input", "-N ufw-before-forward", "-A INPUT -j ufw-before-input",
                  "-A FORWARD -j ufw-before-forward", "-A ufw-before-input -i lo -j ACCEPT",
                  "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                  "-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                  "-P INPUT DROP", "-P FORWARD DROP"):
        lab.run("host", "iptables-nft", *words.split())


def firewalld(lab):
    nft(lab, "table inet firewalld {",
        "chain filter_INPUT { type filter hook input priority filter + 10; policy accept;",
        "ct state { established, related } accept", 'iifname "lo" accept', "reject with icmpx admin-prohibited", "}",
        "chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;",
        "ct state { established, related } accept", "reject with icmpx admin-prohibited", "}", "}")


FIREWALLS = {"docker": docker, "ufw": ufw, "firewalld": firewalld}


def no_counts(text):
    return re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+|^#.*$", "", text, flags=re.M)


def rules(lab):
    """All that the host had before us, counters aside, as both tools tell it."""
    return no_counts(lab.ruleset()), no_counts(lab.run("host", "iptables-nft-save"))


QUIET = 0.5  # seconds in which what is closed does not answer


def reaches_world(guest, seconds=PATIENCE):
    return guest.pings(WORLD, seconds)


def reaches_dns(guest, seconds=PATIENCE):
    return guest.ask_udp(guest.gateway, 53, dns_query("example.org"), seconds) is not None


@pytest.mark.parametrize("name", FIREWALLS)
def test_guest_goes_through_the_hosts_firewall(lab, name):
    Resolver(lab)
    FIREWALLS[name](lab)
    before = rules(lab)
    guest = lab.up().guest
    assert reaches_world(guest) and reaches_dns(guest)
    server = udp_server(lab, "world", WORLD)
    sender = arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"hello")))
    server.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer")
    assert lab.keepers[0].stop() == 0, lab.keepers[0].process.stderr.read()
    assert rules(lab) == before


@pytest.mark.parametrize("name", FIREWALLS)
def test_the_firewall_would_have_stopped_it(lab, name):
    """... so that the tests here can fail."""
    Resolver(lab)
    keeper = lab.up()
    FIREWALLS[name](lab)
    assert not reaches_world(keeper.guest, QUIET)
    if name == "docker":
        assert reaches_dns(keeper.guest), "Docker forwards, it does not guard the host"
    else:
        assert not reaches_dns(keeper.guest, QUIET)


@pytest.mark.parametrize("name", ["ufw", "firewalld"])
def test_nothing_but_dns_of_the_host_is_opened(lab, name):
    Resolver(lab)
    FIREWALLS[name](lab)
    guest, server = lab.up().guest, udp_server(lab, "host", "0.0.0.0")
    for target in (guest.gateway, UPLINK):
        assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, target, 7777, b"closed")))
    assert reaches_dns(guest)


@pytest.mark.parametrize("name", FIREWALLS)
def test_policy_and_neighbours_stay_closed(lab, name):
    FIREWALLS[name](lab)
    one, two = lab.up(mode=SOFTNET, policy=policy([rule(0, remote=f"{WORLD}/32")])).guest, lab.up().guest
    assert not reaches_world(one, QUIET) and reaches_world(two)
    one.send(udp(one.address, 5, two.address, 7, b"neighbour"))
    assert two.wait(lambda p: p.proto == 17, 0.3) is None
    lab.ip("world", f"route add {two.address}/32 via {UPLINK}")
    s = lab.socket("world", socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"from outside", (two.address, 9))
    assert two.wait(lambda p: p.proto == 17, 0.3) is None


def test_iptables_lists_and_saves_its_table(lab):
    """... and another program's rules may come and go beside ours."""
    docker(lab)
    ufw(lab)
    keeper = lab.up()
    listed = lab.run("host", "iptables-nft", "-S").splitlines()
    assert [line for line in listed if line.startswith("-A DOCKER-USER")] == [
        "-A DOCKER-USER -o lz+ -m comment --comment linzer -j ACCEPT",
        "-A DOCKER-USER -i lz+ -m comment --comment linzer -j ACCEPT", "-A DOCKER-USER -j RETURN"]
    ports = sorted(int(m[1]) for line in listed if (m := re.fullmatch(
        rf"-A ufw-before-input -i {keeper.interface} -p (?:udp -m udp|tcp -m tcp) --dport (\d+) -m comment "
        r"--comment linzer -j ACCEPT", line)))
    assert len(ports) == 2
    saved = lab.run("host", "iptables-nft-save")
    assert "-A DOCKER-USER -i lz+" in saved
    lab.run("host", "iptables-nft", *"-I DOCKER-USER -s 10.9.8.7 -j DROP".split())
    assert keeper.stop() == 0
    assert "lz" not in lab.run("host", "iptables-nft", "-S")
    assert "-A DOCKER-USER -s 10.9.8.7/32 -j DROP" in lab.run("host", "iptables-nft", "-S")


def test_doors_are_there_once_and_as_long_as_one_guest_is(lab):
    docker(lab)
    ufw(lab)
    before = rules(lab)
    keepers = [lab.up() for _ in range(3)]
    for left in range(3, 0, -1):
        listed = lab.run("host", "iptables-nft", "-S")
        for chain in ("DOCKER-USER", "ufw-before-forward"):
            assert [listed.count(f"-A {chain} -{c} lz+ ") for c in "io"] == [1, 1]
        assert len(re.findall("-A ufw-before-input -i lz", listed)) == 2 * left
        assert all(reaches_world(k.guest) for k in keepers)
        assert keepers.pop().stop() == 0
    assert rules(lab) == before


def test_host_without_a_firewall(lab):
    keeper = lab.up()
    tables = re.findall(r"^table (.*) \{", lab.ruleset(), re.M)
    assert tables == ["inet linzer", "netdev linzer"]
    assert keeper.stop() == 0
    assert lab.leftovers() == NOTHING


def test_chains_of_the_same_name_elsewhere_are_left_alone(lab):
    nft(lab, "table inet filter {", "chain DOCKER-USER { }", "chain filter_FORWARD { }", "}",
        "table ip mine {", "chain ufw-before-input { }", "}")
    before = rules(lab)
    keeper = lab.up()
    assert not any("linzer" in lab.run("host", "nft", f"list table {t}") for t in ("inet filter", "ip mine"))
    keeper.stop()
    assert rules(lab) == before


@pytest.mark.parametrize("words", ["flush chain ip filter DOCKER-USER", "delete table ip filter", "flush ruleset"])
def test_somebody_takes_our_rules_away(lab, words):
    docker(lab)
    keeper = lab.up()
    lab.run("host", "nft", words)
    again = lab.up()
    assert again.stop() == keeper.stop() == 0
    assert gone(lab, 0) or "linzer" not in lab.ruleset()


def test_doors_come_back_with_the_next_guest(lab):
    docker(lab)
    keeper = lab.up()
    lab.run("host", "nft", "flush chain ip filter DOCKER-USER")
    assert not reaches_world(keeper.guest, QUIET)
    following = lab.up()
    assert reaches_world(keeper.guest) and reaches_world(following.guest)


@pytest.mark.parametrize("others", [False, True])
def test_doors_of_killed_keepers_go_with_the_last(lab, others):
    docker(lab)
    ufw(lab)
    before = rules(lab)
    stays = [lab.up()] if others else []
    for _ in range(2):
        keeper = lab.up()
        keeper.process.kill()
        keeper.wait()
        keeper.close_tap()
    (stays or [lab.up()])[-1].stop()
    assert rules(lab) == before


def test_same_name_again_after_a_kill_has_its_new_ports_alone(lab):
    ufw(lab)
    Resolver(lab)
    stays, mac = lab.up(), random_mac()
    keeper = lab.up(mac=mac)
    keeper.process.kill()
    keeper.wait()
    keeper.close_tap()
    again = lab.up(mac=mac)
    assert again.interface == keeper.interface
    assert lab.run("host", "iptables-nft", "-S").count(f"-i {again.interface} ") == 2
    assert reaches_dns(again.guest) and reaches_dns(stays.guest)


def test_firewall_that_may_not_be_changed_is_told_of(lab):
    """firewalld may own its table: then nobody else changes it, and a VM starts all the same."""
    with lab.inside("host"):
        owner = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        owner.stdin.write("add table inet firewalld { flags owner; }\n"
                          "add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }\n")
        owner.stdin.flush()
        end = time.monotonic() + 60
        while "filter_FORWARD" not in lab.ruleset() and time.monotonic() < end:
            time.sleep(0.02)
        keeper = lab.up()
        assert reaches_world(keeper.guest)
        assert keeper.stop() == 0
        assert "chain 'filter_FORWARD'" in keeper.process.stderr.read()
    finally:
        owner.stdin.close()
        owner.wait()


# Cards on a Linux bridge: br_netfilter shows their frames to the firewall

@pytest.fixture
def lan(tmp_path):
    lan = Lan(tmp_path, bridge=True)
    assert lan.setting("bridge/bridge-nf-call-iptables") == "1"
    yield lan
    lan.end()


@pytest.mark.parametrize("name", FIREWALLS)
def test_bridged_guest_goes_through_the_hosts_firewall(lan, name):
    lan.serve_dhcp()
    FIREWALLS[name](lan)
    before = rules(lan)
    keeper = lan.card()
    lease(keeper)
    assert keeper.guest.pings(ROUTER) and keeper.guest.pings(PEER)
    assert keeper.stop() == 0, keeper.process.stderr.read()
    assert rules(lan) == before


@pytest.mark.parametrize("name", FIREWALLS)
def test_the_firewall_would_have_stopped_the_bridged_guest(lan, name):
    keeper = lan.settled()
    FIREWALLS[name](lan)
    assert not keeper.guest.pings(PEER, 0.5)


def test_bridged_doors_open_for_this_guest_alone(lan):
    """iptables lists them; they follow the address; other machines of the bridge stay parted."""
    docker(lan)
    lan.add_namespace("third")
    lan.ip("third", f"link add eth1 type veth peer name port3 netns {lan.name('host')}")
    lan.ip("third", "addr add 10.9.0.8/24 dev eth1")
    lan.ip("third", "link set eth1 up")
    lan.ip("host", "link set port3 master br0 up")
    lan.serve_dhcp()
    first, second = lan.settled(), lan.card()
    second.guest.settle("10.9.0.41")

    def ours(keeper):
        listed = lan.run("host", "iptables-nft", "-S", "DOCKER-USER").splitlines()
        return [line for line in listed if f'--comment "linzer {keeper.interface}" -j ACCEPT' in line]

    assert first.guest.pings(PEER) and first.guest.pings("10.9.0.8") and second.guest.pings(PEER)
    second.guest.send(udp("10.9.0.41", 5, STATIC, 7, b"neighbour"), to=first.guest.mac)
    assert first.guest.wait(lambda p: p.proto == 17)
    assert not lan.pings("third", PEER, 0.5)
    assert len(ours(first)) == 4 and f"-s {STATIC}/32 -i br0 -o br0" in ours(first)[0]
    first.guest.address = "0.0.0.0"
    address = lease(first)
    assert len(ours(first)) == 4 and f"-s {address}/32 -i br0 -o br0" in ours(first)[0]
    assert first.guest.pings(PEER)
    first.stop()
    assert not ours(first) and len(ours(second)) == 4
    assert second.guest.pings(PEER)


def test_doors_of_a_killed_cards_keeper_go_with_the_next(lan):
    docker(lan)
    before = rules(lan)
    keeper = lan.settled()
    keeper.process.kill()
    keeper.wait()
    keeper.close_tap()
    assert "linzer lzb" in lan.run("host", "iptables-nft", "-S")
    lan.card().stop()
    assert rules(lan) == before


def test_plain_interface_needs_no_door(tmp_path):
    """Its frames are no bridge's."""
    lan = Lan(tmp_path, bridge=False)
    try:
        docker(lan)
        before = no_counts(lan.run("host", "iptables-nft-save"))
        keeper = lan.settled()
        assert keeper.guest.pings(PEER) and no_counts(lan.run("host", "iptables-nft-save")) == before
    finally:
        lan.end()
