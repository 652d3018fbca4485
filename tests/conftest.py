# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: the built program in a home of its own.

BUILD names the build directory (default: build/ of this checkout). Whatever
a test starts is ended by its fixture; what a killed test run left behind is
removed by the next one (scratch.py).
"""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess

import pytest

import faulty_registry
import registry as docker_registry
import scratch

# What is started must hear its signals, however this test run itself was started (nohup, &).
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# What a person's own environment says (proxies, credentials, languages, programs under the home) is no part of a test.
KEPT = {"HOME", "USER", "LOGNAME", "PATH", "TMPDIR", "TEST_DIR", "BUILD", "TEST_IMAGE_HOME", "LINZER_TESTS_AS",
        "ASAN_OPTIONS", "UBSAN_OPTIONS", "PYTEST_CURRENT_TEST"}
if os.geteuid() != 0:
    KEPT.add("XDG_RUNTIME_DIR")  # of scripts/as-user
for name in set(os.environ) - KEPT:
    del os.environ[name]
os.environ["LANG"] = "C.UTF-8"
os.environ["PATH"] = ":".join(directory for directory in os.environ["PATH"].split(":")
                              if not pathlib.Path(directory).is_relative_to(pathlib.Path.home()))

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))

# How the tests of this run look at Linzer: as root, or as an ordinary user who is in group linzer where
# linzer-net has its capabilities ("caps"), or has nothing of that ("none"). scripts/as-user makes him.
FORM = os.environ.get("LINZER_TESTS_AS", "root")
assert FORM in ("root", "caps", "none") and (FORM == "root" or os.geteuid() != 0), \
    f"LINZER_TESTS_AS={FORM} is set by scripts/as-user alone"
# a network namespace in which the tests may do what they like
NEW_NETWORK = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def descriptors(pid):
    """What a process has open: path in /proc -> what it leads to. What is closed meanwhile is left out."""
    found = {}
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[fd] = os.readlink(fd)
    return found


class Linzer:
    """The program, called by one of its names, with a TART_HOME of its own."""

    def __init__(self, home, names):
        self.home = pathlib.Path(home)
        self.names = pathlib.Path(names)
        self.children = []
        self.settings = {}  # environment of every call
        self.before = []  # what every call begins with: words that execute the rest

    def environment(self, **extra):
        env = {**os.environ, "HOME": str(self.home.parent), "TART_HOME": str(self.home), **self.settings}
        env.update(extra)
        return {k: v for k, v in env.items() if v is not None}

    def program(self, name="linzer"):
        """A path by which argv[0]'s last component is `name`."""
        path = self.names / name
        if not path.exists():
            path.symlink_to(BUILD / "linzer")
        return str(path)

    def __call__(self, *args, program="linzer", check=False, timeout=300, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        if "input" in options:
            del options["stdin"]
        try:
            done = subprocess.run([*self.before, self.program(program), *map(str, args)], capture_output=True,
                                  text=options.pop("text", True), timeout=timeout,
                                  env=self.environment(**(env or {})), **options)
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"{expired}\n{self.traces()}") from None
        if check:
            assert done.returncode == 0, (args, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *args, program="linzer", env=None, **options):
        """Start it in the background; ended (SIGKILL) with the fixture."""
        options.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen([*self.before, self.program(program), *map(str, args)],
                                 env=self.environment(**(env or {})), **options)
        self.children.append(child)
        return child

    def start_shell(self, script):
        """A non-interactive shell in the home, its output a pipe."""
        child = subprocess.Popen(["sh", "-c", script], cwd=self.home, env=self.environment(),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def vm(self, name):
        return self.home / "vms" / name

    def switch_off(self, name):
        """As `stop --timeout 1` does, but `run` ends of itself, however long that takes: a busy machine's is killed."""
        process = os.pidfd_open(json.loads((self.vm(name) / "run.json").read_text())["pid"])
        try:
            signal.pidfd_send_signal(process, signal.SIGINT)
            assert select.select([process], [], [], 300)[0], f"'run' does not end\n{self.traces()}"
        finally:
            os.close(process)

    def traces(self):
        """What the VMs of the home left to be read: for whoever wonders what did not come to an end."""
        logs = [path for path in sorted(self.home.glob("vms/*/*.log")) if path.stat().st_size]
        engines = subprocess.run(["ps", "-eLo", "pid,tid,stat,time,wchan:24,comm"], capture_output=True, text=True).stdout
        return "\n".join([*(f"--- {path.parent.name}/{path.name}\n" + path.read_bytes()[-4000:].decode(errors="replace")
                            for path in logs),
                          "--- threads", *(line for line in engines.splitlines() if "TID" in line or "qemu" in line or
                                           "CPU " in line or "linzer" in line)])

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()
            for stream in (child.stdout, child.stderr, child.stdin):
                if stream:
                    stream.close()
        for state in self.home.glob("vms/*/run.json"):  # runs in the background
            try:
                os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)
            except (ProcessLookupError, ValueError, KeyError, OSError):
                pass


@pytest.fixture
def linzer(tmp_path):
    names = tmp_path / "names"
    names.mkdir()
    with scratch.directory() as path:
        program = Linzer(path / "home", names)
        program.home.mkdir()
        yield program
        program.end()


@pytest.fixture
def oci(linzer, tmp_path):
    """The program in an environment without credentials and proxies, that tries again soon; with less patience than
    a user has, but more than a busy machine needs."""
    user = tmp_path / "user"
    user.mkdir()
    linzer.user = user
    linzer.settings = {"XDG_RUNTIME_DIR": None, "HOME": str(user), "LINZER_STALL_SECONDS": "30",
                       "LINZER_RETRY_BASE_MS": "10"}
    return linzer


@pytest.fixture
def fake():
    """A registry in memory that can be told to misbehave."""
    with faulty_registry.FakeRegistry() as server:
        yield server


@pytest.fixture
def registry():
    """docker-registry, empty."""
    with docker_registry.registry() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority that nobody knows."""
    return docker_registry.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    """Its certificate for the loopback's names and addresses."""
    return authority.certificate()


@pytest.fixture(scope="session")
def image_home():
    """The home that scripts/check keeps the built guest image in."""
    home = pathlib.Path(os.environ.get("TEST_IMAGE_HOME", pathlib.Path.home() / ".cache/linzer/test-home"))
    assert (home / "vms/debian/disk.img").exists(), f"no guest image in {home}: run scripts/check"
    return home


@pytest.fixture(scope="module")
def guests(image_home, tmp_path_factory):
    """A home that holds the guest image as the VM "debian"; shared by a module's tests."""
    names = tmp_path_factory.mktemp("names")
    with scratch.directory() as path:
        home = path / "home"
        (home / "vms").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", image_home / "vms/debian", home / "vms/debian"], check=True)
        program = Linzer(home, names)
        yield program
        for name in program("list", "--quiet").stdout.split():
            program("stop", name, "--timeout", 1)
        program.end()
