#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""exec NAME true against ssh NAME true, interleaved, in one guest; best of ten each.

usage: exec.py NAME   (a running VM of $TART_HOME)
"""

import os
import pathlib
import subprocess
import sys
import time

LINZER = pathlib.Path(os.environ.get("BUILD", "build")) / "linzer"


def best(command, times=10):
    took = []
    for _ in range(times):
        began = time.monotonic()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - began)
    return min(took)


def main():
    name = sys.argv[1]
    address = subprocess.check_output([LINZER, "ip", "--wait", "60", name], text=True).strip()
    ssh = ["sshpass", "-p", "admin", "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", f"admin@{address}", "true"]
    by_exec = best([LINZER, "exec", name, "true"])
    by_ssh = best(ssh)
    good = by_exec <= 0.1 * by_ssh
    print(f"exec {by_exec * 1000:.0f} ms, ssh {by_ssh * 1000:.0f} ms, ratio {by_exec / by_ssh:.3f} "
          f"(wanted: <= 0.1)   {'good' if good else 'BAD'}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
