# SPDX-License-Identifier: Apache-2.0
"""Whole VMs on another network than the default: on the host's LAN. (A user without privilege: test_life_as_user.py.)"""

import os
import shutil
import subprocess
import time

import pytest

from netlan import HOST, Lan
from test_life import BOOT, eventually, ssh_once
from test_network_guest import WITH_ETC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
NOTHING = ([], "", [])


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


@pytest.mark.parametrize("kind", ["interface", "bridge"])
def test_bridged_vm_by_arp_and_ssh(guests, tmp_path, kind):
    """run --no-graphics --net-bridged=IF, ip --resolver=arp, ssh: on a LAN whose server is dnsmasq."""
    guests("clone", "debian", "net", check=True)
    lab = Lan(tmp_path, bridge=kind == "bridge")
    lab.serve_dhcp()
    for name in ("passwd", "group", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", lab.etc)
    try:
        child = start(lab, guests, WITH_ETC, options=("--no-graphics", f"--net-bridged={lab.interface}"))
        with lab.inside("host"):
            eventually(lambda: child.poll() is not None or
                       guests("ip", "--resolver=arp", "net").returncode == 0, BOOT)
            address = guests("ip", "--resolver=arp", "--wait", 10, "net", check=True).stdout.strip()
            assert address.rsplit(".", 1)[0] == HOST.rsplit(".", 1)[0]
            assert guests("ip", "net", check=True).stdout.strip() == address
        assert ssh_until(lab, address, "id -un").stdout == "admin\n"
        guests("stop", "net", "--timeout", 5, check=True)
        child.wait(20)
        eventually(lambda: lab.leftovers() == NOTHING, 60)
    finally:
        guests("stop", "net", "--timeout", 1)
        guests("delete", "net")
        lab.end()
