# SPDX-License-Identifier: Apache-2.0
"""A QEMU that its guest has taken over: whatever it says, `run` keeps its head.

The engine is a script that plays QEMU: it finds its sockets in the arguments, answers the
handshake and then does what the test has it do.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

import scratch

ENGINE = r'''#!/usr/bin/python3 -I
import json, os, re, signal, socket, struct, sys, threading, time

if sys.argv[1:] == ["-display", "help"]:
    sys.exit(print("gtk"))


def sock(name):
    return socket.socket(fileno=int(re.search(rf"socket,id={name},fd=(\d+)", " ".join(sys.argv)).group(1)))


qmp, console, port = sock("qmp"), sock("console"), sock("channel0")
lines = qmp.makefile("r")
MAGIC = b"Linzer\r\x01"


def say(message):
    qmp.sendall(json.dumps(message).encode() + b"\n")


def hear(command):
    heard = json.loads(lines.readline())
    assert heard["execute"] == command, heard
    return heard["id"]


def obey(command):
    say({"return": {}, "id": hear(command)})


def greet():
    say({"QMP": {"version": {"qemu": {"major": 9, "minor": 0}}, "capabilities": []}})
    say({"return": {}, "id": hear("qmp_capabilities")})
    names = ["add-fd", "remove-fd", "blockdev-add", "blockdev-snapshot", "system_powerdown", "quit"]
    say({"return": [{"name": name} for name in names], "id": hear("query-commands")})


def event(name, **data):
    say({"event": name, "data": data})


def frame(kind, payload=b""):
    return struct.pack(">BBHI", kind, 0, len(payload), 0) + payload


def hello(pending=b""):
    """The relay's next greeting. Return: its nonce."""
    while True:
        at = pending.find(frame(1, MAGIC + bytes(16))[:-16])
        if at >= 0 and len(pending) >= at + 32:
            return pending[at + 16:at + 32]
        pending += port.recv(65536)


def powered_off():
    event("SHUTDOWN", guest=True, reason="guest-shutdown")
    sys.exit(0)

'''


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    return "vm"


@pytest.fixture
def engine():
    """Makes a PATH whose qemu-system-x86_64 does what the given lines say, for any user to run."""
    with scratch.directory() as directory:
        def make(body):
            path = directory / "qemu-system-x86_64"
            path.write_text(ENGINE + body)
            path.chmod(0o755)
            directory.chmod(0o755)
            return {"PATH": f"{directory}:/usr/sbin:/usr/bin:/sbin:/bin"}
        yield make


def running(linzer, name):
    return json.loads(linzer("get", "--format", "json", name).stdout)["State"] == "running"


def until(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_power_button_is_pressed_again(linzer, vm, engine):
    """A guest that was not listening yet at the first press: stop is graceful all the same."""
    child = linzer.start("run", vm, stdout=subprocess.PIPE, text=True,
                         env=engine("greet()\nhear('system_powerdown')\nhear('system_powerdown')\npowered_off()\n"))
    until(lambda: running(linzer, vm))
    until(lambda: (linzer.vm(vm) / "run.json").exists())
    assert linzer("stop", vm, "--timeout", 60).returncode == 0
    assert child.communicate(timeout=20)[0] == "Requesting guest OS to stop...\nguest has stopped the virtual machine\n"
    assert child.returncode == 0


def test_power_off(linzer, vm, engine):
    done = linzer("run", vm, env=engine("greet()\npowered_off()\n"))
    assert (done.returncode, done.stdout) == (0, "guest has stopped the virtual machine\n")


def test_end_of_the_control_connection_is_not_the_engines(linzer, vm, engine):
    """QEMU closes it a moment before it exits: no reason to kill it."""
    env = engine("greet()\nevent('SHUTDOWN', guest=True)\nqmp.shutdown(socket.SHUT_RDWR)\n"
                 "time.sleep(0.5)\nsys.exit(0)\n")
    done = linzer("run", vm, env=env)
    assert (done.returncode, done.stdout) == (0, "guest has stopped the virtual machine\n"), done


def test_rubbish_ends_it(linzer, vm, engine):
    done = linzer("run", vm, env=engine("greet()\nhello()\nqmp.sendall(b'rubbish\\n')\ntime.sleep(600)\n"))
    assert done.returncode == 1
    assert done.stderr == "QEMU was killed by signal 9\n"


def test_an_engine_that_does_not_answer_holds_nothing_up(linzer, vm, engine):
    """The relay answers a guest that begins anew while the power button is unanswered."""
    env = engine("greet()\nhello()\nconsole.sendall(b'up')\nhear('system_powerdown')\n"
                 "port.sendall(frame(4, MAGIC))\nhello()\npowered_off()\n")
    child = linzer.start("run", vm, env=env, stdout=subprocess.PIPE, text=True)
    until(lambda: linzer("logs", vm).stdout == "up")
    child.send_signal(signal.SIGUSR2)
    assert child.communicate(timeout=60)[0] == ("Requesting guest OS to stop...\n"
                                                "guest has stopped the virtual machine\n")


def test_an_engine_that_does_not_quit_is_killed(linzer, vm, engine):
    env = engine("greet()\nconsole.sendall(b'up')\ntime.sleep(600)\n")
    child = linzer.start("run", vm, env=env, stdout=subprocess.PIPE, text=True)
    until(lambda: linzer("logs", vm).stdout == "up" and (linzer.vm(vm) / "run.json").exists())
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "Stopping VM...\n"
    assert child.returncode == 0


def has_engine(child):
    """One that was not only asked what it can do."""
    children = pathlib.Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    found = []
    for pid in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    return any(b"qemu-system" in words and b"id=qmp" in words for words in found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_start_that_hangs(linzer, vm, engine, number):
    """... as it ends a VM that has started, and nothing is left."""
    before = {path.name for path in linzer.vm(vm).iterdir()}
    child = linzer.start("run", vm, env=engine("time.sleep(600)\n"), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    until(lambda: has_engine(child))
    child.send_signal(number)
    assert child.communicate(timeout=30) == ("Stopping VM...\n", "")  # the handshake alone would last a minute
    assert child.returncode == 0
    assert not running(linzer, vm)
    left = {path.name for path in linzer.vm(vm).iterdir()} - before
    assert left - {"efivars.fd", ".lock", "console.log", ".accessed", "last-ip"} == set()


def test_a_start_that_hangs_is_stopped_by_stop(linzer, vm, engine):
    child = linzer.start("run", vm, env=engine("time.sleep(600)\n"), stdout=subprocess.PIPE, text=True)
    until(lambda: has_engine(child))
    linzer("stop", vm, "--timeout", 10, check=True)
    assert (child.communicate(timeout=30)[0], child.returncode) == ("Stopping VM...\n", 0)


def suspended(linzer, vm, engine, body, *options):
    """What `run` says whose engine is @body, and which is told to suspend."""
    child = linzer.start("run", *options, vm, env=engine(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    until(lambda: linzer("logs", vm).stdout == "up" and (linzer.vm(vm) / "run.json").exists())
    child.send_signal(signal.SIGUSR1)
    out, err = child.communicate(timeout=60)
    assert not list(linzer.vm(vm).glob("state*")) and not running(linzer, vm)
    return child.returncode, out, err


def test_a_guest_that_powers_off_while_it_is_saved(linzer, vm, engine):
    """... has powered off, and there is no state."""
    assert suspended(linzer, vm, engine, "greet()\nconsole.sendall(b'up')\nhear('stop')\npowered_off()\n",
                     "--no-clipboard") == (0, "pausing VM to take a snapshot...\n"
                                              "guest has stopped the virtual machine\n", "")


def test_an_engine_that_dies_while_it_saves(linzer, vm, engine):
    body = "greet()\nconsole.sendall(b'up')\nhear('stop')\nos.write(2, b'a bug')\nos._exit(1)\n"
    status, out, err = suspended(linzer, vm, engine, body, "--no-clipboard")
    assert (status, err) == (1, "a bug\n")
    assert "Failed to suspend the VM: 'stop' failed" in out


def test_a_folder_that_comes_late_holds_nothing_up(linzer, vm, engine):
    """While the guest does not give it back, the relay answers an agent that begins anew."""
    body = """
greet()
hello()
console.sendall(b'up')
obey('device_del')
served = threading.Event()


def refuse():
    while not served.is_set():
        say({"error": {"class": "GenericError", "desc": "busy"}, "id": hear("chardev-remove")})
    obey("chardev-remove")


refusing = threading.Thread(target=refuse)
refusing.start()
port.sendall(frame(4, MAGIC))
hello()
served.set()
refusing.join()
hear('stop')
powered_off()
"""
    with scratch.directory() as folder:
        folder.chmod(0o755)
        if os.geteuid() == 0:  # it is served as its owner, who is not root
            os.chown(folder, 61900, 61900)
        assert suspended(linzer, vm, engine, body, "--no-clipboard", f"--dir={folder}") == (
            0, "pausing VM to take a snapshot...\nguest has stopped the virtual machine\n", "")


def test_a_screen_that_is_drawn_late_holds_nothing_up(linzer, vm, engine):
    """While QEMU draws, the relay answers an agent that begins anew; who wants a picture hears when it is done."""
    body = """
greet()
hello()
console.sendall(b'up')
obey('add-fd')
drawing = hear('screendump')
port.sendall(frame(4, MAGIC))
hello()
say({"error": {"class": "GenericError", "desc": "no screen"}, "id": drawing})
obey('remove-fd')
hear('quit')
sys.exit(0)
"""
    child = linzer.start("run", vm, env=engine(body), stdout=subprocess.DEVNULL)
    until(lambda: linzer("logs", vm).stdout == "up" and (linzer.vm(vm) / "run.json").exists())
    done = linzer("screenshot", vm, "-")
    assert (done.returncode, done.stderr) == (1, "VM \"vm\" cannot screenshot: 'screendump' failed: no screen\n")
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0


def test_an_engine_that_draws_for_ever_is_stopped(linzer, vm, engine):
    body = "greet()\nconsole.sendall(b'up')\nobey('add-fd')\nhear('screendump')\nconsole.sendall(b'!')\ntime.sleep(600)\n"
    child = linzer.start("run", vm, env=engine(body), stdout=subprocess.PIPE, text=True)
    until(lambda: linzer("logs", vm).stdout == "up" and (linzer.vm(vm) / "run.json").exists())
    asking = linzer.start("screenshot", vm, "-", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: linzer("logs", vm).stdout == "up!")
    child.send_signal(signal.SIGINT)
    # that it is being stopped is said before anybody gives the picture up
    assert child.stdout.readline() == "Stopping VM...\n" and asking.poll() is None
    assert child.wait(60) == 0
    assert asking.wait(60) == 2  # it does not run (any more)


def test_last_words_are_made_printable(linzer, vm, engine):
    for how in ("", "greet()\n"):
        done = linzer("run", vm, env=engine(how + "os.write(2, b'\\x1b[2J\\xc2\\x9b2Jbad\\n')\nos._exit(1)\n"))
        assert done.returncode == 1
        assert "?[2J??2Jbad" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_engine_sees_no_secrets_of_the_environment(linzer, vm, engine):
    env = engine("os.write(2, repr(sorted(os.environ)).encode())\nos._exit(1)\n")
    done = linzer("run", vm, env={**env, "TART_REGISTRY_PASSWORD": "secret"})
    assert "'PATH'" in done.stderr
    assert "PASSWORD" not in done.stderr


def test_a_flood_of_full_disks_is_told_once(linzer, vm, engine):
    env = engine("greet()\nfor _ in range(5000):\n    event('BLOCK_IO_ERROR', nospace=True)\npowered_off()\n")
    done = linzer("run", vm, env=env)
    assert done.returncode == 0
    assert done.stderr == "no space is left for the VM's disk: it is paused until there is\n"


def test_an_agent_that_comes_and_goes_costs_few_writes(linzer, vm, engine):
    """... and what is written at the end is how it is."""
    env = engine("greet()\nnonce = hello()\n"
                 "for _ in range(300):\n"
                 "    port.sendall(frame(2, MAGIC + nonce + bytes(16)) + frame(4, MAGIC))\n"
                 "    nonce = hello()\n"
                 "port.sendall(frame(2, MAGIC + nonce + bytes(16)))\n"
                 "console.sendall(b'done')\nhear('quit')\nsys.exit(0)\n")
    began = time.monotonic()
    child = linzer.start("run", vm, env=env, stdout=subprocess.DEVNULL)
    state = linzer.vm(vm) / "run.json"
    inodes = set()
    enough = threading.Event()

    def watch():
        while not enough.is_set():
            with contextlib.suppress(FileNotFoundError):
                now = state.stat()
                inodes.add((now.st_ino, now.st_mtime_ns))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until(lambda: linzer("logs", vm).stdout == "done")
        until(lambda: json.loads(state.read_text())["agentReady"])
    finally:
        enough.set()
        watcher.join()
    assert len(inodes) < 60 + 2 * (time.monotonic() - began), len(inodes)  # of 600; two a second are allowed
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 0


def test_the_log_of_detached_runs_does_not_grow_for_ever(linzer, vm, engine):
    log = linzer.vm(vm) / "run.log"
    log.write_bytes(bytes(2 << 20))
    linzer("run", "--detach", vm, env=engine("greet()\nhear('quit')\nsys.exit(0)\n"), check=True)
    linzer("stop", vm, "--timeout", 1, check=True)
    assert log.stat().st_size < 1 << 20
