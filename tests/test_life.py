# SPDX-License-Identifier: Apache-2.0
"""A Debian VM's whole life, on real QEMU with a real guest.

As root, and by scripts/as-user as an ordinary user with capabilities or with none. Without, SSH goes by an exposed
port, and no service of the host's can be reached from a guest.

A second guest and a fork of the first run in the foreground, and end as guests end. Where it does not matter what the
guest is, it is the mini guest, which boots to its agent in a fraction of the time.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import mini_guest
from conftest import FORM

BOOT = 600  # seconds; a boot takes 15-25 s on an idle machine, under TCG, and minutes on a very busy one
PORTS = itertools.count(22001)  # of the host, for SSH


def eventually(what, seconds=BOOT, explain=lambda: "timed out"):
    """Poll `what` until it is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


def status_of(pid):
    return dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())


def runtime(linzer, name):
    return json.loads((linzer.vm(name) / "run.json").read_text())


def alive(pid):
    try:
        return status_of(pid)["State"].split()[0] != "Z"
    except FileNotFoundError:
        return False


def interfaces():
    return {entry["ifname"] for entry in json.loads(subprocess.check_output(["ip", "-j", "link"]))}


def nft_tables():
    return subprocess.check_output(["nft", "list", "tables"], text=True)


def named_in_filter(state):
    rules = subprocess.check_output(["nft", "list", "ruleset"], text=True)
    return state["interface"] in rules or f'{state["address"]} ' in rules or f'{state["address"]}\n' in rules


def ssh(address, *command, **options):
    """By password, as a user would; waits for sshd, which a guest starts after its agent."""
    end = time.monotonic() + BOOT
    while True:
        done = ssh_once(address, *command, **options)
        early = "refused" in done.stderr or FORM == "none"  # an exposed port takes connections from the start
        if done.returncode != 255 or not early or time.monotonic() > end:
            return done
        time.sleep(1)


def ssh_once(address, *command, **options):
    return subprocess.run(
        ["sshpass", "-p", "admin", "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-F", "none", "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", "-o", "ConnectTimeout=20",
         f"admin@{address}", *command], capture_output=True, text=True, timeout=120, **options)


def ssh_to(linzer, name, *command):
    """Into the guest of a VM that start() has started, by its address, where the host can dial it."""
    address = linzer("ip", "--wait", 60, name, check=True).stdout.strip()
    if FORM != "none":
        return ssh(address, *command)
    return ssh("127.0.0.1", "-p", str(runtime(linzer, name)["exposed"][0]["host"]), *command)


def start(linzer, name, *options):
    """Clone the image and run it until its agent answers."""
    linzer("clone", "debian", name, check=True)
    if FORM == "none":
        options = [f"--net-softnet-expose={next(PORTS)}:22", *options]
    linzer("run", "--wait-ready", *options, name, check=True, timeout=BOOT)


def end(linzer, name):
    linzer("stop", name, "--timeout", 1)
    linzer("delete", name, check=True)


def agent_is_ready(linzer, name):
    try:
        return runtime(linzer, name)["agentReady"]
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def in_foreground(linzer, name):
    """`run`, its output two pipes, from when the agent is there. Then the VM is deleted, whatever it does."""
    options = [f"--net-softnet-expose={next(PORTS)}:22"] if FORM == "none" else []
    child = linzer.start("run", "--no-graphics", *options, name, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    try:
        eventually(lambda: child.poll() is not None or agent_is_ready(linzer, name))
        assert child.poll() is None, child.communicate()
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        eventually(lambda: linzer("delete", name).returncode == 0, 60)


@pytest.fixture(scope="module")
def web(guests):
    """A running VM that tests share and leave as it is."""
    start(guests, "web")
    yield "web"
    end(guests, "web")


class TestRunning:
    def test_address_is_in_the_subnet(self, guests, web):
        address = guests("ip", "--wait", 60, web, check=True).stdout
        assert re.fullmatch(r"192\.168\.64\.\d+\n", address)

    @pytest.mark.parametrize("resolver", ["dhcp", "arp", "agent"])
    def test_every_resolver_gives_the_same_address(self, guests, web, resolver):
        ssh_to(guests, web, "true")
        assert guests("ip", "--resolver", resolver, web, check=True).stdout == guests("ip", web).stdout

    def test_exec_runs_as_admin_with_login_environment(self, guests, web):
        out = guests("exec", web, "sh", "-c", "id -un; pwd; echo $HOME $SHELL $LOGNAME", check=True).stdout
        assert out == "admin\n/home/admin\n/home/admin /bin/bash admin\n"

    def test_exec_passes_the_exit_code(self, guests, web):
        assert guests("exec", web, "sh", "-c", "exit 42").returncode == 42

    def test_exec_keeps_stdout_and_stderr_apart(self, guests, web):
        done = guests("exec", web, "sh", "-c", "echo out; echo err >&2", check=True)
        assert (done.stdout, done.stderr) == ("out\n", "err\n")

    def test_exec_interactive_gets_stdin(self, guests, web):
        data = "x" * 100000
        assert guests("exec", "-i", web, "wc", "-c", input=data, check=True).stdout.strip() == "100000"

    def test_exec_with_tty(self, guests, web):
        done = guests("exec", "-t", web, "sh", "-c", "tty; stty size", check=True)
        assert done.stdout.startswith("/dev/pts/") and "24 80" in done.stdout

    def test_no_virtualization_unless_asked_for(self, guests, web):
        assert guests("exec", web, "grep", "-cwE", "svm|vmx", "/proc/cpuinfo").stdout == "0\n"

    def test_ssh(self, guests, web):
        done = ssh_to(guests, web, "uname", "-a")
        assert done.returncode == 0 and done.stdout.startswith("Linux "), done

    def test_gateway_reaches_the_host(self, guests, web):
        retry = ["--retry", "10", "--retry-connrefused"] if FORM != "none" else []
        server = subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "8099", "--bind", "0.0.0.0"],
                                  cwd=guests.names, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = guests("exec", web, "curl", "-sS", "-m", "5", *retry, "-o", "/dev/null",
                          "-w", "%{http_code}", "http://192.168.64.1:8099/")
            assert done.stdout == ("200" if FORM != "none" else "000"), done
        finally:
            server.kill()
            server.wait()

    def test_list_and_get_say_running(self, guests, web):
        rows = {row["Name"]: row for row in json.loads(guests("list", "--format", "json", check=True).stdout)}
        assert rows[web]["Running"] is True and rows[web]["State"] == "running"
        assert rows["debian"]["State"] == "stopped"
        got = json.loads(guests("get", "--format", "json", web, check=True).stdout)
        assert got["State"] == "running" and got["OS"] == "linux" and got["DiskFormat"] == "raw"

    def test_second_run_is_refused(self, guests, web):
        done = guests("run", web)
        assert (done.returncode, done.stderr) == (2, f'VM "{web}" is already running!\n')

    def test_delete_of_a_running_vm_is_refused(self, guests, web):
        done = guests("delete", web)
        assert (done.returncode, done.stderr) == (1, f'VM "{web}" is running\n')

    def test_clone_over_a_running_vm_is_refused(self, guests, web):
        done = guests("clone", "debian", web)
        assert (done.returncode, done.stderr) == (1, f'VM "{web}" is running\n')

    def test_set_while_running_is_kept_for_the_next_run(self, guests, web):
        guests("set", web, "--display", "800x600", check=True)
        assert json.loads(guests("get", "--format", "json", web).stdout)["Display"] == "800x600"
        assert (guests.vm(web) / "config.next.json").exists()
        assert guests("run", web).returncode == 2  # the lock is still held

    def test_qemu_is_confined(self, guests, web):
        status = status_of(runtime(guests, web)["qemuPid"])
        uids = set(status["Uid"].split())
        assert len(uids) == 1 and (int(uids.pop()) >= 0x70000000 if FORM == "root" else uids == {str(os.geteuid())})
        assert int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"

    def test_helpers_hold_no_pipe_of_run(self, guests, web):
        qemu = runtime(guests, web)["qemuPid"]
        run = runtime(guests, web)["pid"]
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{qemu}/fd/{number}") != os.readlink(f"/proc/{run}/fd/{number}") \
                or number == 0

    def test_run_and_keeper_are_small(self, guests, web):
        run = runtime(guests, web)["pid"]
        children = pathlib.Path(f"/proc/{run}/task/{run}/children").read_text().split()
        total = int(status_of(run)["VmRSS"].split()[0])
        helpers = [p for p in pathlib.Path("/proc").glob("[0-9]*/comm")
                   if p.exists() and p.read_text().strip() == "linzer-net"]
        assert helpers, children
        total += sum(int(status_of(p.parent.name)["VmRSS"].split()[0]) for p in helpers)
        assert total <= 12 * 1024, f"{total} KiB"

    def test_logs_print_the_console(self, guests, web):
        assert "Linux" in guests("logs", web, check=True).stdout


class TestNeighbour:
    """A second guest; the last test ends it."""

    @pytest.fixture(scope="class")
    def neighbour(self, guests):
        guests("clone", "debian", "neighbour", check=True)
        with in_foreground(guests, "neighbour") as run:
            yield run

    def test_each_guest_has_its_identity(self, guests, web, neighbour):
        for name in (web, "neighbour"):  # the key is made while the agent is there already
            eventually(lambda name=name: guests("exec", name, "test", "-s", "/etc/ssh/ssh_host_ed25519_key.pub").returncode == 0)
        for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):  # made at first boot
            identity = {guests("exec", name, "cat", path, check=True).stdout for name in (web, "neighbour")}
            assert len(identity) == 2, path
        assert guests("exec", web, "sh", "-c", "ls /etc/ssh/*.pub").stdout == "/etc/ssh/ssh_host_ed25519_key.pub\n"

    def test_vms_do_not_reach_each_other(self, guests, web, neighbour):
        other = guests("ip", "--wait", 60, "neighbour", check=True).stdout.strip()
        assert ssh_to(guests, "neighbour", "true").returncode == 0  # the host does reach it
        done = guests("exec", web, "ping", "-c", "2", "-W", "2", other)
        assert done.returncode == 1 and " 0 received" in done.stdout, done
        done = guests("exec", web, "curl", "-m", "4", f"http://{other}:22/")
        assert done.returncode in (7, 28), done

    def test_stop_is_graceful(self, guests, neighbour):
        done = guests("stop", "neighbour", "--timeout", BOOT, timeout=2 * BOOT)
        out, err = neighbour.communicate(timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (neighbour.returncode, err) == (0, "")
        assert out == "Requesting guest OS to stop...\nguest has stopped the virtual machine\n"


class TestFork:
    """A clone of the running VM; the last test ends it."""

    @pytest.fixture(scope="class")
    def fork(self, guests, web):
        guests("exec", web, "sh", "-c", "echo before > marker; sync", check=True)
        guests("clone", web, "fork", check=True)
        guests("exec", web, "sh", "-c", "echo after > marker; sync", check=True)
        with in_foreground(guests, "fork") as run:
            yield run

    def test_clone_of_a_running_vm(self, guests, web, fork):
        assert guests("exec", "fork", "cat", "marker", check=True).stdout == "before\n"
        assert guests("exec", web, "cat", "marker", check=True).stdout == "after\n"
        assert runtime(guests, "fork")["mac"] != runtime(guests, web)["mac"]

    def test_guest_powers_off(self, guests, fork):
        guests("exec", "fork", "sudo", "systemctl", "poweroff", timeout=BOOT)
        out, err = fork.communicate(timeout=BOOT)
        assert (fork.returncode, out, err) == (0, "guest has stopped the virtual machine\n", "")
        assert not (guests.vm("fork") / "control.sock").exists()


class TestReboot:
    """The last one that needs the shared guest."""

    def test_guest_reboot_keeps_run_and_agent(self, guests, web):
        boot = guests("exec", web, "cat", "/proc/sys/kernel/random/boot_id", check=True).stdout
        guests("exec", web, "touch", "/tmp/before", check=True)
        guests("exec", web, "sudo", "systemctl", "reboot", timeout=BOOT)  # it may end with the guest's agent

        def rebooted():
            now = guests("exec", web, "cat", "/proc/sys/kernel/random/boot_id", timeout=2 * BOOT)
            return now.returncode == 0 and now.stdout != boot
        eventually(rebooted, 2 * BOOT)  # a call that comes too early is held until the agent is there again
        assert guests("exec", web, "test", "-e", "/tmp/before").returncode == 1
        assert guests("ip", "--wait", 60, web).returncode == 0


class TestEnds:
    """What no guest has a part in."""

    @pytest.fixture
    def run(self, guests, image_home):
        guests("create", "--from-image", mini_guest.image(image_home), "short", check=True)
        guests("set", "short", "--cpu", 1, "--memory", 512, check=True)
        with in_foreground(guests, "short") as child:
            yield child

    def test_sigint_stops_at_once(self, guests, run):
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out, err) == (0, "Stopping VM...\n", "")

    def test_sigkill_leaves_nothing(self, guests, run):
        state = runtime(guests, "short")
        run.kill()
        run.communicate(timeout=60)  # nobody else holds its pipes
        eventually(lambda: not alive(state["qemuPid"]), 60)
        eventually(lambda: state["interface"] not in interfaces(), 60)
        eventually(lambda: not named_in_filter(state), 60)  # how long it takes: bench/sigkill.py
        route = subprocess.run(["ip", "route", "show", state["address"]], capture_output=True, text=True)
        assert route.stdout == ""
        assert json.loads(guests("get", "--format", "json", "short").stdout)["State"] == "stopped"
        guests("run", "--detach", "short", check=True)
        guests("stop", "short", "--timeout", 1, check=True)

    def test_qemu_killed_is_a_failure(self, guests, run):
        os.kill(runtime(guests, "short")["qemuPid"], signal.SIGKILL)
        out, err = run.communicate(timeout=60)
        assert run.returncode == 1
        assert out.startswith("guest has stopped the virtual machine due to error: ")
        assert len(err.splitlines()) == 1


class TestDevices:
    def test_disks_serial_nested_and_growth(self, guests, tmp_path):
        """One boot shows the extra disks, the pty, virtualization, and the grown root file system."""
        guests("clone", "debian", "dev", check=True)
        guests("set", "dev", "--disk-size", 30, check=True)
        disk = tmp_path / "data.img"
        disk.write_bytes(b"linzer-disk" + bytes(1024 * 1024 - 11))
        (tmp_path / "ro.img").write_bytes(b"read-only!!" + bytes(1024 * 1024 - 11))
        child = guests.start("run", "--serial", "--nested", "--root-disk-opts", "sync=none", "--disk", disk,
                             f"--disk={tmp_path}/ro.img:ro", "dev", stdout=subprocess.PIPE, text=True)
        try:
            line = child.stdout.readline()
            assert re.fullmatch(r"Successfully open pty /dev/pts/\d+\n", line)
            pty = os.open(line.split()[-1], os.O_RDWR | os.O_NOCTTY)
            seen = b""
            end_at = time.monotonic() + BOOT
            while b"login:" not in seen:
                assert time.monotonic() < end_at, seen[-500:]
                seen += os.read(pty, 4096)
            eventually(lambda: guests("exec", "dev", "true").returncode == 0)
            assert guests("exec", "dev", "grep", "-cwE", "svm|vmx", "/proc/cpuinfo").stdout != "0\n"
            assert guests("exec", "dev", "sudo", "head", "-c", "11", "/dev/vdb").stdout == "linzer-disk"
            guests("exec", "-i", "dev", "sudo", "dd", "of=/dev/vdb", "conv=fsync,notrunc", "status=none",
                   input="written", check=True)
            assert disk.read_bytes()[:7] == b"written"
            done = guests("exec", "dev", "sudo", "dd", "if=/dev/zero", "of=/dev/vdc", "count=1")
            assert done.returncode != 0
            assert (tmp_path / "ro.img").read_bytes()[:11] == b"read-only!!"
            size = int(guests("exec", "dev", "df", "-B1", "--output=size", "/").stdout.split()[-1])
            assert size > 27e9
            os.close(pty)
            refused = guests("run", "--disk", disk, "debian")
            assert refused.returncode == 1 and "seems to be already in use" in refused.stderr
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(60)
            child.stdout.close()
            end(guests, "dev")

    def test_detach_reports_a_failed_start(self, guests):
        done = guests("run", "--detach", "--disk", "/nonexistent.img", "debian")
        assert done.returncode == 1
        assert done.stderr == "cannot open disk '/nonexistent.img': No such file or directory\n"

    def test_missing_vm(self, guests):
        done = guests("run", "nobody")
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == 'Error: the specified VM "nobody" does not exist'

    def test_arm64_firmware_starts(self, guests):
        guests("create", "--linux", "--disk-size", 1, "arm", check=True)
        path = guests.vm("arm") / "config.json"
        config = json.loads(path.read_text())
        config["arch"] = "arm64"
        config["memorySize"] = config["memorySizeMin"] = 1 << 30
        path.write_text(json.dumps(config))
        guests("run", "--detach", "arm", check=True)
        try:
            eventually(lambda: "UEFI" in guests("logs", "arm").stdout, 120)
        finally:
            end(guests, "arm")
