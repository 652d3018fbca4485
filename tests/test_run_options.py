# SPDX-License-Identifier: Apache-2.0
"""Every option of `run`: its effect on a real QEMU, or the one line that says that it has none yet."""

import os
import pathlib

import pytest

from test_life import eventually, runtime

UEFI = 120  # seconds until the firmware has printed something


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    yield "vm"
    linzer("stop", "vm", "--timeout", 1)


@pytest.mark.parametrize("options", [
    ["--no-audio"], ["--no-clipboard"], ["--no-graphics"], ["--graphics"], ["--nested"], ["--suspendable"],
    ["--no-pointer"], ["--no-keyboard"], ["--capture-system-keys"], ["--rosetta", "tag"],
    ["--rosetta=tag"], ["--recovery"], ["--vnc"], ["--vnc-experimental"], ["--graphics", "--vnc-experimental"],
    ["--no-graphics", "--no-clipboard", "--no-audio", "--root-disk-opts", "sync=none"],
], ids=" ".join)
def test_accepted_silently(linzer, vm, options):
    done = linzer("run", "--detach", *options, vm, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert runtime(linzer, vm)["pid"]


@pytest.mark.parametrize("options, message", [
    (["--vnc", "--vnc-experimental"], "--vnc and --vnc-experimental are mutually exclusive"),
    (["--net-host", "--net-softnet"], "--net-bridged, --net-softnet and --net-host are mutually exclusive"),
    (["--net-bridged", "x", "--net-softnet-allow", "@host"], "--net-bridged, --net-softnet and --net-host are mutually exclusive"),
    (["--graphics", "--no-graphics"], "--graphics and --no-graphics are mutually exclusive"),
    (["--capture-system-keys", "--no-graphics"], "--captures-system-keys can only be used with the default VM view"),
    (["--suspendable", "--no-keyboard"], "--no-keyboard cannot be used with --suspendable"),
    (["--suspendable", "--no-pointer"], "--no-pointer cannot be used with --suspendable"),
    (["--suspendable", "--no-trackpad"], "--no-trackpad cannot be used with --suspendable"),
    (["--no-trackpad"], "--no-trackpad can only be used with macOS VMs"),
    (["--provisioning-opts", "a=b"], "--provisioning-opts can only be used with macOS VMs"),
])
def test_refused_combinations(linzer, vm, options, message):
    done = linzer("run", *options, vm)
    assert done.returncode == 64
    assert done.stderr.splitlines()[0] == f"Error: {message}"


def test_unknown_accelerator(linzer, vm):
    done = linzer("run", "--accel", "hvf", vm)
    assert done.returncode == 64 and done.stderr.startswith("Error: The value 'hvf' is invalid for '--accel <accel>'")


def test_accel_tcg(linzer, vm):
    linzer("run", "--detach", "--accel", "tcg", vm, check=True)
    state = runtime(linzer, vm)
    arguments = pathlib.Path(f"/proc/{state['qemuPid']}/cmdline").read_text().split("\0")
    assert state["accel"] == "tcg" and arguments[arguments.index("-accel") + 1].startswith("tcg")


def open_flags(linzer, vm, path):
    """The open(2) flags of QEMU's descriptors of a file."""
    process = pathlib.Path(f"/proc/{runtime(linzer, vm)['qemuPid']}")
    found = set()
    for fd in (process / "fd").iterdir():
        if os.path.realpath(fd) == os.path.realpath(path):
            text = (process / "fdinfo" / fd.name).read_text()
            found.add(int(text.split("flags:")[1].split()[0], 8) & (os.O_ACCMODE | os.O_DIRECT))
    return found


@pytest.mark.parametrize("options, flags", [("", os.O_RDWR), ("sync=none", os.O_RDWR), ("ro", os.O_RDONLY), ("caching=cached,ro", os.O_RDONLY)])
def test_root_disk_options_reach_the_file(linzer, vm, options, flags):
    linzer("run", "--detach", *(["--root-disk-opts", options] if options else []), vm, check=True)
    assert open_flags(linzer, vm, linzer.vm(vm) / "disk.img") == {flags}


@pytest.mark.parametrize("options, message", [
    ("sync=often", 'unsupported disk image synchronization mode: "often"'),
    ("caching=some", 'unsupported disk image caching mode: "some"'),
])
def test_root_disk_options_that_are_none(linzer, vm, options, message):
    done = linzer("run", "--root-disk-opts", options, vm)
    assert (done.returncode, done.stderr) == (1, message + "\n")


def test_serial_path(linzer, vm):
    """An existing terminal gets what the guest prints."""
    ours, theirs = os.openpty()
    try:
        linzer("run", "--detach", "--serial-path", os.ttyname(theirs), vm, check=True)
        os.set_blocking(ours, False)
        seen = b""

        def printed():
            nonlocal seen
            try:
                seen += os.read(ours, 65536)
            except BlockingIOError:
                pass
            return len(seen) > 100
        eventually(printed, UEFI)
    finally:
        os.close(ours)
        os.close(theirs)


def test_serial_path_that_hangs_up(linzer, vm):
    """The terminal goes away while the guest prints: the VM runs on, and can be stopped."""
    ours, theirs = os.openpty()
    child = linzer.start("run", "--serial-path", os.ttyname(theirs), vm)
    assert os.read(ours, 1)  # the firmware's first byte
    os.close(theirs)
    os.close(ours)
    log = linzer.vm(vm) / "console.log"
    before = log.stat().st_size
    eventually(lambda: log.stat().st_size > before + 100, UEFI)
    assert child.poll() is None
    linzer("stop", vm, "--timeout", 1, check=True)
    assert child.wait(60) == 0


def test_serial_path_that_is_not_there(linzer, vm):
    done = linzer("run", "--serial-path", "/nonexistent/tty", vm)
    assert (done.returncode, done.stderr) == (1, "Failed to open PTY\n")


def test_tracing_variables_are_ignored(linzer, vm):
    env = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/", "CIRRUS_SENTRY_TAGS": "a=b"}
    done = linzer("run", "--detach", vm, env=env, check=True)
    assert (done.stdout, done.stderr) == ("", "")

