# SPDX-License-Identifier: Apache-2.0
"""Whole VMs on other networks than the default: on the host's LAN, and of a user without privilege."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest

import scratch
from conftest import BUILD
from netlan import HOST, Lan
from test_life import BOOT, eventually, ssh_once
from test_net_user import TUN_FOR_ALL, User
from test_network_guest import WITH_ETC, UsersLinzer, laboratory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
NOTHING = ([], "", [])
TUN_FOR_ALL_AND_ETC = TUN_FOR_ALL.replace('exec "$@"', WITH_ETC)


class PlainLinzer(UsersLinzer):
    """What is called through it runs as the user, with the user's runtime directory."""

    def __init__(self, home, names, user):
        super().__init__(home, names)
        self.user = user

    def environment(self, **extra):
        return super().environment(XDG_RUNTIME_DIR=str(self.user.run), **extra)

    def __call__(self, *args, **options):
        uid = self.user.uid
        return super(UsersLinzer, self).__call__(*args, user=uid, group=uid, extra_groups=[], **options)


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
        eventually(lambda: lab.leftovers() == NOTHING, 3)
    finally:
        guests("stop", "net", "--timeout", 1)
        guests("delete", "net")
        lab.end()


@contextlib.contextmanager
def plain_installation(image_home, user):
    """The programs without any capability, and a home with the VM "net", all of an ordinary user."""
    with scratch.directory() as place:
        place.chmod(0o755)
        for name in ("linzer", "linzer-net"):
            shutil.copy(BUILD / name, place / name)
            (place / name).chmod(0o755)
        (place / "home/vms").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", str(image_home / "vms/debian"), str(place / "home/vms/net")],
                       check=True)
        subprocess.run(["chown", "-R", f"{user}:{user}", str(place / "home")], check=True)
        yield place


def test_user_without_privilege_has_it_all_by_expose(image_home, tmp_path):
    """Address, agent, SSH by an exposed port, names and world; stop; nothing left, not even of a killed run."""
    with laboratory(tmp_path) as lab:
        user = User(lab)
        with plain_installation(image_home, user.uid) as place:
            linzer = PlainLinzer(place / "home", place, user)
            words = ("setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", "env",
                     f"XDG_RUNTIME_DIR={user.run}")
            try:
                child = start(lab, linzer, TUN_FOR_ALL_AND_ETC, *words, options=("--net-softnet-expose=2222:22",))
                with lab.inside("host"):
                    eventually(lambda: child.poll() is not None or
                               linzer("exec", "net", "true").returncode == 0, BOOT)
                    assert child.poll() is None
                    assert linzer("ip", "--wait", 60, "net", check=True).stdout.startswith("10.77.")
                    assert linzer("exec", "net", "id", "-un", check=True).stdout == "admin\n"
                assert ssh_until(lab, "127.0.0.1", "id -un", "-p", "2222").stdout == "admin\n"
                linzer("stop", "net", "--timeout", 5, check=True)
                child.wait(20)
                assert user.gone()
                child = start(lab, linzer, TUN_FOR_ALL_AND_ETC, *words)
                eventually(lambda: user.processes("linzer-holder"), 20)
                eventually(lambda: user.processes("qemu-system"), 20)
                os.kill(child.pid, signal.SIGKILL)  # every wrapper became what it wraps
                child.wait(20)
                assert user.gone(10)
            finally:
                linzer.end()
