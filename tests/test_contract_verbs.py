# SPDX-License-Identifier: Apache-2.0
"""The contract of create, clone, rename, delete, set, get, list and prune, message by
message, called as `tart`. No VM is run."""

import json
import os
import re
import stat

import pytest

DOES_NOT_EXIST = 'the specified VM "{}" does not exist\n'
SEE_ROOT = "Usage: tart <subcommand>\n  See 'tart --help' for more information.\n"


@pytest.fixture
def tart(linzer):
    def call(*args, **options):
        return linzer(*args, program="tart", **options)

    call.home = linzer.home
    call.vm = linzer.vm
    return call


def silent(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def refused(done, text, code=1):
    """The message alone, without a prefix."""
    assert (done.returncode, done.stdout, done.stderr) == (code, "", text)


def misused(done, message, sub=None):
    """A usage error: the message, the usage, where to look."""
    assert (done.returncode, done.stdout) == (64, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "Error: " + message
    assert lines[-2].startswith(f"Usage: tart {sub}" if sub else "Usage: tart <subcommand>")
    assert lines[-1] == f"  See 'tart {sub + ' ' if sub else ''}--help' for more information."


def create(tart, name="vm", size=1):
    silent(tart("create", "--linux", "--disk-size", size, name))


# ---------------------------------------------------------------- create

def test_create_is_silent_and_makes_the_three_files(tart):
    silent(tart("create", "--linux", "linux-vm"))
    assert tart("list", "--source", "local", "--quiet").stdout == "linux-vm\n"
    directory = tart.vm("linux-vm")
    assert {"config.json", "disk.img", "nvram.bin"} <= set(os.listdir(directory))
    disk = (directory / "disk.img").stat()
    assert disk.st_size == 50 * 10**9 and disk.st_blocks * 512 < 1 << 20
    config = json.loads((directory / "config.json").read_text())
    assert config["version"] == 1 and config["os"] == "linux"
    assert config["arch"] == {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert config["cpuCount"] == config["cpuCountMin"] == 4
    assert config["memorySize"] == config["memorySizeMin"] == 4294967296
    assert (config["display"]["width"], config["display"]["height"]) == (1024, 768)
    assert "unit" not in config["display"] and "displayRefit" not in config
    first = int(config["macAddress"][:2], 16)
    assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", config["macAddress"])
    assert first & 2 and not first & 1  # locally administered, unicast
    assert os.listdir(tart.home / "tmp") == []


def test_create_replaces_a_stopped_vm_unless_told_not_to(tart):
    create(tart)
    before = (tart.vm("vm") / "config.json").read_text()
    silent(tart("create", "vm", "--linux", "--disk-size=2"))
    assert (tart.vm("vm") / "disk.img").stat().st_size == 2 * 10**9
    assert (tart.vm("vm") / "config.json").read_text() != before
    done = tart("create", "--linux", "--no-clobber", "vm")
    assert done.returncode == 1 and "vm" in done.stderr and done.stderr.count("\n") == 1
    assert (tart.vm("vm") / "disk.img").stat().st_size == 2 * 10**9


@pytest.mark.parametrize("args, message", [
    (["vm"], "Please specify either a --from-ipsw or --linux option!"),
    (["--linux", "--disk-format", "asif", "vm"],
     "Disk format 'asif' is not supported on this system."),
    (["--linux", "--disk-format", "ASIF", "vm"],
     "Disk format 'asif' is not supported on this system."),
    (["--linux", "--disk-size", "65536", "vm"],
     "The value '65536' is invalid for '--disk-size <disk-size>'"),
    (["--linux"], "Missing expected argument '<name>'"),
])
def test_create_misused(tart, args, message):
    misused(tart("create", *args), message, "create")
    assert tart("list", "--quiet").stdout == ""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the message of x86 hosts")
def test_create_from_ipsw_is_refused(tart):
    misused(tart("create", "--from-ipsw", "latest", "vm"),
            "Only Linux VMs are supported on Intel!", "create")


def test_disk_format_raw_in_any_case(tart):
    silent(tart("create", "--linux", "--disk-size=1", "--disk-format", "RAW", "vm"))


# ----------------------------------------------------------------- clone

def test_clone_is_silent_and_gives_a_new_mac(tart):
    create(tart, "debian")
    silent(tart("clone", "debian", "ubuntu"))
    assert tart("list", "--source", "local", "--quiet").stdout == "debian\nubuntu\n"
    macs = {json.loads((tart.vm(name) / "config.json").read_text())["macAddress"]
            for name in ("debian", "ubuntu")}
    assert len(macs) == 2


def test_clone_accepts_the_options_of_pulls(tart):
    create(tart, "a")
    silent(tart("clone", "a", "b", "--insecure", "--concurrency", "2", "--prune-limit=7",
                "--deduplicate"))
    silent(tart("clone", "--no-clobber", "a", "c"))
    assert tart("clone", "--no-clobber", "a", "c").returncode == 1


def test_clone_replaces_a_stopped_vm(tart):
    create(tart, "a", 1)
    create(tart, "b", 2)
    silent(tart("clone", "a", "b"))
    assert json.loads(tart("get", "b", "--format", "json").stdout)["Disk"] == 1


def test_clone_misused(tart):
    create(tart, "a")
    misused(tart("clone", "a", "b/c"), "<new-name> should be a local name", "clone")
    misused(tart("clone", "a", "b", "--concurrency", "0"),
            "network concurrency cannot be less than 1", "clone")
    refused(tart("clone", "missing", "b"), DOES_NOT_EXIST.format("missing"), 2)
    done = tart("clone", "ghcr.io/cirruslabs/debian:latest", "b")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert tart("list", "--quiet").stdout == "a\n"


# ---------------------------------------------------------------- rename

def test_rename(tart):
    create(tart, "debian")
    silent(tart("rename", "debian", "ubuntu"))
    assert tart("list", "--source", "local", "--quiet").stdout == "ubuntu\n"


def test_rename_misused_shows_the_programs_usage(tart):
    create(tart, "a")
    create(tart, "b")
    misused(tart("rename", "a", "x/y"), "<new-name> should be a local name")
    misused(tart("rename", "missing", "x"),
            "failed to rename a non-existent local VM: missing")
    misused(tart("rename", "a", "b"),
            "failed to rename VM a, target VM b already exists, delete it first!")
    assert tart("list", "--quiet").stdout == "a\nb\n"


# ---------------------------------------------------------------- delete

def test_delete_takes_many_and_stops_at_the_first_error(tart):
    for name in "abcd":
        create(tart, name)
    silent(tart("delete", "a", "b"))
    refused(tart("delete", "c", "missing", "d"), DOES_NOT_EXIST.format("missing"), 2)
    assert tart("list", "--quiet").stdout == "d\n"
    silent(tart("delete", "d"))
    assert tart("list", "--quiet").stdout == ""
    misused(tart("delete"), "Missing expected argument '<name> ...'", "delete")


def test_a_suspended_vm_can_be_deleted(tart):
    create(tart)
    (tart.vm("vm") / "state.vzvmsave").write_bytes(b"state")
    assert json.loads(tart("get", "vm", "--format=json").stdout)["State"] == "suspended"
    silent(tart("delete", "vm"))


# ------------------------------------------------------------------- set

def config(tart, name="vm"):
    return json.loads((tart.vm(name) / "config.json").read_text())


def test_set_changes_what_is_named_and_nothing_else(tart):
    create(tart)
    before = config(tart)
    silent(tart("set", "vm", "--cpu", "2", "--memory=2048", "--display", "1920x1080px"))
    after = config(tart)
    assert after["cpuCount"] == 2 and after["memorySize"] == 2048 << 20
    assert after["display"] == {"width": 1920, "height": 1080, "unit": "px"}
    assert {key for key in before if before[key] != after[key]} == \
        {"cpuCount", "memorySize", "display"}


def test_set_takes_options_before_and_after_the_name(tart):
    create(tart)
    silent(tart("set", "--cpu", "3", "vm", "--memory", "512"))
    assert (config(tart)["cpuCount"], config(tart)["memorySize"]) == (3, 512 << 20)
    silent(tart("set", "vm", "--random-mac"))
    silent(tart("set", "--random-serial", "vm"))


def test_set_display_refit_stays_when_not_named(tart):
    create(tart)
    silent(tart("set", "vm", "--display-refit"))
    assert config(tart)["displayRefit"] is True
    silent(tart("set", "vm", "--cpu", "1"))
    assert config(tart)["displayRefit"] is True
    silent(tart("set", "vm", "--no-display-refit"))
    assert config(tart)["displayRefit"] is False


def test_set_display_keeps_the_unit_and_what_is_no_number(tart):
    create(tart)
    silent(tart("set", "vm", "--display", "800x600pt"))
    silent(tart("set", "vm", "--display", "1000xfoo"))
    assert config(tart)["display"] == {"width": 1000, "height": 600, "unit": "pt"}


def test_set_random_mac(tart):
    create(tart)
    before = config(tart)["macAddress"]
    silent(tart("set", "vm", "--random-mac"))
    assert config(tart)["macAddress"] != before


def test_set_keeps_members_it_does_not_know(tart):
    create(tart)
    path = tart.vm("vm") / "config.json"
    path.write_text(json.dumps({**config(tart), "machineIdentifier": "bWFj", "x": [1, {"y": 2}]}))
    silent(tart("set", "vm", "--cpu", "1"))
    assert config(tart)["machineIdentifier"] == "bWFj" and config(tart)["x"] == [1, {"y": 2}]


def test_set_disk_size_grows_only(tart):
    create(tart, size=2)
    silent(tart("set", "--disk-size", "2", "vm"))
    silent(tart("set", "--disk-size", "3", "vm"))
    assert (tart.vm("vm") / "disk.img").stat().st_size == 3 * 10**9
    refused(tart("set", "vm", "--disk-size", "1"),
            "new disk size of 1 GB should be larger than the current disk size of 3 GB\n")
    assert (tart.vm("vm") / "disk.img").stat().st_size == 3 * 10**9


def test_set_disk_replaces_the_disk_by_a_copy(tart, tmp_path):
    create(tart)
    image = tmp_path / "new.raw"
    image.write_bytes(b"boot" * 1024)
    silent(tart("set", "vm", "--disk", image))
    assert (tart.vm("vm") / "disk.img").read_bytes() == b"boot" * 1024
    image.write_bytes(b"changed")
    assert (tart.vm("vm") / "disk.img").read_bytes() == b"boot" * 1024
    done = tart("set", "vm", "--disk", tmp_path / "missing.raw")
    assert done.returncode == 1 and "missing.raw" in done.stderr
    assert (tart.vm("vm") / "disk.img").read_bytes() == b"boot" * 1024


@pytest.mark.parametrize("option, message", [
    (["--cpu", "0"], "Error: LessThanMinimalResourcesError: VM should have 1 CPU cores at "
                     "minimum (requested 0)\n"),
    (["--memory", "0"], "Error: LessThanMinimalResourcesError: VM should have 1048576 bytes of "
                        "memory at minimum (requested 0)\n"),
])
def test_set_has_minima(tart, option, message):
    create(tart)
    before = config(tart)
    refused(tart("set", "vm", *option), message)
    assert config(tart) == before


def test_set_memory_cannot_overflow(tart):
    create(tart)
    for memory in (2**64 - 1, 2**44, 2**50):
        done = tart("set", "vm", "--memory", memory)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert config(tart)["memorySize"] == 4294967296


def test_set_misused(tart):
    create(tart)
    misused(tart("set", "vm", "--cpu", "65536"), "The value '65536' is invalid for '--cpu <cpu>'",
            "set")
    misused(tart("set", "--cpu", "1"), "Missing expected argument '<name>'", "set")
    refused(tart("set", "missing", "--cpu", "1"), DOES_NOT_EXIST.format("missing"), 2)


# ------------------------------------------------------------ get and list

CONTRACT_GET = {"OS", "CPU", "Memory", "Disk", "DiskFormat", "Size", "Display", "Running", "State"}
BEYOND = {"Exclusive", "Started", "Address", "MAC"}


def test_get_json(tart):
    create(tart, size=51)
    done = tart("get", "vm", "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    got = json.loads(done.stdout)
    assert set(got) == CONTRACT_GET | BEYOND | {"IP", "NetFilter", "NoLocal"}
    assert (got["OS"], got["CPU"], got["Memory"], got["Disk"]) == ("linux", 4, 4096, 51)
    assert (got["DiskFormat"], got["Display"]) == ("raw", "1024x768")
    assert got["Running"] is False and got["State"] == "stopped"
    assert re.fullmatch(r"\d+\.\d{3}", got["Size"])
    assert got["Started"] is None and got["Address"] is None
    assert got["MAC"] == config(tart)["macAddress"] and isinstance(got["Exclusive"], int)
    assert '\n  "OS" : "linux"' in done.stdout


def test_get_text_has_the_contracts_columns(tart):
    create(tart)
    silent(tart("set", "vm", "--display", "1920x1080px"))
    header, row = tart("get", "vm").stdout.splitlines()
    assert header.split() == "OS CPU Memory Disk DiskFormat Size Display State".split()
    assert row.split()[:5] == ["linux", "4", "4096", "1", "raw"]
    assert row.split()[6:] == ["1920x1080px", "stopped"]
    assert row.index("4 ") == header.index("CPU")


def test_get_long_text(linzer, tart):
    create(tart)
    for done in (linzer("get", "vm"), tart("get", "vm", "--long")):
        header, row = done.stdout.splitlines()
        assert header.split() == ("OS CPU Memory Disk DiskFormat Size Display Exclusive Started "
                                  "Address MAC State").split()
        assert row.split()[-1] == "stopped" and row.split()[-2] == config(tart)["macAddress"]


def test_get_of_what_is_not_there(tart):
    refused(tart("get", "missing"), DOES_NOT_EXIST.format("missing"), 2)
    refused(tart("get", "ghcr.io/a/b:latest"), DOES_NOT_EXIST.format("ghcr.io/a/b:latest"), 2)
    misused(tart("get", "x", "--format", "yaml"),
            "The value 'yaml' is invalid for '--format <format>'. "
            "Please provide one of 'text' or 'json'.", "get")


def test_list_json(tart):
    create(tart, "b")
    create(tart, "a", 20)
    done = tart("list", "--format", "json")
    got = json.loads(done.stdout)
    assert [vm["Name"] for vm in got] == ["a", "b"]
    for vm in got:
        assert list(vm) == ["Source", "Name", "Disk", "Size", "Accessed", "Running", "State"]
        assert vm["Source"] == "local" and vm["Size"] == 0
        assert vm["Running"] is False and vm["State"] == "stopped"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", vm["Accessed"])
    assert got[0]["Disk"] == 20
    assert '"Name" : "a"' in done.stdout


def test_list_text(tart):
    create(tart, "a-longer-name", 20)
    create(tart, "b")
    lines = tart("list").stdout.split("\n")
    assert lines[-1] == "" and len(lines) == 4
    assert lines[0].split() == ["Source", "Name", "Disk", "Size", "Accessed", "State"]
    assert lines[0].startswith("Source Name          Disk Size Accessed")
    assert lines[1].startswith("local  a-longer-name 20   0    ")
    assert lines[1].split()[-1] == lines[2].split()[-1] == "stopped"


def test_list_of_nothing(tart):
    assert tart("list").stdout == "\n"
    assert tart("list", "--quiet").stdout == ""
    assert tart("list", "--format", "json").stdout == "[\n\n]\n"
    create(tart)
    assert tart("list", "--source", "oci", "--quiet").stdout == ""
    assert tart("list", "--source=oci", "--format=json").stdout == "[\n\n]\n"


def test_list_quiet_wins_over_format(tart):
    create(tart)
    assert tart("list", "-q", "--format", "json").stdout == "vm\n"
    misused(tart("list", "--source", "x"), "'x' is not a valid <source>", "list")


def test_list_long(tart):
    create(tart)
    vm, = json.loads(tart("list", "--long", "--format", "json").stdout)
    assert BEYOND <= set(vm) and vm["MAC"] == config(tart)["macAddress"]
    header = tart("list", "--long").stdout.splitlines()[0].split()
    assert header == ("Source Name Disk Size Exclusive Started Address MAC Accessed State").split()


def test_list_skips_what_is_no_vm(tart):
    create(tart)
    (tart.home / "vms" / "half").mkdir()
    (tart.home / "vms" / "half" / "config.json").write_text("{}")
    (tart.home / "vms" / "file").write_text("")
    assert tart("list", "--quiet").stdout == "vm\n"
    refused(tart("get", "half"),
            "VM is missing some of its files (config.json, disk.img or nvram.bin)\n")


def test_plain_list_opens_no_disk(linzer, tart):
    create(tart)
    # a disk that cannot be opened is listed all the same
    disk = tart.vm("vm") / "disk.img"
    disk.unlink()
    os.mkfifo(disk)
    done = tart("list", "--quiet", timeout=60)
    assert done.returncode == 0
    disk.unlink()
    disk.write_bytes(b"")
    disk.chmod(0)
    assert tart("list", "--format", "json").returncode == 0


# ----------------------------------------------------------------- prune

def test_prune_misused(tart):
    misused(tart("prune"), "at least one pruning criteria must be specified", "prune")
    misused(tart("prune", "--entries", "x", "--older-than", "1"),
            'unsupported --entries value, please specify either "caches" or "vms"', "prune")
    misused(tart("prune", "--cache-budget", "1", "--space-budget", "1"),
            "--cache-budget is deprecated, please use --space-budget", "prune")
    done = tart("prune", "--cache-budget", "1")
    assert (done.returncode, done.stderr) == \
        (0, "--cache-budget is deprecated, please use --space-budget\n")
    silent(tart("prune", "--gc"))


def test_prune_vms(tart):
    create(tart, "old")
    create(tart, "new")
    marker = tart.vm("old") / ".accessed"
    silent(tart("get", "old", "--format", "json") and tart("prune", "--entries", "vms",
                                                           "--older-than", "1"))
    assert tart("list", "-q").stdout == "new\nold\n"
    os.utime(marker, (0, 0))
    silent(tart("prune", "--entries", "vms", "--older-than", "1"))
    assert tart("list", "-q").stdout == "new\n"
    silent(tart("prune", "--entries", "caches", "--older-than", "0"))
    assert tart("list", "-q").stdout == "new\n"
    silent(tart("prune", "--entries", "vms", "--space-budget", "0"))
    assert tart("list", "-q").stdout == ""


# ------------------------------------------------------- run, exec, before they do anything

def test_run_of_what_is_not_there_is_an_error_of_validation(tart):
    done = tart("run", "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'Error: the specified VM "missing" does not exist\n'


@pytest.mark.parametrize("args, message", [
    (["--vnc", "--vnc-experimental"], "--vnc and --vnc-experimental are mutually exclusive"),
    (["--net-softnet", "--net-host"],
     "--net-bridged, --net-softnet and --net-host are mutually exclusive"),
    (["--net-bridged=eth0", "--net-softnet-allow=0.0.0.0/0"],
     "--net-bridged, --net-softnet and --net-host are mutually exclusive"),
    (["--graphics", "--no-graphics"], "--graphics and --no-graphics are mutually exclusive"),
    (["--capture-system-keys", "--no-graphics"],
     "--captures-system-keys can only be used with the default VM view"),
])
def test_run_misused(tart, args, message):
    create(tart)
    misused(tart("run", *args, "vm"), message, "run")


def test_exec_of_what_does_not_run(tart):
    create(tart)
    refused(tart("exec", "vm", "true"), 'VM "vm" is not running\n', 2)
    refused(tart("exec", "missing", "true"), DOES_NOT_EXIST.format("missing"), 2)
    misused(tart("exec", "vm"), "Missing expected argument '<command> ...'", "exec")


# ----------------------------------------------------------- other names

def test_vetu_is_another_name(linzer):
    done = linzer("create", "--linux", "--disk-size", "1", "vm", program="vetu")
    assert done.returncode == 0
    done = linzer("delete", "missing", program="vetu")
    assert (done.returncode, done.stderr) == (2, DOES_NOT_EXIST.format("missing"))
    assert "Usage: vetu delete" in linzer("delete", program="vetu").stderr


def test_vetu_home_comes_first_for_vetu_only(linzer, tmp_path):
    other = tmp_path / "vetu-home"
    env = {"VETU_HOME": str(other)}
    assert linzer("create", "--linux", "--disk-size=1", "v", program="vetu", env=env).returncode == 0
    assert linzer("list", "-q", program="vetu", env=env).stdout == "v\n"
    assert linzer("list", "-q", program="tart", env=env).stdout == ""
    assert (other / "vms" / "v").is_dir()


def test_private_files(tart):
    create(tart)
    for name in ("disk.img", "nvram.bin"):
        mode = (tart.vm("vm") / name).stat().st_mode
        assert stat.S_ISREG(mode) and not mode & stat.S_IWOTH
