# SPDX-License-Identifier: Apache-2.0
"""Suspend and resume, on real QEMU with a real guest: one VM goes through all tests, in their order.

Its directory is a file system of its own, which can be made full. A test leaves it running or suspended; the next one
takes it as it is.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

import netlab
import scratch
from test_leaks import processes
from test_life import BOOT, alive, eventually, interfaces, nft_tables, runtime
from test_net_control import Control

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, and has the host's address")
ROOMY = "3g"
COUNT = """setsid sh -c 'exec 4>/home/admin/open; rm /home/admin/open
while :; do n=$((n+1)); echo $n >/dev/shm/count; echo $n >&4; sleep 0.2; done' </dev/null >/dev/null 2>&1 &"""
HEAR = """setsid bash -c 'exec 5<>/dev/tcp/$1/$2
while read -r line <&5; do echo "$line" >>/dev/shm/heard; echo "heard $line" >&5; done' bash "$@" </dev/null >/dev/null 2>&1 &"""
WHOLE_SECONDS = """#!/bin/sh
case "$*" in *@*.*) echo "date: invalid date" >&2; exit 1 ;; esac
exec /bin/date "$@"
"""
FAR, NEAR = "203.0.113.2", "203.0.113.1"  # the world, and this host's address in it
QUIET = 5  # seconds in which what is closed does not open
OPEN_FILE = "tail -n 1 /proc/$(pgrep -of 'exec 4>')/fd/4"


class Sleeper:
    """A VM, its folder, and somebody on the host to whom its guest has a TCP connection."""

    name = "sleeper"

    def __init__(self, linzer, folder, world):
        self.linzer, self.folder, self.dir, self.world = linzer, folder, linzer.vm(self.name), world
        self.data = folder.parent / "data.img"
        self.state = self.dir / "state"

    def options(self):
        return ["--no-graphics", f"--dir={self.folder}", f"--disk={self.data}:ro"]

    def run(self, *options, name=name, check=True, **how):
        return self.linzer("run", "--wait-ready", *self.options(), *options, name, check=check, timeout=BOOT, **how)

    def sh(self, script, *words, name=name):
        return self.linzer("exec", name, "sh", "-c", script, "sh", *words, check=True).stdout

    def count(self, name=name):
        return int(self.sh("cat /dev/shm/count || true", name=name) or 0)  # its first moment: none

    def shown(self, name=name):
        return json.loads(self.linzer("get", name, "--format", "json", check=True).stdout)["State"]

    def running(self):
        if self.shown() != "running":
            self.run()

    def suspended(self, name=name):
        if self.shown(name) == "suspended":
            return
        pids, log = (runtime(self.linzer, name)["pid"], runtime(self.linzer, name)["qemuPid"]), self.log(name)
        self.linzer("suspend", name, check=True)
        eventually(lambda: not any(alive(pid) for pid in pids) or self.failed(log, name), explain=lambda: self.log(name))
        assert self.shown(name) == "suspended", self.log(name)

    def log(self, name=name):
        return (self.linzer.vm(name) / "run.log").read_text()

    def failed(self, before, name=name):
        """Has a suspend failed since the log was that?"""
        return self.log(name) != before and self.log(name).splitlines()[-1].startswith("Failed")

    def is_not_suspended(self):
        before = self.log()
        self.linzer("suspend", self.name, check=True)
        eventually(lambda: self.failed(before), explain=self.log)

    def goes_on(self, name=name):
        before = self.count(name)
        eventually(lambda: self.count(name) > before)

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.dir], check=True)


class Talk:
    """A connection whose guest's end says back what it hears."""

    def __init__(self, connection):
        self.connection = connection
        connection.settimeout(BOOT)
        self.lines = connection.makefile("r")

    def says(self, text):
        self.connection.sendall(f"{text}\n".encode())

    def goes_on(self, text):
        self.says(text)
        return self.lines.readline() == f"heard {text}\n"


class World:
    """A network namespace beyond this host, of whose addresses only NEAR's is known there: what comes from a guest has that."""

    def __init__(self):
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        assert netlab.libc.unshare(netlab.CLONE_NEWNET) == 0
        self.namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        netlab.setns(own)
        os.close(own)
        netlab.sh("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", f"/proc/{os.getpid()}/fd/{self.namespace}")
        self.up("near", NEAR)
        with self:
            self.up("far", FAR)

    def up(self, interface, address):
        netlab.sh("ip", "address", "add", f"{address}/24", "dev", interface)
        netlab.sh("ip", "link", "set", interface, "up")

    def __enter__(self):
        self.own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        netlab.setns(self.namespace)

    def __exit__(self, *_):
        netlab.setns(self.own)
        os.close(self.own)

    def end(self):
        netlab.sh("ip", "link", "del", "near", check=False)
        os.close(self.namespace)

    def talk(self, sleeper, name=None):
        """The guest opens a connection to somebody there."""
        with self:
            server = socket.create_server((FAR, 0))
        with server:
            server.settimeout(BOOT)
            sleeper.sh(HEAR, FAR, str(server.getsockname()[1]), name=name or sleeper.name)
            connection, (source, _) = server.accept()
        assert source == NEAR
        return Talk(connection)


def flows(address):
    """The host's connections that are the guest's."""
    lines = pathlib.Path("/proc/net/nf_conntrack").read_text().splitlines()
    return [line for line in lines if f"={address} " in line and " tcp " in line]


class Ssh:
    """A connection to the guest's sshd, which starts after the agent and says something each time we do."""

    def __init__(self, address):
        eventually(lambda: self.is_through(address))
        assert self.connection.recv(100).startswith(b"SSH-2.0-")

    def is_through(self, address):
        with contextlib.suppress(ConnectionRefusedError):
            self.connection = socket.create_connection((address, 22), timeout=BOOT)
            return True
        return False

    def goes_on(self):
        self.connection.sendall(b"SSH-2.0-test\r\n")
        return b"curve25519" in self.connection.recv(4096)


@pytest.fixture(scope="module")
def world():
    there = World()
    try:
        yield there
    finally:
        there.end()


@pytest.fixture(scope="module")
def sleeper(guests, world):
    with scratch.directory() as place:
        place.chmod(0o755)
        folder = place / "folder"
        folder.mkdir()
        os.chown(folder, 61900, 61900)
        (folder / "file").write_text("of the host\n")
        (place / "data.img").write_bytes(b"data" + bytes((1 << 20) - 4))
        guests("clone", "debian", Sleeper.name, check=True)
        vm = Sleeper(guests, folder, world)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY},mode=700", "tmpfs", place], check=True)
        for file in vm.dir.iterdir():
            subprocess.run(["cp", "-a", "--sparse=always", file, place], check=True)
        subprocess.run(["mount", "--move", place, vm.dir], check=True)
        try:
            folder.parent.chmod(0o755)
            vm.run()
            vm.sh(COUNT)
            vm.goes_on()
            yield vm
        finally:
            guests("stop", vm.name, "--timeout", 1)
            subprocess.run(["umount", "-l", vm.dir], check=True)
            guests("delete", vm.name)


def reaches_the_host(sleeper, address):
    """By a connection from the guest's address."""
    with socket.create_server(("", 0)) as server:
        server.settimeout(BOOT)
        sleeper.sh('bash -c "echo hello >/dev/tcp/$1/$2" bash "$@"', address.rsplit(".", 1)[0] + ".1", str(server.getsockname()[1]))
        connection, (source, _) = server.accept()
        with connection:
            return source == address and connection.recv(100) == b"hello\n"


def test_everything_in_a_guest_goes_on(sleeper):
    """Processes, an open file without a name, address and network, open connections, the folder; `run` and QEMU are killed the moment there is a state."""
    boot = sleeper.sh("cat /proc/sys/kernel/random/boot_id; cat /mnt/shared/file")
    address = sleeper.linzer("ip", "--wait", 60, sleeper.name, check=True).stdout.strip()
    written = int(sleeper.sh(OPEN_FILE))
    talk, ssh = sleeper.world.talk(sleeper), Ssh(address)
    assert talk.goes_on("before")
    pids = runtime(sleeper.linzer, sleeper.name)
    sleeper.linzer("suspend", sleeper.name, check=True)
    eventually(sleeper.state.exists, explain=sleeper.log)
    for pid in (pids["pid"], pids["qemuPid"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pids["pid"]) and not alive(pids["qemuPid"]))
    assert sleeper.shown() == "suspended"
    assert {path.name: path.stat().st_mode & 0o7777 for path in sleeper.state.iterdir()} == \
        {"device": 0o600, "memory": 0o600, "network": 0o600, "state.json": 0o600}
    talk.says("meanwhile")
    time.sleep(3)  # the clock is to be wrong by something
    sleeper.run()
    assert not list(sleeper.dir.glob("state*")) and sleeper.shown() == "running"
    assert sleeper.linzer("ip", sleeper.name).stdout.strip() == address and reaches_the_host(sleeper, address)
    assert talk.lines.readline() == "heard meanwhile\n" and talk.goes_on("after") and ssh.goes_on()
    sleeper.goes_on()
    assert int(sleeper.sh(OPEN_FILE)) > written
    eventually(lambda: sleeper.sh("mountpoint -q /mnt/shared && cat /mnt/shared/file || true") == "of the host\n")
    assert sleeper.sh("cat /proc/sys/kernel/random/boot_id; cat /mnt/shared/file") == boot


def late(sleeper):
    """At least how many seconds the guest's clock is late; the way there does not count."""
    before = time.time()
    there = float(sleeper.sh("date +%s.%N"))
    return max(before - there, there - time.time())


def test_the_clock_is_set(sleeper):
    sleeper.suspended()
    time.sleep(5)
    sleeper.run()
    assert late(sleeper) < 1


def test_the_clock_is_set_by_a_date_of_whole_seconds(sleeper):
    """That of busybox, which refuses any other."""
    sleeper.running()
    sleeper.sh(f"sudo tee /usr/local/sbin/date >/dev/null <<'END'\n{WHOLE_SECONDS}END\nsudo chmod 755 /usr/local/sbin/date")
    try:
        sleeper.suspended()
        time.sleep(5)
        sleeper.run()
        assert late(sleeper) < 2 and "clock" not in sleeper.log()
    finally:
        sleeper.sh("sudo rm /usr/local/sbin/date")


def test_a_policy_cuts_what_was_open(sleeper):
    """What has come meanwhile is not heard, either."""
    sleeper.running()
    address = sleeper.linzer("ip", sleeper.name, check=True).stdout.strip()
    cut, ssh = sleeper.world.talk(sleeper), Ssh(address)
    assert cut.goes_on("allowed")
    sleeper.suspended()
    assert any(f"={FAR} " in line for line in flows(address))
    cut.says("forbidden")
    rules = sleeper.dir / "net.rules"
    rules.write_text(f"block out to {FAR}\n")
    try:
        sleeper.run()
    finally:
        rules.unlink()
    assert not any(f"={FAR} " in line for line in flows(address))
    assert ssh.goes_on()
    sleeper.goes_on()
    assert sleeper.sh("tail -n 1 /dev/shm/heard") == "allowed\n"
    sleeper.suspended()
    sleeper.run()  # without these rules


def resumed_with_control(sleeper, *options):
    """Under Softnet's rules, with a control channel of which this run alone has the other end."""
    sleeper.suspended()
    ours, theirs = socket.socketpair()
    with theirs:
        sleeper.run("--net-softnet-control-fd", theirs.fileno(), *options, pass_fds=[theirs.fileno()])
    return Control(ours)


def opens(sleeper, seconds=BOOT):
    """Does a new connection of the guest's come to the world?"""
    with sleeper.world:
        server = socket.create_server((FAR, 0))
    with server:
        server.settimeout(BOOT)
        status = sleeper.sh('timeout "$3" bash -c "exec 3<>/dev/tcp/$1/$2" bash "$@" || echo $?', FAR, str(server.getsockname()[1]), str(seconds))
        if status == "":
            server.accept()[0].close()
    assert status in ("", "124\n"), status
    return status == ""


def test_each_run_has_a_control_channel_of_its_own(sleeper):
    """The one after a resume changes the policy of the guest that goes on, and knows nothing of the one before."""
    first = resumed_with_control(sleeper)
    assert not opens(sleeper, QUIET)
    assert first.set([FAR], [], desiredRevision=7)["result"]["allow"] == [FAR] and opens(sleeper)
    second = resumed_with_control(sleeper, "--net-softnet-block", "10.1.0.0/16")
    assert first.lines.read() == b""
    assert second.get() == {"allow": [], "block": ["10.1.0.0/16"], "desiredRevision": None, "ruleCount": 1, "bridgeIsolation": True}
    assert not opens(sleeper, QUIET)
    assert second.set([FAR], [], desiredRevision=3)["result"]["desiredRevision"] == 3 and opens(sleeper)
    assert "error" not in second.set([], []) and not opens(sleeper, QUIET)
    sleeper.goes_on()
    sleeper.suspended()  # the next run has the network of all others


def test_a_state_that_does_not_fit_is_kept(sleeper):
    """Other devices; files cut short, damaged or missing; one after the other, and then it goes on, and so does what is open."""
    sleeper.running()
    talk = sleeper.world.talk(sleeper)
    sleeper.suspended()
    good = {path: path.read_bytes() for path in (sleeper.state / "device", sleeper.state / "state.json")}
    size = (sleeper.state / "memory").stat().st_size

    def refused(why, *options):
        done = sleeper.run(*options, check=False)
        assert done.returncode == 1 and why in done.stderr and "its state is kept" in done.stderr, done
        assert len(done.stderr.strip().splitlines()) == 1, done
        eventually(lambda: sleeper.shown() == "suspended")  # it has yet to end

    def spoilt(path, content, why):
        path.write_bytes(content)
        refused(why)
        path.write_bytes(good[path])

    refused("network cards", "--net-none")
    refused("disks", f"--disk={sleeper.linzer.vm('debian')}/disk.img:ro")
    refused("folders", f"--dir={sleeper.folder}:tag=another")
    for path, content in good.items():
        spoilt(path, content[:-1000], "device" if path.name == "device" else "state.json")
    device, text = good
    spoilt(device, bytes(len(good[device])), "damaged")
    spoilt(text, b"{}", "state.json")
    spoilt(text, good[text].replace(b"pc-q35", b"pc-i440fx"), "no machine type")
    spoilt(text, good[text].replace(b"tcg, ", b"tcg, other "), "it was suspended on")
    with open(sleeper.state / "memory", "r+b") as memory:
        memory.seek(size - 4096)
        last = memory.read()
        memory.truncate(size - 4096)
        refused("'memory' is not whole")
        memory.seek(size - 4096)
        memory.write(last)
    assert "its state would not fit" in sleeper.linzer("set", "--disk-size", 30, sleeper.name).stderr
    for disk, why in ((sleeper.dir / "disk.img", "disk's content"), (sleeper.data, "what --disk names")):
        seen = disk.stat()
        os.utime(disk)
        refused(why)
        os.utime(disk, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    sleeper.run()
    sleeper.goes_on()
    assert talk.goes_on("at last")


def test_what_is_set_meanwhile_waits_for_a_real_start(sleeper):
    sleeper.suspended()
    sleeper.linzer("set", "--cpu", 1, sleeper.name, check=True)
    sleeper.run()
    assert sleeper.sh("nproc") != "1\n"
    sleeper.goes_on()


def test_the_signal_and_the_lines(sleeper):
    sleeper.suspended()
    child = sleeper.linzer.start("run", *sleeper.options(), sleeper.name, stdout=subprocess.PIPE, text=True)
    eventually(lambda: (sleeper.dir / "run.json").exists())
    eventually(lambda: runtime(sleeper.linzer, sleeper.name)["agentReady"])
    child.send_signal(signal.SIGUSR1)
    out, _ = child.communicate(timeout=BOOT)
    assert child.returncode == 0 and out.splitlines() == [
        "restoring VM state from a snapshot...", "resuming VM...", "pausing VM to take a snapshot...",
        "creating a snapshot...", "snapshot created successfully! shutting down the VM..."]
    done = sleeper.linzer("suspend", sleeper.name)
    assert done.returncode == 2 and 'VM "sleeper" is not running' in done.stderr


def test_a_clone_goes_on_by_itself(sleeper):
    """It has another address than what is open for its source, who goes on with that."""
    sleeper.running()
    linzer = sleeper.linzer
    address, talk = linzer("ip", sleeper.name, check=True).stdout.strip(), sleeper.world.talk(sleeper)
    sleeper.suspended()
    linzer("clone", sleeper.name, "twin", check=True)
    try:
        assert sleeper.shown("twin") == sleeper.shown() == "suspended"
        sleeper.run(name="twin")
        sleeper.goes_on("twin")
        assert str(runtime(linzer, "twin")["address"]) != address and flows(address)
        done = sleeper.run(check=False)
        assert done.returncode == 1 and "MAC address of a VM that runs" in done.stderr, done
        eventually(lambda: sleeper.shown() == "suspended")
    finally:
        linzer("stop", "twin", "--timeout", 1)
        linzer("delete", "twin", check=True)
    sleeper.run()
    sleeper.goes_on()
    assert talk.goes_on("without a twin")


def test_a_full_disk_lets_the_guest_go_on(sleeper):
    sleeper.running()
    used = shutil.disk_usage(sleeper.dir).used
    sleeper.resize(used + (30 << 20))
    try:
        sleeper.is_not_suspended()
    finally:
        sleeper.resize(ROOMY)
    assert "No space left on device" in sleeper.log().splitlines()[-1] and not list(sleeper.dir.glob("state*"))
    sleeper.goes_on()
    eventually(lambda: sleeper.sh("mountpoint -q /mnt/shared && cat /mnt/shared/file || true") == "of the host\n")


def test_a_state_that_cannot_be_begun_lets_the_guest_go_on(sleeper):
    """After the guest has let go of its folder: something is mounted where the state is to be made."""
    sleeper.running()
    sleeper.sh("mountpoint -q /mnt/shared")
    place = sleeper.dir / "state.new"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        sleeper.is_not_suspended()
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()
    assert "state.new" in sleeper.log().splitlines()[-1]
    sleeper.goes_on()
    eventually(lambda: sleeper.sh("mountpoint -q /mnt/shared && cat /mnt/shared/file || true") == "of the host\n")


@pytest.mark.parametrize("cycles", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_again_and_again(sleeper, cycles):
    """And no state becomes larger by that."""
    sleeper.running()
    sizes = []
    for _ in range(cycles):
        before = sleeper.count()
        sleeper.suspended()
        sizes.append((sleeper.state / "device").stat().st_size)
        sleeper.run()
        assert sleeper.count() >= before
    sleeper.goes_on()
    assert max(sizes) < 2 * min(sizes) + (1 << 20)


def kill_while_saving(sleeper, when):
    sleeper.running()
    pids = runtime(sleeper.linzer, sleeper.name)
    sleeper.linzer("suspend", sleeper.name, check=True)
    when()
    os.kill(pids["pid"], signal.SIGKILL)
    eventually(lambda: not alive(pids["pid"]) and not alive(pids["qemuPid"]))


@pytest.mark.soak
def test_killed_at_any_moment_of_saving(sleeper):
    """It is suspended and goes on, or it is as after a power cut."""
    for _ in range(20):
        kill_while_saving(sleeper, lambda: time.sleep(random.random() * 2))
        suspended = sleeper.shown() == "suspended"
        sleeper.run()
        assert not list(sleeper.dir.glob("state*"))
        if suspended:
            sleeper.goes_on()
        else:
            sleeper.sh(COUNT)


def network_left(address):
    return [n for n in interfaces() if n.startswith("lz")], nft_tables(), flows(address), processes("linzer-net", "linzer-suspend")


def test_stop_forgets_the_state(sleeper):
    """And what was open."""
    sleeper.running()
    address = sleeper.linzer("ip", sleeper.name, check=True).stdout.strip()
    sleeper.world.talk(sleeper)
    sleeper.suspended()
    assert all(network_left(address))
    sleeper.linzer("stop", sleeper.name, check=True)
    assert sleeper.shown() == "stopped" and not list(sleeper.dir.glob("state*"))
    eventually(lambda: not any(network_left(address)), explain=lambda: network_left(address))


def test_killed_while_it_saved(sleeper):
    """What was begun is no state, and the next start is that after a power cut."""
    memory = sleeper.dir / "state.new/memory"
    sleeper.running()
    boot = sleeper.sh("cat /proc/sys/kernel/random/boot_id")

    def is_being_written():
        end = time.monotonic() + BOOT
        while time.monotonic() < end and not sleeper.state.exists():
            with contextlib.suppress(FileNotFoundError):
                if memory.stat().st_blocks:
                    return

    for _ in range(10):  # it may be quicker than we are
        kill_while_saving(sleeper, is_being_written)
        if sleeper.shown() == "stopped":
            break
    assert sleeper.shown() == "stopped" and memory.exists()
    sleeper.run()
    assert not memory.exists() and sleeper.sh("cat /proc/sys/kernel/random/boot_id") != boot
