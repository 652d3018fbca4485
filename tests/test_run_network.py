# SPDX-License-Identifier: Apache-2.0
"""The network options of `run`: real keepers, a real QEMU, and a guest that is the test (run_net.py)."""

import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

from netlab import WORLD
from run_net import Runner, laboratory
from test_life import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
HELP = "  See 'linzer --help' for more information."


@pytest.fixture
def runner(linzer, tmp_path):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    with laboratory(tmp_path / "lab") as lab:
        runner = Runner(lab, linzer)
        try:
            yield runner
        finally:
            runner.end()


def arguments(runner, name):
    """QEMU's."""
    return pathlib.Path(f"/proc/{runner.state(name)['qemuPid']}/cmdline").read_text().split("\0")


def refused(runner, *options):
    """-> exit status and the first line of the message; nothing was started."""
    done = runner("run", *options, "vm")
    assert done.stdout == "" and runner.lab.leftovers() == ([], "", [])
    assert not (runner.linzer.vm("vm") / "run.json").exists()
    return done.returncode, done.stderr.splitlines()[0]


def test_shared_is_the_default(runner):
    runner.run("vm")
    state = runner.state("vm")
    assert (state["mode"], state["isolated"], state["exposed"], len(state["cards"])) == ("shared", False, [], 1)
    card = state["cards"][0]
    assert card == {"mac": state["mac"], "address": state["address"], "leased": False,
                    "interface": state["interface"], "parent": ""}
    assert state["mac"] == json.loads((runner.linzer.vm("vm") / "config.json").read_text())["macAddress"]
    guest = runner.guest("vm")
    assert guest.pings("10.77.0.1") and guest.pings(WORLD)


def test_softnet_closes_the_host_and_what_is_not_public(runner):
    runner.run("vm", "--net-softnet")
    guest = runner.guest("vm")
    assert runner.state("vm")["mode"] == "softnet"
    assert not guest.pings("10.77.0.1", 1) and not guest.pings(WORLD, 1)  # a documentation range
    assert runner.show("vm")["Cards"][0]["Drops"]["Out"] >= 2


@pytest.mark.parametrize("options", [
    ["--net-softnet-allow", "@host, 198.51.100.0/24"],
    ["--net-softnet-allow=@host", "--net-softnet", "--net-softnet-allow=198.51.100.0/24"],
], ids=["a list", "twice"])
def test_softnet_allow(runner, options):
    runner.run("vm", *options)
    guest = runner.guest("vm")
    assert guest.pings("10.77.0.1") and guest.pings(WORLD)
    assert runner.show("vm")["Allow"] == ["@host", "198.51.100.0/24"]


def test_softnet_block_outranks_an_equal_allow(runner):
    runner.run("vm", "--net-softnet-allow", "@host,198.51.100.0/24", "--net-softnet-block", "198.51.100.0/24")
    guest = runner.guest("vm")
    assert guest.pings("10.77.0.1") and not guest.pings(WORLD, 1)


def test_host_only(runner):
    runner.run("vm", "--net-host")
    state = runner.state("vm")
    assert state["mode"] == "host" and state["address"].startswith("192.168.128.")
    guest = runner.guest("vm")
    assert guest.pings("192.168.128.1") and not guest.pings(WORLD, 1)


def test_none_has_no_card(runner):
    runner.run("vm", "--net-none")
    state = runner.state("vm")
    assert (state["mode"], state["cards"], state["address"], state["interface"]) == ("none", [], "0.0.0.0", "")
    assert "-netdev" not in arguments(runner, "vm") and runner.lab.taps() == []
    shown = runner.show("vm")
    assert (shown["Mode"], shown["Cards"]) == ("none", [])
    done = runner("net", "set", "vm", "--filter", "off")
    assert (done.returncode, done.stderr) == (1, "the VM has no network card\n")
    done = runner("ip", "vm")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["no IP address found", "Help:  the VM has no network card: it runs with --net-none"]
    assert runner.linzer("ip", "vm", program="tart").stderr == "no IP address found\n"


def test_expose_listens_while_the_vm_runs(runner):
    runner.run("vm", "--net-softnet-expose", "2222:22,8080:80", "--net-softnet-expose", "8443:443")
    assert runner.state("vm")["mode"] == "softnet"
    assert runner.state("vm")["exposed"] == [{"host": 2222, "guest": 22}, {"host": 8080, "guest": 80},
                                             {"host": 8443, "guest": 443}]
    assert runner.show("vm")["Exposed"] == ["2222:22", "8080:80", "8443:443"]
    for port in (2222, 8080, 8443):
        runner.lab.socket("host", socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", port))
    runner.linzer("stop", "vm", "--timeout", 1, check=True)
    with pytest.raises(ConnectionRefusedError):
        runner.lab.socket("host", socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 2222))


def test_expose_of_a_taken_port_is_one_line(runner):
    taken = runner.lab.socket("host", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", 2222), listen=True)
    status, line = refused(runner, "--net-softnet-expose", "2222:22")
    assert status == 1 and "2222" in line and line.startswith("failed to start the network: ")
    taken.close()


ALL = "--net-bridged, --net-softnet, --net-host and --net-none are mutually exclusive"


@pytest.mark.parametrize("options, message", [
    (["--net-none", "--net-host"], ALL),
    (["--net-none", "--net-softnet"], ALL),
    (["--net-none", "--net-bridged=eth0"], ALL),
    (["--net-none", "--net-softnet-expose=1:1"], ALL),
    (["--net-host", "--net-softnet-control-fd=3"],
     "--net-bridged, --net-softnet and --net-host are mutually exclusive"),
    (["--net-softnet-expose", "22"], "--net-softnet-expose: '22' is not EXTERNAL:INTERNAL"),
    (["--net-softnet-expose", "22:0"], "--net-softnet-expose: '22:0': a port is a number from 1 to 65535"),
    (["--net-softnet-expose", "22:22,22:23"], "--net-softnet-expose: port 22 of the host is given twice"),
    (["--net-softnet-expose=" + ",".join(f"{n}:1" for n in range(1, 66))], "--net-softnet-expose: more than 64 ports"),
    (["--net-softnet-control-fd", "2"], "--net-softnet-control-fd must be a descriptor above 2"),
    (["--net-softnet-control-fd", "99"], "--net-softnet-control-fd 99 is not a connected Unix stream socket"),
    (["--net-bridged=x"] * 9, "at most 8 network cards"),
])
def test_mistakes_of_the_command_line(runner, options, message):
    assert refused(runner, *options) == (64, f"Error: {message}")


@pytest.mark.parametrize("option", ["allow", "block"])
@pytest.mark.parametrize("target", ["10.0.0.0/33", "10.0.0", "@guest", "a..b", "10.0.0.0/8,,@host"])
def test_mistakes_in_a_list_name_the_list(runner, option, target):
    status, line = refused(runner, f"--net-softnet-{option}", target)
    assert status == 64 and line.startswith(f"Error: --net-softnet: {option}: ")


def test_too_many_targets(runner):
    targets = ",".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(2049))
    status, line = refused(runner, f"--net-softnet-allow={targets}", f"--net-softnet-block={targets}")
    assert status == 64 and "4096" in line


def test_a_filter_with_a_mistake(runner):
    """The VM's own file: no mistake of the command line."""
    (runner.linzer.vm("vm") / "net.rules").write_text("block any\npass over there\n")
    status, line = refused(runner)
    assert status == 1 and line.startswith('net.rules of VM "vm": line 2, column ')


def test_the_vms_own_filter_is_in_force(runner):
    runner.linzer("set", "vm", "--net-filter", "-", input="block out proto icmp to 10.77.0.1\n", check=True)
    runner.run("vm")
    guest = runner.guest("vm")
    assert guest.pings(WORLD) and not guest.pings("10.77.0.1", 1)
    assert runner.show("vm")["Filter"] == "block out proto icmp to 10.77.0.1\n"


def test_no_local(runner):
    runner.linzer("set", "vm", "--no-local", check=True)
    runner.run("vm")
    guest = runner.guest("vm")
    assert guest.pings(WORLD) and not guest.pings("10.77.0.1", 1)
    assert runner.show("vm")["NoLocal"] is True


def test_the_address_is_the_last_one_again(runner):
    """Though another VM would have had the first choice, and had it meanwhile had no other one."""
    runner.run("vm")
    address = runner.state("vm")["address"]
    runner.linzer("stop", "vm", "--timeout", 1, check=True)
    runner.linzer("set", "vm", "--random-mac", check=True)
    runner.run("vm")
    assert runner.state("vm")["address"] == address


def test_a_fixed_address(runner):
    """Of two VMs with the same one the second is refused; the first goes on, and so does its address."""
    runner.linzer("set", "vm", "--ip", "10.77.0.99", check=True)
    runner.run("vm")
    before = runner.state("vm")
    assert before["address"] == "10.77.0.99"
    guest = runner.guest("vm")
    assert guest.pings(WORLD)
    runner.linzer("create", "--linux", "--disk-size", 1, "second", check=True)
    runner.linzer("set", "second", "--ip", "10.77.0.99", check=True)
    rules = runner.lab.ruleset()
    done = runner("run", "second")
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", "failed to start the network: the address 10.77.0.99 is another VM's\n")
    assert not (runner.linzer.vm("second") / "run.json").exists()
    assert runner.state("vm") == before and runner.lab.ruleset() == rules and len(runner.lab.taps()) == 1
    assert guest.pings(WORLD) and guest.pings("10.77.0.1")
    runner.linzer("set", "second", "--ip", "10.77.0.98", check=True)
    runner.run("second")
    assert runner.state("second")["address"] == "10.77.0.98"


@pytest.mark.parametrize("address", ["10.77.0.0", "10.77.0.1", "10.77.0.255", "10.77.1.7", "10.76.255.255", "8.8.8.8"],
                         ids=["network", "gateway", "broadcast", "behind it", "before it", "elsewhere"])
def test_a_fixed_address_that_the_subnet_does_not_have(runner, address):
    runner.linzer("set", "vm", "--ip", address, check=True)
    assert refused(runner) == (1, f"failed to start the network: the address {address} is not one of the subnet for "
                                  "VMs (/etc/linzer/net.conf)")


def test_a_fixed_address_of_the_other_subnet(runner):
    """That of --net-host is its own."""
    runner.linzer("set", "vm", "--ip", "10.77.0.99", check=True)
    status, line = refused(runner, "--net-host")
    assert status == 1 and "10.77.0.99" in line
    runner.linzer("set", "vm", "--ip", "192.168.128.99", check=True)
    runner.run("vm", "--net-host")
    assert runner.state("vm")["address"] == "192.168.128.99"


def test_two_running_vms_never_share_a_mac(runner):
    """Neither the MAC of the config nor one that the other has on a card though its config says another."""
    runner.run("vm")
    mac = runner.state("vm")["mac"]
    runner.linzer("set", "vm", "--random-mac", check=True)  # for its next start
    runner.linzer("create", "--linux", "--disk-size", 1, "second", check=True)
    config = runner.linzer.vm("second") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "macAddress": mac}))
    runner.run("second")
    assert (runner.linzer.vm("second") / "run.log").read_text().splitlines()[:2] == [
        "There is already a running VM with the same MAC address!", "Resetting VM to assign a new MAC address..."]
    assert runner.state("second")["mac"] != mac
    assert json.loads(config.read_text())["macAddress"] == runner.state("second")["mac"]


class TestBridged:
    @pytest.fixture
    def lans(self, runner):
        """Two bridges of the host's, and what cannot be bridged to."""
        for words in ("link add br0 type bridge", "link add br1 type bridge", "link set br0 up", "link set br1 up",
                      "link add port0 type veth peer name port1", "link set port0 master br0",
                      "tuntap add routed0 mode tun"):
            runner.lab.ip("host", words)

    @pytest.mark.parametrize("before", [[], ["--net-bridged=br0"]], ids=["alone", "beside another"])
    def test_list(self, runner, lans, before):
        """An error that lists them, as the contract says; also where an interface has that name."""
        runner.run("vm")  # our own taps are none
        runner.linzer("create", "--linux", "--disk-size", 1, "second", check=True)
        runner.lab.ip("host", "link add list type bridge")
        done = runner("run", *before, "--net-bridged=list", "second")
        lines = done.stderr.splitlines()
        assert (done.returncode, done.stdout, lines[1:]) == (64, "", ["Usage: linzer <subcommand>", HELP])
        asked = "br0, list" if before else "list"
        names = re.fullmatch(rf'Error: no bridge interfaces matched "\[{asked}\]", available interfaces: \[(.*)\]',
                             lines[0])[1].split(", ")
        assert names == sorted(names) and {"br0", "br1", "list", "up0"} <= set(names)
        assert not {"lo", "routed0"} & set(names) and not [n for n in names if n.startswith("lz")]
        assert not (runner.linzer.vm("second") / "run.json").exists()

    def test_unknown(self, runner, lans):
        done = runner("run", "--net-bridged", "br0", "--net-bridged", "eth9", "vm")
        lines = done.stderr.splitlines()
        assert done.returncode == 64 and lines[1:] == ["Usage: linzer <subcommand>", HELP]
        assert re.fullmatch(r'Error: no bridge interfaces matched "\[br0, eth9\]", available interfaces: '
                            r'\[br0, br1, .*up0.*\]', lines[0])

    def test_a_card_for_each(self, runner, lans):
        runner.run("vm", "--net-bridged=br0", "--net-bridged=br1")
        state = runner.state("vm")
        macs = [card["mac"] for card in state["cards"]]
        assert (state["mode"], [card["parent"] for card in state["cards"]]) == ("bridged", ["br0", "br1"])
        assert macs[0] == json.loads((runner.linzer.vm("vm") / "config.json").read_text())["macAddress"]
        assert len(set(macs)) == 2 and int(macs[1][:2], 16) & 3 == 2  # locally administered, no group
        devices = [a for a in arguments(runner, "vm") if a.startswith("virtio-net-pci")]
        assert [re.search(r"mac=([0-9a-f:]+)", device)[1] for device in devices] == macs
        assert len(runner.lab.run("host", "pgrep", "-P", str(state["pid"]), "linzer-net").split()) == 2
        runner.linzer("stop", "vm", "--timeout", 1, check=True)
        runner.run("vm", "--net-bridged=br1", "--net-bridged=br0")
        assert [card["mac"] for card in runner.state("vm")["cards"]] == macs  # the same at every start

    def test_the_address_is_learnt(self, runner, lans):
        runner.run("vm", "--net-bridged=br0")
        assert runner.state("vm")["address"] == "0.0.0.0"
        runner.lab.ip("host", "addr add 172.20.0.1/24 dev br0")
        guest = runner.guest("vm", address="172.20.0.9")
        eventually(lambda: guest.resolve("172.20.0.1", 1), 60)  # the first shows the address
        eventually(lambda: runner.state("vm")["address"] == "172.20.0.9", 60)
        assert runner.state("vm")["leased"] and runner.show("vm")["Cards"][0]["Address"] == "172.20.0.9"

    def test_any_keeper_that_ends_stops_the_vm(self, runner, lans):
        """A VM is never left with a card whose filter nobody keeps."""
        runner.run("vm", "--net-bridged=br0", "--net-bridged=br1")
        state = runner.state("vm")
        keepers = runner.lab.run("host", "pgrep", "-P", str(state["pid"]), "linzer-net").split()
        os.kill(int(keepers[1]), 9)
        eventually(lambda: not (runner.linzer.vm("vm") / "run.json").exists(), 60)
        assert "the network helper ended" in (runner.linzer.vm("vm") / "run.log").read_text()

    def test_a_second_card_that_fails_takes_the_first_down(self, runner, lans):
        runner.lab.ip("host", "link add plain0 type veth peer name plain1")
        runner.lab.ip("host", "link add taken0 link plain0 type macvlan mode passthru")  # lets nobody beside it
        def interfaces():  # not their states: linkwatch tells lo's late
            return {(link["ifname"], link.get("master")) for link in json.loads(runner.lab.ip("host", "-j link"))}

        before = interfaces()
        done = runner("run", "--net-bridged=br0", "--net-bridged=plain0", "vm")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("failed to start the network: ") and "plain0" in done.stderr
        assert interfaces() == before


def test_sigkill_of_run_takes_every_card(runner):
    runner.run("vm", "--net-softnet-expose", "2222:22")
    state = runner.state("vm")
    subprocess.run(["kill", "-9", str(state["pid"])], check=True)
    eventually(lambda: runner.lab.leftovers() == ([], "", []), 60)
