# SPDX-License-Identifier: Apache-2.0
"""Names, configs and homes as nobody should give them: one clear line, the right exit
code, every other VM as it was."""

import fcntl
import json
import os
import subprocess

import pytest

BAD_NAMES = ["a/b", "/etc", "..", ".", "../vms/good", "x" * 300, "new\nline", "esc\x1b[2J", ""]


@pytest.fixture
def good(linzer):
    """A home with one VM, `good`, that must be there unaltered at the end."""
    linzer("create", "--linux", "--disk-size", "1", "good", check=True)
    before = (linzer.vm("good") / "config.json").read_bytes()
    yield linzer
    assert (linzer.vm("good") / "config.json").read_bytes() == before
    assert linzer("list", "-q").stdout.splitlines().count("good") == 1


def one_line(done, code):
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == "" and done.stderr.count("\n") == 1 and len(done.stderr) > 10
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("verb", [["get"], ["ip"], ["stop"], ["delete"], ["logs"],
                                  ["set", "--cpu", "1"]])
def test_a_bad_name_names_no_vm(good, verb, name):
    one_line(good(*verb, "--", name), 2)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_nothing_is_made_under_a_bad_name(good, name):
    one_line(good("create", "--linux", "--disk-size=1", "--", name), 1)
    done = good("clone", "--", "good", name)
    assert done.returncode in (1, 64) and done.stdout == ""
    done = good("rename", "--", "good", name)
    assert done.returncode in (1, 64) and done.stdout == ""
    assert os.listdir(good.home / "vms") == ["good"]
    assert os.listdir(good.home / "tmp") == []


def test_odd_but_good_names(good):
    for name in (".hidden", "with space", "-dash", "ünïcödé", "x" * 255, "a:b", "a$(id)`'\""):
        assert good("create", "--linux", "--disk-size=1", "--", name).returncode == 0
        assert json.loads(good("get", "--format=json", "--", name).stdout)["State"] == "stopped"
        assert name in good("list", "--quiet").stdout.splitlines()
        assert name in [vm["Name"] for vm in json.loads(good("list", "--format=json").stdout)]
        assert good("delete", "--", name).returncode == 0


DARWIN = {"version": 1, "os": "darwin", "arch": "arm64", "cpuCountMin": 4, "cpuCount": 6,
          "memorySizeMin": 4 << 30, "memorySize": 8 << 30, "macAddress": "5e:00:00:00:00:01",
          "ecid": "eA==", "hardwareModel": "eA==", "display": {"width": 1920, "height": 1200}}

BROKEN = {
    "empty": b"",
    "truncated": b'{"version": 1, "os": "linux", "arch": "amd64", "cpuCo',
    "no-object": b"[]",
    "binary": bytes(range(256)),
    "nul": b'{"version": 1\0}',
    "deep": b"[" * 100000,
    "huge": b'{"version": 1, "x": "' + b"A" * (4 << 20) + b'"}',
    "wrong-types": json.dumps({**DARWIN, "os": "linux", "cpuCount": "4"}).encode(),
    "negative": json.dumps({**DARWIN, "os": "linux", "memorySize": -1}).encode(),
    "no-mac": json.dumps({**DARWIN, "os": "linux", "macAddress": "zz"}).encode(),
}


def broken_vm(linzer, content, name="broken"):
    linzer("create", "--linux", "--disk-size=1", name, check=True)
    (linzer.vm(name) / "config.json").write_bytes(content)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_config_breaks_only_its_own_vm(good, kind):
    broken_vm(good, BROKEN[kind])
    one_line(good("get", "broken"), 1)
    one_line(good("set", "broken", "--cpu", "1"), 1)
    assert (good.vm("broken") / "config.json").read_bytes() == BROKEN[kind]
    for args in (["list"], ["list", "--format=json"], ["list", "--long"],
                 ["clone", "good", "copy"], ["get", "good"]):
        done = good(*args)
        assert done.returncode == 0 and done.stderr == "", (args, done.stderr)
    assert good("delete", "copy", "broken").returncode == 0


def test_a_config_from_the_future_is_one_line(good):
    broken_vm(good, json.dumps({**DARWIN, "os": "linux", "version": 99,
                                "arch": "riscv64"}).encode())
    one_line(good("get", "broken"), 1)
    assert good("list", "--long").returncode == 0


def test_a_mac_vm_is_shown_set_cloned_and_deleted(good):
    broken_vm(good, json.dumps(DARWIN).encode(), "mac")
    got = json.loads(good("get", "mac", "--format", "json").stdout)
    assert got["OS"] == "darwin" and got["CPU"] == 6 and got["Display"] == "1920x1200"
    done = good("set", "mac", "--cpu", "2")
    assert (done.returncode, done.stderr) == \
        (1, "Error: LessThanMinimalResourcesError: VM should have 4 CPU cores at minimum "
            "(requested 2)\n")
    done = good("set", "mac", "--memory", "1024")
    assert "VM should have 4294967296 bytes of memory at minimum" in done.stderr
    good("set", "mac", "--cpu", "8", check=True)
    config = json.loads((good.vm("mac") / "config.json").read_text())
    assert config["cpuCount"] == 8 and config["hardwareModel"] == "eA=="
    good("clone", "mac", "mac2", check=True)
    good("delete", "mac", "mac2", check=True)


def test_a_declared_disk_format_is_only_shown(good):
    broken_vm(good, json.dumps({**DARWIN, "os": "linux", "diskFormat": "asif"}).encode())
    assert json.loads(good("get", "broken", "--format=json").stdout)["DiskFormat"] == "asif"


# ------------------------------------------------------------------ home

def run(linzer, *args, cwd=None, **env):
    base = {k: v for k, v in linzer.environment().items() if k not in ("TART_HOME", "HOME")}
    return subprocess.run([linzer.program("tart"), *args], env={**base, **env}, cwd=cwd,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_home_is_made_with_all_its_parents(linzer, tmp_path):
    home = tmp_path / "a" / "b c" / "new\nline"
    done = run(linzer, "list", "--quiet", TART_HOME=str(home))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {"cache", "tmp"} <= set(os.listdir(home))
    assert run(linzer, "create", "--linux", "--disk-size=1", "x", TART_HOME=str(home)).returncode == 0
    assert run(linzer, "list", "-q", TART_HOME=str(home)).stdout == "x\n"


def test_home_defaults_to_dot_tart(linzer, tmp_path):
    done = run(linzer, "list", "-q", HOME=str(tmp_path))
    assert done.returncode == 0 and (tmp_path / ".tart").is_dir()


def test_a_relative_home_is_of_the_current_directory(linzer, tmp_path):
    done = run(linzer, "create", "--linux", "--disk-size=1", "x", cwd=tmp_path, TART_HOME="rel/home")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rel" / "home" / "vms" / "x" / "config.json").exists()


def test_a_home_that_cannot_be_made(linzer, tmp_path):
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file" / "home")
    done = run(linzer, "list", TART_HOME=home)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("TART_HOME is invalid: ")
    assert "does not exist, yet we can't create it: " in done.stderr


def test_no_home_at_all_is_one_line_or_the_users_entry(linzer):
    done = run(linzer, "--version")
    assert done.returncode == 0 and done.stderr == ""


def test_mistakes_need_no_home(linzer):
    done = run(linzer, "list", "--nonsense", TART_HOME="/proc/nowhere")
    assert done.returncode == 64
    assert run(linzer, "help", "list", TART_HOME="/proc/nowhere").returncode == 0


def test_tracing_variables_are_ignored(good):
    env = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
           "CIRRUS_SENTRY_TAGS": "A=B"}
    done = good("list", "-q", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")


# ------------------------------------------------------------------- tmp

def test_what_a_dead_command_left_in_tmp_is_collected(good):
    left = good.home / "tmp" / "left-behind"
    left.mkdir()
    (left / "disk.img").write_bytes(b"x")
    (good.home / "tmp" / "set-disk-1").write_bytes(b"x")
    done = good("list", "-q")
    assert done.stderr == "" and os.listdir(good.home / "tmp") == []


def test_what_a_living_command_makes_in_tmp_stays(good):
    held = good.home / "tmp" / "held"
    held.mkdir()
    fd = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        good("list", check=True)
        assert held.is_dir()
    finally:
        os.close(fd)
    good("list", check=True)
    assert not held.exists()
