# SPDX-License-Identifier: Apache-2.0
"""stop, ip, logs, state and what is refused while a VM runs, against a stand-in for `run`
that holds the lock and can misbehave (tests/stand_in.py)."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import NEW_NETWORK

STAND_IN = pathlib.Path(__file__).with_name("stand_in.py")


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", "1", "vm", check=True)
    return linzer.vm("vm")


@pytest.fixture
def run(linzer, vm):
    """Start a stand-in for `linzer run vm`."""
    def start(*how):
        child = subprocess.Popen([sys.executable, STAND_IN, vm, *how], stdout=subprocess.PIPE,
                                 text=True)
        linzer.children.append(child)
        assert child.stdout.readline() == "ready\n"
        return child

    return start


def signals(vm):
    return (vm / "signals.log").read_text().split()


def state(linzer):
    return json.loads(linzer("get", "vm", "--format", "json", check=True).stdout)["State"]


def silent(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ------------------------------------------------------------------ stop

def test_stop_asks_the_guest_first(linzer, vm, run):
    child = run()
    assert state(linzer) == "running"
    silent(linzer("stop", "vm", program="tart"))
    assert child.wait(60) == 0 and signals(vm) == ["SIGUSR2"]
    assert state(linzer) == "stopped"


def test_stop_waits_until_the_lock_is_gone(linzer, vm, run):
    child = run("delay=0.7")
    silent(linzer("stop", "vm"))
    # nothing to wait for: the process let the lock go before stop returned
    assert child.wait(60) == 0


def test_stop_switches_off_a_guest_that_does_not_listen(linzer, vm, run):
    child = run("ignore=USR2")
    silent(linzer("stop", "--timeout", "8", "vm"))  # of which 2.4 s are for the second signal to be heard
    assert child.wait(60) == 0 and signals(vm) == ["SIGUSR2", "SIGINT"]


def test_stop_kills_at_the_time_out(linzer, vm, run):
    child = run("ignore=USR2,INT,TERM")
    silent(linzer("stop", "vm", "-t", "8"))
    assert child.wait(60) == -signal.SIGKILL and signals(vm) == ["SIGUSR2", "SIGINT"]
    assert state(linzer) == "stopped"


def test_a_short_time_out_skips_the_asking(linzer, vm, run):
    child = run("ignore=USR2")
    silent(linzer("stop", "vm", "--timeout=2"))
    assert child.wait(60) == 0 and signals(vm) == ["SIGINT"]


def test_no_time_out_at_all_kills(linzer, vm, run):
    child = run("ignore=USR2,INT")
    silent(linzer("stop", "vm", "--timeout=0"))
    assert child.wait(60) == -signal.SIGKILL


def test_stop_of_what_does_not_run(linzer, vm):
    done = linzer("stop", "vm", program="tart")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", 'VM "vm" is not running\n')
    done = linzer("stop", "missing", program="tart")
    assert (done.returncode, done.stderr) == (2, 'the specified VM "missing" does not exist\n')
    done = linzer("stop", "vm", "--timeout", "x", program="tart")
    assert done.returncode == 64
    assert done.stderr.startswith("Error: The value 'x' is invalid for '--timeout <timeout>'\n")


def test_stop_of_a_suspended_vm_forgets_its_state(linzer, vm):
    (vm / "state.vzvmsave").write_bytes(b"state")
    assert state(linzer) == "suspended"
    silent(linzer("stop", "vm"))
    assert state(linzer) == "stopped" and not (vm / "state.vzvmsave").exists()


def test_stop_never_hits_a_process_that_only_run_json_names(linzer, vm):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (vm / "run.json").write_text(json.dumps({
            "pid": bystander.pid, "qemuPid": bystander.pid, "started": 1, "accel": "tcg",
            "mac": "02:00:00:00:00:01", "interface": "lo"}))
        assert linzer("stop", "vm").returncode == 2
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_two_stops_at_once(linzer, vm, run):
    child = run("delay=0.5")
    stops = [linzer.start("stop", "vm") for _ in range(4)]
    assert {stop.wait(60) for stop in stops} <= {0, 2}
    assert child.wait(60) == 0


# ------------------------------------------------ what a running VM refuses

def test_a_running_vm_is_not_deleted_replaced_or_resized(linzer, vm, run):
    run()
    running = 'VM "vm" is running\n'
    for args in (["delete", "vm"], ["create", "--linux", "vm"]):
        done = linzer(*args, program="tart")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", running), args
    linzer("create", "--linux", "--disk-size=1", "other", check=True)
    done = linzer("clone", "other", "vm", program="tart")
    assert (done.returncode, done.stderr) == (1, running)
    assert linzer("set", "vm", "--disk-size", "2").returncode == 1
    assert linzer("set", "vm", "--flatten").returncode == 1
    assert state(linzer) == "running"


def test_set_of_a_running_vm_is_seen_and_keeps_the_lock(linzer, vm, run):
    run()
    inode = (vm / "config.json").stat().st_ino
    silent(linzer("set", "vm", "--cpu", "7"))
    assert json.loads(linzer("get", "vm", "--format=json").stdout)["CPU"] == 7
    assert (vm / "config.json").stat().st_ino == inode and state(linzer) == "running"


def test_prune_leaves_a_running_vm(linzer, vm, run):
    run()
    linzer("get", "vm", check=True)  # an access, which leaves its mark
    os.utime(vm / ".accessed", (0, 0))
    silent(linzer("prune", "--entries", "vms", "--older-than", "1"))
    assert state(linzer) == "running"


def test_a_running_vm_in_list_and_get(linzer, vm, run):
    run("address=192.168.64.7")
    listed, = json.loads(linzer("list", "--format=json").stdout)
    assert listed["Running"] is True and listed["State"] == "running"
    for args in (["list", "--long", "--format=json"], ["get", "vm", "--format=json"]):
        got = json.loads(linzer(*args).stdout)
        got = got[0] if isinstance(got, list) else got
        assert got["Address"] == "192.168.64.7" and got["Started"] == "2023-11-14T22:13:20Z"
    row = linzer("list", "--long").stdout.splitlines()[1].split()
    assert row[-1] == "running" and "192.168.64.7" in row and "2023-11-14T22:13:20Z" in row


# -------------------------------------------------------------------- ip

def test_ip_prints_the_leased_address(linzer, vm, run):
    run("address=192.168.64.7")
    for args in ([], ["--resolver", "dhcp"], ["--wait", "5"], ["--resolver=agent"],
                 ["--resolver=arp"]):
        done = linzer("ip", "vm", *args, program="tart")
        assert (done.returncode, done.stdout, done.stderr) == (0, "192.168.64.7\n", ""), args


def test_ip_is_not_told_by_a_stopped_vm(linzer, vm, run):
    child = run("address=192.168.64.7")
    child.kill()
    child.wait()
    done = linzer("ip", "vm", program="tart")
    assert (done.returncode, done.stdout, done.stderr) == \
        (1, "", "no IP address found, is your VM running?\n")


@pytest.mark.parametrize("resolver, hint", [
    ("dhcp", ""),
    ("arp", " (not all Linux distributions are compatible with the ARP resolver)"),
    ("agent", " (also make sure that Guest agent for Tart is running inside of a VM)"),
])
def test_ip_not_found(linzer, vm, run, resolver, hint):
    done = linzer("ip", "vm", "--resolver", resolver, program="tart")
    assert (done.returncode, done.stdout, done.stderr) == \
        (1, "", f"no IP address found, is your VM running?{hint}\n")
    run()
    done = linzer("ip", "vm", "--resolver", resolver, program="tart")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"no IP address found{hint}\n")


def test_ip_waits_for_a_vm_that_starts_meanwhile(linzer, vm, run):
    waiting = linzer.start("ip", "vm", "--wait", "120", stdout=subprocess.PIPE, text=True)
    run("address=192.168.64.9")
    assert waiting.communicate(timeout=120)[0] == "192.168.64.9\n" and waiting.returncode == 0


def test_ip_by_the_hosts_neighbour_table(linzer, vm, run):
    """In a network namespace whose table has the VM's MAC on its interface and on another."""
    mac = json.loads((vm / "config.json").read_text())["macAddress"]
    run("interface=lz-test")
    script = f"""
        set -e
        for i in lz-test lz-other; do ip tuntap add $i mode tap; ip link set $i up; done
        ip address add 192.168.64.1/24 dev lz-test
        ip neighbour add 10.9.9.9 lladdr {mac} dev lz-other
        "$1" ip vm --resolver arp || true
        ip neighbour add 192.168.64.5 lladdr 02:00:00:00:00:09 dev lz-test
        ip neighbour add 192.168.64.6 lladdr {mac} dev lz-test
        "$1" ip vm --resolver arp
        "$1" ip vm"""
    done = subprocess.run([*NEW_NETWORK, "sh", "-c", script, "sh", linzer.program("tart")],
                          env=linzer.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "192.168.64.6\n" * 2
    assert done.stderr.startswith("no IP address found (not all Linux distributions")


def test_ip_misused(linzer):
    done = linzer("ip", "missing", program="tart")
    assert (done.returncode, done.stderr) == (2, 'the specified VM "missing" does not exist\n')
    done = linzer("ip", "vm", "--resolver", "dns", program="tart")
    assert done.returncode == 64 and done.stderr.startswith(
        "Error: The value 'dns' is invalid for '--resolver <resolver>'. "
        "Please provide one of 'dhcp', 'arp' or 'agent'.\n")
    assert linzer("ip", "vm", "--wait", "65536").returncode == 64


def test_interrupt_is_a_cancellation(linzer, vm):
    waiting = linzer.start("ip", "vm", "--wait", "60", stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = pathlib.Path(f"/proc/{waiting.pid}/status").read_text()
        mask = int(next(line.split()[1] for line in status.splitlines()
                        if line.startswith("SigCgt")), 16)
        if mask & 1 << (signal.SIGINT - 1):
            break
        time.sleep(0.01)
    waiting.send_signal(signal.SIGINT)
    assert waiting.communicate(timeout=60)[1] == "Error: CancellationError()\n"
    assert waiting.returncode == 1


# ------------------------------------------------------------------ logs

def test_logs_raw_prints_both_files_byte_for_byte(linzer, vm):
    (vm / "console.log.1").write_bytes(b"before\r\n\x1b[1mbold\xff\n")
    (vm / "console.log").write_bytes(b"after\n")
    done = linzer("logs", "--raw", "vm", text=False)
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout == b"before\r\n\x1b[1mbold\xff\nafter\n"


def test_logs_into_a_pipe_have_no_escape_sequences(linzer, vm):
    """The next in the pipe, head or grep, gives what it gets to a terminal."""
    (vm / "console.log").write_bytes(b"a\x1b]0;title\x07\x1b[2J\x1b[01;01Hb\n")
    assert linzer("logs", "vm", text=False).stdout == b"ab\n"


def test_logs_of_a_vm_that_never_ran_is_empty(linzer, vm):
    silent(linzer("logs", "vm"))
    assert linzer("logs", "missing").returncode == 2


def test_logs_never_follows_a_link_or_waits_on_a_fifo(linzer, vm):
    (vm / "console.log").symlink_to("/etc/passwd")
    done = linzer("logs", "vm")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    (vm / "console.log").unlink()
    os.mkfifo(vm / "console.log")
    done = linzer("logs", "vm", timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_logs_follow_goes_on_through_a_turn_over_until_the_vm_stops(linzer, vm, run):
    child = run()
    (vm / "console.log").write_text("one\n")
    logs = linzer.start("logs", "--follow", "vm", stdout=subprocess.PIPE, text=True)
    assert logs.stdout.readline() == "one\n"
    with open(vm / "console.log", "a") as log:
        log.write("two\n")
    assert logs.stdout.readline() == "two\n"
    with open(vm / "console.log", "a") as log:
        log.write("three\n")
    os.rename(vm / "console.log", vm / "console.log.1")
    (vm / "console.log").write_text("four\n")
    assert logs.stdout.readline() == "three\n"
    assert logs.stdout.readline() == "four\n"
    child.kill()
    child.wait()
    assert logs.stdout.read() == "" and logs.wait(60) == 0


def test_logs_on_a_terminal_drops_escape_sequences(linzer, vm):
    (vm / "console.log").write_bytes(b"a\x1b]0;title\x07\x1b[2Jb\n")
    here, there = os.openpty()
    child = linzer.start("logs", "vm", stdout=there)
    os.close(there)
    assert child.wait(60) == 0
    assert os.read(here, 100) == b"ab\r\n"
    os.close(here)
