# SPDX-License-Identifier: Apache-2.0
"""Names of images (contract 5.1) wherever a name is taken, and the verbs that only name: fqn, tag, inspect, list, delete."""

import json
import re

import pytest

import faulty_registry as faulty
from cache_state import cached, images, listed, misused, new_vm, one_line
from oci_image import MANIFEST, MIB, Image, digest, mixed_disk, noise, upload
from registry import skopeo

SHA = "sha256:" + "e3b0" * 16


@pytest.fixture
def image():
    return Image(mixed_disk(4))


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


# ---------------------------------------------------------------- the grammar

BAD = ["127.0.0.1:/a/b", "ghcr.io/a/../b/c:latest", "ghcr.io/a//b", "/a/b", "ghcr.io/", "ghcr.io/a/", "ghcr.io/a/b:",
       "ghcr.io/a/b@", "ghcr.io/a/b@md5:00", "ghcr.io/a/b@sha256:", "ghcr.io/a/b@sha256:xyz", f"ghcr.io/a/b:tag@{SHA}",
       "ghcr.io/\u00e4/b", "ghcr.io/a/b:\u00e4", "gh_cr.io/a/b", "-ghcr.io/a/b", "ghcr..io/a/b", "ghcr.io:x/a/b",
       "http://ghcr.io/a/b", "ghcr.io/a/b:-tag", "ghcr.io/a/b:.tag", "ghcr.io/a b/c", "ghcr.io/a/b:t:u", "ghcr.io/a--b/c",
       "ghcr.io/a/b\n", "user@ghcr.io/a/b", "ghcr.io/.a/b", "ghcr.io/_a/b"]


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_by_pull(oci, name):
    line = one_line(oci("pull", "--", name))
    assert line.startswith("failed to parse remote name: ")
    if "unknown reference format" not in line:
        assert re.search(r"\(character \d+\)$", line), line


def test_other_digests_are_an_unknown_reference(oci):
    line = one_line(oci("pull", "ghcr.io/a/b@md5:d41d8cd98f00b204e9800998ecf8427e"))
    assert line.startswith("failed to parse remote name: unknown reference format")


@pytest.mark.parametrize("name", ["ghcr.io/a/../b", "a//b", "ghcr.io/a/b@md5:00"])
@pytest.mark.parametrize("words", [("push", "vm", "NAME"), ("tag", "NAME", "ghcr.io/a/b:c"), ("tag", "ghcr.io/a/b:c", "NAME"),
                                   ("inspect", "NAME")], ids=str)
def test_bad_names_are_refused_everywhere(oci, words, name):
    new_vm(oci, "vm", b"x" * 4096)
    done = oci(*[name if word == "NAME" else word for word in words])
    assert done.returncode == 1 and "failed to parse remote name: " in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("clone", "NAME", "x"), ("delete", "NAME"), ("get", "NAME"), ("run", "NAME"), ("set", "NAME")],
                         ids=str)
@pytest.mark.parametrize("name", ["ghcr.io/a/../b", "../../etc", "a//b", "ghcr.io/a/b:\u00e4"])
def test_what_is_neither_image_nor_vm(oci, words, name):
    """Verbs that take both say that there is no such thing (or why it parses not); no path is made of it."""
    done = oci(*[name if word == "NAME" else word for word in words])
    assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1, done
    assert "does not exist" in done.stderr or "failed to parse remote name" in done.stderr


@pytest.mark.parametrize("repository, tag", [
    ("a/b", "latest"), ("a/b", "1.2.3-RC-1"), ("a", "v"), ("a/b/c/d/e/f", "x_y"), ("UPPER/Case", "T"), ("a.b-c_d/e", "1"),
    ("a-/b", "t"), ("org/" + "x" * 100, "t" * 100)])
def test_good_names(oci, fake, image, repository, tag):
    """Pulled, listed by their canonical text, cloned, deleted."""
    name = fake.add(image, repository, tag)
    pull(oci, name)
    by_digest = fake.name(repository, image.digest)
    assert listed(oci) == [name, by_digest]
    oci("clone", name, "copy", check=True)
    oci("delete", name, check=True)
    assert listed(oci) == ["copy"]


def test_default_tag_is_latest(oci, fake, image):
    fake.add(image, "org/vm")
    done = pull(oci, f"{fake.address}/org/vm")
    assert done.stdout.startswith(f"pulling {fake.address}/org/vm:latest...\n")
    oci("clone", f"{fake.address}/org/vm", "copy", check=True)


def test_a_local_name_with_a_colon_is_local(oci):
    """debian:latest has no slash: a local VM's name."""
    new_vm(oci, "debian:latest")
    assert oci("pull", "debian:latest", check=True).stdout == '"debian:latest" is a local image, nothing to pull here!\n'


def test_host_with_a_name(oci, image):
    """localhost:PORT is a host like any other, and another than 127.0.0.1:PORT."""
    with faulty.FakeRegistry(shown="localhost") as server:
        name = server.add(image, "org/vm")
        pull(oci, name)
        assert name.startswith("localhost:") and name in listed(oci)
        assert (oci.home / f"cache/OCIs/{server.address.replace(':', '%3A')}/org/vm").is_dir()


def test_too_long_a_name(oci):
    for name in ("ghcr.io/" + "a" * 5000, "ghcr.io/a:" + "t" * 500, "a" * 300 + ".io/b", "ghcr.io/" + "a/" * 600 + "b"):
        done = oci("pull", name, timeout=100)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and len(done.stderr) < 1200


# ---------------------------------------------------------------- fqn

def test_fqn(oci, fake, image):
    name = fake.add(image, "org/vm")
    pull(oci, name)
    by_digest = fake.name("org/vm", image.digest)
    assert oci("fqn", name, check=True).stdout == by_digest + "\n"
    assert oci("fqn", by_digest, check=True).stdout == by_digest + "\n"
    assert oci("fqn", name.removesuffix(":latest"), check=True).stdout == by_digest + "\n"


def test_fqn_of_a_local_name(oci):
    assert oci("fqn", "whatever", check=True).stdout == "whatever\n"


def test_fqn_of_what_is_not_cached(oci):
    line = one_line(oci("fqn", "ghcr.io/a/b"))
    assert line.startswith("OCI storage error: ") and line.endswith("is not a digest and doesn't point to a digest")


def test_fqn_is_in_no_help_screen(oci):
    assert not re.search(r"^\s+fqn\b", oci("--help", check=True).stdout, re.M)


# ---------------------------------------------------------------- list and get

def test_list_shows_tags_and_digests(oci, fake, image):
    new_vm(oci, "zebra")
    new_vm(oci, "ant")
    a, b = fake.add(image, "org/vm", "a"), fake.add(image, "org/vm", "b")
    pull(oci, a)
    pull(oci, b)
    names = [a, b, fake.name("org/vm", image.digest)]
    rows = json.loads(oci("list", "--format", "json", check=True).stdout)
    assert [(r["Source"], r["Name"]) for r in rows] == \
        [("local", "ant"), ("local", "zebra")] + [("OCI", n) for n in names]
    for row in rows[2:]:
        assert set(row) >= {"Source", "Name", "Disk", "Size", "Accessed", "Running", "State"}
        assert row["State"] == "stopped" and row["Running"] is False and isinstance(row["Disk"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["Accessed"])
    assert oci("list", "--source", "oci", "-q", check=True).stdout.split() == names
    assert oci("list", "--source", "local", "-q", check=True).stdout.split() == ["ant", "zebra"]
    text = oci("list", check=True).stdout.splitlines()
    assert text[0].split() == ["Source", "Name", "Disk", "Size", "Accessed", "State"]
    assert [line.split()[:2] for line in text[3:]] == [["OCI", n] for n in names]


def test_list_shows_the_disks_size(oci, fake):
    image = Image(bytes(4096), 4096)
    image.layers[-1:-1] = [image.slice(bytes(16 * MIB))] * 300
    pull(oci, fake.add(image, "org/vm"))
    row = json.loads(oci("list", "--format", "json", check=True).stdout)[0]
    assert row["Disk"] == 300 * 16 * MIB // 10**9 and row["Size"] == 0


def test_images_that_are_not_whole_do_not_list(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"))
    (cached(oci, image) / "nvram.bin").unlink()
    assert listed(oci) == []
    assert oci("clone", fake.name("org/vm"), "x", "--insecure").returncode in (0, 1, 2)  # pulled anew or refused
    pull(oci, fake.name("org/vm"))
    assert len(listed(oci, "--source", "oci")) == 2


def test_rubbish_in_the_cache_does_not_list(oci, fake, image):
    pull(oci, fake.add(image, "org/vm"))
    base = oci.home / "cache/OCIs"
    (base / "stray-file").write_text("x")
    (base / "empty-host").mkdir()
    (base / "host.test/org").mkdir(parents=True)
    (base / "host.test/org/broken").symlink_to("/nonexistent/sha256:" + "0" * 64)
    (base / "host.test/org/loop").symlink_to("loop")
    (base / "host.test/org/outside").symlink_to("/etc")
    (base / "host.test/org/sha256:zz").mkdir()
    assert listed(oci) == [fake.name("org/vm"), fake.name("org/vm", image.digest)]
    oci("prune", "--gc", "--older-than", 100, check=True)
    assert not (base / "host.test/org/broken").is_symlink()


def test_get_of_a_remote_name(oci, fake, image):
    """Local VMs only, as the contract has it."""
    name = fake.add(image, "org/vm")
    pull(oci, name)
    done = oci("get", name)
    assert (done.returncode, done.stderr) == (2, f'the specified VM "{name}" does not exist\n')


# ---------------------------------------------------------------- delete

def test_delete_a_tag(oci, fake, image):
    a, b = fake.add(image, "org/vm", "a"), fake.add(image, "org/vm", "b")
    pull(oci, a)
    pull(oci, b)
    done = oci("delete", a, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert listed(oci) == [b, fake.name("org/vm", image.digest)]
    oci("delete", b, check=True)
    assert listed(oci) == [] and images(oci) == {}


def test_delete_a_digest(oci, fake, image):
    """Its tags, which then point nowhere, go with it."""
    name = fake.add(image, "org/vm")
    pull(oci, name)
    oci("delete", fake.name("org/vm", image.digest), check=True)
    assert listed(oci) == [] and images(oci) == {}
    assert not [p for p in (oci.home / "cache/OCIs").glob("**/*") if p.is_symlink()]


def test_delete_an_explicitly_pulled_digest(oci, fake, image):
    fake.add(image, "org/vm")
    pull(oci, fake.name("org/vm", image.digest))
    oci("delete", fake.name("org/vm", image.digest), check=True)
    assert images(oci) == {}


@pytest.mark.parametrize("reference", [":latest", "", "@" + SHA])
def test_delete_what_is_not_cached(oci, reference):
    done = oci("delete", "ghcr.io/a/b" + reference)
    assert done.returncode == 2 and done.stderr.startswith('the specified VM "ghcr.io/a/b')


def test_delete_local_and_remote_in_order(oci, fake, image):
    new_vm(oci, "vm")
    name = fake.add(image, "org/vm")
    pull(oci, name)
    assert oci("delete", "vm", "nothing", name).returncode == 2
    assert listed(oci) == [name, fake.name("org/vm", image.digest)]
    oci("delete", name, check=True)
    assert listed(oci) == []


# ---------------------------------------------------------------- tag

def test_tag_within_a_repository(oci, fake, image):
    """Nothing is pulled and no blob travels."""
    name = fake.add(image, "org/vm")
    done = oci("tag", name, fake.name("org/vm", "stable"), fake.name("org/vm", "v1"), "--insecure", check=True)
    assert done.stderr == ""
    assert fake.manifests["org/vm", "stable"] == fake.manifests["org/vm", "v1"] == (image.manifest, MANIFEST)
    assert fake.count("GET", "/blobs/") == 0 and fake.uploaded() == []
    assert listed(oci) == []


def test_tag_in_another_repository_mounts(oci, fake, image):
    name = fake.add(image, "org/vm")
    oci("tag", name, fake.name("team/copy", "v1"), "--insecure", check=True)
    assert fake.manifests["team/copy", "v1"][0] == image.manifest
    assert set(fake.blobs["team/copy"]) == set(image.blobs)
    assert fake.count("GET", "/blobs/") == 0 and fake.received() == 0
    assert {r.query["from"] for r in fake.asked("POST", "mount=")} == {"org/vm"}


def test_tag_by_digest(oci, fake, image):
    fake.add(image, "org/vm")
    oci("tag", fake.name("org/vm", image.digest), fake.name("org/vm", "again"), "--insecure", check=True)
    assert fake.manifests["org/vm", "again"][0] == image.manifest


def test_tag_through_docker_registry(oci, registry, image):
    name = upload(image, registry.address, "org/vm", "v1")
    oci("tag", name, registry.name("org/vm", "v2"), registry.name("other/vm", "v3"), "--insecure", check=True)
    assert registry.manifest("org/vm", "v2") == registry.manifest("other/vm", "v3") == image.manifest
    skopeo("inspect", "--tls-verify=false", "docker://" + registry.name("other/vm", "v3"))
    pull(oci, registry.name("other/vm", "v3"))


def test_tag_on_another_host(oci, fake, image):
    """It cannot be done without pulling: said so, nothing half-made."""
    name = fake.add(image, "org/vm")
    with faulty.FakeRegistry() as other:
        done = oci("tag", name, other.name("org/vm"), "--insecure")
        if done.returncode:
            assert done.returncode in (1, 64) and done.stderr
            assert other.manifests == {}
        else:
            assert other.manifests["org/vm", "latest"][0] == image.manifest


def test_tag_of_nothing(oci, fake):
    one_line(oci("tag", fake.name("org/vm"), fake.name("org/vm", "x"), "--insecure"), f"{fake.url}/v2/org/vm/manifests/latest", "404")


def test_tag_without_target(oci, fake):
    assert oci("tag", fake.name("org/vm")).returncode == 64


def test_tag_that_cannot_be_mounted(oci, fake, image):
    fake.mount = "405"
    name = fake.add(image, "org/vm")
    done = oci("tag", name, fake.name("team/copy"), "--insecure")
    if done.returncode:
        one_line(done, fake.address)
        assert ("team/copy", "latest") not in fake.manifests
    else:
        assert fake.manifests["team/copy", "latest"][0] == image.manifest


def test_tag_keeps_foreign_bytes(oci, fake):
    """Also of an image that we would not run: the manifest is what it was, byte for byte."""
    image = Image(mixed_disk(), os_name="darwin", arch="arm64").stack(noise(1000, 4))
    name = fake.add(image, "org/macos")
    oci("tag", name, fake.name("org/macos", "v2"), "--insecure", check=True)
    assert fake.manifests["org/macos", "v2"][0] == image.manifest


# ---------------------------------------------------------------- inspect

def test_inspect_json(oci, fake, image):
    name = fake.add(image, "org/vm")
    done = oci("inspect", name, "--insecure", "--format", "json", check=True)
    seen = json.loads(done.stdout)
    assert seen.pop("Name") in (name, fake.name("org/vm", image.digest))
    assert seen == {"Digest": image.digest, "OS": "linux", "Arch": "amd64", "DiskFormat": "raw",
                    "Disk": len(image.disk), "Compressed": sum(s["size"] for s in image.slices), "Slices": len(image.slices),
                    "Uploaded": "2026-05-12T21:45:18Z", "Labels": {"org.cirruslabs.tart.disk.format": "raw"},
                    "Cached": False, "Stacked": False}
    assert fake.count("GET", "/blobs/") <= 2 and listed(oci) == []
    pull(oci, name)
    assert json.loads(oci("inspect", name, "--insecure", "--format", "json", check=True).stdout)["Cached"] is True


def test_inspect_labels_of_a_push(oci, fake):
    new_vm(oci, "vm", mixed_disk(2))
    oci("push", "vm", fake.name("org/vm"), "--insecure", "--label", "a=b", check=True)
    seen = json.loads(oci("inspect", fake.name("org/vm"), "--insecure", "--format", "json", check=True).stdout)
    assert seen["Labels"] == {"a": "b", "org.cirruslabs.tart.disk.format": "raw"}
    assert seen["Digest"] == digest(fake.manifests["org/vm", "latest"][0])


def test_inspect_text(oci, fake, image):
    name = fake.add(image, "org/vm")
    text = oci("inspect", name, "--insecure", check=True).stdout
    for what in (fake.address + "/org/vm", image.digest, "linux", "amd64", "2026-05-12"):
        assert what in text


def test_inspect_manifest_is_raw(oci, fake, image):
    name = fake.add(image, "org/vm")
    done = oci("inspect", name, "--insecure", "--manifest", check=True, text=False)
    assert done.stdout == image.manifest


def test_inspect_works_on_the_cache_alone(oci, image):
    """The registry is gone; a cached digest is what it is."""
    with faulty.FakeRegistry() as server:
        name = server.add(image, "org/vm")
        pull(oci, name)
        by_digest = server.name("org/vm", image.digest)
    done = oci("inspect", by_digest, "--insecure", "--manifest", text=False)
    if done.returncode == 0:
        assert done.stdout == image.manifest
    else:
        assert len(done.stderr.splitlines()) == 1


def test_inspect_stacked(oci, fake):
    image = Image(mixed_disk(), os_name="darwin", arch="arm64", config={"diskFormat": "asif"}).stack(noise(1000, 4))
    seen = json.loads(oci("inspect", fake.add(image, "org/macos"), "--insecure", "--format", "json", check=True).stdout)
    assert seen["Stacked"] is True and seen["OS"] == "darwin" and seen["Arch"] == "arm64"


@pytest.mark.parametrize("label", ["\x1b[31mred", "a\nb", "x" * 100_000, "\u202eright to left"],
                         ids=["escape", "line", "long", "direction"])
def test_inspect_shows_labels_harmlessly(oci, fake, image, label):
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {label: label}}}).encode()
    image.document["config"] = image.blob(config, "application/vnd.oci.image.config.v1+json")
    text = oci("inspect", fake.add(image, "org/vm"), "--insecure").stdout
    assert "\x1b" not in text and "\nb" not in text.replace("\nbytes", "")


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"null", b'{"os":5}', b'{"config":[]}', b'{"config":{"Labels":[]}}',
                                    b'{"config":{"Labels":{"a":5}}}', b"[" * 100000], ids=lambda c: c[:20].decode())
def test_inspect_of_a_broken_image_config(oci, fake, image, config):
    image.document["config"] = image.blob(config, "application/vnd.oci.image.config.v1+json")
    done = oci("inspect", fake.add(image, "org/vm"), "--insecure", "--format", "json")
    if done.returncode:
        one_line(done, fake.url)
    else:
        assert json.loads(done.stdout)["Digest"] == image.digest


def test_inspect_of_nothing(oci, fake):
    one_line(oci("inspect", fake.name("org/vm"), "--insecure"), f"{fake.url}/v2/org/vm/manifests/latest", "404")


def test_inspect_of_a_local_vm(oci):
    new_vm(oci, "vm")
    done = oci("inspect", "vm")
    first, help_line = done.stderr.splitlines()
    assert (done.returncode, first) == (1, "failed to parse remote name: unexpected end (character 3)")
    assert help_line.startswith("Help:  An image is called HOST/NAMESPACE")


def test_inspect_format(oci):
    done = oci("inspect", "ghcr.io/a/b", "--format", "yaml")
    assert done.returncode == 64 and "'yaml'" in done.stderr


def test_rename_and_import_to_a_remote_name(oci):
    new_vm(oci, "vm")
    misused(oci("rename", "vm", "ghcr.io/a/b"), "<new-name> should be a local name")
