# SPDX-License-Identifier: Apache-2.0
"""`make install-caps` on a host with users: who is in group linzer runs networks of the host's, who is not gets what a
user without privilege has, or one line that says what to do."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, ROOT
from netlab import sh
from people import Person, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and users need root")
UID = 61500


@pytest.fixture
def there(tmp_path):
    with host(tmp_path) as there:
        for _ in range(2):  # the second time from what the first one left
            there.install_capabilities()
        yield there


def person(there, name, number, *groups):
    """Of no others' uid, with a VM "one"."""
    there.add_user(name, UID + 10 * there.lab.number + number, *groups)
    person = Person(there, name, UID + 10 * there.lab.number + number)
    person("create", "--linux", "--disk-size", 1, "one", check=True)
    return person


def is_isolated(person):
    """Run the VM; is the host unable to dial it?"""
    try:
        done = person("run", "--detach", "one")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return json.loads(person("net", "show", "one", "--format", "json", check=True).stdout)["Isolated"]
    finally:
        person("stop", "one", "--timeout", 1)
        person.end()


def test_members_run_networks_of_the_host_and_others_their_own(there):
    assert not is_isolated(person(there, "mia", 1, "linzer"))
    assert is_isolated(person(there, "otto", 2))


def test_who_has_the_capabilities(there):
    capable, plain = there.place / "linzer-net", there.place / "linzer-net-plain"
    group = there.run("stat", "-c", "%a %U %G", capable, plain).splitlines()
    assert group == ["750 root linzer", "755 root root"]
    assert sh("getcap", str(capable)).split()[1] == "cap_net_admin,cap_net_raw=ep"
    assert sh("getcap", str(plain)) == ""
    assert sorted(p.name for p in there.place.iterdir()) == ["linzer", "linzer-net", "linzer-net-plain", "tart"]


def test_an_outsider_without_the_plain_copy_is_told_of_the_group(there):
    (there.place / "linzer-net-plain").unlink()
    otto = person(there, "otto", 1)
    done = otto("run", "one")
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"failed to start the network: you may not run '{there.place}/linzer-net': join the group 'linzer' "
        "('adduser USER linzer', then log in again)\n")
    assert not is_isolated(person(there, "mia", 2, "linzer"))


def test_after_an_upgrade_everybody_runs_the_new_program(there):
    """`make install` puts a new linzer-net there, without capabilities: nobody gets the old copy beside it."""
    new = there.place / "linzer-net"
    new.unlink()
    sh("cp", str(there.place / "linzer-net-plain"), str(new))
    (there.place / "linzer-net-plain").write_text("#!/bin/false\n")
    assert is_isolated(person(there, "mia", 1, "linzer")) and is_isolated(person(there, "otto", 2))


def test_where_files_keep_no_capabilities(there):
    """ramfs has no extended attributes: one line says what that means, and nobody is shut out of what works without."""
    place = there.place / "ramfs"
    place.mkdir()
    there.run("mount", "-t", "ramfs", "none", place)
    there.run("cp", BUILD / "linzer-net", place)
    there.run("chmod", "755", place)
    for _ in range(2):
        done = subprocess.run([*there.words, ROOT / "scripts/install-caps", place / "linzer-net"], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert done.stderr.startswith(f"'{place}/linzer-net' cannot have capabilities (") and "only root" in done.stderr
        assert there.run("stat", "-c", "%n %a %U", place / "linzer-net", "/run/linzer").splitlines() == \
            [f"{place}/linzer-net 755 root", "/run/linzer 750 root"]
    for number, groups in enumerate([(), ("linzer",)]):
        someone = person(there, f"user{number}", number, *groups)
        someone.settings["LINZER_NET"] = str(place / "linzer-net")
        assert is_isolated(someone)


def test_installed_where_make_install_puts_it(there):
    """linzer-net in the libexec directory: whoever may not run that one gets the copy beside it, no other."""
    libexec = pathlib.Path(re.search(r'LINZER_LIBEXECDIR "(.*)"', (BUILD / "build-info.h").read_text())[1])
    above = next(p for p in libexec.parents if p.is_dir())
    assert str(above) not in ("/", "/usr"), "this build's prefix is the system's own"
    there.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", above)
    there.run("install", "-D", "-m", "755", there.place / "linzer-net-plain", libexec / "linzer-net")
    there.run(ROOT / "scripts/install-caps", libexec / "linzer-net")
    for name in ("linzer-net", "linzer-net-plain"):  # else these were taken
        (there.place / name).write_text("#!/bin/false\n")
    assert not is_isolated(person(there, "mia", 1, "linzer"))
    assert is_isolated(person(there, "otto", 2))


def test_a_member_runs_a_vm_on_the_bridge_that_root_names(tmp_path):
    with host(tmp_path / "lab") as there:
        there.lab.ip("host", "link add br0 type bridge")
        there.lab.ip("host", "link set br0 up")
        person = Person(there, "mia", there.add_caller("mia", "caps", 62500))
        try:
            person("create", "--linux", "--disk-size", 1, "vm", check=True)
            done = person("run", "--detach", "--net-bridged=br0", "vm")
            assert done.returncode != 0 and "'/etc/linzer/net.conf' does not allow it" in done.stderr
            (there.lab.etc / "linzer/net.conf").write_text("bridge = br0\n")
            person("run", "--detach", "--net-bridged=br0", "vm", check=True)
            shown = json.loads(person("net", "show", "--format", "json", "vm", check=True).stdout)
            assert (shown["Mode"], [card["Parent"] for card in shown["Cards"]]) == ("bridged", ["br0"])
            person("stop", "vm", "--timeout", 5, check=True)
        finally:
            person("stop", "vm", "--timeout", 1)
            person.end()
