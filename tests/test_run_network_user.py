# SPDX-License-Identifier: Apache-2.0
"""`linzer run` and `linzer net` of a user with neither root nor capabilities (pasta), with a guest that is the test."""

import os
import shutil

import pytest

import scratch
from conftest import BUILD, Linzer
from netlab import WORLD
from run_net import Runner, laboratory
from test_net_user import TUN_FOR_ALL, User
from test_network_guest import WITH_ETC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
GATEWAY = "10.77.0.1"
QUIET = 0.5  # seconds in which what is closed does not answer
OTHER = "198.51.100.9"  # of the world's
TUN_FOR_ALL_AND_ETC = TUN_FOR_ALL.replace('exec "$@"', WITH_ETC)


class PlainLinzer(Linzer):
    """What is called through it runs as the user, with the user's home and runtime directory."""

    def __init__(self, home, names, user):
        super().__init__(home, names)
        self.user = user

    def program(self, name="linzer"):
        return str(self.names / name)

    def environment(self, **extra):
        return {**super().environment(XDG_RUNTIME_DIR=str(self.user.run), **extra), "HOME": str(self.home)}

    def __call__(self, *args, **options):
        uid = self.user.uid
        return super().__call__(*args, user=uid, group=uid, extra_groups=[], **options)


class UsersRunner(Runner):
    """The program as the user, on the laboratory's host."""

    def words(self, *args):
        user = self.linzer.user
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", TUN_FOR_ALL_AND_ETC, "sh", str(self.lab.etc),
                "setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", self.linzer.program(),
                *map(str, args)]


def users_runner(lab, place):
    """Of a user without privilege; the program and the user's home are in `place`."""
    user = User(lab)
    place.chmod(0o755)
    for name in ("linzer", "linzer-net"):
        shutil.copy(BUILD / name, place / name)
    home = place / "home"
    home.mkdir()
    os.chown(home, user.uid, user.uid)
    return UsersRunner(lab, PlainLinzer(home, place, user))


@pytest.fixture
def runner(tmp_path):
    with laboratory(tmp_path) as lab, scratch.directory() as place:
        lab.setting("ipv4/ping_group_range", "0 2147483647")
        lab.ip("world", f"addr add {OTHER}/32 dev lo")
        lab.ip("host", f"route add {OTHER} via {WORLD}")
        runner = users_runner(lab, place)
        try:
            runner("create", "--linux", "--disk-size", 1, "vm", check=True)
            yield runner
        finally:
            runner.end()
            runner.linzer.end()


def changes(runner, *options, **how):
    done = runner("net", "set", "vm", *options, check=True, **how)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_policy_of_a_running_vm(runner):
    """net set replaces lists and filter at once; net show tells of them, of the card, and of what was dropped."""
    runner.run("vm", "--net-softnet-allow", f"{WORLD}/32")
    state = runner.state("vm")
    assert (state["mode"], state["isolated"]) == ("softnet", True)
    guest = runner.guest("vm")
    assert guest.pings(WORLD) and not guest.pings(OTHER, QUIET)
    shown = runner.show("vm")
    card, = shown["Cards"]
    assert (shown["Mode"], shown["Allow"], shown["Block"], shown["Filter"]) == ("softnet", [f"{WORLD}/32"], [], "")
    assert (card["MAC"], card["Address"]) == (state["mac"], state["address"])
    assert card["Drops"]["Out"] == 1
    changes(runner, "--allow", f"{OTHER}/32")
    assert not guest.pings(WORLD, QUIET) and guest.pings(OTHER)
    changes(runner, "--filter", "-", input=f"block out to {OTHER}\n")
    assert not guest.pings(OTHER, QUIET)
    shown = runner.show("vm")
    assert (shown["Allow"], shown["Filter"]) == ([f"{OTHER}/32"], f"block out to {OTHER}\n")
    assert shown["Cards"][0]["Drops"]["Out"] > card["Drops"]["Out"]
    changes(runner, "--filter", "off")
    assert guest.pings(OTHER)


def test_show_in_text(runner):
    runner.run("vm", "--net-softnet-expose", "2222:22")
    lines = [line.split() for line in runner("net", "show", "vm", check=True).stdout.splitlines()]
    assert [line for line in lines if line[0] in ("Mode", "Exposed", "MAC")] == [
        ["Mode", "softnet"], ["MAC", runner.state("vm")["mac"]], ["Exposed", "2222:22"]]


def test_mistakes_leave_the_old_policy(runner):
    runner.run("vm", "--net-softnet-allow", f"{WORLD}/32")
    guest, before = runner.guest("vm"), runner.show("vm")
    done = runner("net", "set", "vm", "--allow", "10.0.0.0/40")
    assert done.returncode == 64 and done.stderr.startswith("Error: allow: ")
    done = runner("net", "set", "vm", "--filter", "-", input="block any\npass maybe\n")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("standard input: line 2, column 6: ")
    after = runner.show("vm")
    assert (after["Allow"], after["Filter"]) == (before["Allow"], before["Filter"])
    assert guest.pings(WORLD) and not guest.pings(OTHER, QUIET)


def test_nothing_in_the_hosts_namespace_and_nothing_left(runner):
    runner.run("vm")
    assert runner.lab.leftovers() == ([], "", [])  # not in the host's namespace
    runner.linzer("stop", "vm", "--timeout", 1, check=True)
    assert runner("net", "show", "vm").stderr == 'VM "vm" is not running\n'
    assert runner.linzer.user.gone()
