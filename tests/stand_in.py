# SPDX-License-Identifier: Apache-2.0
"""A stand-in for `linzer run`: holds the running lock of VM directory argv[1],
writes run.json, prints "ready" and obeys or ignores signals as told:

    stand_in.py DIRECTORY [KEY=VALUE...]

ignore=USR2,INT   these signals do nothing but are written to signals.log
delay=0.5         seconds between a signal that is not ignored and the end
address=IP        what run.json says the guest has leased
seen=IP           what run.json says it is to have, which it has not leased
interface=NAME    what run.json says is its tap
"""

import fcntl
import json
import os
import signal
import sys
import time


def main():
    directory = sys.argv[1]
    how = dict(word.split("=", 1) for word in sys.argv[2:])
    ignored = {getattr(signal, "SIG" + name) for name in how.get("ignore", "").split(",") if name}
    # never closed: closing any descriptor of the file would drop the lock
    lock = open(os.path.join(directory, "config.json"), "r+b", buffering=0)
    config = json.loads(os.pread(lock.fileno(), 1 << 20, 0))
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    log = open(os.path.join(directory, "signals.log"), "a", buffering=1)

    def on_signal(number, _frame):
        log.write(signal.Signals(number).name + "\n")
        if number not in ignored:
            time.sleep(float(how.get("delay", 0)))
            os._exit(0)

    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    runtime = {"pid": os.getpid(), "qemuPid": os.getpid(), "started": 1700000000,
               "mac": config["macAddress"], "accel": "tcg", "interface": how.get("interface", "lo")}
    if "address" in how:
        runtime.update(address=how["address"], leased=True)
    if "seen" in how:
        runtime["address"] = how["seen"]
    with open(os.path.join(directory, "run.json"), "w") as file:
        json.dump(runtime, file)
    print("ready", flush=True)
    while True:
        signal.pause()


main()
