#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From `run` to the first `exec NAME true`, against the same QEMU, disk and accelerator started by hand.

usage: boot.py [ROUNDS] [VM]   (as root, with the VM "debian" in $TART_HOME; BUILD names the build directory)

Each round boots a fresh clone by `linzer run`, then a fresh raw copy of the same disk by a plain command
line, with the same number of processors and memory. Both are asked in the same way: `linzer exec` until
it succeeds. By hand, tests' stand-in for `run` relays the agent's port to control.sock. A ratio
of the best times counts.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("BUILD", "build")).resolve()
LINZER, STAND_IN = BUILD / "linzer", BUILD / "src/agent/agent-relay-stand-in"
LIMIT, GIVE_UP = 1.15, 300
FIRMWARE = pathlib.Path("/usr/share/OVMF")


def linzer(*arguments, check=True):
    return subprocess.run([LINZER, *arguments], check=check, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=None if check else subprocess.DEVNULL, text=True)


def until_exec(name, began):
    while linzer("exec", name, "true", check=False).returncode:
        if time.monotonic() - began > GIVE_UP:
            sys.exit(f"{name}: the agent does not answer")
        time.sleep(0.01)
    return time.monotonic() - began


def processor_time(pid):
    """Of a QEMU so far, in seconds: what other load on the machine hardly changes."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def by_linzer(vms):
    """-> (seconds, QEMU's processor time), accelerator"""
    linzer("clone", "source", "bench")
    began = time.monotonic()
    linzer("run", "--detach", "bench")
    took = until_exec("bench", began)
    runtime = json.loads((vms / "bench/run.json").read_text())
    spent = processor_time(runtime["qemuPid"])
    linzer("stop", "bench", "--timeout", "1")
    linzer("delete", "bench")
    return (took, spent), runtime["accel"]


def command_line(vm, config, accelerator):
    """What a careful user would write."""
    return ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35", "-accel", accelerator,
            "-cpu", "host" if accelerator == "kvm" else "max",
            "-smp", str(config["cpuCount"]), "-m", f"{config['memorySize'] >> 20}M",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={vm}/efivars.fd",
            "-drive", f"if=none,id=disk,format=raw,file={vm}/disk.img",
            "-device", "virtio-blk-pci,drive=disk,bootindex=0",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={vm}/port.sock",
            "-device", "virtserialport,chardev=agent,name=org.linzer.agent",
            "-serial", f"file:{vm}/console.log"]


def copy_vm(pristine, vm):
    """A directory in which `exec` finds a VM."""
    vm.mkdir()
    for name in ("config.json", "nvram.bin"):
        shutil.copy(pristine / name, vm)
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", vm / "efivars.fd")
    subprocess.run(["cp", "--sparse=always", pristine / "disk.img", vm], check=True)


def by_hand(vms, accelerator):
    """-> seconds, QEMU's processor time"""
    vm = vms / "hand"
    copy_vm(vms / "raw", vm)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, vm)
        config = stack.enter_context(open(vm / "config.json", "r+"))
        values = json.load(config)
        fcntl.lockf(config, fcntl.LOCK_EX)  # "running"
        began = time.monotonic()
        for words in ([STAND_IN, vm / "port.sock", vm / "control.sock"], command_line(vm, values, accelerator)):
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            stack.callback(child.wait)
            stack.callback(child.kill)
            while not (vm / "port.sock").exists():
                time.sleep(0.001)
        return until_exec("hand", began), processor_time(child.pid)


def describe(what, rounds):
    times, spent = zip(*rounds)
    print(f"{what:8} {min(times):6.2f} s (median {statistics.median(times):.2f}, worst {max(times):.2f}), "
          f"QEMU's processor time {min(spent):.2f} s")
    return min(times), min(spent)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    name = sys.argv[2] if len(sys.argv) > 2 else "debian"
    home = pathlib.Path(os.environ.get("TART_HOME", pathlib.Path.home() / ".tart"))
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="linzer-bench-", dir="/var/tmp") as place:
        os.environ["TART_HOME"] = place
        vms = pathlib.Path(place) / "vms"
        vms.mkdir()
        subprocess.run(["cp", "-a", "--sparse=always", home / "vms" / name, vms / "source"], check=True)
        linzer("clone", "--raw", "source", "raw")
        for _ in range(rounds):
            took, accelerator = by_linzer(vms)
            ours.append(took)
            theirs.append(by_hand(vms, accelerator))
    took, spent = describe("run", ours)
    took_by_hand, spent_by_hand = describe("by hand", theirs)
    ratio = took / took_by_hand
    print(f"{accelerator}: ratio {ratio:.3f} (wanted: <= {LIMIT})   {'good' if ratio <= LIMIT else 'BAD'}; "
          f"of processor time {spent / spent_by_hand:.3f}")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
