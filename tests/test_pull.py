# SPDX-License-Identifier: Apache-2.0
"""pull and clone from a remote name: every slice from where it is cheapest, each byte as it was pushed."""

import json
import os
import re
import signal
import threading
import time

import pytest

import faulty_registry as faulty
import vm_disk
from cache_state import cached, images, is_right, listed, misused, new_vm, nothing_new, one_line, processor_seconds, unfinished
from loop_mount import home_on, mounted, needs_root, used
from oci_image import KIB, MIB, Image, digest, frame, mixed_disk, noise, text, upload
from terminal import Terminal
from test_life import eventually


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def blob_gets(fake, image):
    """How often each disk blob was fetched."""
    return {layer["digest"]: fake.count("GET", "/blobs/" + layer["digest"]) for layer in image.slices}


@pytest.fixture
def image():
    return Image(mixed_disk())


# ---------------------------------------------------------------- the content

@pytest.mark.parametrize("way", [{"linked": True}, {"linked": False}, {"stored": True}])
def test_right_to_the_byte_from_any_encoder(oci, fake, way):
    image = Image(mixed_disk(), **way)
    done = pull(oci, fake.add(image, "org/vm"))
    assert done.stderr == ""
    is_right(cached(oci, image), image)
    assert listed(oci) == [fake.name("org/vm"), fake.name("org/vm", image.digest)]


def test_from_docker_registry(oci, registry, image):
    name = upload(image, registry.address, "org/deep/er/vm", "v1.2")
    pull(oci, name)
    is_right(cached(oci, image), image)


@pytest.mark.parametrize("sizes", [
    [1], [4095], [4096, 1], [65536, 65537, 3], [1 * MIB, 5, 700 * KIB, 4096], [512], [3 * MIB + 1]])
def test_slices_of_any_size(oci, fake, sizes):
    """Tart's 512 MiB, ours, or cut anywhere: each is placed at the sum of those before."""
    disk = text(sum(sizes), 4)
    image, at = Image(disk[:1], nvram=b"n" * 10), 0
    del image.layers[1:-1]
    for size in sizes:
        image.layers.insert(-1, image.slice(disk[at:at + size]))
        at += size
    image.disk = disk
    image.document["annotations"]["org.cirruslabs.tart.uncompressed-disk-size"] = str(len(disk))
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)


def test_blocks_of_other_sizes_are_read(oci, fake):
    """What says that a block is 64 KiB? Only the encoders that we know."""
    disk = text(700000, 8)
    for block in (1000, 300 * KIB, 1 * MIB):
        image = Image(disk, 512 * KIB)
        for i, at in enumerate((0, 512 * KIB)):
            piece = disk[at:at + 512 * KIB]
            image.layers[1 + i] = image.slice(piece, stream=frame(piece, block=block))
        pull(oci, fake.add(image, f"org/vm{block}"))
        is_right(cached(oci, image), image)


def test_manifest_without_optional_annotations(oci, fake, image):
    """Annotations of the manifest and of the config and NVRAM layers may be absent."""
    del image.document["annotations"]
    for layer in (image.layers[0], image.layers[-1]):
        del layer["annotations"]
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)


def test_manifest_bytes_are_kept_as_they_came(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"))
    assert (cached(oci, image) / "manifest.json").read_bytes() == image.manifest


def test_unknown_annotations_and_keys_do_not_matter(oci, fake, image):
    image.document["annotations"]["com.example"] = "x" * 1000
    image.document["subject"] = None
    image.layers[1]["annotations"]["org.opencontainers.image.title"] = "disk.img"
    image.layers[1]["urls"] = []
    image.document["artifactType"] = "application/x"
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)


def test_accept_header_asks_for_the_manifest(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"))
    accept = fake.asked("GET", "/manifests/")[0].headers["Accept"]
    assert "application/vnd.oci.image.manifest.v1+json" in accept


def test_user_agent_is_honest(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"))
    agent = fake.records[0].headers["User-Agent"]
    assert re.match(r"linzer/\S+", agent, re.I) and "Linux" in agent and not agent.startswith("Tart/")


# ---------------------------------------------------------------- the fewest requests

def test_every_digest_is_fetched_once(oci, fake):
    """A disk of many equal slices: a request for each that differs."""
    zero, same = bytes(64 * KIB), noise(64 * KIB, 333)
    disk = b"".join([zero] * 40 + [same] * 40 + [noise(64 * KIB, i) for i in range(10)] + [zero] * 40)
    image = Image(disk, 64 * KIB)
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)
    gets = blob_gets(fake, image)
    assert len(gets) == 12 and max(gets.values()) == 1
    zero_blob = image.slices[0]["digest"]
    assert gets[zero_blob] <= 1
    assert fake.count() <= 12 + 6  # manifest, config, NVRAM, perhaps /v2/


def test_equal_content_in_different_blobs_is_fetched_once(oci, fake):
    """The same 64 KiB by two encoders: the second has the content digest of the first."""
    piece, other = text(64 * KIB, 1), text(64 * KIB, 2)
    image = Image(piece + other, 64 * KIB)
    image.layers.insert(-1, image.slice(piece, linked=False, stored=True))
    image.disk += piece
    pull(oci, fake.add(image, "org/vm"), "--concurrency", 1)
    is_right(cached(oci, image), image)
    assert sum(blob_gets(fake, image).values()) == 2


def test_a_sparse_image_of_100_gb(oci, fake):
    """Zero slices cost nothing: no request each, no time, no disk."""
    size = 16 * MIB
    image = Image(noise(100 * KIB, 1) + bytes(size - 100 * KIB), size)
    zero = image.slice(bytes(size))
    image.layers[-1:-1] = [zero] * 6000
    image.document["annotations"]["org.cirruslabs.tart.uncompressed-disk-size"] = str(size * 6001)
    began = processor_seconds()
    pull(oci, fake.add(image, "org/vm"))
    assert processor_seconds() - began < 60
    disk = cached(oci, image) / "disk.img"
    assert disk.stat().st_size == 6001 * size and disk.stat().st_blocks * 512 <= 1 * MIB
    assert fake.count("GET", "/blobs/") <= 4


def test_slices_travel_in_parallel(oci, fake):
    image = Image(noise(12 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    for options, count in (([], 4), (["--concurrency", 8], 8), (["--concurrency", 1], 1)):
        fake.forget()
        fake.fault("GET", "/blobs/(" + "|".join({s["digest"] for s in image.slices}) + ")", faulty.together(count))
        pull(oci, name, *options, env={"LINZER_STALL_SECONDS": "100"})
        assert fake.most_in_flight == count
        oci("delete", name, check=True)


@pytest.mark.parametrize("command", [("pull",), ("clone",)])
def test_concurrency_0(oci, fake, image, command):
    name = fake.add(image, "org/vm")
    words = [*command, name] + (["copy"] if command == ("clone",) else [])
    misused(oci(*words, "--insecure", "--concurrency", 0), "network concurrency cannot be less than 1")
    assert fake.records == []


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "99999999999999999999"])
def test_concurrency_that_is_no_number(oci, fake, image, value):
    done = oci("pull", fake.add(image, "org/vm"), f"--concurrency={value}")
    assert done.returncode == 64 and f"'{value}'" in done.stderr and fake.records == []


def test_a_huge_concurrency(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"), "--concurrency", 100000)
    is_right(cached(oci, image), image)


# ---------------------------------------------------------------- re-use

def other_image_with_the_same_content(image):
    """Another encoder, another manifest, another NVRAM; one slice of its own."""
    other = Image(image.disk, stored=True, block=32 * KIB, nvram=b"other", time="2026-06-01T00:00:00Z")
    assert not {s["digest"] for s in other.slices} & {s["digest"] for s in image.slices}
    return other


@pytest.mark.parametrize("where", ["other tag", "other repository", "other registry", "by digest"])
def test_content_of_any_cached_image_is_reused(oci, fake, image, where):
    pull(oci, fake.add(image, "org/vm"))
    other = other_image_with_the_same_content(image)
    with faulty.FakeRegistry() as second:
        server = second if where == "other registry" else fake
        repository = "org/vm" if where == "other tag" else "team/thing"
        name = server.add(other, repository, "v2")
        fake.forget()
        pull(oci, server.name(repository, other.digest) if where == "by digest" else name)
        assert server.count("GET", "/blobs/") <= 3  # config, the image's config and NVRAM
        assert sum(blob_gets(server, other).values()) == 0
    is_right(cached(oci, other), other)
    is_right(cached(oci, image), image)


def test_only_the_changed_slice_is_fetched(oci, fake, image):
    pull(oci, fake.add(image, "org/vm", "v1"))
    changed = bytearray(image.disk)
    changed[300 * KIB] ^= 255
    other = Image(changed)
    name = fake.add(other, "org/vm", "v2")
    fake.forget()
    pull(oci, name)
    is_right(cached(oci, other), other)
    assert {d for d, n in blob_gets(fake, other).items() if n} == {other.slices[1]["digest"]}


def test_reuse_across_different_slice_boundaries_is_right(oci, fake, image):
    """Nothing need be re-used, but what is must be right."""
    pull(oci, fake.add(image, "org/vm", "v1"))
    other = Image(image.disk, slice_size=96 * KIB)
    pull(oci, fake.add(other, "org/vm", "v2"))
    is_right(cached(oci, other), other)


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs"])
def test_reused_slices_share_extents_where_the_file_system_can(oci, fake, kind):
    """A second image of the same 40 MB: copied on ext4, for nothing on btrfs and xfs."""
    image = Image(noise(40 * MIB, 1), 4 * MIB)
    other = Image(image.disk, 4 * MIB, stored=True, block=32 * KIB, nvram=b"other")
    with home_on(oci, kind, 400 * MIB) as path:
        pull(oci, fake.add(image, "org/vm"))
        before = used(path)
        pull(oci, fake.add(other, "other/vm"))
        added = used(path) - before
        is_right(cached(oci, other), other)
        assert sum(blob_gets(fake, other).values()) == 0
        if kind == "ext4":
            assert added < 60 * MIB
        else:
            assert added < 4 * MIB


def corrupt(directory, at=10):
    disk = directory / "disk.img"
    mode = disk.stat().st_mode
    disk.chmod(0o600)
    with open(disk, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    disk.chmod(mode)


def test_reused_bytes_are_verified(oci, fake, image):
    """A cached image whose disk went bad: its bad slice is fetched instead."""
    pull(oci, fake.add(image, "org/vm", "v1"))
    corrupt(cached(oci, image))
    other = other_image_with_the_same_content(image)
    name = fake.add(other, "org/vm", "v2")
    fake.forget()
    pull(oci, name)
    is_right(cached(oci, other), other)
    assert {d for d, n in blob_gets(fake, other).items() if n} == {other.slices[0]["digest"]}


def test_a_cached_manifest_that_lies_about_its_disk(oci, fake, image):
    """The annotations of an image in the cache are a hint."""
    pull(oci, fake.add(image, "org/vm", "v1"))
    directory = cached(oci, image)
    path = directory / "manifest.json"
    layers = [s["annotations"]["org.cirruslabs.tart.uncompressed-content-digest"] for s in image.slices]
    text_ = path.read_text().replace(layers[0], "sha256:x").replace(layers[1], layers[0]).replace("sha256:x", layers[1])
    path.chmod(0o600)
    path.write_text(text_)
    other = other_image_with_the_same_content(image)
    pull(oci, fake.add(other, "org/vm", "v2"))
    is_right(cached(oci, other), other)


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\0" * 10000], ids=["empty", "brace", "list", "zeroes"])
def test_a_cached_manifest_that_is_garbage(oci, fake, image, garbage):
    pull(oci, fake.add(image, "org/vm", "v1"))
    path = cached(oci, image) / "manifest.json"
    path.chmod(0o600)
    path.write_bytes(garbage)
    other = other_image_with_the_same_content(image)
    pull(oci, fake.add(other, "org/vm", "v2"))
    is_right(cached(oci, other), other)


# ---------------------------------------------------------------- poisoning

def test_claimed_content_does_not_poison(oci, fake, image):
    """B says that its slices are A's by their content and sends other bytes; then A is pulled."""
    bad = Image(noise(len(image.disk), 666))
    for ours, theirs in zip(bad.slices, image.slices):
        ours["annotations"].update(theirs["annotations"])
    done = pull(oci, fake.add(bad, "evil/vm"), check=False)
    one_line(done, fake.address)
    nothing_new(oci)
    name = fake.add(image, "org/vm")
    pull(oci, name)
    is_right(cached(oci, image), image)


def test_claimed_content_of_a_cached_image(oci, fake, image):
    """The other way round: A is here, B claims its content. Either B fails, or it holds A's bytes."""
    pull(oci, fake.add(image, "org/vm"))
    bad = Image(noise(len(image.disk), 666))
    for ours, theirs in zip(bad.slices, image.slices):
        ours["annotations"].update(theirs["annotations"])
    done = pull(oci, fake.add(bad, "evil/vm"), check=False)
    if done.returncode == 0:
        assert (cached(oci, bad) / "disk.img").read_bytes() == image.disk
    else:
        one_line(done)
    is_right(cached(oci, image), image)


def test_claimed_blob_with_another_content(oci, fake, image):
    """B names A's blobs, but says that they decode to something else."""
    bad = Image(image.disk)
    for layer in bad.slices:
        layer["annotations"]["org.cirruslabs.tart.uncompressed-content-digest"] = digest(layer["digest"].encode())
    one_line(pull(oci, fake.add(bad, "evil/vm"), check=False))
    nothing_new(oci)
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)


def test_half_of_a_poisoned_pull(oci, fake, image):
    """B is stopped in its middle; what it left in the cache is not taken for A's."""
    bad = Image(noise(len(image.disk), 666))
    for ours, theirs in list(zip(bad.slices, image.slices))[1::2]:
        ours["annotations"].update(theirs["annotations"])
    name = fake.add(bad, "evil/vm")
    fake.fault("GET", bad.slices[-1]["digest"], faulty.silence())
    child = oci.start("pull", name, "--insecure")
    time.sleep(1)
    child.kill()
    child.wait()
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)


# ---------------------------------------------------------------- tags and digests

def test_output_of_a_pull(oci, fake, image):
    name = fake.add(image, "org/vm")
    done = pull(oci, name.removesuffix(":latest"))
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"pulling {name}...", "pulling manifest..."]
    assert re.fullmatch(r"pulling disk \(\d+(\.\d)? [kMGT]?B compressed\)\.\.\.", lines[2])
    percent = lines[3:-1]
    assert percent and all(re.fullmatch(r"\d{1,3}%", line) for line in percent)
    numbers = [int(line[:-1]) for line in percent]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 100
    assert lines[-1] == "pulling NVRAM..."
    assert done.stderr == "" and "\x1b" not in done.stdout and "\r" not in done.stdout


def test_again_is_already_cached_and_linked(oci, fake, image):
    name = fake.add(image, "org/vm")
    pull(oci, name)
    fake.forget()
    done = pull(oci, name)
    canonical = fake.name("org/vm", image.digest)
    assert done.stdout.splitlines() == [f"pulling {name}...", "pulling manifest...",
                                        f"{canonical} image is already cached and linked!"]
    assert fake.count("GET", "/blobs/") == 0 and fake.count("GET", "/manifests/") == 1


def test_a_new_tag_of_a_cached_digest_is_only_linked(oci, fake, image):
    pull(oci, fake.add(image, "org/vm", "v1"))
    name = fake.add(image, "org/vm", "v2")
    fake.forget()
    done = pull(oci, name)
    canonical = fake.name("org/vm", image.digest)
    assert done.stdout.splitlines()[-1] == f"{canonical} image is already cached! creating a symlink..."
    assert fake.count("GET", "/blobs/") == 0
    assert listed(oci) == [fake.name("org/vm", "v1"), name, canonical]


def test_a_local_name(oci, fake):
    new_vm(oci, "thing")
    done = oci("pull", "thing", check=True)
    assert (done.stdout, done.stderr) == ('"thing" is a local image, nothing to pull here!\n', "")


def test_a_local_name_that_is_none(oci):
    done = oci("pull", "thing")
    assert done.returncode == 1 and done.stderr.startswith("failed to parse remote name: "), done


def test_a_moved_tag_replaces_the_old_image(oci, fake, image):
    name = fake.add(image, "org/vm")
    pull(oci, name)
    new = Image(mixed_disk(seed=9))
    fake.add(new, "org/vm")
    pull(oci, name)
    assert listed(oci) == [name, fake.name("org/vm", new.digest)]
    assert list(images(oci)) == [new.digest]
    is_right(cached(oci, new), new)


def test_a_moved_tag_lets_another_tags_image_be(oci, fake, image):
    pull(oci, fake.add(image, "org/vm", "stable"))
    pull(oci, fake.add(image, "org/vm"))
    new = Image(mixed_disk(seed=9))
    pull(oci, fake.add(new, "org/vm"))
    assert set(images(oci)) == {image.digest, new.digest}


def test_pulled_by_digest_stays(oci, fake, image):
    name = fake.add(image, "org/vm")
    by_digest = fake.name("org/vm", image.digest)
    pull(oci, by_digest)
    assert (cached(oci, image) / ".explicitly-pulled").exists()
    assert listed(oci) == [by_digest]
    pull(oci, name)
    new = Image(mixed_disk(seed=9))
    fake.add(new, "org/vm")
    pull(oci, name)
    assert set(images(oci)) == {image.digest, new.digest}
    oci("prune", "--gc", "--older-than", 100, check=True)
    assert set(images(oci)) == {image.digest, new.digest}


def test_by_digest_is_verified(oci, fake, image):
    """A registry that answers a digest with another manifest."""
    fake.add(image, "org/vm")
    other = Image(mixed_disk(seed=9))
    fake.blobs["org/vm"].update(other.blobs)
    fake.fault("GET", "/manifests/", faulty.replaced(other.manifest, "application/vnd.oci.image.manifest.v1+json"))
    one_line(pull(oci, fake.name("org/vm", image.digest), check=False), f"{fake.url}/v2/org/vm/manifests/", "digest")
    nothing_new(oci)


def test_a_tag_is_a_link_beside_its_image(oci, fake, image):
    """As the contract's tree has it (4.1)."""
    name = fake.add(image, "org/vm")
    pull(oci, name)
    link = oci.home / "cache/OCIs" / fake.address.replace(":", "%3A") / "org/vm/latest"
    assert link.is_symlink() and link.resolve() == cached(oci, image).resolve()
    assert link.resolve().parent == link.parent.resolve()


# ---------------------------------------------------------------- at once

def test_two_pulls_of_one_image_do_the_work_once(oci, fake):
    image = Image(noise(10 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    go_on = threading.Event()
    fake.fault("GET", "/blobs/", lambda handler: go_on.wait(90) and faulty.GO_ON)

    def start():
        return oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True, env={"LINZER_STALL_SECONDS": "100"})

    children = [start()]
    eventually(lambda: fake.count("GET", "/blobs/"), 60)
    children += [start(), start()]
    for child in children[1:]:
        assert "waiting for lock...\n" in iter(child.stdout.readline, "")
    go_on.set()
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outputs
    assert [err for _, err in outputs] == ["", "", ""]
    assert max(blob_gets(fake, image).values()) == 1
    assert ["pulling disk" in out for out, _ in outputs] == [True, False, False]
    is_right(cached(oci, image), image)


def test_two_pulls_by_two_names_at_once(oci, fake):
    image = Image(noise(10 * 256 * KIB, 2))
    names = [fake.add(image, "org/vm", "a"), fake.add(image, "org/vm", "b"), fake.name("org/vm", image.digest)]
    fake.fault("GET", "/blobs/", faulty.delayed(0.2))
    children = [oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True) for name in names]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outputs
    assert max(blob_gets(fake, image).values()) == 1
    assert listed(oci) == names


def test_pulls_of_different_images_at_once(oci, fake):
    disks = [Image(mixed_disk(seed=seed)) for seed in range(4)]
    names = [fake.add(image, f"org/vm{i}") for i, image in enumerate(disks)]
    children = [oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True) for name in names]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 4, outputs
    for image in disks:
        is_right(cached(oci, image), image)


def test_delete_and_prune_during_a_pull(oci, fake):
    image = Image(noise(10 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    old = Image(mixed_disk(2))
    old_name = fake.add(old, "org/old")
    pull(oci, old_name)
    fake.fault("GET", "/blobs/", faulty.delayed(0.2))
    child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True)
    while child.poll() is None:
        oci("prune", "--gc", "--space-budget", 0)
        oci("list", check=True)
        oci("delete", old_name)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, ""), (out, err)


# ---------------------------------------------------------------- progress

def test_plain_progress_is_appended_as_it_comes(oci, fake):
    image = Image(noise(8 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    told = threading.Event()
    fake.fault("GET", "/blobs/" + image.slices[6]["digest"], lambda handler: told.wait(60) and faulty.GO_ON)
    child = oci.start("pull", name, "--insecure", "--concurrency", 1, stdout=-1, text=True,
                      env={"LINZER_STALL_SECONDS": "100"})
    for line in child.stdout:
        if line.endswith("%\n"):
            told.set()  # before all has come
    assert child.wait() == 0 and fake.count("GET", "/blobs/" + image.slices[6]["digest"]) == 1


@pytest.mark.parametrize("ci", [False, True])
def test_progress_on_a_terminal(oci, fake, ci, tmp_path):
    """Bytes, rate and time left, rewritten in place; with CI plain lines."""
    image = Image(noise(16 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.throttled(1 * MIB))
    env = oci.environment(**({"CI": "1"} if ci else {}), TERM="xterm")
    with Terminal([oci.program(), "pull", name, "--insecure"], env, errors=tmp_path / "errors") as terminal:
        assert terminal.end() == 0
        out = terminal.output
    assert (tmp_path / "errors").read_text() == ""
    if ci:
        assert "\x1b" not in out and re.search(r"^\d+%\r$", out, re.M)
    else:
        assert re.search(r"\d+%", out) and re.search(r"[KM]i?B/s", out, re.I), out
        assert re.search(r"\d+:\d\d|\d+ ?s\b", out), out  # time left
        assert "\r" in out.replace("\r\n", "") or "\x1b[" in out  # in place
    is_right(cached(oci, image), image)


def test_output_to_a_closed_pipe(oci, fake, image):
    """`pull | head -1` ends, or goes on, but nothing half-made lists."""
    name = fake.add(image, "org/vm")
    child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True)
    child.stdout.close()
    child.wait(timeout=60)
    child.stderr.close()
    pull(oci, name)
    is_right(cached(oci, image), image)


# ---------------------------------------------------------------- clone from a remote name

def test_clone_pulls_first(oci, fake, image):
    name = fake.add(image, "org/vm")
    done = oci("clone", name, "copy", "--insecure", "--concurrency", 2, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "pulling manifest..." and f"pulling {name}..." not in done.stdout
    assert listed(oci) == ["copy", name, fake.name("org/vm", image.digest)]
    assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(image.disk)
    assert not (oci.vm("copy") / "manifest.json").exists()
    assert (oci.vm("copy") / "nvram.bin").read_bytes() == image.nvram


def test_clone_of_a_cached_image_is_silent_and_asks_nobody(oci, fake, image):
    name = fake.add(image, "org/vm")
    pull(oci, name)
    fake.forget()
    fake.add(Image(mixed_disk(seed=5)), "org/vm")  # a cached tag is never refreshed
    done = oci("clone", name, "copy", check=True)
    assert (done.stdout, done.stderr, fake.records) == ("", "", [])
    assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(image.disk)


def test_clone_by_digest(oci, fake, image):
    fake.add(image, "org/vm")
    oci("clone", fake.name("org/vm", image.digest), "copy", "--insecure", check=True)
    assert (cached(oci, image) / ".explicitly-pulled").exists()


def test_clone_keeps_the_macs_apart(oci, fake, image):
    """The first clone has the image's MAC, the second one of its own."""
    name = fake.add(image, "org/vm")
    for copy in ("a", "b"):
        oci("clone", name, copy, "--insecure", check=True)
    macs = [json.loads((oci.vm(copy) / "config.json").read_text())["macAddress"] for copy in ("a", "b")]
    assert macs[0] == image.config["macAddress"] != macs[1]


def test_what_a_clone_writes_never_reaches_the_image(oci, fake, image):
    name = fake.add(image, "org/vm")
    oci("clone", name, "copy", "--insecure", check=True)
    vm_disk.write(oci.vm("copy"), 7, 0)
    is_right(cached(oci, image), image)
    oci("clone", name, "second", check=True)
    assert vm_disk.digest(oci.vm("second")) == vm_disk.digest_of(image.disk)


def test_a_clone_outlives_its_image(oci, fake, image):
    name = fake.add(image, "org/vm")
    oci("clone", name, "copy", "--insecure", check=True)
    oci("delete", name, check=True)
    assert images(oci) == {}
    assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(image.disk)


def test_clone_that_cannot_pull(oci, fake, image):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/" + image.slices[1]["digest"], faulty.error(404))
    one_line(oci("clone", name, "copy", "--insecure"), fake.url)
    nothing_new(oci)


def test_clone_to_a_remote_name(oci, fake, image):
    misused(oci("clone", fake.add(image, "org/vm"), "org/copy", "--insecure"), "<new-name> should be a local name")
    assert fake.records == []


# ---------------------------------------------------------------- images that only a Mac can run

def assert_run_says_why_not(oci, *parts):
    line = one_line(oci("run", "--no-graphics", "copy", timeout=60), code=1)
    assert any(part in line for part in parts), line


def test_darwin_image(oci, fake):
    image = Image(mixed_disk(), os_name="darwin", arch="arm64", config={"ecid": "aWQ=", "hardwareModel": "bW9kZWw="})
    name = fake.add(image, "org/macos")
    oci("clone", name, "copy", "--insecure", check=True)
    is_right(cached(oci, image), image)
    assert name in listed(oci)
    assert_run_says_why_not(oci, "macOS")
    new_vm(oci, "linux")
    oci("clone", "linux", "other", check=True)  # and it breaks no other command


def test_asif_image(oci, fake):
    image = Image(b"shdw" + mixed_disk(), os_name="darwin", arch="arm64",
                  config={"ecid": "aWQ=", "hardwareModel": "bW9kZWw=", "diskFormat": "asif"})
    oci("clone", fake.add(image, "org/macos"), "copy", "--insecure", check=True)
    is_right(cached(oci, image), image)
    assert_run_says_why_not(oci, "asif", "macOS")


@pytest.mark.parametrize("declared", ["asif", "qcow2", "/etc/passwd"])
def test_linux_image_that_declares_a_format(oci, fake, declared, tmp_path):
    """It is stored as it came, but never run: no file that a header names is opened."""
    image = Image(mixed_disk(), config={"diskFormat": declared})
    done = oci("clone", fake.add(image, "org/vm"), "copy", "--insecure")
    if done.returncode == 0:
        assert_run_says_why_not(oci, "disk format")
    else:
        one_line(done)
        nothing_new(oci)


def test_stacked_image(oci, fake):
    image = Image(mixed_disk(), os_name="darwin", arch="arm64",
                  config={"ecid": "aWQ=", "hardwareModel": "bW9kZWw=", "diskFormat": "asif"}).stack(noise(700 * KIB, 4))
    name = fake.add(image, "org/macos")
    assert pull(oci, name).stderr == ""
    assert listed(oci) == [name, fake.name("org/macos", image.digest)]
    assert pull(oci, name).stdout.endswith("image is already cached and linked!\n")
    done = oci("clone", name, "copy")
    if done.returncode == 0:
        assert_run_says_why_not(oci, "stacked", "macOS")
    else:
        one_line(done, "stacked")
    oci("push", name, fake.name("org/macos", "again"), "--insecure", check=True)
    assert fake.manifests["org/macos", "again"][0] == image.manifest


def test_legacy_disk_v1(oci, fake, image):
    for layer in image.slices:
        layer["mediaType"] = "application/vnd.cirruslabs.tart.disk.v1"
    done = pull(oci, fake.add(image, "org/vm"), check=False)
    assert (done.returncode, done.stderr) == (1, (
        "Pulling OCI images with legacy disk media type application/vnd.cirruslabs.tart.disk.v1 is no longer supported, "
        "please re-push the image using a current Tart version\n"))
    nothing_new(oci)


# ---------------------------------------------------------------- where the cache is

@needs_root
@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_cache_on_another_file_system(oci, fake, image, kind):
    with mounted(kind, 200 * MIB) as path:
        (path / "cache").mkdir()
        (oci.home / "cache").symlink_to(path / "cache")
        name = fake.add(image, "org/vm")
        pull(oci, name)
        assert (path / "cache/OCIs").is_dir()
        is_right(cached(oci, image), image)
        oci("clone", name, "copy", check=True)
        assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(image.disk)
        other = other_image_with_the_same_content(image)
        pull(oci, fake.add(other, "org/vm", "v2"))
        is_right(cached(oci, other), other)
        oci("push", "copy", fake.name("back/vm"), "--insecure", check=True)
        oci("delete", name, fake.name("org/vm", "v2"), check=True)
        assert images(oci) == {}


@needs_root
def test_the_local_disk_fills_up(oci, fake):
    """One line; nothing lists; when there is room again the pull goes on where it was."""
    image = Image(noise(40 * MIB, 1), 2 * MIB)
    name = fake.add(image, "org/vm")
    with home_on(oci, "ext4", 128 * MIB) as path:
        oci("list", check=True)
        free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
        with open(path / "ballast", "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free - 24 * MIB)
        line = one_line(pull(oci, name, check=False, env={"TART_NO_AUTO_PRUNE": ""}), "No space left on device")
        assert len(line) < 400
        assert oci("list", "--quiet", check=True).stdout == ""
        fetched = fake.sent()
        os.unlink(path / "ballast")
        fake.forget()
        pull(oci, name)
        is_right(cached(oci, image), image)
        assert fetched >= 10 * MIB
        # what was verified before the disk was full is not fetched again
        assert fake.sent() <= image.compressed - min(fetched, 24 * MIB) + 6 * 2 * MIB + 1 * MIB
        assert unfinished(oci) == 0


# ---------------------------------------------------------------- Ctrl-C

def test_interrupt(oci, fake):
    """SIGINT ends it at once with Tart's line, and what was verified is kept."""
    image = Image(noise(12 * 256 * KIB, 2))
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/" + image.slices[8]["digest"], faulty.silence())
    child = oci.start("pull", name, "--insecure", "--concurrency", 1, stdout=-1, stderr=-1, text=True,
                      env={"LINZER_STALL_SECONDS": "60"})
    until = time.monotonic() + 60
    while not fake.count("GET", image.slices[8]["digest"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (1, "Error: CancellationError()\n")
    nothing_new(oci)
    fake.forget()
    pull(oci, name)
    is_right(cached(oci, image), image)
    assert sum(blob_gets(fake, image).values()) == 4


def test_interrupt_while_waiting_for_the_lock(oci, fake, image):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.silence())
    env = {"LINZER_STALL_SECONDS": "60"}
    first = oci.start("pull", name, "--insecure", env=env, stdout=-1, text=True)
    until = time.monotonic() + 60
    while not fake.count("GET", "/blobs/"):
        assert time.monotonic() < until
        time.sleep(0.02)
    second = oci.start("pull", name, "--insecure", env=env, stdout=-1, stderr=-1, text=True)
    for line in second.stdout:
        if line == "waiting for lock...\n":
            break
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (1, "Error: CancellationError()\n")
    assert first.poll() is None


# ---------------------------------------------------------------- the options' own rules

def test_deduplicate_is_accepted(oci, fake, image):
    assert pull(oci, fake.add(image, "org/vm"), "--deduplicate").stderr == ""


def test_without_insecure_it_is_https(oci, fake, image):
    done = oci("pull", fake.add(image, "org/vm"))
    one_line(done, "https://" + fake.address)
    assert fake.count("GET") == 0
    nothing_new(oci)


def test_ctrl_c_in_a_clone_that_pulls_is_told_once(oci, fake, image):
    """The terminal's signal goes to the whole group; the puller ends with us."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[0]["digest"], faulty.throttled(16 * KIB))
    with Terminal([oci.program(), "clone", name, "copy", "--insecure"], oci.environment(TERM="xterm")) as terminal:
        terminal.wait_for("pulling disk")
        terminal.send("\x03")
        assert terminal.end() == 1
        assert terminal.output.count("CancellationError") == 1
