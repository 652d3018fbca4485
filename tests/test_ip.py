# SPDX-License-Identifier: Apache-2.0
"""ip (contract 6.3): whom it asks in which order, and that nobody is sent to an address of yesterday.

The neighbour tables are those of network namespaces that the tests make. What the words of its failures
are stands in test_contract_stop.py.
"""

import json
import os
import subprocess
import sys

import pytest

from agent_impostor import OK_HEADERS, SETTINGS, TRAILERS, Impostor, data, field, message
from agent_stage import running  # noqa: F401 (fixture)
from conftest import NEW_NETWORK

STAND_IN = os.path.join(os.path.dirname(__file__), "stand_in.py")


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    linzer.mac = json.loads((linzer.vm("vm") / "config.json").read_text())["macAddress"]
    return linzer


def run(linzer, *how):
    """As if it ran."""
    child = subprocess.Popen([sys.executable, STAND_IN, linzer.vm("vm"), *how], stdout=subprocess.PIPE, text=True)
    linzer.children.append(child)
    assert child.stdout.readline() == "ready\n"


def on_host(linzer, script):
    """The lines that a script prints on a host (a network namespace) with the bridge br0; "none" for each failure.

    In it `ip_of WORDS` is `linzer ip vm WORDS`, $mac the VM's, and `guest WORDS` runs in a namespace that is on the
    bridge by its g0, which has that MAC.
    """
    prelude = """
        set -eu
        ip link set lo up
        ip link add br0 type bridge
        ip link set br0 up
        ip address add 10.50.0.1/24 dev br0
        : >"$dir/guest"
        setpriv --pdeathsig KILL unshare --net sh -c 'echo up; exec sleep 120' >"$dir/guest" &
        pid=$!
        trap 'kill $pid' EXIT
        until grep -q up "$dir/guest"; do sleep 0.01; done
        ip link add port0 master br0 type veth peer name g0 address $mac netns $pid
        ip link set port0 up
        guest() { nsenter -t $pid -n "$@"; }
        guest ip link set g0 up
        ip_of() { "$linzer" ip vm "$@" 2>/dev/null || echo none; }
        speak() { # as $1, until the host's table has it
            guest ip address flush dev g0
            guest ip address add $1/24 dev g0
            guest python3 -c 'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("10.50.0.1", 9))'
            until ip -4 neighbour show to $1 | grep -q lladdr; do sleep 0.01; done
        }
        started_now() { sed -i "s/\\(.started. *: *\\)[0-9]*/\\1$(date +%s)/" "$vm/run.json"; }
        neighbour() { ip neighbour replace "$1" lladdr $mac dev "${2:-br0}" nud "${3:-reachable}"; }
    """
    done = subprocess.run(["setpriv", "--pdeathsig", "KILL", *NEW_NETWORK, "sh", "-c", prelude + script],
                          capture_output=True, text=True, timeout=90,
                          env=linzer.environment(linzer=linzer.program(), mac=linzer.mac, vm=str(linzer.vm("vm")),
                                                 dir=str(linzer.names)))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_one_that_is_asked_for_comes_first(vm):
    run(vm, "interface=br0", "address=10.50.0.8")
    assert on_host(vm, """
        neighbour 10.50.0.9
        ip_of; ip_of --resolver dhcp; ip_of --resolver arp; ip_of --resolver agent
        """) == ["10.50.0.8", "10.50.0.8", "10.50.0.9", "10.50.0.8"]


def test_from_one_to_the_next(vm):
    """No lease, no agent: the table answers whoever was asked for."""
    run(vm, "interface=br0")
    assert on_host(vm, "ip_of; neighbour 10.50.0.9; ip_of; ip_of --resolver=arp; ip_of --resolver=agent") \
        == ["none"] + ["10.50.0.9"] * 3


def test_a_bridged_guest_by_real_arp(vm):
    """It speaks, and is found on the bridge without a lease; it takes another address, and that is found."""
    run(vm, "interface=br0")
    assert on_host(vm, """
        started_now
        ip_of --resolver=arp
        speak 10.50.0.20
        ip_of --resolver=arp
        sleep 2.1
        speak 10.50.0.21
        ip_of --resolver=arp
        """) == ["none", "10.50.0.20", "10.50.0.21"]


def test_an_entry_from_before_the_start_is_not_believed(vm):
    """A bridge keeps them; until the kernel has confirmed it anew nobody is sent there."""
    run(vm, "interface=br0")
    assert on_host(vm, """
        neighbour 10.50.0.30
        ip_of --resolver=arp
        neighbour 10.50.0.31 br0 stale
        sleep 2.1
        started_now
        ip_of --resolver=arp
        neighbour 10.50.0.31
        ip_of --resolver=arp
        """) == ["10.50.0.30", "none", "10.50.0.31"]


def test_an_old_entry_of_the_address_in_use_is_believed(vm):
    run(vm, "interface=br0", "seen=10.50.0.30")
    assert on_host(vm, "neighbour 10.50.0.30; sleep 2.1; started_now; neighbour 10.50.0.31; ip_of --resolver=arp") \
        == ["10.50.0.30"]


def test_an_address_that_is_only_to_be_is_not_told(vm):
    """Reserved for the guest, which has not taken it: nobody would answer there."""
    run(vm, "interface=br0", "seen=10.50.0.30")
    assert on_host(vm, "ip_of; ip_of --resolver=arp; ip_of --resolver=agent") == ["none"] * 3


@pytest.mark.parametrize("state", ["failed", "noarp"])
def test_an_entry_that_leads_nowhere_is_not_told(vm, state):
    run(vm, "interface=br0")
    assert on_host(vm, f"""
        neighbour 10.50.0.9 br0 {state}
        ip -o neighbour show to 10.50.0.9 nud {state} | wc -l
        ip_of --resolver=arp
        """) == ["1", "none"]


def test_an_entry_elsewhere_is_another_machine(vm):
    run(vm, "interface=br0")
    assert on_host(vm, """
        ip link add br1 type bridge
        ip link set br1 up
        neighbour 10.50.1.9 br1
        ip neighbour replace 10.50.0.7 lladdr 02:00:00:00:00:01 dev br0 nud reachable
        ip_of --resolver=arp
        """) == ["none"]


def test_a_vm_without_a_network_has_no_neighbours(vm):
    run(vm, "interface=")
    assert on_host(vm, "neighbour 10.50.0.9; ip_of --resolver=arp; ip_of") == ["none", "none"]


def test_a_host_with_many_neighbours(vm):
    """The table comes in many packets."""
    run(vm, "interface=br0")
    assert on_host(vm, """
        for i in $(seq 0 4); do for j in $(seq 2 200); do
            echo "neighbour replace 10.60.$i.$j lladdr 02:00:00:00:$(printf %02x:%02x $i $j) dev br0 nud permanent"
        done; done | ip -batch -
        neighbour 10.99.0.9
        ip_of --resolver=arp
        """) == ["10.99.0.9"]


def test_a_network_in_a_namespace_of_the_users(vm):
    """The interface is not one of the host's: what was leased is told by whomever is asked."""
    run(vm, "interface=lz-elsewhere", "address=192.168.64.5")
    assert on_host(vm, "ip_of; ip_of --resolver=arp; ip_of --resolver=agent") == ["192.168.64.5"] * 3


def test_waiting_ends_when_the_table_knows(vm):
    run(vm, "interface=br0")
    assert on_host(vm, """
        (sleep 1; neighbour 10.50.0.9) &
        ip_of --resolver=arp --wait 30
        """) == ["10.50.0.9"]


@pytest.fixture
def agent(running):  # noqa: F811
    """Somebody in the place of a guest's agent, whose address nobody else knows; answers each client alike."""
    made = []

    def answering(answer):
        made.append(Impostor(running, *[lambda client: client.sendall(answer)] * 3))
        return running
    yield answering
    for impostor in made:
        impostor.end()


def resolved(text):
    return SETTINGS + OK_HEADERS + message(field(1, text)) + TRAILERS


def test_the_agent_is_asked(agent):
    """No lease and no neighbour: the address is what the agent says, and who asks others is not told of it."""
    linzer = agent(resolved(b"10.50.0.77"))
    done = linzer("ip", "vm", "--resolver", "agent")
    assert (done.returncode, done.stdout, done.stderr) == (0, "10.50.0.77\n", "")
    assert linzer("ip", "vm").returncode == 1


NO_ADDRESSES = {
    "text": resolved(b"example.org"), "ipv6": resolved(b"fe80::1"), "nothing": resolved(b""),
    "more": resolved(b"10.50.0.77 "), "loopback": resolved(b"127.0.0.1"), "many": resolved(b"224.0.0.1"),
    "lines": resolved(b"10.50.0.77\n\033[2J"),
    "long": resolved(b"1" * 100_000), "no field": SETTINGS + OK_HEADERS + message(b"") + TRAILERS,
    "longer than it is": SETTINGS + OK_HEADERS + message(b"\x0a\x7f10.50.0.77") + TRAILERS,
    "a length without end": SETTINGS + OK_HEADERS + message(b"\x0a" + b"\xff" * 20) + TRAILERS,
    "a message of 4 GB": SETTINGS + OK_HEADERS + data(b"\0\xff\xff\xff\xff" + b"1" * 100) + TRAILERS,
    "no end": SETTINGS + OK_HEADERS + message(field(1, b"10.50.0.77")), "silence": b"", "rubbish": b"\xff" * 4096,
}


@pytest.mark.parametrize("lie", NO_ADDRESSES)
def test_an_agent_that_says_no_address(agent, lie):
    """The others are asked then, who know none: one line, and nothing of what it said."""
    done = agent(NO_ADDRESSES[lie])("ip", "vm", "--resolver", "agent")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("no IP address found (also make sure that Guest agent for Tart is running inside of a VM)\n")
