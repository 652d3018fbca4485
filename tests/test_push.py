# SPDX-License-Identifier: Apache-2.0
"""push: what it makes (contract 5.2-5.5), what it does not send twice, and how a VM comes back."""

import calendar
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import time

import pytest

import faulty_registry as faulty
import vm_disk
from cache_state import cached, images, is_right, listed, new_vm, no_zeroes_are_stored, one_line, processor_seconds
from loop_mount import home_on, needs_root
from oci_image import (CONFIG, CONTENT, DISK, DISK_SIZE, END, FORMAT, KIB, MANIFEST, MIB, NVRAM, OCI_CONFIG, SIZE,
                       UPLOAD_TIME, Image, blocks_are_independent, digest, extents, file_digest, mixed_disk, noise, text,
                       unframe, upload)
from registry import skopeo
from terminal import Terminal

STAND_IN = os.path.join(os.path.dirname(__file__), "stand_in.py")


def push(oci, local, *words, check=True, **options):
    return oci("push", local, *words, "--insecure", check=check, **options)


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def manifest_of(fake, repository, tag="latest"):
    return json.loads(fake.manifests[repository, tag][0])


def slices_of(manifest):
    return [layer for layer in manifest["layers"] if layer["mediaType"] == DISK]


@functools.cache
def big_mixed_disk():
    """About 100 MB of data, holes of many sizes and repeats, of odd length; extents at 4 KiB grain."""
    parts = []
    for i in range(12):
        parts += [noise(3 * MIB, i), bytes(4 * KIB * (1 + i * 37)), text(2 * MIB, i), bytes(5 * MIB),
                  noise(4 * KIB, i), bytes(60 * KIB)]
    parts += [noise(3 * MIB, 5), bytes(17 * MIB), noise(12345, 7)]
    return b"".join(parts)


@pytest.fixture
def disk():
    return mixed_disk(9, size=2 * MIB, tail=777)


# ---------------------------------------------------------------- round trips

def assert_same(directory, pulled, source):
    """Byte-identical with the same holes."""
    assert file_digest(pulled / "disk.img") == file_digest(source)
    assert extents(pulled / "disk.img") == extents(source)
    no_zeroes_are_stored(pulled / "disk.img")
    assert (pulled / "nvram.bin").read_bytes() == (directory / "nvram.bin").read_bytes()
    ours, theirs = (json.loads((d / "config.json").read_text()) for d in (directory, pulled))
    assert ours == theirs


def test_round_trip_through_docker_registry(oci, registry, tmp_path):
    directory = new_vm(oci, "vm", big_mixed_disk())
    name = registry.name("org/vm")
    assert push(oci, "vm", name).stderr == ""
    pull(oci, name)
    pulled, = images(oci).values()
    assert_same(directory, pulled, directory / "disk.img")
    oci("clone", name, "copy", check=True)
    assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of((directory / "disk.img").read_bytes())


def test_round_trip_through_a_layout(oci, tmp_path):
    directory = new_vm(oci, "vm", big_mixed_disk())
    name = f"oci:{tmp_path}/layout:v1"
    assert oci("push", "vm", name, check=True).stderr == ""
    oci("pull", name, check=True)
    pulled, = images(oci).values()
    assert_same(directory, pulled, directory / "disk.img")


def test_zeroes_that_are_stored_come_back_as_holes(oci, fake, tmp_path):
    """The source's disk is full of written zeroes."""
    data = noise(MIB, 1) + bytes(8 * MIB) + noise(MIB, 2)
    directory = new_vm(oci, "vm", b"")
    (directory / "disk.img").write_bytes(data)
    push(oci, "vm", fake.name("org/vm"))
    pull(oci, fake.name("org/vm"))
    pulled, = images(oci).values()
    assert (pulled / "disk.img").read_bytes() == data
    no_zeroes_are_stored(pulled / "disk.img")


@pytest.mark.parametrize("size", [1, 511, 4096, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1])
def test_disks_of_odd_sizes(oci, fake, size):
    new_vm(oci, "vm", noise(size, size))
    push(oci, "vm", fake.name("org/vm"))
    manifest = manifest_of(fake, "org/vm")
    assert [int(s["annotations"][SIZE]) for s in slices_of(manifest)] == \
        [16 * MIB] * (size // (16 * MIB)) + [size % (16 * MIB)] * (size % (16 * MIB) > 0)
    pull(oci, fake.name("org/vm"))
    pulled, = images(oci).values()
    assert (pulled / "disk.img").read_bytes() == noise(size, size)


def test_skopeo_inspects_what_we_push(oci, registry, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", registry.name("org/vm"), "--label", "team=blue")
    name = "docker://" + registry.name("org/vm")
    raw = skopeo("inspect", "--raw", "--tls-verify=false", name).stdout
    assert raw.encode() == registry.manifest("org/vm")
    seen = json.loads(skopeo("inspect", "--tls-verify=false", name).stdout)
    assert seen["Os"] == "linux" and seen["Architecture"] in ("amd64", "arm64")
    assert seen["Labels"] == {"team": "blue", FORMAT: "raw"}
    assert seen["Layers"] == [layer["digest"] for layer in json.loads(raw)["layers"]]


@pytest.mark.parametrize("way", ["dir", "oci"])
def test_skopeo_copies_what_we_push(oci, registry, disk, tmp_path, way):
    """From docker to dir or oci, back to another repository, and pulled by us from there."""
    directory = new_vm(oci, "vm", disk)
    push(oci, "vm", registry.name("org/vm"))
    middle = f"dir:{tmp_path}/copy" if way == "dir" else f"oci:{tmp_path}/copy:v1"
    skopeo("copy", "--src-tls-verify=false", "docker://" + registry.name("org/vm"), middle)
    skopeo("copy", "--dest-tls-verify=false", middle, "docker://" + registry.name("other/vm", "v2"))
    pull(oci, registry.name("other/vm", "v2"))
    pulled, = images(oci).values()
    assert_same(directory, pulled, directory / "disk.img")


def test_speed_as_tart_measures_it(oci, registry):
    """1 GB of random bytes by the program called as `tart`: more than 100 Mb in each second of a processor's that it
    takes, each way. (Tart's test has a machine for itself, and counts a clock's.)"""
    size = 10**9
    with open(oci.home / "random", "wb") as file:
        for _ in range(size // 10**7):
            file.write(os.urandom(10**7))
    oci("create", "--linux", "vm", program="tart", check=True)
    os.rename(oci.home / "random", oci.vm("vm") / "disk.img")
    began = processor_seconds()
    push(oci, "vm", registry.name("tart/vm"), program="tart", timeout=600)
    pushed = processor_seconds() - began
    assert size * 8 / pushed > 100e6, f"push: {size * 8 / pushed / 1e6:.0f} Mb/s"
    began = processor_seconds()
    pull(oci, registry.name("tart/vm"), program="tart", timeout=600)
    pulled = processor_seconds() - began
    assert size * 8 / pulled > 100e6, f"pull: {size * 8 / pulled / 1e6:.0f} Mb/s"
    directory, = images(oci).values()
    assert file_digest(directory / "disk.img") == file_digest(oci.vm("vm") / "disk.img")
    oci("delete", "vm", program="tart", check=True)


# ---------------------------------------------------------------- the format

def test_manifest_order_and_annotations(oci, fake, disk):
    """Config, disk slices, NVRAM, strictly; both annotations on every slice; nothing else."""
    directory = new_vm(oci, "vm", disk)
    before = time.time()
    push(oci, "vm", fake.name("org/vm"))
    data, media_type = fake.manifests["org/vm", "latest"]
    assert media_type == MANIFEST
    manifest = json.loads(data)
    assert set(manifest) == {"annotations", "config", "layers", "mediaType", "schemaVersion"}
    assert manifest["schemaVersion"] == 2 and manifest["mediaType"] == MANIFEST
    compact = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    assert data.replace(rb"\/", b"/") == compact
    assert set(manifest["annotations"]) == {DISK_SIZE, UPLOAD_TIME}
    assert manifest["annotations"][DISK_SIZE] == str(len(disk))
    uploaded = manifest["annotations"][UPLOAD_TIME]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", uploaded)
    assert abs(calendar.timegm(time.strptime(uploaded, "%Y-%m-%dT%H:%M:%SZ")) - before) < 60
    assert [layer["mediaType"] for layer in manifest["layers"]] == [CONFIG] + [DISK] * 2 + [NVRAM]
    for layer in [manifest["config"], *manifest["layers"]]:
        blob = fake.blobs["org/vm"][layer["digest"]]
        assert digest(blob) == layer["digest"] and layer["size"] == len(blob)
    at = 0
    for layer in slices_of(manifest):
        assert set(layer) == {"annotations", "digest", "mediaType", "size"}
        assert set(layer["annotations"]) == {SIZE, CONTENT}
        n = int(layer["annotations"][SIZE])
        assert layer["annotations"][CONTENT] == digest(disk[at:at + n])
        plain, _ = unframe(fake.blobs["org/vm"][layer["digest"]])
        assert plain == disk[at:at + n]
        at += n
    assert at == len(disk)
    config, nvram = manifest["layers"][0], manifest["layers"][-1]
    assert config["annotations"] == {} == nvram["annotations"]
    assert json.loads(fake.blobs["org/vm"][config["digest"]]) == json.loads((directory / "config.json").read_text())
    assert b"\n" not in fake.blobs["org/vm"][config["digest"]]
    assert fake.blobs["org/vm"][nvram["digest"]] == (directory / "nvram.bin").read_bytes()


def test_image_config(oci, fake, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"))
    manifest = manifest_of(fake, "org/vm")
    assert manifest["config"]["mediaType"] == OCI_CONFIG
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert json.loads(fake.blobs["org/vm"][manifest["config"]["digest"]]) == {
        "architecture": arch, "config": {"Labels": {FORMAT: "raw"}}, "os": "linux"}


def test_labels(oci, fake, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"), "--label", "a=b=c", "--label", "empty", "--label", "=nothing", "--label",
         f"{FORMAT}=qcow2", "--label", "umlaut=\u00e4\"\\", "--label=twice=1", "--label=twice=2")
    config = json.loads(fake.blobs["org/vm"][manifest_of(fake, "org/vm")["config"]["digest"]])
    assert config["config"]["Labels"] == {"a": "b=c", "empty": "", FORMAT: "raw", "umlaut": "\u00e4\"\\", "twice": "2"}


def test_blocks_are_independent(oci, fake):
    """No block of ours refers to one before it, noise is stored, and each holds 64 KiB at most."""
    new_vm(oci, "vm", mixed_disk(4, size=512 * KIB))
    push(oci, "vm", fake.name("org/vm"), "--slice-size", 1)
    kinds = set()
    for layer in slices_of(manifest_of(fake, "org/vm")):
        stream = fake.blobs["org/vm"][layer["digest"]]
        assert blocks_are_independent(stream)
        kinds.update(unframe(stream)[1])
    assert kinds == {b"bv41", b"bv4-", END}


def test_default_slices_have_16_mib(oci, fake):
    new_vm(oci, "vm", b"")
    os.truncate(oci.vm("vm") / "disk.img", 100 * MIB + 512)
    push(oci, "vm", fake.name("org/vm"))
    sizes = [int(s["annotations"][SIZE]) for s in slices_of(manifest_of(fake, "org/vm"))]
    assert sizes == [16 * MIB] * 6 + [4 * MIB + 512]


def test_slices_grow_with_the_disk(oci, fake):
    """200 GB would be 11,921 slices of 16 MiB: 32 MiB it is. All are zeroes and travel once, quickly."""
    new_vm(oci, "vm", size=200)
    began = processor_seconds()
    push(oci, "vm", fake.name("org/vm"))
    assert processor_seconds() - began < 60
    manifest = manifest_of(fake, "org/vm")
    sizes = [int(s["annotations"][SIZE]) for s in slices_of(manifest)]
    assert len(manifest["layers"]) < 8000 and set(sizes[:-1]) == {32 * MIB} and sum(sizes) == 200 * 10**9
    assert len({s["digest"] for s in slices_of(manifest)}) == 2
    assert fake.count("PUT", "/blobs/uploads/") == 2 + 3
    assert fake.count("HEAD") <= 5
    assert len(fake.manifests["org/vm", "latest"][0]) < 4 * MIB


@pytest.mark.parametrize("disk_gb, slice_mib", [(134, 16), (135, 32), (268, 32), (270, 64), (1000, 128)])
def test_slice_size_is_the_smallest_that_keeps_it_under_8000(oci, fake, disk_gb, slice_mib):
    new_vm(oci, "vm", size=disk_gb)
    push(oci, "vm", fake.name("org/vm"))
    manifest = manifest_of(fake, "org/vm")
    assert int(slices_of(manifest)[0]["annotations"][SIZE]) == slice_mib * MIB
    assert len(manifest["layers"]) < 8000


@pytest.mark.parametrize("size", [1, 3, 4, 64, 512])
def test_slice_size(oci, fake, size, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"), "--slice-size", size)
    sizes = [int(s["annotations"][SIZE]) for s in slices_of(manifest_of(fake, "org/vm"))]
    assert set(sizes[:-1]) <= {size * MIB} and sum(sizes) == len(disk) and sizes[-1] <= size * MIB
    pull(oci, fake.name("org/vm"))
    pulled, = images(oci).values()
    assert (pulled / "disk.img").read_bytes() == disk


@pytest.mark.parametrize("size", ["0", "-1", "x", "99999999999999"])
def test_slice_size_that_cannot_be(oci, fake, size, disk):
    new_vm(oci, "vm", disk)
    done = push(oci, "vm", fake.name("org/vm"), f"--slice-size={size}", check=False)
    assert done.returncode == 64 and fake.records == []


def test_pushing_twice_gives_the_same_blobs(oci, fake, disk):
    """Deterministic: another push, another home, another concurrency, the same digests."""
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("a/vm"), "--concurrency", 1)
    new_vm(oci, "again", disk)
    with faulty.FakeRegistry() as other:
        push(oci, "again", other.name("b/vm"), "--concurrency", 8)
        ours, theirs = slices_of(manifest_of(fake, "a/vm")), slices_of(manifest_of(other, "b/vm"))
    assert ours == theirs


# ---------------------------------------------------------------- the fewest requests

def test_one_put_a_blob_and_a_head_before_a_slice(oci, fake, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"), "--slice-size", 2)
    manifest = manifest_of(fake, "org/vm")
    different = {s["digest"] for s in slices_of(manifest)}
    assert len(different) < len(slices_of(manifest))  # the zeroes
    assert sorted(fake.uploaded()) == sorted([*different, manifest["config"]["digest"],
                                              manifest["layers"][0]["digest"], manifest["layers"][-1]["digest"]])
    assert fake.count("PATCH") == 0
    for name in different:
        assert fake.count("HEAD", "/blobs/" + name) == 1
    for put in fake.asked("PUT", "/blobs/uploads/"):
        assert put.headers["Content-Type"] == "application/octet-stream"
        assert int(put.headers["Content-Length"]) == put.received
    for post in fake.asked("POST"):
        assert post.headers["Content-Length"] == "0"


def test_what_is_there_is_not_sent_again(oci, fake, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"))
    fake.forget()
    push(oci, "vm", fake.name("org/vm", "v2"))
    assert not {s["digest"] for s in slices_of(manifest_of(fake, "org/vm"))} & set(fake.uploaded())
    assert slices_of(manifest_of(fake, "org/vm")) == slices_of(manifest_of(fake, "org/vm", "v2"))


def test_uploads_run_in_parallel(oci, fake):
    new_vm(oci, "vm", noise(12 * MIB, 1))
    for options, count in (([], 4), (["--concurrency", 1], 1), (["--concurrency", 8], 8)):
        fake.forget()
        fake.fault("PUT", "/blobs/uploads/", faulty.together(count, MIB // 2))
        push(oci, "vm", fake.name(f"org/vm{count}"), "--slice-size", 1, *options, env={"LINZER_STALL_SECONDS": "100"})
        assert fake.most_in_flight == count


def test_concurrency_0_is_1(oci, fake, disk):
    new_vm(oci, "vm", disk)
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(0.05))
    push(oci, "vm", fake.name("org/vm"), "--slice-size", 2, "--concurrency", 0)
    assert fake.most_in_flight == 1


def test_several_tags_in_one_push(oci, fake, disk):
    """One upload per host and namespace, then one manifest a tag, all the same."""
    new_vm(oci, "vm", disk)
    done = push(oci, "vm", fake.name("org/vm", "a"), fake.name("org/vm", "b"), fake.name("org/vm"),
                fake.name("other/vm", "c"))
    assert f"pushing vm to {fake.address}/org/vm{{:a,:b,:latest}}..." in done.stdout.splitlines()
    assert f"pushing vm to {fake.name('other/vm', 'c')}..." in done.stdout.splitlines()
    tags = [fake.manifests[key][0] for key in (("org/vm", "a"), ("org/vm", "b"), ("org/vm", "latest"))]
    assert tags[0] == tags[1] == tags[2]
    assert fake.count("PUT", "/v2/org/vm/manifests/") == 3 and fake.count("PUT", "/v2/other/vm/manifests/") == 1
    slices = {s["digest"] for s in slices_of(manifest_of(fake, "org/vm", "a"))}
    for name in slices:
        assert fake.uploaded().count(name) <= 2  # a repository each, if it was not mounted
    assert len([u for u in fake.asked("PUT", "/v2/org/vm/blobs/uploads/")]) == len(slices) + 3


def test_output_of_a_push(oci, fake, disk):
    new_vm(oci, "vm", disk)
    done = push(oci, "vm", f"{fake.address}/org/vm")
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"pushing vm to {fake.name('org/vm')}...", "pushing config...",
                         "pushing disk... this will take a while..."]
    assert lines[-2:] == ["pushing NVRAM...", "pushing manifest for latest..."]
    percent = [int(line[:-1]) for line in lines[3:-2] if re.fullmatch(r"\d{1,3}%", line)]
    assert percent and len(percent) == len(lines[3:-2]) and percent == sorted(set(percent)) and percent[-1] == 100
    assert done.stderr == "" and "\x1b" not in done.stdout


def test_progress_on_a_terminal(oci, fake, tmp_path):
    new_vm(oci, "vm", noise(12 * MIB, 1))
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(0.3))
    command = [oci.program(), "push", "vm", fake.name("org/vm"), "--insecure", "--slice-size", 1]
    with Terminal(command, oci.environment(TERM="xterm"), errors=tmp_path / "errors") as terminal:
        assert terminal.end() == 0
        out = terminal.output
    assert (tmp_path / "errors").read_text() == ""
    assert re.search(r"\d+%", out) and re.search(r"[KM]i?B/s", out, re.I), out
    assert re.search(r"\d+:\d\d|\d+ ?s\b", out), out


# ---------------------------------------------------------------- chunks

def test_chunk_size(oci, fake):
    """PATCH per N 10^6 bytes with a bare Content-Range, the last piece by PUT."""
    new_vm(oci, "vm", noise(5 * MIB, 1))
    push(oci, "vm", fake.name("org/vm"), "--chunk-size", 2)
    layer, = slices_of(manifest_of(fake, "org/vm"))
    patches = [r for r in fake.asked("PATCH") if r.received == 2 * 10**6]
    ranges = [r.headers["Content-Range"] for r in patches]
    assert ranges[:2] == ["0-1999999", "2000000-3999999"]
    assert all(r.headers["Content-Type"] == "application/octet-stream" for r in patches)
    last = [r for r in fake.asked("PUT", "/blobs/uploads/") if r.query["digest"] == layer["digest"]]
    assert len(last) == 1 and last[0].received == layer["size"] - 4 * 10**6
    pull(oci, fake.name("org/vm"))


@pytest.mark.parametrize("patch, put", [(202, 201), (201, 201), (202, 202), (201, 202)])
@pytest.mark.parametrize("location", ["relative", "absolute", "query"])
def test_chunks_are_accepted_with_201_or_202(oci, fake, patch, put, location):
    """ECR answers 201 where others say 202; Location is read anew each time."""
    fake.patch_status, fake.put_status, fake.location = patch, put, location
    new_vm(oci, "vm", noise(3 * MIB, 1))
    push(oci, "vm", fake.name("org/vm"), "--chunk-size", 1)
    assert fake.count("PATCH") >= 3
    pull(oci, fake.name("org/vm"))


@pytest.mark.parametrize("value", ["x", "1.5", "9223372036854775808"])
def test_chunk_size_that_is_no_number(oci, fake, value):
    done = push(oci, "vm", fake.name("org/vm"), f"--chunk-size={value}", check=False)
    assert done.returncode == 64 and f"'{value}'" in done.stderr


@pytest.mark.parametrize("location", ["relative", "absolute", "query"])
def test_upload_locations(oci, fake, disk, location):
    fake.location = location
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"))
    pull(oci, fake.name("org/vm"))


def test_upload_location_on_another_host(oci, fake, disk):
    """Uploads may go to a storage elsewhere; the credentials do not go with them."""
    fake.auth = faulty.Basic("someone", "se:cret")
    new_vm(oci, "vm", disk)
    with faulty.FakeRegistry(host="127.0.0.2") as storage:
        storage.blobs, storage.uploads = fake.blobs, fake.uploads
        fake.elsewhere = storage
        push(oci, "vm", fake.name("org/vm"),
             env={"TART_REGISTRY_USERNAME": "someone", "TART_REGISTRY_PASSWORD": "se:cret"})
        assert storage.count("PUT") >= 3
        assert [r for r in storage.records if "Authorization" in r.headers] == []


# ---------------------------------------------------------------- pulled blobs are used again

def apple_image(size=37 * MIB, slice_size=13 * MIB):
    """As Apple's encoder makes it: linked blocks; slices of a size that is not ours."""
    return Image(text(size // 2, 3) + bytes(4 * MIB) + noise(size - size // 2 - 4 * MIB, 4), slice_size)


def test_a_pulled_image_goes_back_in_the_very_blobs(oci, fake):
    image = apple_image()
    name = fake.add(image, "org/vm")
    oci("clone", name, "copy", "--insecure", check=True)
    fake.forget()
    push(oci, "copy", fake.name("org/vm", "again"))
    assert slices_of(manifest_of(fake, "org/vm", "again")) == image.slices
    assert not {s["digest"] for s in image.slices} & set(fake.uploaded())
    assert fake.received() < MIB


def test_only_a_changed_slice_travels(oci, fake):
    """A clone of the image, on ext4 an overlay, with one block written."""
    image = apple_image()
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    vm_disk.write(oci.vm("copy"), 7, 14 * MIB)
    expected = vm_disk.digest(oci.vm("copy"))
    fake.forget()
    push(oci, "copy", fake.name("org/vm", "v2"))
    after = slices_of(manifest_of(fake, "org/vm", "v2"))
    assert len(after) == len(image.slices)
    changed = [i for i, (a, b) in enumerate(zip(after, image.slices)) if a != b]
    assert changed == [1]
    sent = [d for d in fake.uploaded() if d in {s["digest"] for s in after}]
    assert sent == [after[1]["digest"]]
    pull(oci, fake.name("org/vm", "v2"))
    directory = next(p for d, p in images(oci).items() if d != image.digest)
    assert file_digest(directory / "disk.img") == expected


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_only_a_changed_slice_travels_on(oci, fake, kind):
    with home_on(oci, kind, 400 * MIB):
        test_only_a_changed_slice_travels(oci, fake)


def test_a_grown_disk_keeps_its_first_slices(oci, fake):
    image = apple_image()
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    oci("set", "copy", "--disk-size", 1, check=True)
    fake.forget()
    push(oci, "copy", fake.name("org/vm", "v2"))
    after = slices_of(manifest_of(fake, "org/vm", "v2"))
    assert after[:2] == image.slices[:2]
    assert sum(int(s["annotations"][SIZE]) for s in after) == 10**9


def test_origin_survives_a_clone_of_a_clone_and_a_push(oci, fake):
    """What was pushed is known too: pushed again after a change, only the change is read into new blobs."""
    new_vm(oci, "vm", noise(4 * MIB, 1))
    push(oci, "vm", fake.name("org/vm"), "--slice-size", 1)
    before = slices_of(manifest_of(fake, "org/vm"))
    oci("clone", "vm", "a", check=True)
    oci("clone", "a", "b", check=True)
    vm_disk.write(oci.vm("b"), 7, 2 * MIB)
    fake.forget()
    push(oci, "b", fake.name("org/vm", "v2"))
    after = slices_of(manifest_of(fake, "org/vm", "v2"))
    assert [i for i, (a, b) in enumerate(zip(after, before)) if a != b] == [2] and len(after) == len(before)


def test_an_origin_that_lies_does_no_harm(oci, fake):
    """origin.json is a hint: content is compared."""
    image = apple_image()
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    path = oci.vm("copy") / "origin.json"
    if path.exists():
        first, second = (s["annotations"][CONTENT] for s in image.slices[:2])
        lie = path.read_text().replace(first, "X").replace(second, first).replace("X", second)
        path.unlink()
        path.write_text(lie)
    push(oci, "copy", fake.name("org/vm", "v2"))
    oci("delete", fake.name("org/vm"), check=True)
    pull(oci, fake.name("org/vm", "v2"))
    directory, = images(oci).values()
    assert file_digest(directory / "disk.img") == hashlib.sha256(image.disk).hexdigest()


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"version":1}', b"\0" * 1000],
                         ids=["empty", "brace", "list", "version", "zeroes"])
def test_an_origin_that_is_garbage(oci, fake, garbage, disk):
    new_vm(oci, "vm", disk)
    (oci.vm("vm") / "origin.json").write_bytes(garbage)
    assert push(oci, "vm", fake.name("org/vm")).returncode == 0


def test_blobs_that_the_registry_lost_are_sent(oci, fake):
    """Re-use asks first: where the blob is gone, it is made anew."""
    image = apple_image()
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    del fake.blobs["org/vm"][image.slices[1]["digest"]]
    push(oci, "copy", fake.name("org/vm", "v2"))
    oci("delete", fake.name("org/vm"), check=True)
    pull(oci, fake.name("org/vm", "v2"))
    directory, = images(oci).values()
    assert file_digest(directory / "disk.img") == hashlib.sha256(image.disk).hexdigest()


# ---------------------------------------------------------------- mount

def push_elsewhere(oci, fake, image):
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    fake.forget()
    push(oci, "copy", fake.name("team/other"))
    pull(oci, fake.name("team/other"))
    return slices_of(manifest_of(fake, "team/other"))


def test_blobs_are_mounted_from_another_repository(oci, fake):
    image = apple_image()
    assert push_elsewhere(oci, fake, image) == image.slices
    mounts = [r for r in fake.asked("POST", "mount=")]
    assert {r.query["mount"] for r in mounts} >= {s["digest"] for s in image.slices}
    assert all(r.query["from"] == "org/vm" for r in mounts)
    assert fake.received() < MIB


@pytest.mark.parametrize("answer", ["405", "ignored"])
def test_mount_that_is_not_to_be_had(oci, fake, answer):
    """202 (an upload is begun instead) or 405: the blob is uploaded."""
    fake.mount = answer
    image = apple_image()
    layers = push_elsewhere(oci, fake, image)
    assert b"".join(unframe(fake.blobs["team/other"][s["digest"]])[0] for s in layers[-1:]) == \
        image.disk[-int(layers[-1]["annotations"][SIZE]):]
    assert fake.received() > 10 * MIB


@pytest.mark.parametrize("answer", [faulty.error(403, "DENIED"), faulty.error(404, "NAME_UNKNOWN"),
                                    faulty.status(202, Location="/v2/nowhere/blobs/uploads/1")])
def test_mount_that_fails(oci, fake, answer):
    fake.fault("POST", "mount=", answer, times=1)
    image = apple_image()
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    done = push(oci, "copy", fake.name("team/other"), check=False)
    if done.returncode:
        one_line(done, fake.url)
    else:
        pull(oci, fake.name("team/other"))


# ---------------------------------------------------------------- --populate-cache

def test_populate_cache(oci, fake, disk):
    directory = new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"), fake.name("org/vm", "v1"), "--populate-cache")
    name = digest(fake.manifests["org/vm", "latest"][0])
    assert listed(oci, "--source", "oci") == [fake.name("org/vm"), fake.name("org/vm", "v1"), fake.name("org/vm", name)]
    image, = images(oci).values()
    assert (image / "disk.img").read_bytes() == disk
    assert (image / "nvram.bin").read_bytes() == (directory / "nvram.bin").read_bytes()
    fake.forget()
    done = pull(oci, fake.name("org/vm"))
    assert done.stdout.endswith("image is already cached and linked!\n") and fake.count("GET", "/blobs/") == 0
    vm_disk.write(directory, 7, 0)  # and it is a thing apart
    assert (image / "disk.img").read_bytes() == disk


def test_without_populate_cache_there_is_none(oci, fake, disk):
    new_vm(oci, "vm", disk)
    push(oci, "vm", fake.name("org/vm"))
    assert listed(oci) == ["vm"] and images(oci) == {}


# ---------------------------------------------------------------- a cached name: only tags

def test_push_of_a_cached_name_is_a_new_tag(oci, fake, disk):
    image = Image(disk)
    name = fake.add(image, "org/vm")
    pull(oci, name)
    fake.forget()
    done = push(oci, name, fake.name("org/vm", "stable"), fake.name("org/vm", "v2"))
    assert done.stderr == ""
    assert fake.manifests["org/vm", "stable"][0] == image.manifest == fake.manifests["org/vm", "v2"][0]
    assert fake.uploaded() == [] and fake.received() == 0
    assert fake.count("PUT", "/manifests/") == 2


def test_push_of_a_cached_name_to_where_it_is_not(oci, fake, disk):
    """Tart fails with 404 there; whether it fails or is sent, no half-made image is there."""
    image = Image(disk)
    name = fake.add(image, "org/vm")
    pull(oci, name)
    with faulty.FakeRegistry() as other:
        done = push(oci, name, other.name("b/vm"), check=False)
        if done.returncode:
            one_line(done, other.address + "/b/vm")
            assert other.manifests == {}
        else:
            assert other.manifests["b/vm", "latest"][0] == image.manifest
            pull(oci, other.name("b/vm"))


def test_push_of_a_remote_name_that_is_not_cached(oci, fake):
    done = push(oci, fake.name("org/vm"), fake.name("org/vm", "v2"), check=False)
    assert done.returncode == 2 and done.stderr == f'the specified VM "{fake.name("org/vm")}" does not exist\n'


# ---------------------------------------------------------------- what cannot be pushed

def test_running_vm(oci, fake, disk):
    directory = new_vm(oci, "vm", disk)
    holder = subprocess.Popen([sys.executable, STAND_IN, directory], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "ready\n"
        one_line(push(oci, "vm", fake.name("org/vm"), check=False), 'VM "vm" is running')
        assert fake.manifests == {}
    finally:
        holder.kill()
        holder.communicate()
    (directory / "run.json").unlink()
    push(oci, "vm", fake.name("org/vm"))


def test_missing_vm(oci, fake):
    done = push(oci, "nothing", fake.name("org/vm"), check=False)
    assert (done.returncode, done.stderr) == (2, 'the specified VM "nothing" does not exist\n')
    assert fake.records == []


def test_to_a_local_name(oci, fake, disk):
    new_vm(oci, "vm", disk)
    done = push(oci, "vm", "local", check=False)
    assert done.returncode == 1 and done.stderr.startswith("failed to parse remote name: ")


def test_to_no_name(oci, disk):
    new_vm(oci, "vm", disk)
    assert oci("push", "vm").returncode == 64


def test_vm_with_files_missing(oci, fake, disk):
    directory = new_vm(oci, "vm", disk)
    (directory / "nvram.bin").unlink()
    one_line(push(oci, "vm", fake.name("org/vm"), check=False), "VM is missing some of its files")


@pytest.mark.parametrize("hostile", ["symlink", "fifo"])
def test_disk_that_is_no_file(oci, fake, disk, hostile, tmp_path):
    """No host file is pushed for a link that somebody left in a VM's directory."""
    directory = new_vm(oci, "vm", disk)
    (directory / "disk.img").unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    if hostile == "symlink":
        (directory / "disk.img").symlink_to(secret)
    else:
        os.mkfifo(directory / "disk.img")
    one_line(push(oci, "vm", fake.name("org/vm"), check=False, timeout=30))
    assert fake.manifests == {}


def test_overlay_whose_header_names_a_host_file(oci, fake, disk, tmp_path):
    """A qcow2 that a guest's QEMU may have written: its backing file is what we say, no other."""
    new_vm(oci, "vm", disk)
    oci("clone", "vm", "copy", check=True)
    if len(vm_disk.layers(oci.vm("copy"))) == 1:
        pytest.skip("clones are reflinks here")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000000)
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", secret, oci.vm("copy") / "disk.img"], check=True)
    done = push(oci, "copy", fake.name("org/vm"), check=False)
    sent = b"".join(unframe(fake.blobs["org/vm"][s["digest"]])[0] for s in
                    (slices_of(manifest_of(fake, "org/vm")) if done.returncode == 0 else []))
    assert b"secret" not in sent
    assert done.returncode == 1 or sent == disk


def test_a_clone_of_a_clone_is_pushed_whole(oci, fake, disk):
    """Through three layers, each with a block of its own."""
    new_vm(oci, "g0", noise(3 * MIB, 1) + bytes(3 * MIB))
    for i in (1, 2, 3):
        oci("clone", f"g{i - 1}", f"g{i}", check=True)
        vm_disk.write(oci.vm(f"g{i}"), i, i * MIB)
    push(oci, "g3", fake.name("org/vm"))
    pull(oci, fake.name("org/vm"))
    pulled, = images(oci).values()
    assert file_digest(pulled / "disk.img") == vm_disk.digest(oci.vm("g3"))


def test_the_vm_is_as_it_was(oci, fake, disk):
    """push alters nothing that a user sees, and leaves nothing in tmp/."""
    directory = new_vm(oci, "vm", disk)
    names = ("config.json", "disk.img", "nvram.bin")
    before = {name: ((directory / name).read_bytes(), (directory / name).stat().st_ino) for name in names}
    push(oci, "vm", fake.name("org/vm"))
    assert {name: ((directory / name).read_bytes(), (directory / name).stat().st_ino) for name in names} == before
    assert os.listdir(oci.home / "tmp") == []
    assert json.loads(oci("get", "vm", "--format", "json").stdout)["State"] == "stopped"


def test_another_verb_waits_or_fails_while_a_push_reads(oci, fake, disk):
    """What is pushed is the disk of one moment: set --disk-size and delete do not cut it short."""
    new_vm(oci, "vm", noise(8 * MIB, 1))
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(0.3))
    child = oci.start("push", "vm", fake.name("org/vm"), "--insecure", "--slice-size", "1", stdout=-1, stderr=-1, text=True)
    until = time.monotonic() + 30
    while not fake.count("PUT"):
        assert time.monotonic() < until
        time.sleep(0.02)
    oci("delete", "vm", timeout=60)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    pull(oci, fake.name("org/vm"))
    pulled, = images(oci).values()
    assert (pulled / "disk.img").read_bytes() == noise(8 * MIB, 1)


# ---------------------------------------------------------------- images of other kinds

def test_darwin_image_is_pushed_as_it_is(oci, fake):
    image = Image(mixed_disk(tail=0), os_name="darwin", arch="arm64", config={"ecid": "aWQ=", "hardwareModel": "bW9kZWw="})
    oci("clone", fake.add(image, "org/macos"), "copy", "--insecure", check=True)
    push(oci, "copy", fake.name("org/macos", "v2"))
    manifest = manifest_of(fake, "org/macos", "v2")
    config = json.loads(fake.blobs["org/macos"][manifest["config"]["digest"]])
    assert (config["os"], config["architecture"]) == ("darwin", "arm64")
    vm = json.loads(fake.blobs["org/macos"][manifest["layers"][0]["digest"]])
    assert vm["ecid"] == "aWQ=" and vm["hardwareModel"] == "bW9kZWw="
    assert slices_of(manifest) == image.slices


def test_unknown_config_keys_survive(oci, fake, disk):
    image = Image(disk, config={"machineIdentifier": "eA==", "future": {"a": [1, 2, 9007199254740993]}})
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    push(oci, "copy", fake.name("org/vm", "v2"))
    vm = json.loads(fake.blobs["org/vm"][manifest_of(fake, "org/vm", "v2")["layers"][0]["digest"]])
    assert vm["machineIdentifier"] == "eA==" and vm["future"] == {"a": [1, 2, 9007199254740993]}


def test_local_files_do_not_travel(oci, fake, disk):
    """efivars, logs, locks and the like stay; so does everything that disk.json says."""
    directory = new_vm(oci, "vm", disk)
    for name in ("efivars.fd", "console.log", "state.vzvmsave"):
        (directory / name).write_bytes(b"private " + name.encode())
    done = push(oci, "vm", fake.name("org/vm"), check=False)
    if done.returncode == 0:
        assert len(manifest_of(fake, "org/vm")["layers"]) == 4
    assert not any(b"private" in blob for blob in fake.blobs.get("org/vm", {}).values())


def test_pushed_by_skopeo_and_by_hand_and_cached(oci, registry):
    """An image that somebody uploaded by hand, copied by skopeo to another repository, and re-tagged by us."""
    image = Image(mixed_disk(), linked=True)
    name = upload(image, registry.address, "org/vm", "v1")
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{name}",
           "docker://" + registry.name("org/copy"))
    pull(oci, registry.name("org/copy"))
    is_right(cached(oci, image), image)
    push(oci, registry.name("org/copy"), registry.name("org/copy", "tagged"))
    assert registry.manifest("org/copy", "tagged") == image.manifest


# ---------------------------------------------------------------- blobs of which we only know what was said

def claims(image, seed=666):
    """An image of the same contents, as it says; its blobs hold other bytes, none of zeroes."""
    liar = Image(noise(len(image.disk), seed))
    for ours, theirs in zip(liar.slices, image.slices):
        ours["annotations"].update(theirs["annotations"])
    return liar


@pytest.mark.parametrize("then", ["at once", "by another name"])
def test_a_blob_that_was_never_decoded_is_not_passed_on(oci, fake, then):
    """What the cache had was not fetched, so nobody looked into the liar's blobs: a push makes its own."""
    image = Image(noise(9 * MIB, 1), 4 * MIB)
    liar = Image(noise(9 * MIB, 666), 4 * MIB)
    for ours, theirs in zip(liar.slices, image.slices):
        ours["annotations"].update(theirs["annotations"])
    pull(oci, fake.add(image, "org/vm"))
    name = fake.add(liar, "evil/vm")
    pull(oci, name)
    if then == "by another name":  # its files are taken over, and what is not known of its blobs
        name = fake.add(liar, "evil/twin")
        pull(oci, name)
    oci("clone", name, "copy", check=True)
    push(oci, "copy", fake.name("org/copy"))
    sent = slices_of(manifest_of(fake, "org/copy"))
    assert not {s["digest"] for s in sent} & {s["digest"] for s in liar.slices}
    assert b"".join(unframe(fake.blobs["org/copy"][s["digest"]])[0] for s in sent) == image.disk


@pytest.mark.parametrize("lies", [True, False])
def test_a_blob_of_zeroes_is_looked_into(oci, fake, lies):
    """Zeroes are not fetched, so a push looks into their blob before it passes it on."""
    image = Image(noise(4 * MIB, 1) + bytes(8 * MIB), 4 * MIB)
    if lies:
        other = image.slice(noise(4 * MIB, 9))
        for layer in image.slices[1:]:
            layer.update(digest=other["digest"], size=other["size"])
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    push(oci, "copy", fake.name("org/vm", "v2"))
    sent = slices_of(manifest_of(fake, "org/vm", "v2"))
    assert b"".join(unframe(fake.blobs["org/vm"][s["digest"]])[0] for s in sent) == image.disk
    assert (sent == image.slices) != lies


def test_what_was_decoded_here_is_passed_on_from_another_image(oci, fake):
    """The same blobs in a second image, reused from the cache: they were decoded when they came."""
    first, second = apple_image(), apple_image()
    second.document["annotations"][UPLOAD_TIME] = "2026-05-13T00:00:00Z"
    pull(oci, fake.add(first, "org/vm"))
    name = fake.add(second, "org/again")
    oci("clone", name, "copy", "--insecure", check=True)
    push(oci, "copy", fake.name("org/again", "v2"))
    assert slices_of(manifest_of(fake, "org/again", "v2")) == second.slices


def test_chunk_size_beyond_all_measure(oci, fake, disk):
    new_vm(oci, "vm", disk)
    done = push(oci, "vm", fake.name("org/vm"), "--chunk-size", 10**13, check=False)
    assert done.returncode == 64 and done.stderr.startswith("Error: a chunk has at most 1000000 MB\n")
