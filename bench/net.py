#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest's filter costs, beside no filter at all.

usage: net.py [VMS...]   (as root; BUILD names the build directory; default: 1 200)

speed    TCP (iperf3), and packets of 64 bytes that arrive in the world: of one flow that was answered
         once, and with a new flow for every 100, none of which is ever answered. Three hosts side by
         side in namespaces: one without nft, one that masquerades and filters nothing (what a
         network of libvirt's or Docker's costs at least), one with the keepers of so many VMs; by
         turns, best of five each. The guest is a namespace behind a veth that has the name, group,
         address, route and rules of the tap of the first VM: a tap's reader would hide the cost of
         the filter.
new      Every packet a new flow: for information, it is the kernel's table of connections that is measured.
memory   Keeper and talker together.
policy   From the request to "changed", beside all those VMs: 1,000 prefixes, and a text of 1,000 rules
         that cannot become a map. Best of ten.
cut      The same 1,000 prefixes when the guest has opened as many flows as it may, all of which they close.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from netlab import CHANGED, SOFTNET, TO_GUESTS, TO_HOST, TO_WORLD, GROUP, OUT, UPLINK, WORLD, Lab, policy, rule, sh  # noqa: E402

SECONDS, ROUNDS, CHANGES = 1, 5, 10
TARGET, FIRST = "101.66.0.0", "101.66.0.1"
GUEST, GATEWAY = "192.168.64.2", "192.168.64.1"
CLOSED = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
          "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"]
SOFTNETS = [rule(0, remotes=TO_WORLD | TO_GUESTS, remote=p) for p in CLOSED] + [rule(0, remotes=TO_GUESTS),
                                                                             rule(0, OUT, TO_HOST)]
PREFIXES = [rule(n % 2, remote=f"101.{n >> 6}.{(n & 63) * 4}.0/{22 + n % 3}") for n in range(1000)]
TEXT = [rule(n % 2, protocol=(6, 17)[n // 2 % 2], remote=f"101.{n >> 6}.{(n & 63) * 4}.0/24", ports=(n + 1, n + 1))
        for n in range(1000)]


def verdict(good):
    return "good" if good else "BAD"


class Host:
    """A host, the world behind it, and in front of it a namespace that is the guest."""

    def __init__(self, directory):
        self.lab = Lab(directory)
        self.lab.add_namespace("vm")
        self.lab.ip("world", f"route add blackhole {TARGET}/16")
        self.lab.ip("world", f"route add local {FIRST}/32 dev lo")
        self.sink = self.lab.socket("world", socket.AF_INET, socket.SOCK_DGRAM, bind=(FIRST, 10000))
        self.server = None

    def open_flow(self):
        """The kernel calls a flow of UDP new until it was answered."""
        s = self.lab.socket("vm", socket.AF_INET, socket.SOCK_DGRAM, bind=("0.0.0.0", 9999))
        self.sink.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.sink.recv(100):  # the last flood's: no room for hello
                pass
        self.sink.settimeout(3)
        with s:
            s.sendto(b"hello", (FIRST, 10000))
            while (answer := self.sink.recvfrom(100))[0] != b"hello":
                pass
            self.sink.sendto(b"answer", answer[1])
            assert s.recv(100) == b"answer"

    def serve(self):
        with self.lab.inside("world"):
            self.server = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while ":1451 " not in pathlib.Path("/proc/thread-self/net/tcp6").read_text():  # 5201 listens
                time.sleep(0.01)
        self.lab.cleanups.insert(0, self.end)

    def end(self):
        self.server.terminate()
        self.server.wait()

    def plug(self, name, mac=None, guest=GUEST, gateway=GATEWAY, host_mac=None):
        ip = self.lab.ip
        ip("host", f"link add {name} {f'address {host_mac} ' if host_mac else ''}group {GROUP} type veth "
           f"peer name g0 {f'address {mac}' if mac else ''} netns {self.lab.name('vm')}")
        for words in (f"addr add {gateway}/24 dev {name} noprefixroute", f"link set {name} up"):
            ip("host", words)
        for words in ("link set g0 up", f"addr add {guest}/24 dev g0", f"route add default via {gateway}"):
            ip("vm", words)
        ip("host", f"route add {guest}/32 dev {name} src {gateway}")

    def tcp(self):
        out = self.lab.run("vm", "timeout", "10", "iperf3", "-A", "0,1", "-J", "-c", WORLD, "-t", str(SECONDS))
        return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9

    def arrived(self):
        with self.lab.inside("world"):
            return int(next(line.split()[2] for line in pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines()
                            if line.strip().startswith("w0:")))

    def packets(self, per_flow=0, seconds=SECONDS):
        self.open_flow()
        before, began = self.arrived(), time.monotonic()
        self.lab.run("vm", PACKETS, TARGET, str(seconds), str(per_flow))
        return (self.arrived() - before) / (time.monotonic() - began) / 1000


def plain(directory, settings):
    """The same settings of the interface: strict rp_filter, for one, costs a look-up of a route."""
    host = Host(directory)
    host.plug("veth0")
    for path, value in settings.items():
        host.lab.setting(path.replace(path.split("/")[2], "veth0"), value)
    host.lab.setting("ipv4/ip_forward", 1)
    host.lab.ip("world", f"route add {GUEST}/32 via {UPLINK}")
    host.serve()
    return host


def masquerading(directory, settings):
    host = plain(directory, settings)
    for words in ("table ip nat", "chain ip nat source { type nat hook postrouting priority srcnat; }",
                  'rule ip nat source oifname "up0" masquerade'):
        host.lab.run("host", "nft", "add " + words)
    return host


class Filtered(Host):
    """The tap of the first VM is replaced by a veth under all that was made for it."""

    def __init__(self, directory):
        super().__init__(directory)
        self.first = self.lab.up(mode=SOFTNET, policy=policy(SOFTNETS))
        name = self.first.interface
        mac = json.loads(self.lab.ip("host", f"-j link show {name}"))[0]["address"]
        gate = self.lab.run("host", "nft", "list", "chain", "netdev", "linzer", name)
        self.before = self.settings(name)
        self.first.close_tap()
        self.lab.ip("host", f"link del {name}", check=False)
        self.plug(name, self.first.mac.hex(":"), self.first.address, self.first.gateway, mac)
        (self.lab.tmp / "gate").write_text(f"add chain netdev linzer {name}\ndelete chain netdev linzer {name}\n{gate}")
        self.lab.run("host", "nft", "-f", str(self.lab.tmp / "gate"))
        for path, value in self.before.items():
            self.lab.setting(path, value)
        self.serve()

    def settings(self, name):
        """What tap_configure() set: the whole directory."""
        with self.lab.inside("host"):
            paths = [f"ipv4/conf/{name}/{p.name}" for p in pathlib.Path(f"/proc/sys/net/ipv4/conf/{name}").iterdir()
                     if p.stat().st_mode & 0o200]
        return {path: self.lab.setting(path) for path in paths}

    def grow(self, vms):
        while len(self.lab.keepers) < vms:
            self.lab.up(mode=SOFTNET, policy=policy(SOFTNETS))


def best(measure, hosts):
    """-> the best of each host, by turns."""
    values = [[] for _ in hosts]
    for _ in range(ROUNDS):
        for host, got in zip(hosts, values):
            got.append(measure(host))
    return [max(v) for v in values]


def speed(hosts, vms):
    good = True
    for name, unit, measure, wanted in (("TCP", "Gbit/s", Host.tcp, 0.88), ("64-byte UDP", "kpps", Host.packets, 0.8),
                                        ("  with new flows", "kpps", lambda h: h.packets(100), 0.7)):
        without, nat, filtered = best(measure, hosts)
        ratio = filtered / without
        good &= ratio >= wanted
        print(f"{name:20} {vms:4} VMs {without:9.1f} {nat:9.1f} {filtered:9.1f} {unit:6} {nat / without:5.2f} {ratio:5.2f}   "
              f"(wanted: >= {wanted})   {verdict(ratio >= wanted)}", flush=True)
    return good


def new_flows(hosts, vms):
    without, nat, filtered = (h.packets(1, 0.4) for h in hosts)
    print(f"{'  each a new flow':20} {vms:4} VMs {without:9.1f} {nat:9.1f} {filtered:9.1f} kpps   {nat / without:5.2f} "
          f"{filtered / without:5.2f}", flush=True)


def used(pid, key):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def memory(keeper, vms):
    pids = (keeper.process.pid, keeper.talker())
    resident, private = (sum(used(p, key) for p in pids) for key in ("Rss:", "Private_"))
    print(f"{'memory':20} {vms:4} VMs {resident:9.1f} {private:9.1f} MB (resident, private)   (wanted: < 4 resident)   "
          f"{verdict(resident < 4)}", flush=True)
    return resident < 4


def change(keeper, packet):
    began = time.monotonic()
    keeper.sock.send(packet)
    assert keeper.wait_for(CHANGED)
    return (time.monotonic() - began) * 1000


def policies(keeper, vms):
    good = True
    for name, rules, wanted in (("1,000 prefixes", PREFIXES, 20), ("text of 1,000 rules", TEXT, 100)):
        took = sorted(change(keeper, policy(rules + SOFTNETS[:1])) for _ in range(CHANGES))
        change(keeper, policy(SOFTNETS))
        good &= took[0] < wanted
        print(f"{name:20} {vms:4} VMs {took[0]:9.1f} {took[len(took) // 2]:9.1f} ms (best, median)   (wanted: < {wanted})   "
              f"{verdict(took[0] < wanted)}", flush=True)
    return good


def cut(host):
    flood = [rule(0, remote=f"{TARGET}/16")]
    took = []
    for _ in range(ROUNDS):
        for _ in range(4):
            host.packets(1, 0.5)
        with host.lab.inside("host"):
            flows = int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())
        took.append((change(host.first, policy(PREFIXES + flood)), flows))
        change(host.first, policy(SOFTNETS))
    print(f"{'cut':20} {len(host.lab.keepers):4} VMs {min(took)[0]:9.1f} {sorted(took)[len(took) // 2][0]:9.1f} ms (best, median) for "
          f"{min(took)[1]} open flows   (wanted: < 100)   {verdict(min(took)[0] < 100)}", flush=True)
    return min(took)[0] < 100


def main():
    global PACKETS
    sizes = [int(n) for n in sys.argv[1:]] or [1, 200]
    with tempfile.TemporaryDirectory(prefix="linzer-bench-", dir="/var/tmp") as tmp:
        PACKETS = f"{tmp}/packets"
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", PACKETS, ROOT / "bench/packets.c"], check=True)
        hosts = []
        try:
            directories = [pathlib.Path(tmp) / name for name in ("plain", "nat", "filtered")]
            for directory in directories:
                directory.mkdir()
            hosts.append(Filtered(directories[2]))
            hosts.insert(0, masquerading(directories[1], hosts[-1].before))
            hosts.insert(0, plain(directories[0], hosts[-1].before))
            print(f"{'':20} {'':8} {'no nft':>9} {'NAT alone':>9} {'filtered':>9}        ratios to no nft   "
                  f"(load {os.getloadavg()[0]:.1f})", flush=True)
            good = True
            for vms in sizes:
                hosts[-1].grow(vms)
                good &= speed(hosts, vms)
                keeper = hosts[-1].lab.keepers[-1]
                good &= memory(keeper, vms)
                good &= policies(keeper, vms)
            good &= cut(hosts[-1])
            new_flows(hosts, sizes[-1])
        finally:
            for host in hosts:
                host.lab.end()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
