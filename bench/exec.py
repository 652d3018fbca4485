#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""exec against ssh, in one guest: `true`, interleaved, best of ten each; then 1 GB through stdin, cat and stdout.

usage: exec.py NAME [MEGABYTES]   (a running VM of $TART_HOME)
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import threading
import time

LINZER = pathlib.Path(os.environ.get("BUILD", "build")) / "linzer"
CHUNK = 1_000_000


def once(command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def wait_for(command):
    """sshd comes up after the agent."""
    end = time.monotonic() + 240
    while subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        assert time.monotonic() < end, "no sshd in the guest"
        time.sleep(1)


def through(command, megabytes):
    """Seconds that so many random bytes take to the command and back; they must be the same."""
    noise = os.urandom(CHUNK)
    sent, got = hashlib.sha256(), hashlib.sha256()
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def write():
        for number in range(megabytes):
            chunk = number.to_bytes(8, "big") + noise[8:]
            sent.update(chunk)
            child.stdin.write(chunk)
        child.stdin.close()

    began = time.monotonic()
    writer = threading.Thread(target=write)
    writer.start()
    while chunk := child.stdout.read(CHUNK):
        got.update(chunk)
    took = time.monotonic() - began
    writer.join()
    assert child.wait() == 0, f"{command[0]} failed"
    assert sent.digest() == got.digest(), f"{command[0]} changed the bytes"
    return took


def main():
    name, megabytes = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    address = subprocess.check_output([LINZER, "ip", "--wait", "240", name], text=True).strip()
    ssh = ["sshpass", "-p", "admin", "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", f"admin@{address}"]
    wait_for(ssh)
    times = [(once([LINZER, "exec", name, "true"]), once([*ssh, "true"])) for _ in range(10)]
    by_exec, by_ssh = (min(column) for column in zip(*times))
    quick = by_exec <= 0.1 * by_ssh
    print(f"exec {by_exec * 1000:.0f} ms, ssh {by_ssh * 1000:.0f} ms, ratio {by_exec / by_ssh:.3f} "
          f"(wanted: <= 0.1)   {'good' if quick else 'BAD'}", flush=True)
    by_exec = through([LINZER, "exec", "-i", name, "cat"], megabytes)
    by_ssh = through([*ssh, "cat"], megabytes)
    fast = by_exec <= by_ssh
    print(f"{megabytes} MB in and out: exec {megabytes / by_exec:.1f} MB/s, ssh {megabytes / by_ssh:.1f} MB/s, "
          f"ratio {by_ssh / by_exec:.2f} (wanted: >= 1)   {'good' if fast else 'BAD'}")
    sys.exit(not (quick and fast))


if __name__ == "__main__":
    main()
