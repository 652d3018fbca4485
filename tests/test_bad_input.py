# SPDX-License-Identifier: Apache-2.0
"""Bad input to `run` and to verbs that race: one clear line, the right exit code, nothing lost."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import scratch
from conftest import descriptors
from loop_mount import needs_root
from test_life import eventually


def one_line(done, status, *parts):
    """Failed with `status` and one line that has all `parts` (usage lines may follow)."""
    assert done.returncode == status, done
    first = done.stderr.splitlines()[0]
    for part in parts:
        assert part in first, done.stderr
    if status != 64:
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.fixture
def empty(linzer):
    """A VM with an empty disk, and a neighbour that nothing may change."""
    linzer("create", "--linux", "--disk-size", 1, "empty", check=True)
    linzer("create", "--linux", "--disk-size", 1, "neighbour", check=True)

    def picture():
        return {p.name: (p.stat().st_size, p.read_bytes() if p.stat().st_size < 1 << 20 else None)
                for p in sorted(linzer.vm("neighbour").iterdir()) if p.is_file() and p.name != ".accessed"}
    before = picture()
    yield "empty"
    assert picture() == before


class TestRunOfBrokenVms:
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"version":1}', b"\0" * 100, b"{" * 100000])
    def test_broken_config(self, linzer, empty, content):
        (linzer.vm(empty) / "config.json").write_bytes(content)
        one_line(linzer("run", empty), 1)

    def test_darwin(self, linzer, empty):
        path = linzer.vm(empty) / "config.json"
        config = json.loads(path.read_text())
        config["os"] = "darwin"
        path.write_text(json.dumps(config))
        one_line(linzer("run", empty), 1, "macOS")

    def test_config_from_the_future(self, linzer, empty):
        path = linzer.vm(empty) / "config.json"
        config = json.loads(path.read_text())
        config["version"] = 2
        path.write_text(json.dumps(config))
        one_line(linzer("run", empty), 1, "version")

    @pytest.mark.parametrize("value", ["qcow2", "asif", "/etc/passwd", 'json:{"driver":"file"}'])
    def test_config_that_declares_a_format(self, linzer, empty, value):
        path = linzer.vm(empty) / "config.json"
        config = json.loads(path.read_text())
        config["diskFormat"] = value
        path.write_text(json.dumps(config))
        done = linzer("run", empty)
        assert done.returncode in (1, 64) and len(done.stderr.splitlines()) == 1 and "disk format" in done.stderr

    def test_raw_disk_with_qcow2_magic_is_not_probed(self, linzer, empty, tmp_path):
        """A guest may write a qcow2 header naming a host file into its raw disk: it stays data."""
        secret = tmp_path / "secret"
        secret.write_bytes(b"s" * 65536)
        overlay = tmp_path / "overlay.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, overlay], check=True)
        disk = linzer.vm(empty) / "disk.img"
        with open(disk, "r+b") as f:
            f.write(overlay.read_bytes())
        linzer("run", "--detach", empty, check=True)
        try:
            qemu = json.loads((linzer.vm(empty) / "run.json").read_text())["qemuPid"]
            opened = descriptors(qemu).values()
            assert str(secret) not in opened and str(disk) in opened
        finally:
            linzer("stop", empty, "--timeout", 1)

    def test_missing_disk(self, linzer, empty):
        (linzer.vm(empty) / "disk.img").unlink()
        one_line(linzer("run", empty), 1, "VM is missing some of its files")

    @pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
    def test_disk_that_is_no_file(self, linzer, empty, kind, tmp_path):
        disk = linzer.vm(empty) / "disk.img"
        disk.unlink()
        if kind == "symlink":
            target = tmp_path / "host-file"
            target.write_bytes(b"precious" * 1000)
            disk.symlink_to(target)
        elif kind == "directory":
            disk.mkdir()
        else:
            os.mkfifo(disk)
        done = linzer("run", empty, timeout=30)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done

    @pytest.mark.parametrize("layers", [
        [],
        [{"file": "disk.img", "format": "qcow2"}, {"file": "/etc/passwd", "format": "raw"}],
        [{"file": "disk.img", "format": "qcow2"}, {"file": "layer-" + "0" * 32, "format": "raw"}],
        [{"file": "../neighbour/disk.img", "format": "raw"}],
        [{"file": "disk.img", "format": "vmdk"}],
        [{"file": "disk.img", "format": "qcow2"}],
        [{"file": "disk.img", "format": "raw"}] * 100,
    ])
    def test_disk_json_that_lies(self, linzer, empty, layers):
        (linzer.vm(empty) / "disk.json").write_text(json.dumps({"version": 1, "size": 10 ** 9, "layers": layers}))
        one_line(linzer("run", empty), 1)

    def test_empty_disk_file(self, linzer, empty):
        os.truncate(linzer.vm(empty) / "disk.img", 0)
        one_line(linzer("run", empty), 1, "is empty")

    def test_disk_shorter_than_its_partition_table(self, linzer, empty):
        disk = linzer.vm(empty) / "disk.img"
        subprocess.run(["sfdisk", "-q", disk], input=b"label: gpt\nsize=500M\n", check=True)
        linzer("run", "--detach", empty, check=True)
        linzer("stop", empty, "--timeout", 1, check=True)
        os.truncate(disk, 10 ** 8)
        one_line(linzer("run", empty), 1, "shorter than its partition table")


class TestEngine:
    @pytest.fixture
    def fake(self):
        """Makes a PATH whose qemu-system-x86_64 is the given script, for any user to run."""
        def make(body):
            path = directory / "qemu-system-x86_64"
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
            directory.chmod(0o755)
            return {"PATH": f"{directory}:/usr/sbin:/usr/bin:/sbin:/bin"}
        with scratch.directory() as directory:
            yield make

    def test_engine_missing(self, linzer, empty):
        one_line(linzer("run", empty, env={"PATH": "/nonexistent"}), 1, "qemu-system-x86")

    def test_engine_that_fails_says_why(self, linzer, empty, fake):
        env = fake("echo first; echo 'qemu: no such thing' >&2; exit 1")
        one_line(linzer("run", empty, env=env), 1, "qemu: no such thing")
        assert json.loads(linzer("get", "--format", "json", empty).stdout)["State"] == "stopped"

    def test_engine_killed_at_start(self, linzer, empty, fake):
        env = fake("kill -9 $$")
        one_line(linzer("run", empty, env=env), 1, "failed to start the VM")

    def test_engine_too_old(self, linzer, empty, fake):
        """A QEMU of long ago: its QMP knows too few commands."""
        env = fake("""exec /usr/bin/python3 -c '
import json, re, socket, sys
monitor = socket.socket(fileno=int(re.search("id=qmp,fd=([0-9]+)", " ".join(sys.argv))[1]))
lines = monitor.makefile("rw")
def say(message):
    lines.write(json.dumps(message) + chr(10))
    lines.flush()
say({"QMP": {"version": {"qemu": {"major": 1, "minor": 7, "micro": 0}, "package": ""}, "capabilities": []}})
for line in lines:
    request = json.loads(line)
    names = [{"name": "query-commands"}, {"name": "quit"}]
    say({"return": names if request["execute"] == "query-commands" else {}, "id": request.get("id")})
' "$@" """)
        one_line(linzer("run", empty, env=env), 1, "too old")

    @pytest.mark.parametrize("babble", ["yes", "cat /dev/zero", "cat /dev/urandom",
                                        pytest.param("exec sleep 1000", marks=pytest.mark.soak)])
    def test_engine_that_babbles(self, linzer, empty, fake, babble):
        """Instead of QMP: endless lines, zeroes, noise. run ends, and soon."""
        env = fake(f"""fd=$(echo "$@" | sed 's/.*id=qmp,fd=\\([0-9]*\\).*/\\1/')
{babble} >&"$fd" """)
        one_line(linzer("run", empty, env=env), 1, "failed to start the VM")

    def test_guest_that_never_answers(self, linzer, empty):
        """An empty disk: no agent ever. exec and ip end by themselves; stop insists."""
        linzer("run", "--detach", empty, check=True)
        one_line(linzer("exec", empty, "true"), 1, "Failed to connect to the VM using its control socket")
        one_line(linzer("ip", "--wait", 1, empty), 1, "no IP address found")
        assert linzer("stop", empty, "--timeout", 5).returncode == 0
        assert json.loads(linzer("get", "--format", "json", empty).stdout)["State"] == "stopped"


def test_run_in_the_background_of_a_script_hears_stop(linzer, empty):
    """A shell without job control ignores SIGINT for what it starts with &."""
    shell = linzer.start_shell(f"'{linzer.program()}' run {empty} >out 2>&1 & echo $!; wait")
    pid = int(shell.stdout.readline())
    end = time.monotonic() + 60
    while not (linzer.vm(empty) / "run.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert linzer("stop", empty, "--timeout", 10).returncode == 0  # three seconds of it for SIGINT to be heard
    shell.wait(60)
    assert (linzer.home / "out").read_text() == "Requesting guest OS to stop...\nStopping VM...\n"
    assert not pathlib.Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 0)])
def test_signals_stop_cleanly(linzer, empty, number, status):
    child = linzer.start("run", empty, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (linzer.vm(empty) / "run.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(number)
    assert child.communicate(timeout=60)[0] == "Stopping VM...\n"
    assert child.returncode == status
    left = {p.name for p in linzer.vm(empty).iterdir()}
    assert not left & {"run.json", "control.sock", "manage.sock"}


def test_no_umask_lets_others_write(linzer):
    subprocess.run(f"umask 0; exec '{linzer.program()}' create --linux --disk-size 1 open",
                   shell=True, env=linzer.environment(), check=True)
    for path in [linzer.home / "vms", *linzer.home.rglob("open"), *linzer.home.rglob("open/*")]:
        assert not path.stat().st_mode & 0o022, path


class TestRaces:
    def test_two_runs_at_once(self, linzer, empty):
        children = [linzer.start("run", empty, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    for _ in range(4)]
        end = time.monotonic() + 60
        while sum(c.poll() is None for c in children) > 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(1)
        losers = [c for c in children if c.poll() is not None]
        assert len(losers) == 3
        for child in losers:
            assert child.returncode == 2
            assert child.stderr.read() == f'VM "{empty}" is already running!\n'
        assert linzer("stop", empty, "--timeout", 1).returncode == 0

    def test_two_deletes_at_once(self, linzer):
        for _ in range(10):
            linzer("create", "--linux", "--disk-size", 1, "doomed", check=True)
            children = [linzer.start("delete", "doomed", stderr=subprocess.PIPE, text=True) for _ in range(3)]
            results = sorted((c.wait(30), c.stderr.read()) for c in children)
            assert results[0] == (0, "")
            for status, text in results[1:]:
                assert (status, text) in [(2, 'the specified VM "doomed" does not exist\n'),
                                          (1, 'VM "doomed" is running\n')]
            assert not linzer.vm("doomed").exists()

    def test_clone_against_delete(self, linzer):
        for n in range(10):
            linzer("create", "--linux", "--disk-size", 1, "source", check=True)
            clone = linzer.start("clone", "source", "copy", stderr=subprocess.PIPE, text=True)
            delete = linzer.start("delete", "source", stderr=subprocess.PIPE, text=True)
            assert delete.wait(30) == 0, delete.stderr.read()
            status = clone.wait(30)
            names = linzer("list", "--quiet", check=True).stdout.split()
            if status == 0:
                assert names == ["copy"]
                linzer("delete", "copy", check=True)
            else:
                assert (status, clone.stderr.read()) == (2, 'the specified VM "source" does not exist\n')
                assert names == []

    def test_set_against_run(self, linzer, empty):
        """set during the start of run: the value is never lost."""
        for n in range(3):
            run = linzer.start("run", empty)
            done = linzer("set", empty, "--display", f"{1000 + n}x700")
            assert done.returncode == 0, done
            # it may not have come as far as the lock
            eventually(lambda: linzer("stop", empty, "--timeout", 1).returncode == 0, 60)
            run.wait(60)
            got = json.loads(linzer("get", "--format", "json", empty).stdout)
            assert got["Display"] == f"{1000 + n}x700"


@needs_root
def test_full_file_system(linzer, tmp_path):
    """clone, create and set on a file system with no room: one line, and everything as before."""
    image = tmp_path / "fs.img"
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    mount = tmp_path / "mnt"
    mount.mkdir()
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        linzer.home = mount / "home"
        linzer("create", "--linux", "--disk-size", 1, "a", check=True)
        with open(linzer.vm("a") / "disk.img", "r+b") as f:
            f.write(os.urandom(4 << 20))
        filler = mount / "filler"
        with open(filler, "wb") as f:
            try:
                while f.write(bytes(1 << 20)):
                    f.flush()
            except OSError:
                pass
        before = sorted(p.name for p in (mount / "home/vms").iterdir())
        content = (linzer.vm("a") / "config.json").read_bytes()
        source = tmp_path / "big.img"
        source.write_bytes(os.urandom(8 << 20))
        for command in (["clone", "--raw", "a", "b"], ["create", "--linux", "b"], ["create", "--from-image", source, "b"],
                        ["set", "a", "--disk", source]):
            done = linzer(*command)
            assert done.returncode == 1, (command, done)
            assert len(done.stderr.splitlines()) == 1 and "No space left" in done.stderr, (command, done)
            assert sorted(p.name for p in (mount / "home/vms").iterdir()) == before
        assert (linzer.vm("a") / "config.json").read_bytes() == content
        filler.unlink()
        linzer("clone", "a", "b", check=True)
    finally:
        subprocess.run(["umount", mount], check=True)
