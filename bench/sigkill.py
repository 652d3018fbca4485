#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of run: milliseconds until QEMU, the tap, the route and the filter's elements are gone.

usage: unshare --net bench/sigkill.py   (root; an empty VM in a home of its own)
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

LINZER = pathlib.Path(os.environ.get("BUILD", "build")).resolve() / "linzer"


def ended(pid):
    """Gone, or a zombie that only waits for init to collect it."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until_gone(state):
    """When each thing was first seen gone, in ms."""
    checks = {
        "qemu": lambda: ended(state["qemuPid"]),
        "tap": lambda: not pathlib.Path(f"/sys/class/net/{state['interface']}").exists(),
        "route": lambda: not subprocess.check_output(["ip", "route", "show", state["address"]]),
        "filter": lambda: state["interface"] not in
        subprocess.check_output(["nft", "list", "ruleset"], text=True),
    }
    began, gone = time.monotonic(), {}
    while checks:
        for name in [name for name, check in checks.items() if check()]:
            gone[name] = (time.monotonic() - began) * 1000
            del checks[name]
    return gone


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="linzer-bench-", dir="/var/tmp"))
    env = dict(os.environ, TART_HOME=str(home))
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([LINZER, "create", "--linux", "--disk-size", "1", "vm"], env=env, check=True)
        rounds = []
        for _ in range(10):
            subprocess.run([LINZER, "run", "--detach", "vm"], env=env, check=True)
            state = json.loads((home / "vms/vm/run.json").read_text())
            os.kill(state["pid"], 9)
            rounds.append(until_gone(state))
        for name in rounds[0]:
            times = sorted(r[name] for r in rounds)
            print(f"{name}: best {times[0]:.0f} ms, worst {times[-1]:.0f} ms (wanted: all within 1000 ms)")
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
