#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long the verbs that only look take: --version, --help, and list of 1,000 VMs.

usage: start.py   (BUILD names the build directory)

Each figure is the best of ten, from posix_spawn to the end of the process.
"""

import os
import pathlib
import sys
import tempfile
import time

LINZER = str(pathlib.Path(os.environ.get("BUILD", "build")).resolve() / "linzer")
RUNS = 10
VMS = 1000
CASES = [("--version", ["--version"], 3), ("--help", ["--help"], None),
         ("list", ["list"], 30), ("list --quiet", ["list", "--quiet"], 30),
         ("list --format json", ["list", "--format", "json"], 30),
         ("list --long", ["list", "--long"], None)]


def once(arguments, environment):
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    began = time.monotonic()
    pid = os.posix_spawn(LINZER, [LINZER, *arguments], environment, file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"linzer {' '.join(arguments)}: status {status}")
    return (time.monotonic() - began) * 1000


def main():
    good = True
    with tempfile.TemporaryDirectory(prefix="linzer-bench-", dir="/var/tmp") as home:
        environment = {**os.environ, "TART_HOME": home}
        for i in range(VMS):
            once(["create", "--linux", "--disk-size", "1", f"vm-{i:04}"], environment)
        for name, arguments, wanted in CASES:
            best = min(once(arguments, environment) for _ in range(RUNS))
            bad = wanted is not None and best > wanted
            good = good and not bad
            note = f"   (wanted: <= {wanted} ms)   {'BAD' if bad else 'good'}" if wanted else ""
            print(f"{name:20} {best:6.1f} ms{note}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
