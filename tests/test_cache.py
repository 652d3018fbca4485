# SPDX-License-Identifier: Apache-2.0
"""Cached images, made by hand: listed, cloned, deleted and pruned."""

import fcntl
import json
import os
import shutil
import subprocess
import time

import pytest

import cached_image
import vm_disk
from cached_image import image_path, make, repository_path
from loop_mount import FILE_SYSTEMS, home_on, mounted, needs_root

MIB = 1 << 20
BASE = "ghcr.io/org/base"
LOCAL = "127.0.0.1:5000/a/b"


def names(linzer, *args):
    return linzer("list", "--quiet", *args, check=True).stdout.splitlines()


def pull_left(linzer, name, days=0, size=MIB):
    """What a pull that was interrupted left."""
    path = linzer.home / "cache/pulls" / name
    path.mkdir(parents=True)
    (path / "disk.img").write_bytes(os.urandom(size))
    when = time.time() - days * 86400 - 5
    os.utime(path / "disk.img", (when, when))
    os.utime(path, (when, when))
    return path


# ------------------------------------------------------------------------------------- list

def test_list_shows_tags_and_digests_after_the_vms(linzer):
    linzer("create", "--linux", "--disk-size", 1, "zulu", check=True)
    one = make(linzer.home, LOCAL, "latest", "v1", seed=1, absolute=True)
    two = make(linzer.home, BASE, "v1", seed=2, size=3 * 10**9, data=MIB, days=3)
    images = [f"{LOCAL}:latest", f"{LOCAL}:v1", f"{LOCAL}@{one}", f"{BASE}:v1", f"{BASE}@{two}"]
    assert names(linzer) == ["zulu", *images]
    assert names(linzer, "--source", "oci") == images
    assert names(linzer, "--source", "local") == ["zulu"]
    rows = json.loads(linzer("list", "--format", "json", "--source", "oci").stdout)
    assert [row["Name"] for row in rows] == images
    assert all(row["Source"] == "OCI" and row["State"] == "stopped" and not row["Running"]
               for row in rows)
    assert [row["Disk"] for row in rows] == [0, 0, 0, 3, 3]
    assert all(set(row) == {"Source", "Name", "Disk", "Size", "Accessed", "Running", "State"}
               for row in rows)
    lines = linzer("list").stdout.splitlines()
    assert lines[0].split() == ["Source", "Name", "Disk", "Size", "Accessed", "State"]
    assert lines[1].startswith("local  zulu ") and lines[2].startswith(f"OCI    {images[0]} ")
    assert "3 days ago" in lines[5] and lines[5].split()[-1] == "stopped"
    assert "MAC" in linzer("list", "--long", check=True).stdout


def test_names_with_ports_and_layouts_are_encoded(linzer, tmp_path):
    make(linzer.home, LOCAL, "x")
    assert (linzer.home / "cache/OCIs/127.0.0.1%3A5000/a/b/x").is_symlink()
    make(linzer.home, "oci:" + str(tmp_path), "t")  # the helper only encodes ':'
    assert f"oci:{tmp_path}:t" in names(linzer)
    digest = make(linzer.home, "oci:/%2Ehid/a%20b%3Ac", "t")
    assert "oci:/.hid/a b:c:t" in names(linzer)
    assert linzer("fqn", "oci:/x/../.hid//a b:c:t").stdout == f"oci:/.hid/a b:c@{digest}\n"


def test_list_skips_what_is_broken(linzer):
    where = repository_path(linzer.home, BASE)
    digests = [make(linzer.home, BASE, f"t{i}", seed=i) for i in range(4)]
    (where / digests[0] / "disk.img").unlink()
    (where / digests[1] / "config.json").unlink()
    (where / digests[2] / "nvram.bin").unlink()
    (where / digests[2] / "nvram.bin").symlink_to("/etc/passwd")
    (where / "dangling").symlink_to(cached_image.digest_of("nothing"))
    (where / "elsewhere").symlink_to("/etc")
    (where / "loop").symlink_to("loop")
    (where / "file").write_text("x")
    (where / "sha256:short").mkdir()
    (where / ("sha256:" + "A" * 64)).mkdir()
    (where / "a%41").mkdir()
    (where / "..%2F..").mkdir()
    shutil.copytree(where / digests[3], where / "a%41" / digests[3])
    shutil.copytree(where / digests[3], where / "..%2F.." / digests[3])
    shutil.copytree(where / digests[3], linzer.home / "cache/OCIs" / digests[3])
    (where / "up").symlink_to("..")
    assert names(linzer) == [f"{BASE}:t3", f"{BASE}@{digests[3]}"]
    for tag in ("t0", "t1", "t2", "dangling", "elsewhere", "loop", "file", "up"):
        done = linzer("clone", f"{BASE}:{tag}", "new")
        assert done.returncode != 0 and done.stderr.count("\n") == 1, tag
    assert not (linzer.home / "vms").exists() or os.listdir(linzer.home / "vms") == []


def test_an_empty_cache_lists_nothing(linzer):
    assert linzer("list", "--source", "oci", check=True).stdout == \
        linzer("list", "--source", "local", check=True).stdout
    assert linzer("list", "--source", "oci", "--format", "json").stdout == "[\n\n]\n"
    assert linzer("list", "--source", "oci", "-q").stdout == ""
    assert linzer("prune", "--all", check=True).stderr == ""
    assert not (linzer.home / "cache/OCIs").exists()  # asking makes nothing


def test_a_macos_image_breaks_nothing(linzer):
    make(linzer.home, BASE, "mac", os="darwin", arch="arm64", ecid="eA==", hardwareModel="eA==",
         diskFormat="asif")
    assert f"{BASE}:mac" in names(linzer)
    linzer("clone", f"{BASE}:mac", "mac", check=True)
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    linzer("clone", "vm", "copy", check=True)
    assert json.loads(linzer("get", "mac", "--format", "json").stdout)["OS"] == "darwin"
    assert [r["State"] for r in json.loads(linzer("list", "--format", "json").stdout)] == ["stopped"] * 5


# -------------------------------------------------------------------------------------- fqn

def test_fqn(linzer):
    digest = make(linzer.home, BASE, "latest", "v1")
    for name in (BASE, f"{BASE}:latest", f"{BASE}:v1", f"{BASE}@{digest}"):
        assert linzer("fqn", name, check=True).stdout == f"{BASE}@{digest}\n"
    assert linzer("fqn", "any-vm", check=True).stdout == "any-vm\n"
    done = linzer("fqn", "ghcr.io/org/other")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "OCI storage error: ghcr.io/org/other:latest is not a digest and " \
                          "doesn't point to a digest\n"
    assert "fqn" not in linzer("--help").stdout and "fqn" in linzer("--help-hidden").stdout


@pytest.mark.parametrize("verb", [["get"], ["ip"], ["stop"], ["set", "--cpu", 1], ["logs"], ["run"],
                                  ["exec"]])
def test_verbs_of_vms_know_no_images(linzer, verb):
    make(linzer.home, BASE, "latest")
    args = ["true"] if verb == ["exec"] else []
    done = linzer(*verb, BASE, *args)
    assert done.returncode == (1 if verb == ["run"] else 2)
    assert f'the specified VM "{BASE}" does not exist\n' in done.stderr


def test_rename_of_an_image_and_to_one(linzer):
    make(linzer.home, BASE, "latest")
    done = linzer("rename", BASE, "new")
    assert done.returncode == 64 and f"failed to rename a non-existent local VM: {BASE}" in done.stderr
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    for name in (BASE, "oci:x"):
        assert linzer("rename", "vm", name).returncode != 0
        assert "should be a local name" in linzer("clone", "vm", name).stderr
    assert names(linzer, "--source", "local") == ["vm"]


# ----------------------------------------------------------------------------------- delete

def test_delete_of_a_tag_keeps_what_another_tag_names(linzer):
    digest = make(linzer.home, BASE, "v1", "v2")
    linzer("delete", f"{BASE}:v1", check=True)
    assert names(linzer) == [f"{BASE}:v2", f"{BASE}@{digest}"]
    linzer("delete", f"{BASE}:v2", check=True)
    assert names(linzer) == [] and os.listdir(linzer.home / "cache/OCIs") == []


def test_delete_of_a_digest_takes_its_tags(linzer):
    digest = make(linzer.home, BASE, "v1", "v2")
    other = make(linzer.home, BASE, "v3", seed=3)
    linzer("delete", f"{BASE}@{digest}", check=True)
    assert names(linzer) == [f"{BASE}:v3", f"{BASE}@{other}"]
    assert not (repository_path(linzer.home, BASE) / "v1").is_symlink()


def test_delete_keeps_what_was_pulled_by_digest(linzer):
    digest = make(linzer.home, BASE, "v1")
    (image_path(linzer.home, BASE, digest) / ".explicitly-pulled").touch()
    linzer("delete", f"{BASE}:v1", check=True)
    assert names(linzer) == [f"{BASE}@{digest}"]


def test_delete_of_what_is_not_there(linzer):
    make(linzer.home, BASE, "v1")
    for name in (f"{BASE}:v2", BASE, f"{BASE}@sha256:{'0' * 64}", "ghcr.io/org", "ghcr.io/org/base/v1:x",
                 "ghcr.io/org:base"):
        done = linzer("delete", name)
        assert done.returncode == 2, name
        assert done.stderr == f'the specified VM "{name}" does not exist\n'
    assert len(names(linzer)) == 2


def test_delete_of_an_image_that_is_read(linzer):
    digest = make(linzer.home, BASE, "v1")
    reader = os.open(image_path(linzer.home, BASE, digest), os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    done = linzer("delete", f"{BASE}@{digest}")
    assert done.returncode == 1 and "is in use" in done.stderr
    assert linzer("prune", "--all", check=True).stderr == ""
    linzer("delete", f"{BASE}:v1", check=True)  # the tag goes, the image at the next collection
    assert names(linzer) == [f"{BASE}@{digest}"]
    os.close(reader)
    linzer("prune", "--gc", check=True)
    assert names(linzer) == []


# ------------------------------------------------------------------------------------ prune

def removed(done):
    assert done.returncode == 0 and done.stdout == ""
    return [line.rsplit(" (", 1)[0] for line in done.stderr.splitlines()]


def test_prune_by_age(linzer):
    make(linzer.home, BASE, "old", seed=1, days=5)
    make(linzer.home, BASE, "new", seed=2, days=1)
    done = linzer("prune", "--older-than", 4)
    assert removed(done) == [f"{BASE}:old"]
    assert done.stderr == f"{BASE}:old ({4 * MIB} bytes)\n"
    assert [n for n in names(linzer) if "@" not in n] == [f"{BASE}:new"]
    assert removed(linzer("prune", "--older-than", 0)) == [f"{BASE}:new"]


def test_prune_to_a_budget_keeps_the_newest_that_fit(linzer):
    make(linzer.home, BASE, "new", seed=1, days=1, size=300 * MIB)
    make(linzer.home, BASE, "big", seed=2, days=2, size=800 * MIB)
    make(linzer.home, BASE, "small", seed=3, days=3, size=100 * MIB)
    assert removed(linzer("prune", "--space-budget", 1)) == [f"{BASE}:big"]
    assert removed(linzer("prune", "--space-budget", 1)) == []
    done = linzer("prune", "--cache-budget", 0)
    assert done.stderr.startswith("--cache-budget is deprecated")
    assert names(linzer) == []


def test_prune_keeps_what_gives_nothing_back(linzer):
    digest = make(linzer.home, BASE, "v1", days=5)
    os.link(image_path(linzer.home, BASE, digest) / "disk.img", linzer.home / "elsewhere")
    assert removed(linzer("prune", "--space-budget", 0)) == []
    assert removed(linzer("prune", "--older-than", 4)) == [f"{BASE}:v1"]


def test_prune_all(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    digest = make(linzer.home, BASE, "v1", "v2", seed=1)
    os.link(image_path(linzer.home, BASE, digest) / "disk.img", linzer.home / "elsewhere")
    make(linzer.home, LOCAL, seed=2)
    pull_left(linzer, "one")
    busy = os.open(pull_left(linzer, "two"), os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    gone = removed(linzer("prune", "--all"))
    assert len(gone) == 3 and f"{BASE}:v1" in gone and "unfinished pull of one" in gone
    assert names(linzer) == ["vm"]
    assert os.listdir(linzer.home / "cache/pulls") == ["two"]
    assert os.listdir(linzer.home / "cache/OCIs") == []
    os.close(busy)
    done = linzer("prune", "--all", "--entries", "vms")
    assert done.returncode == 64 and "--all is for --entries caches only" in done.stderr


def test_gc(linzer):
    where = repository_path(linzer.home, BASE)
    make(linzer.home, BASE, seed=1)
    digest = make(linzer.home, BASE, "v1", seed=2)
    (where / "dangling").symlink_to(cached_image.digest_of("nothing"))
    (where / ".link-0123").symlink_to(digest)
    (linzer.home / "cache/OCIs/.trash-1").mkdir()
    pull_left(linzer, "old", days=8)
    pull_left(linzer, "new", days=6)
    linzer("prune", "--gc", check=True)
    assert sorted(os.listdir(where)) == sorted(["v1", digest])
    assert os.listdir(linzer.home / "cache/pulls") == ["new"]
    assert os.listdir(linzer.home / "cache/OCIs") == ["ghcr.io"]


def test_no_other_command_touches_an_unfinished_pull(linzer):
    pull_left(linzer, "left")
    make(linzer.home, BASE, "v1")
    linzer("list", check=True)
    linzer("clone", f"{BASE}:v1", "vm", check=True)
    linzer("delete", "vm", f"{BASE}:v1", check=True)
    assert os.listdir(linzer.home / "cache/pulls") == ["left"]


# ------------------------------------------------------------------------------------ clone

@pytest.fixture(params=FILE_SYSTEMS)
def space(request, linzer):
    with home_on(linzer, request.param, 2 << 30) as path:
        yield path


@needs_root
def test_a_clone_and_its_image_do_not_see_each_other(linzer, space):
    digest = make(linzer.home, BASE, "v1", size=64 * MIB)
    image = image_path(linzer.home, BASE, digest)
    before = os.statvfs(space).f_bavail
    linzer("clone", f"{BASE}:v1", "one", check=True)
    linzer("clone", f"{BASE}@{digest}", "two", check=True)
    assert (before - os.statvfs(space).f_bavail) * os.statvfs(space).f_frsize < 4 * MIB
    expected = vm_disk.digest(image)
    assert vm_disk.digest(linzer.vm("one")) == expected
    vm_disk.write(linzer.vm("one"), 1, 0)
    linzer("clone", "one", "three", check=True)
    vm_disk.write(linzer.vm("three"), 3, MIB)
    assert vm_disk.digest(image) == vm_disk.digest(linzer.vm("two")) == expected
    linzer("delete", f"{BASE}:v1", check=True)
    assert vm_disk.digest(linzer.vm("two")) == expected
    assert vm_disk.holds(linzer.vm("three"), 1, 0) and vm_disk.holds(linzer.vm("three"), 3, MIB)
    assert not vm_disk.holds(linzer.vm("one"), 3, MIB)


@needs_root
def test_a_clone_of_an_image_is_a_layer_where_nothing_is_shared(linzer):
    with home_on(linzer, "ext4", 1 << 30):
        digest = make(linzer.home, BASE, "v1", mode=0o644, size=4 * MIB + 100)
        image = image_path(linzer.home, BASE, digest)
        linzer("clone", f"{BASE}:v1", "vm", check=True)
        top, base = vm_disk.layers(linzer.vm("vm"))
        assert top == {"file": "disk.img", "format": "qcow2"}
        assert base["format"] == "raw" and base["length"] == 4 * MIB + 100
        assert (linzer.vm("vm") / base["file"]).samefile(image / "disk.img")
        assert (image / "disk.img").stat().st_mode & 0o777 == 0o400
        assert (linzer.vm("vm") / "nvram.bin").samefile(image / "nvram.bin")
        shown = json.loads(linzer("get", "vm", "--format", "json").stdout)
        assert shown["DiskFormat"] == "raw"
        linzer("clone", "--raw", f"{BASE}:v1", "raw", check=True)
        assert (linzer.vm("raw") / "disk.img").read_bytes() == (image / "disk.img").read_bytes()
        assert (linzer.vm("raw") / "disk.img").stat().st_nlink == 1
        assert removed(linzer("prune", "--space-budget", 0)) == []


def test_a_small_image_is_copied(linzer):
    digest = make(linzer.home, BASE, "v1", size=64 * MIB, data=MIB // 2)
    linzer("clone", f"{BASE}:v1", "vm", check=True)
    disk = linzer.vm("vm") / "disk.img"
    assert not (linzer.vm("vm") / "disk.json").exists()
    assert disk.read_bytes() == (image_path(linzer.home, BASE, digest) / "disk.img").read_bytes()
    assert disk.stat().st_blocks * 512 < MIB and disk.stat().st_mode & 0o200


@needs_root
def test_the_cache_on_another_file_system(linzer):
    with mounted("ext4", 256 << 20) as other:
        (linzer.home / "cache").symlink_to(other)
        digest = make(linzer.home, BASE, "v1", size=64 * MIB, data=8 * MIB)
        linzer("clone", f"{BASE}:v1", "vm", check=True)
        image = image_path(linzer.home, BASE, digest)
        assert (linzer.vm("vm") / "disk.img").read_bytes() == (image / "disk.img").read_bytes()
        assert (linzer.vm("vm") / "disk.img").stat().st_blocks * 512 < 16 * MIB
        linzer("delete", f"{BASE}:v1", check=True)
        assert names(linzer) == ["vm"]


def mac(linzer, name):
    return json.loads((linzer.vm(name) / "config.json").read_text())["macAddress"]


def test_the_first_clone_keeps_the_images_mac(linzer):
    make(linzer.home, BASE, "v1")
    for name in ("one", "two"):
        linzer("clone", f"{BASE}:v1", name, check=True)
    assert mac(linzer, "one") == cached_image.CONFIG["macAddress"]
    assert mac(linzer, "two") not in (mac(linzer, "one"), "")
    linzer("clone", f"{BASE}:v1", "one", check=True)  # in its own place
    assert mac(linzer, "one") == cached_image.CONFIG["macAddress"]


def test_clones_know_their_origin(linzer):
    digest = make(linzer.home, BASE, "v1")
    manifest = (image_path(linzer.home, BASE, digest) / "manifest.json").read_text()
    linzer("clone", f"{BASE}:v1", "one", check=True)
    linzer("clone", f"{BASE}:v1", "two", check=True)
    linzer("clone", "one", "three", check=True)
    assert json.loads((linzer.vm("three") / "origin.json").read_text()) == \
        {"version": 1, "name": BASE, "digest": digest, "manifest": manifest}
    assert (linzer.vm("two") / "origin.json").samefile(linzer.vm("three") / "origin.json")
    other = make(linzer.home, BASE, "v2", seed=2)
    (image_path(linzer.home, BASE, other) / "manifest.json").unlink()
    linzer("clone", f"{BASE}:v2", "old", check=True)
    assert not (linzer.vm("old") / "origin.json").exists()
    assert not (linzer.vm("one") / "manifest.json").exists()


def test_overlays_of_a_stacked_image_come_along(linzer):
    digest = make(linzer.home, BASE, "v1")
    image = image_path(linzer.home, BASE, digest)
    (image / "overlay-1.asif").write_bytes(b"overlay")
    (image / "overlay-x.asif").write_bytes(b"no")
    linzer("clone", f"{BASE}:v1", "vm", check=True)
    assert (linzer.vm("vm") / "overlay-1.asif").read_bytes() == b"overlay"
    assert not (linzer.vm("vm") / "overlay-x.asif").exists()


def test_a_config_that_lies_is_not_cloned(linzer):
    digest = make(linzer.home, BASE, "v1", macAddress="no")
    done = linzer("clone", f"{BASE}:v1", "vm")
    assert done.returncode == 1 and "macAddress" in done.stderr and done.stderr.count("\n") == 1
    (image_path(linzer.home, BASE, digest) / "config.json").write_text("x" * (1 << 21))
    assert linzer("clone", f"{BASE}:v1", "vm").returncode == 1
    assert not linzer.vm("vm").exists() and os.listdir(linzer.home / "tmp") == []


def test_a_disk_json_in_an_image_is_not_believed(linzer):
    digest = make(linzer.home, BASE, "v1")
    image = image_path(linzer.home, BASE, digest)
    (image / "disk.json").write_text(json.dumps(
        {"version": 1, "size": 5, "layers": [{"file": "disk.img", "format": "qcow2"}]}))
    linzer("clone", f"{BASE}:v1", "vm", check=True)
    assert vm_disk.layers(linzer.vm("vm"))[-1]["format"] == "raw"


def test_a_missing_image_is_not_taken_for_a_vm(linzer):
    make(linzer.home, BASE, "v1")
    done = linzer("clone", f"{BASE}:v1", "a/b")
    assert done.returncode == 64 and "<new-name> should be a local name" in done.stderr


def test_deleted_while_it_is_cloned(linzer):
    """Again and again: a whole clone or a clean error, and no half of one."""
    for i in range(12):
        make(linzer.home, BASE, "v1", seed=i)
        clones = [linzer.start("clone", f"{BASE}:v1", f"vm{n}", stderr=subprocess.PIPE, text=True)
                  for n in range(3)]
        time.sleep(0.002 * i)
        linzer("delete", f"{BASE}:v1")
        for n, child in enumerate(clones):
            text = child.communicate(timeout=60)[1]
            whole = linzer.vm(f"vm{n}").exists()
            assert (child.returncode == 0) == whole, text
            if whole:
                assert len(vm_disk.digest(linzer.vm(f"vm{n}"))) == 64
                linzer("delete", f"vm{n}", check=True)
            else:
                assert text.count("\n") == 1
        linzer("prune", "--all", check=True)
    assert os.listdir(linzer.home / "vms") == [] and os.listdir(linzer.home / "tmp") == []


# ------------------------------------------------------------------------- automatic pruning

@pytest.fixture
def small(linzer):
    """200 MiB: a clone of an image of 4 GB can never have all that it may need."""
    with home_on(linzer, "ext4", 200 << 20) as path:
        yield path


def fill_to(path, left):
    """Until only so many bytes are left."""
    fs = os.statvfs(path)
    with open(path / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, fs.f_bavail * fs.f_frsize - left)


@needs_root
def test_clone_makes_room_oldest_first_and_says_so(linzer, small):
    make(linzer.home, BASE, "source", seed=1, size=20 * MIB, data=2 * MIB, days=9)
    make(linzer.home, BASE, "oldest", seed=2, size=8 * MIB, days=8)
    make(linzer.home, BASE, "older", seed=3, size=8 * MIB, days=7)
    make(linzer.home, BASE, "newest", seed=4, size=8 * MIB, days=1)
    fill_to(small, 8 * MIB)  # 18 MiB may be needed
    done = linzer("clone", f"{BASE}:source", "vm")
    assert removed(done) == [f"{BASE}:oldest", f"{BASE}:older"]
    assert f"({8 * MIB} bytes)" in done.stderr
    assert [n for n in names(linzer) if "@" not in n] == ["vm", f"{BASE}:newest", f"{BASE}:source"]


@needs_root
def test_the_source_and_what_is_shared_stay(linzer, small):
    make(linzer.home, BASE, "source", seed=1, size=20 * MIB, data=8 * MIB, days=9)
    linked = make(linzer.home, BASE, "linked", seed=2, size=8 * MIB, days=8)
    os.link(image_path(linzer.home, BASE, linked) / "disk.img", small / "elsewhere")
    make(linzer.home, BASE, "free", seed=3, size=8 * MIB, days=1)
    fill_to(small, 5 * MIB)
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == [f"{BASE}:free"]
    assert [n for n in names(linzer) if "@" not in n] == ["vm", f"{BASE}:linked", f"{BASE}:source"]


@needs_root
def test_what_is_not_enough_removes_nothing(linzer, small):
    make(linzer.home, BASE, "source", seed=1, size=100 * MIB, data=2 * MIB)
    make(linzer.home, BASE, "other", seed=2, size=8 * MIB)
    fill_to(small, 5 * MIB)
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == []
    assert f"{BASE}:other" in names(linzer)


@needs_root
def test_the_limit_and_the_way_out(linzer, small):
    make(linzer.home, BASE, "source", seed=1, size=12 * MIB, data=2 * MIB)
    make(linzer.home, BASE, "other", seed=2, size=8 * MIB)
    fill_to(small, 5 * MIB)
    assert removed(linzer("clone", "--prune-limit", 0, f"{BASE}:source", "one")) == []
    assert removed(linzer("clone", f"{BASE}:source", "two", env={"TART_NO_AUTO_PRUNE": ""})) == []
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    assert removed(linzer("clone", f"{BASE}:source", "three")) == [f"{BASE}:other"]


@needs_root
def test_unfinished_pulls_go_before_images(linzer, small):
    make(linzer.home, BASE, "source", seed=1, size=20 * MIB, data=2 * MIB)
    make(linzer.home, BASE, "other", seed=2, size=8 * MIB, days=9)
    pull_left(linzer, "newer", days=1, size=10 * MIB)
    pull_left(linzer, "older", days=2, size=16 * MIB)
    fill_to(small, 6 * MIB)
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == ["unfinished pull of older"]
    assert f"{BASE}:other" in names(linzer)


@needs_root
@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_extents_that_a_clone_shares_do_not_count(linzer, kind):
    with home_on(linzer, kind, 512 << 20):
        make(linzer.home, BASE, "v1", days=5)
        linzer("clone", f"{BASE}:v1", "vm", check=True)
        assert removed(linzer("prune", "--space-budget", 0)) == []
        linzer("delete", "vm", check=True)
        gone = []
        for _ in range(100):  # xfs lets go of a deleted file's extents in the background
            gone = gone or removed(linzer("prune", "--space-budget", 0))
            time.sleep(0 if gone else 0.2)
        assert gone == [f"{BASE}:v1"]
