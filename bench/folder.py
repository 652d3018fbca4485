#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writing 1 GB into a shared folder: `run --dir` against QEMU and virtiofsd started by hand.

usage: folder.py [ROUNDS] [VM]   (as root, with the VM "debian" in $TART_HOME; BUILD names the build directory)

Both VMs have the same disk, processors and memory and run side by side; each round writes a file in the
one, then in the other, up to its fsync, into folders of one file system. A ratio of the best rates counts.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from boot import STAND_IN, command_line, copy_vm, linzer, until_exec

LIMIT, SIZE = 0.8, 1024  # of the rate by hand; MiB
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"


def wait_for(path):
    until = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > until:
            sys.exit(f"{path}: nobody made it")
        time.sleep(0.01)


def start_by_hand(stack, vms, folder, accelerator):
    """What a careful user would write; virtiofsd with its defaults, as root."""
    vm = vms / "hand"
    copy_vm(vms / "raw", vm)
    config = stack.enter_context(open(vm / "config.json", "r+"))
    values = json.load(config)
    fcntl.lockf(config, fcntl.LOCK_EX)  # "running"
    memory = f"{values['memorySize'] >> 20}M"
    folders = ["-object", f"memory-backend-memfd,id=memory,size={memory},share=on", "-numa", "node,memdev=memory",
               "-chardev", f"socket,id=folder,path={vm}/folder.sock",
               "-device", "vhost-user-fs-pci,chardev=folder,tag=share,queue-size=1024"]
    for words, sock in (([VIRTIOFSD, f"--socket-path={vm}/folder.sock", "-o", f"source={folder}"], "folder.sock"),
                        ([STAND_IN, vm / "port.sock", vm / "control.sock"], "port.sock"),
                        (command_line(vm, values, accelerator) + folders, "port.sock")):
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        stack.callback(child.wait)
        stack.callback(child.kill)
        wait_for(vm / sock)
    until_exec("hand", time.monotonic())
    linzer("exec", "hand", "sudo", "sh", "-c", "mkdir -p /mnt/hand && mount -t virtiofs share /mnt/hand")


def start_by_linzer(stack, folder):
    linzer("clone", "source", "bench")
    linzer("run", "--wait-ready", f"--dir={folder}", "bench")
    stack.callback(linzer, "stop", "bench", "--timeout", "1")


def rate(name, path):
    """-> MB/s"""
    began = time.monotonic()
    linzer("exec", name, "sudo", "dd", "if=/dev/zero", f"of={path}/file", "bs=1M", f"count={SIZE}", "conv=fsync",
           "status=none")
    took = time.monotonic() - began
    linzer("exec", name, "sudo", "rm", f"{path}/file")
    return SIZE * 1.048576 / took


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    name = sys.argv[2] if len(sys.argv) > 2 else "debian"
    home = pathlib.Path(os.environ.get("TART_HOME", pathlib.Path.home() / ".tart"))
    ours, theirs = [], []
    with contextlib.ExitStack() as stack:
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linzer-bench-", dir="/var/tmp")))
        os.environ["TART_HOME"] = str(place / "home")
        vms = place / "home/vms"
        vms.mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", home / "vms" / name, vms / "source"], check=True)
        linzer("clone", "--raw", "source", "raw")
        for folder in ("ours", "theirs"):
            (place / folder).mkdir()
            os.chown(place / folder, 1000, 1000)  # root's own would be served as a user who may not write
        start_by_linzer(stack, place / "ours")
        accelerator = json.loads((vms / "bench/run.json").read_text())["accel"]
        start_by_hand(stack, vms, place / "theirs", accelerator)
        for _ in range(rounds):
            ours.append(rate("bench", "/mnt/shared"))
            theirs.append(rate("hand", "/mnt/hand"))
            print(f"  {ours[-1]:.1f} MB/s, by hand {theirs[-1]:.1f}", flush=True)
        shutil.rmtree(place / "theirs")
    ratio = max(ours) / max(theirs)
    print(f"{accelerator}: 1 GB into a folder: {max(ours):.0f} MB/s, by hand {max(theirs):.0f} MB/s: ratio {ratio:.2f} "
          f"(wanted: >= {LIMIT})   {'good' if ratio >= LIMIT else 'BAD'}")
    sys.exit(ratio < LIMIT)


if __name__ == "__main__":
    main()
