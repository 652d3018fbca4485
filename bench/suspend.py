#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What saving a VM's state costs against cp and sync of the same pages, and how soon a resumed guest answers.

usage: suspend.py NAME   (a stopped VM of $TART_HOME with at least 1 GiB of memory and our agent; as root)
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

LINZER = pathlib.Path(os.environ.get("BUILD", "build")) / "linzer"
HOME = pathlib.Path(os.environ.get("TART_HOME", pathlib.Path.home() / ".tart"))
ROUNDS = 3
FILL = "sudo mount -o remount,size=90% /dev/shm; head -c {} /dev/urandom >/dev/shm/fill"
IN_USE = 600 << 20


def linzer(*words):
    return subprocess.run([LINZER, *words], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def fill(name):
    """Random pages until so much of the guest's memory is in use."""
    used = int(linzer("exec", name, "sh", "-c", "free -b | awk '/Mem/ {print $2 - $4}'"))
    linzer("exec", name, "sh", "-c", FILL.format(max(0, IN_USE - used)))


def suspend(name, state):
    """Seconds from the signal until the state is there, and until cp has copied the same pages and synced."""
    began = time.monotonic()
    linzer("suspend", name)
    while not state.exists():
        time.sleep(0.002)
    saved = time.monotonic() - began
    while json.loads(linzer("get", "--format", "json", name))["State"] != "suspended":
        time.sleep(0.01)
    return saved


def copy(state):
    """The pages come from memory, as the guest's do."""
    source, target = pathlib.Path("/dev/shm/linzer-bench-memory"), state.with_name("bench-copy")
    try:
        subprocess.run(["cp", "--sparse=always", state / "memory", source], check=True)
        subprocess.run(["sync"], check=True)
        began = time.monotonic()
        subprocess.run(["cp", "--sparse=always", source, target], check=True)
        subprocess.run(["sync", target], check=True)
        return time.monotonic() - began, source.stat().st_blocks * 512
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def resume(name):
    """Seconds from the call of run to the first answer of exec. (`run --wait-ready` also waits for clock and folders.)"""
    began = time.monotonic()
    linzer("run", "--detach", "--no-graphics", name)
    linzer("exec", name, "true")
    took = time.monotonic() - began
    linzer("exec", name, "sleep", "2")  # the clock is set meanwhile
    return took


def main():
    name = sys.argv[1]
    state = HOME / "vms" / name / "state"
    saved, copied, resumed, size = [], [], [], 0
    linzer("run", "--wait-ready", "--no-graphics", name)
    fill(name)
    for _ in range(ROUNDS):
        saved.append(suspend(name, state))
        seconds, size = copy(state)
        copied.append(seconds)
        resumed.append(resume(name))
    linzer("stop", "--timeout", "1", name)
    ratio = statistics.median(saved) / statistics.median(copied)
    good = ratio <= 1.5 and min(resumed) < 1
    print(f"{size >> 20} MB in use: saved in {statistics.median(saved):.2f} s, cp and sync {statistics.median(copied):.2f} s, "
          f"ratio {ratio:.2f} (wanted: <= 1.5); first answer after {min(resumed):.2f} s (wanted: < 1)   {'good' if good else 'BAD'}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
