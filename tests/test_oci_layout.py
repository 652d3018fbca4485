# SPDX-License-Identifier: Apache-2.0
"""`oci:DIR[:TAG]`: an image layout in a folder serves wherever a remote name does, and skopeo reads and writes it."""

import json
import os
import random
import signal
import time

import pytest

import vm_disk
from cache_state import cached, images, is_right, listed, new_vm, nothing_new, one_line
from loop_mount import mounted, needs_root
from oci_image import MANIFEST, MIB, Image, digest, file_digest, mixed_disk, noise
from registry import skopeo

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def disk():
    return mixed_disk(9, size=64 << 10)


def write_layout(directory, image, tag="latest"):
    """A layout by hand (image-layout.md)."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for name, data in [*image.blobs.items(), (image.digest, image.manifest)]:
        (blobs / name.removeprefix("sha256:")).write_bytes(data)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "annotations": {REF_NAME: tag}}]}))
    return f"oci:{directory}:{tag}"


def blob(directory, name):
    return directory / "blobs/sha256" / name.removeprefix("sha256:")


def tags(directory):
    return {m["annotations"][REF_NAME]: m["digest"] for m in json.loads((directory / "index.json").read_text())["manifests"]
            if REF_NAME in m.get("annotations", {})}


def test_what_push_writes_is_a_standard_layout(oci, disk, tmp_path):
    new_vm(oci, "vm", disk)
    layout = tmp_path / "layout"
    done = oci("push", "vm", f"oci:{layout}:v1", check=True)
    assert done.stderr == "" and done.stdout.splitlines()[0] == f"pushing vm to oci:{layout}:v1..."
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_text())
    assert index["schemaVersion"] == 2
    entry, = index["manifests"]
    assert entry["mediaType"] == MANIFEST and entry["annotations"][REF_NAME] == "v1"
    data = blob(layout, entry["digest"]).read_bytes()
    assert digest(data) == entry["digest"] and len(data) == entry["size"]
    manifest = json.loads(data)
    wanted = {entry["digest"], *(b["digest"] for b in [manifest["config"], *manifest["layers"]])}
    found = {f"sha256:{p.name}": p for p in (layout / "blobs/sha256").iterdir()}
    assert set(found) == wanted  # and no temporary file
    for name, path in found.items():
        assert digest(path.read_bytes()) == name


@pytest.mark.parametrize("verb", ["pull", "clone"])
def test_pull_and_clone(oci, disk, tmp_path, verb):
    image = Image(disk)
    name = write_layout(tmp_path / "layout", image, "v1")
    oci("pull", name, check=True) if verb == "pull" else oci("clone", name, "copy", check=True)
    is_right(cached(oci, image), image)
    if verb == "clone":
        assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(disk)


def test_list_fqn_inspect_delete(oci, disk, tmp_path):
    image = Image(disk)
    name = write_layout(tmp_path / "layout", image, "v1")
    oci("pull", name, check=True)
    by_digest = f"oci:{tmp_path}/layout@{image.digest}"
    assert listed(oci) == [name, by_digest]
    assert oci("fqn", name, check=True).stdout == by_digest + "\n"
    assert json.loads(oci("inspect", name, "--format", "json", check=True).stdout)["Digest"] == image.digest
    assert oci("pull", name, check=True).stdout.endswith(f"{by_digest} image is already cached and linked!\n")
    oci("delete", name, check=True)
    assert images(oci) == {} and blob(tmp_path / "layout", image.digest).exists()


def test_default_tag(oci, disk, tmp_path):
    new_vm(oci, "vm", disk)
    oci("push", "vm", f"oci:{tmp_path}/layout", check=True)
    assert list(tags(tmp_path / "layout")) == ["latest"]
    oci("pull", f"oci:{tmp_path}/layout", check=True)
    assert f"oci:{tmp_path}/layout:latest" in listed(oci)


def test_relative_directory(oci, disk, tmp_path):
    """The cache knows it by its absolute name."""
    image = Image(disk)
    write_layout(tmp_path / "here/layout", image)
    oci("pull", "oci:./layout/../layout", check=True, cwd=tmp_path / "here")
    assert f"oci:{tmp_path}/here/layout:latest" in listed(oci)
    oci("clone", "oci:layout", "copy", check=True, cwd=tmp_path / "here")
    new_vm(oci, "vm", disk)
    oci("push", "vm", "oci:new", check=True, cwd=tmp_path / "here")
    assert (tmp_path / "here/new/index.json").exists()


def test_by_digest(oci, disk, tmp_path):
    image = Image(disk)
    write_layout(tmp_path / "layout", image)
    oci("pull", f"oci:{tmp_path}/layout@{image.digest}", check=True)
    assert (cached(oci, image) / ".explicitly-pulled").exists()


@pytest.mark.parametrize("directory", ["with space", "\u00e4\u00f6", "a:b/c", ".hidden", "UPPER_case-1.2", "100%25", "-dash", "a@b"])
def test_directories_of_any_name(oci, disk, tmp_path, directory):
    new_vm(oci, "vm", disk)
    name = f"oci:{tmp_path}/{directory}:v1"
    oci("push", "vm", name, check=True)
    oci("pull", name, check=True)
    assert name in oci("list", "--quiet", check=True).stdout.splitlines()
    oci("clone", name, "copy", check=True)
    oci("delete", name, check=True)
    assert images(oci) == {}
    inside = [p for p in (oci.home / "cache/OCIs").glob("**/*")]
    assert all(oci.home / "cache/OCIs" in p.parents for p in inside)


def test_several_tags_and_a_second_image(oci, disk, tmp_path):
    new_vm(oci, "vm", disk)
    layout = tmp_path / "layout"
    oci("push", "vm", f"oci:{layout}:a", f"oci:{layout}:b", check=True)
    vm_disk.write(oci.vm("vm"), 7, 0)
    oci("push", "vm", f"oci:{layout}:b", f"oci:{layout}:c", check=True)
    found = tags(layout)
    assert set(found) == {"a", "b", "c"} and found["b"] == found["c"] != found["a"]
    oci("pull", f"oci:{layout}:a", check=True)
    directory, = images(oci).values()
    assert (directory / "disk.img").read_bytes() == disk


def test_to_a_registry_and_a_layout_at_once(oci, fake, disk, tmp_path):
    new_vm(oci, "vm", disk)
    oci("push", "vm", fake.name("org/vm"), f"oci:{tmp_path}/layout:v1", "--insecure", check=True)
    assert json.loads(fake.manifests["org/vm", "latest"][0])["layers"] == \
        json.loads(blob(tmp_path / "layout", tags(tmp_path / "layout")["v1"]).read_bytes())["layers"]


def test_the_same_blobs_as_in_a_registry(oci, fake, disk, tmp_path):
    """From registry to layout and back without another encoding."""
    image = Image(disk)
    oci("clone", fake.add(image, "org/vm"), "copy", "--insecure", check=True)
    oci("push", "copy", f"oci:{tmp_path}/layout:v1", check=True)
    manifest = json.loads(blob(tmp_path / "layout", tags(tmp_path / "layout")["v1"]).read_bytes())
    layers = [layer for layer in manifest["layers"] if "disk" in layer["mediaType"]]
    assert [layer["annotations"] for layer in layers] == [layer["annotations"] for layer in image.slices]
    oci("delete", fake.name("org/vm"), check=True)
    oci("pull", f"oci:{tmp_path}/layout:v1", check=True)
    directory, = images(oci).values()
    assert (directory / "disk.img").read_bytes() == disk


def test_pull_reuses_across_layout_and_registry(oci, fake, disk, tmp_path):
    image = Image(disk)
    oci("pull", write_layout(tmp_path / "layout", image), check=True)
    other = Image(disk, stored=True, nvram=b"other")
    oci("pull", fake.add(other, "org/vm"), "--insecure", check=True)
    assert not any(fake.count("GET", s["digest"]) for s in other.slices)
    is_right(cached(oci, other), other)


# ---------------------------------------------------------------- with skopeo

def test_skopeo_reads_what_we_push(oci, registry, disk, tmp_path):
    """oci -> docker, then pulled by us."""
    new_vm(oci, "vm", disk)
    oci("push", "vm", f"oci:{tmp_path}/layout:v1", check=True)
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:v1").stdout.encode()
    assert digest(raw) == tags(tmp_path / "layout")["v1"]
    assert json.loads(skopeo("inspect", f"oci:{tmp_path}/layout:v1").stdout)["Os"] == "linux"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:v1", "docker://" + registry.name("org/vm"))
    oci("pull", registry.name("org/vm"), "--insecure", check=True)
    directory, = images(oci).values()
    assert file_digest(directory / "disk.img") == file_digest(oci.vm("vm") / "disk.img")


def test_we_read_what_skopeo_writes(oci, registry, disk, tmp_path):
    """docker -> oci by skopeo, pulled by us; and we push into skopeo's layout."""
    new_vm(oci, "vm", disk)
    oci("push", "vm", registry.name("org/vm"), "--insecure", check=True)
    skopeo("copy", "--src-tls-verify=false", "docker://" + registry.name("org/vm"), f"oci:{tmp_path}/layout:theirs")
    oci("pull", f"oci:{tmp_path}/layout:theirs", check=True)
    directory, = images(oci).values()
    assert file_digest(directory / "disk.img") == file_digest(oci.vm("vm") / "disk.img")
    oci("push", "vm", f"oci:{tmp_path}/layout:ours", check=True)
    assert set(tags(tmp_path / "layout")) == {"theirs", "ours"}
    skopeo("copy", f"oci:{tmp_path}/layout:theirs", f"dir:{tmp_path}/a")
    skopeo("copy", f"oci:{tmp_path}/layout:ours", f"dir:{tmp_path}/b")


def test_foreign_entries_of_an_index_are_kept(oci, disk, tmp_path):
    layout = tmp_path / "layout"
    write_layout(layout, Image(disk), "v1")
    index = json.loads((layout / "index.json").read_text())
    other = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(b"x"), "size": 1,
             "annotations": {"com.example": "keep me"}}
    index["manifests"].append(other)
    index["annotations"] = {"mine": "too"}
    (layout / "index.json").write_text(json.dumps(index))
    new_vm(oci, "vm", disk)
    oci("push", "vm", f"oci:{layout}:v2", check=True)
    after = json.loads((layout / "index.json").read_text())
    assert other in after["manifests"] and after["annotations"] == {"mine": "too"} and set(tags(layout)) == {"v1", "v2"}


# ---------------------------------------------------------------- bad layouts

@pytest.fixture
def layout(disk, tmp_path):
    """(directory, image, name) of a right one."""
    image = Image(disk)
    return tmp_path / "layout", image, write_layout(tmp_path / "layout", image)


def refused(oci, name, *parts):
    line = one_line(oci("pull", name, timeout=60), *parts)
    nothing_new(oci)
    return line


def test_no_such_directory(oci, tmp_path):
    refused(oci, f"oci:{tmp_path}/nothing", f"{tmp_path}/nothing")
    assert not (tmp_path / "nothing").exists()


def test_no_such_tag(oci, layout):
    refused(oci, f"oci:{layout[0]}:other", str(layout[0]), "other")


def test_no_such_digest(oci, layout):
    refused(oci, f"oci:{layout[0]}@{digest(b'none')}", str(layout[0]))


@pytest.mark.parametrize("file", ["oci-layout", "index.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b"\0" * 1000, b"[" * 100000,
                                     b'{"imageLayoutVersion":"9.0.0","manifests":5}', b'{"manifests":[null]}'],
                         ids=lambda c: str(c)[:20])
def test_broken_layout(oci, layout, file, content):
    directory, image, name = layout
    if content is None:
        (directory / file).unlink()
    else:
        (directory / file).write_bytes(content)
    done = oci("pull", name, timeout=60)
    if file == "oci-layout" and done.returncode == 0:
        is_right(cached(oci, image), image)
        return
    one_line(done, str(directory))
    nothing_new(oci)


@pytest.mark.parametrize("which", [0, 2, -1, "manifest"])
@pytest.mark.parametrize("how", ["missing", "flipped", "short", "long", "directory", "fifo", "unreadable link"])
def test_broken_blob(oci, layout, which, how):
    """Verified like those of a registry, and no special file blocks us."""
    directory, image, name = layout
    wanted = image.digest if which == "manifest" else image.layers[which]["digest"]
    path = blob(directory, wanted)
    data = path.read_bytes()
    path.unlink()
    if how == "flipped":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif how == "short":
        path.write_bytes(data[:-1])
    elif how == "long":
        path.write_bytes(data + b"x")
    elif how == "directory":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "unreadable link":
        path.symlink_to("/nonexistent/x")
    refused(oci, name, wanted.removeprefix("sha256:"))


@pytest.mark.parametrize("name", ["sha256:../../../../../../etc/passwd", "../../x:y", "sha256:" + "0" * 63, "", None, 5], ids=repr)
def test_digests_of_an_index_are_no_paths(oci, layout, name):
    directory, image, whole = layout
    index = json.loads((directory / "index.json").read_text())
    index["manifests"][0]["digest"] = name
    (directory / "index.json").write_text(json.dumps(index))
    refused(oci, whole, str(directory))


def test_huge_index(oci, layout):
    directory, _, name = layout
    with open(directory / "index.json", "r+b") as file:
        file.truncate(1 << 32)
    refused(oci, name, str(directory))


@pytest.mark.parametrize("name", ["oci:", "oci::tag", "oci:dir:", "oci:a\nb", "oci:dir@sha256:xyz", "oci:dir@md5:00"])
def test_names_of_layouts_that_are_none(oci, name, tmp_path):
    done = oci("pull", name, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert not list(tmp_path.glob("dir*"))


def test_push_to_where_nothing_can_be(oci, disk, tmp_path):
    new_vm(oci, "vm", disk)
    (tmp_path / "file").write_text("a file")
    one_line(oci("push", "vm", f"oci:{tmp_path}/file:v1"), f"{tmp_path}/file")
    assert (tmp_path / "file").read_text() == "a file"


def test_push_into_a_directory_that_is_no_layout(oci, disk, tmp_path):
    """Somebody's files: left as they are."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/letter").write_text("dear")
    new_vm(oci, "vm", disk)
    done = oci("push", "vm", f"oci:{tmp_path}/docs:v1")
    assert (tmp_path / "docs/letter").read_text() == "dear"
    if done.returncode:
        one_line(done, f"{tmp_path}/docs")


def test_two_pushes_at_once_lose_no_tag(oci, disk, tmp_path):
    for i in range(5):
        new_vm(oci, f"vm{i}", disk[i:])
    children = [oci.start("push", f"vm{i}", f"oci:{tmp_path}/layout:t{i}", stdout=-1, stderr=-1, text=True)
                for i in range(5)]
    for child in children:
        _, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (0, "")
    assert set(tags(tmp_path / "layout")) == {f"t{i}" for i in range(5)}


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_kill_9(oci, tmp_path, verb):
    """At random moments: the layout is never broken for others, and the next try is right."""
    disk = b"".join(noise(MIB, i) for i in range(12))
    directory = new_vm(oci, "vm", disk)
    rng = random.Random(os.urandom(4))
    first = f"oci:{tmp_path}/layout:first"
    oci("push", "vm", first, "--slice-size", 1, check=True)
    vm_disk.write(directory, 7, 0, 12 * MIB - 4096)
    for i in range(8):
        words = ("push", "vm", f"oci:{tmp_path}/layout:second", "--slice-size", "1") if verb == "push" else ("pull", first)
        child = oci.start(*words, stdout=-1, stderr=-1)
        time.sleep(rng.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert "first" in tags(tmp_path / "layout")
        for path in (tmp_path / "layout/blobs/sha256").iterdir():
            if len(path.name) == 64:
                assert digest(path.read_bytes()).removeprefix("sha256:") == path.name
        oci(*words, check=True)
        if verb == "pull":
            image, = images(oci).values()
            assert (image / "disk.img").read_bytes() == disk
            oci("delete", first, check=True)
    oci("pull", f"oci:{tmp_path}/layout:" + ("second" if verb == "push" else "first"), check=True)


@needs_root
def test_a_full_disk_under_a_layout(oci, tmp_path):
    new_vm(oci, "vm", noise(30 * MIB, 1))
    with mounted("ext4", 20 * MIB) as path:
        line = one_line(oci("push", "vm", f"oci:{path}/layout:v1", "--slice-size", 1), "No space left on device")
        assert str(path) in line
        if (path / "layout/index.json").exists():
            assert tags(path / "layout") == {}


def test_read_only_layout(oci, disk, tmp_path):
    """A pull needs no write permission there."""
    image = Image(disk)
    name = write_layout(tmp_path / "layout", image)
    before = sorted(p for p in (tmp_path / "layout").glob("**/*"))
    oci("pull", name, check=True)
    assert sorted(p for p in (tmp_path / "layout").glob("**/*")) == before
