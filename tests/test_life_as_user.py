# SPDX-License-Identifier: Apache-2.0
"""A VM's life in three forms: as root, as an ordinary user with capabilities (`make install-caps`), as one with none.

Each form has one VM that its tests share, in the order in which they stand; with no privilege the host does not
dial the guest's address, and SSH goes by an exposed port as in `make demo`. What differs else is written where it is
tested: a guest of a user with no privilege reaches no address of the host (docs/security.md).

What has no part in the network (names, options, messages, images, archives, the store: test_contract_*.py,
test_bad_input.py, test_archive.py, test_store_*.py ...) needs no three forms in every run; `make soak` runs all of it
as both users (scripts/as-user).
"""

import json
import os
import signal
import subprocess
import time

import pytest

from netlab import Resolver
from people import Person, host
from test_life import BOOT, alive, eventually, runtime, ssh_once, status_of
from test_network_guest import CAP_NET_ADMIN, NAME_ADDRESS, WORLD, WebServer, capabilities
from test_suspend import HEAR, Talk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and users need root")
PORT = 2222
# exposing means Softnet's mode, which closes the host and what is no address of the world's (WORLD is of TEST-NET-2)
EXPOSED = [f"--net-softnet-expose={PORT}:22", f"--net-softnet-allow=@host,{WORLD}/32"]
NOTHING = (([], "", []), [], [])
FIRST_UID = 61000


@pytest.fixture(scope="module", params=["root", "caps", "none"])
def person(request, image_home, tmp_path_factory):
    """Who calls linzer; its home holds the guest image as the VM "debian"."""
    with host(tmp_path_factory.mktemp("lab")) as there:
        uid = there.add_caller("mia", request.param, FIRST_UID)
        person = Person(there, "mia", uid)
        person.form, person.resolver = request.param, Resolver(there.lab)
        subprocess.run(["cp", "-a", "--sparse=always", image_home / "vms/debian", person.home / "vms"], check=True)
        person.own()
        try:
            yield person
        finally:
            for name in person("list", "--quiet").stdout.split():
                person("stop", name, "--timeout", 1)
            person.end()


def options(person):
    """Of the VM's runs, with a folder."""
    folder = person.root / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("the user's\n")
    person.own()
    return [f"--dir={folder}", *(EXPOSED if person.form == "none" else [])]


@pytest.fixture(scope="module")
def web(person):
    """A running VM. No test leaves it otherwise."""
    person("clone", "debian", "web", check=True)
    done = person("run", "--detach", "--wait-ready", *options(person), "web", check=True,
                  timeout=BOOT)
    assert (done.stdout, done.stderr) == ("", "")
    yield "web"
    person("stop", "web", "--timeout", 1)
    person("delete", "web")


def state(person, name):
    return json.loads(person("get", "--format", "json", name, check=True).stdout)["State"]


def refused(done, code, text):
    assert (done.returncode, done.stdout, done.stderr) == (code, "", text)


def ssh(person, *command):
    """Until sshd is there; as a user of the form would call it."""
    address, port = person("ip", "--wait", BOOT, "web", check=True, timeout=BOOT + 60).stdout.strip(), 22
    if person.form == "none":
        address, port = "127.0.0.1", PORT
    end = time.monotonic() + BOOT
    with person.host.lab.inside("host"):
        while True:
            done = ssh_once(address, "-p", str(port), *command)
            if done.returncode != 255 or time.monotonic() > end:
                return done
            time.sleep(0.5)


def test_vms_that_do_not_run(person, tmp_path):
    """create, clone, set, get, list, rename, export, import, delete."""
    person("create", "--linux", "--disk-size", 1, "one", check=True)
    person("set", "one", "--cpu", 2, "--memory", 512, check=True)
    got = json.loads(person("get", "one", "--format", "json", check=True).stdout)
    assert (got["CPU"], got["Memory"], got["State"]) == (2, 512, "stopped")
    person("clone", "one", "two", check=True)
    person("rename", "two", "three", check=True)
    person("export", "three", person.root / "three.tvm", check=True)
    person("import", person.root / "three.tvm", "four", check=True)
    assert person("list", "--quiet", check=True).stdout.split() == ["debian", "four", "one", "three"]
    assert {p.stat().st_uid for p in person.home.rglob("*")} == {person.uid}
    person("delete", "one", "three", "four", check=True)
    assert person("list", "--quiet", check=True).stdout.split() == ["debian"]


def test_ssh_and_every_way_to_the_address(person, web):
    """Of the subnet that root chose. By ARP the host knows a guest that it has heard; no host hears the guest of a user
    without privilege but that in the user's namespace: there the lease is told."""
    done = ssh(person, "id -un; uname -s")
    assert (done.returncode, done.stdout) == (0, "admin\nLinux\n"), done
    address = person("ip", web, check=True).stdout
    assert address.startswith("10.77.")
    for resolver in ("dhcp", "arp", "agent"):
        assert person("ip", "--resolver", resolver, web, check=True).stdout == address, resolver
    assert address.strip() in person("exec", web, "ip", "-4", "addr", check=True).stdout


def test_exec(person, web):
    out = person("exec", web, "sh", "-c", "id -un; pwd; echo $HOME $SHELL", check=True).stdout
    assert out == "admin\n/home/admin\n/home/admin /bin/bash\n"
    done = person("exec", web, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
    assert person("exec", "-i", web, "wc", "-c", input="x" * 100000, check=True).stdout.strip() == "100000"
    assert person("exec", "-t", web, "tty", check=True).stdout.startswith("/dev/pts/")


def test_who_can_dial_the_guest_is_said(person, web):
    shown = json.loads(person("net", "show", web, "--format", "json", check=True).stdout)
    assert shown["Isolated"] is (person.form == "none")


def test_the_world_and_its_names(person, web):
    """By NAT, and by a resolver that listens on the host's loopback only."""
    server = WebServer(person.host.lab)
    try:
        fetched = person("exec", web, "curl", "-sS", "-m", "20", f"http://{WORLD}:8080/", check=True).stdout
        assert fetched == "the world\n"
    finally:
        server.end()
    eventually(lambda: person("exec", web, "getent", "ahostsv4", "life.linzer.test").stdout.startswith(NAME_ADDRESS))


def test_an_open_connection_outlives_a_suspend(person, web):
    """Of a user without privilege it is pasta's, which has stayed, but gives up what is sent and not taken for some
    seconds (man linzer, suspend). A folder is there again, too."""
    server = person.host.lab.socket("world", bind=(WORLD, 0), listen=True, timeout=BOOT)
    person("ip", "--wait", BOOT, web, check=True, timeout=BOOT + 60)
    person("exec", web, "sh", "-c", HEAR, "sh", WORLD, server.getsockname()[1], check=True)
    talk = Talk(server.accept()[0])
    assert talk.goes_on("before")
    person("suspend", web, check=True)
    eventually(lambda: state(person, web) == "suspended")
    if person.form != "none":
        talk.says("meanwhile")
    person("run", "--detach", "--wait-ready", *options(person), web, check=True, timeout=BOOT)
    assert person("exec", web, "cat", "/mnt/shared/file", check=True).stdout == "the user's\n"
    if person.form != "none":
        assert talk.lines.readline() == "heard meanwhile\n"
    assert talk.goes_on("after")


def test_the_host_from_the_guest(person, web):
    """A service of the host's, by the gateway's address; with no privilege that cannot be, whatever is allowed, as it
    would come from pasta and pass every rule."""
    with person.host.lab.inside("host"):
        server = subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "8099", "--bind", "0.0.0.0"],
                                  cwd=person.host.place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    retry = ["--retry", "20", "--retry-connrefused"] if person.form != "none" else []
    try:
        eventually(lambda: "8099" in person.host.run("ss", "-ltn"), 30)
        done = person("exec", web, "curl", "-sS", "-m", "5", *retry, "-o", "/dev/null", "-w", "%{http_code}",
                      "http://10.77.0.1:8099/")
        assert done.stdout == ("200" if person.form != "none" else "000"), done
    finally:
        server.kill()
        server.wait()


def test_list_get_and_logs(person, web):
    rows = {row["Name"]: row for row in json.loads(person("list", "--format", "json", check=True).stdout)}
    assert (rows[web]["State"], rows["debian"]["State"]) == ("running", "stopped")
    assert state(person, web) == "running"
    assert "Linux" in person("logs", web, check=True).stdout


def test_what_a_running_vm_refuses(person, web):
    refused(person("run", web), 2, f'VM "{web}" is already running!\n')
    refused(person("delete", web), 1, f'VM "{web}" is running\n')
    refused(person("clone", "debian", web), 1, f'VM "{web}" is running\n')
    person("set", web, "--display", "800x600", check=True)
    assert json.loads(person("get", "--format", "json", web).stdout)["Display"] == "800x600"


def test_qemu_is_confined(person, web):
    qemu = runtime(person, web)["qemuPid"]
    status = status_of(qemu)
    uids = set(map(int, status["Uid"].split()))
    assert uids == {person.uid} if person.uid else min(uids) >= 0x70000000
    assert not any(capabilities(qemu).values())
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"


def test_who_has_which_capabilities(person, web):
    """On the host: the keeper of root and of the group's member CAP_NET_ADMIN; in a namespace of the user's own nobody
    has any on the host."""
    run = runtime(person, web)["pid"]
    assert person.form == "root" or not any(capabilities(run).values())
    keepers = person.processes("linzer-net")
    ours = os.stat("/proc/self/ns/user")
    on_host = [pid for pid in keepers if os.path.samestat(os.stat(f"/proc/{pid}/ns/user"), ours)]
    assert keepers and on_host == (keepers if person.form != "none" else [])
    effective = {capabilities(pid)["CapEff"] for pid in keepers}
    assert person.form != "caps" or effective == {CAP_NET_ADMIN}
    assert all(caps & CAP_NET_ADMIN for caps in effective)
    talkers = person.processes("linzer-talker")
    assert talkers and not any(any(capabilities(pid).values()) for pid in talkers)


def test_clone_of_a_running_vm_runs_beside_it(person, web):
    """Another MAC, another address; the first one goes on when it ends."""
    person("exec", web, "sh", "-c", "echo before > marker; sync", check=True)
    person("clone", web, "fork", check=True)
    try:
        person("run", "--detach", "fork", check=True)
        one, two = runtime(person, web), runtime(person, "fork")
        assert one["mac"] != two["mac"] and one["address"] != two["address"]
        person("stop", "fork", "--timeout", 1, check=True)
        assert state(person, "fork") == "stopped"
        assert person("exec", web, "cat", "marker", check=True).stdout == "before\n"
    finally:
        person("stop", "fork", "--timeout", 1)
        person("delete", "fork")


class TestEnds:
    """The last ones: after them nothing runs."""

    def test_stop_asks_the_guest_and_leaves_nothing(self, person, web):
        refused(person("stop", web, "--timeout", 60), 0, "")
        assert state(person, web) == "stopped"
        assert "guest has stopped the virtual machine" in (person.vm(web) / "run.log").read_text()
        eventually(lambda: person.left() == NOTHING, 60, lambda: str(person.left()))

    def test_sigkill_leaves_nothing_and_it_runs_again(self, person, web):
        for _ in range(2):
            person("run", "--detach", web, check=True)
            now = runtime(person, web)
            os.kill(now["pid"], signal.SIGKILL)
            eventually(lambda: not alive(now["qemuPid"]), 60)
            eventually(lambda: person.left()[:2] == NOTHING[:2], 60, lambda: str(person.left()))
            assert state(person, web) == "stopped"
        person("run", "--detach", web, check=True)
        person("stop", web, "--timeout", 1, check=True)
        eventually(lambda: person.left() == NOTHING, 60, lambda: str(person.left()))

    def test_delete(self, person, web):
        person("delete", web, check=True)
        assert person("list", "--quiet", check=True).stdout.split() == ["debian"]
        assert not person.vm(web).exists()
