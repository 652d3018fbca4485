# SPDX-License-Identifier: Apache-2.0
"""prune of cached images, and the automatic one (contract 4.6-4.8): only what a removal gives back counts,
what gives nothing back stays, and what went is told on stderr."""

import fcntl
import json
import os
import time

import pytest

import vm_disk
from cache_state import cached, images, listed, misused, new_vm, one_line
from loop_mount import home_on, mounted, needs_root
from oci_image import MIB, Image, digest, noise

DAY = 86400


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def image_of(size, seed):
    return Image(noise(size, seed), 4 * MIB)


def accessed(directory, days_ago):
    """As if it had been used then."""
    at = time.time() - days_ago * DAY
    (directory / ".accessed").touch()
    for path in (directory / ".accessed", directory):
        os.utime(path, (at, at))


@pytest.fixture
def three(oci, fake):
    """Images a, b, c of 8 MB, used 30, 20 and 10 days ago."""
    found = {}
    for i, name in enumerate("abc"):
        found[name] = image_of(8 * MIB, i)
        pull(oci, fake.add(found[name], f"org/{name}"))
    for days, image in zip((30, 20, 10), found.values()):
        accessed(cached(oci, image), days)
    return found


def left(oci, three):
    return "".join(sorted(name for name, image in three.items() if image.digest in images(oci)))


# ---------------------------------------------------------------- prune

def test_older_than(oci, fake, three):
    done = oci("prune", "--older-than", 15, check=True)
    assert left(oci, three) == "c" and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for name in "ab":
        assert sum(f"{fake.address}/org/{name}" in line for line in lines) == 1
    assert listed(oci) == [fake.name("org/c"), fake.name("org/c", three["c"].digest)]


def test_older_than_nothing(oci, three):
    done = oci("prune", "--older-than", 100, check=True)
    assert (done.stdout, done.stderr) == ("", "") and left(oci, three) == "abc"


def test_space_budget_0(oci, three):
    oci("prune", "--space-budget", 0, check=True)
    assert left(oci, three) == ""


def test_space_budget_keeps_the_newest(oci, fake):
    """Newest first while they fit; a later smaller one may still fit."""
    sizes = {"a": 8 * MIB, "b": 1100 * MIB, "c": 8 * MIB}
    found = {}
    for i, (name, size) in enumerate(sizes.items()):
        found[name] = Image(noise(MIB, i) * (size // MIB), 4 * MIB, stored=True)
        pull(oci, fake.add(found[name], f"org/{name}"))
        accessed(cached(oci, found[name]), 30 - i)
    oci("prune", "--space-budget", 1, check=True)
    assert left(oci, found) == "ac"


def test_an_image_in_use_by_clones_gives_nothing_back(oci, fake, three):
    """Its disk has another name: by budget it is kept, by age it goes, and the clone is whole."""
    oci("clone", fake.name("org/a"), "copy", check=True)
    shared = os.stat(cached(oci, three["a"]) / "disk.img").st_nlink > 1
    accessed(cached(oci, three["a"]), 30)
    oci("prune", "--space-budget", 0, check=True)
    if shared:
        assert left(oci, three) == "a"
    oci("prune", "--older-than", 5, check=True)
    assert left(oci, three) == ""
    assert vm_disk.digest(oci.vm("copy")) == vm_disk.digest_of(three["a"].disk)


@needs_root
@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_shared_extents_give_nothing_back(oci, fake, kind):
    """Reflinks: two images of the same content, a clone. Removing one of them frees nothing."""
    image = image_of(40 * MIB, 1)
    with home_on(oci, kind, 400 * MIB):
        pull(oci, fake.add(image, "org/a"))
        oci("clone", fake.name("org/a"), "copy", check=True)
        os.sync()
        accessed(cached(oci, image), 30)
        oci("prune", "--space-budget", 0, check=True)
        assert list(images(oci)) == [image.digest]


def test_all(oci, fake, three):
    """Every cached image, even one that gives nothing back, and an explicitly pulled one."""
    oci("clone", fake.name("org/a"), "copy", check=True)
    pull(oci, fake.name("org/b", three["b"].digest))
    done = oci("prune", "--all", check=True)
    assert left(oci, three) == "" and listed(oci) == ["copy"]
    assert len(done.stderr.splitlines()) == 3 and done.stdout == ""


def test_a_criterion_is_needed(oci):
    misused(oci("prune"), "at least one pruning criteria must be specified")


def test_gc_alone(oci, three):
    done = oci("prune", "--gc", check=True)
    assert left(oci, three) == "abc" and (done.stdout, done.stderr) == ("", "")


def test_a_pull_has_its_own_access_date(oci, fake):
    """Not the directory's atime, which any `ls` renews."""
    image = image_of(MIB, 1)
    pull(oci, fake.add(image, "org/vm"))
    assert abs((cached(oci, image) / ".accessed").stat().st_mtime - time.time()) < 60


def test_gc_removes_what_nobody_names(oci, fake, three):
    base = oci.home / "cache/OCIs" / fake.address.replace(":", "%3A")
    (base / "org/a/latest").unlink()
    oci("prune", "--gc", "--older-than", 100, check=True)
    assert left(oci, three) == "bc"


def test_vms_are_no_caches(oci, three):
    new_vm(oci, "vm")
    accessed(oci.vm("vm"), 100)
    oci("prune", "--older-than", 1, check=True)
    assert listed(oci) == ["vm"] and left(oci, three) == ""
    oci("prune", "--entries", "vms", "--older-than", 1, check=True)
    assert listed(oci) == []


def test_an_image_that_is_being_read_stays(oci, fake, three):
    """A push or a clone in another process holds it."""
    fd = os.open(cached(oci, three["a"]), os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        oci("prune", "--older-than", 5)
        assert left(oci, three) == "a"
    finally:
        os.close(fd)


def test_use_is_access(oci, fake, three):
    """clone and pull touch the date, list does not."""
    oci("clone", fake.name("org/a"), "copy", check=True)
    pull(oci, fake.name("org/b"))
    oci("list", check=True)
    oci("delete", "copy", check=True)
    oci("prune", "--older-than", 5, check=True)
    assert left(oci, three) == "ab"


# ---------------------------------------------------------------- by itself

NEED = 128 * MIB  # that contract 4.7 wants beside the disk


@pytest.fixture
def small(oci, fake):
    """A file system of 400 MB with images a, b and c of 24 MB, the oldest first; gives (path, images)."""
    with home_on(oci, "ext4", 400 * MIB) as path:
        found = {}
        for i, name in enumerate("abc"):
            found[name] = image_of(24 * MIB, i)
            pull(oci, fake.add(found[name], f"org/{name}"))
        for days, image in zip((30, 20, 10), found.values()):
            accessed(cached(oci, image), days)
        os.sync()
        yield path, found


def of_need(path, reclaim):
    """An image whose pull needs `reclaim` bytes more than are free; it travels as little."""
    state = os.statvfs(path)
    size = state.f_bavail * state.f_frsize - NEED + reclaim
    image = Image(b"x" * (4 * MIB), 4 * MIB)
    slices = size // (4 * MIB) + 1
    image.layers[1:2] = [image.slices[0]] * slices
    image.document["annotations"]["org.cirruslabs.tart.uncompressed-disk-size"] = str(slices * 4 * MIB)
    return image


@needs_root
def test_pull_makes_room_oldest_first(oci, fake, small):
    path, found = small
    done = pull(oci, fake.add(of_need(path, 8 * MIB), "org/new"))
    assert left(oci, found) == "bc"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and f"{fake.address}/org/a" in lines[0]


@needs_root
def test_pull_makes_as_much_room_as_it_needs(oci, fake, small):
    path, found = small
    done = pull(oci, fake.add(of_need(path, 36 * MIB), "org/new"))
    assert left(oci, found) == "c" and len(done.stderr.splitlines()) == 2


@needs_root
def test_enough_room(oci, fake, small):
    path, found = small
    done = pull(oci, fake.add(of_need(path, -20 * MIB), "org/new"))
    assert left(oci, found) == "abc" and done.stderr == ""


@needs_root
def test_what_cannot_be_enough_removes_nothing(oci, fake, small):
    path, found = small
    done = pull(oci, fake.add(of_need(path, 300 * MIB), "org/new"), check=False)
    assert left(oci, found) == "abc"
    one_line(done, "No space left on device")


@needs_root
@pytest.mark.parametrize("value", ["", "1"])
def test_opt_out(oci, fake, small, value):
    path, found = small
    done = pull(oci, fake.add(of_need(path, 8 * MIB), "org/new"), env={"TART_NO_AUTO_PRUNE": value})
    assert left(oci, found) == "abc" and done.stderr == ""


@needs_root
def test_opt_out_is_not_of_prune_itself(oci, small):
    _, found = small
    oci("prune", "--older-than", 15, check=True, env={"TART_NO_AUTO_PRUNE": ""})
    assert left(oci, found) == "c"


@needs_root
def test_what_gives_nothing_back_is_not_removed(oci, fake, small):
    """a has a clone, which holds its disk: b goes, though a is older."""
    path, found = small
    oci("clone", fake.name("org/a"), "copy", check=True)
    accessed(cached(oci, found["a"]), 30)
    pull(oci, fake.add(of_need(path, 8 * MIB), "org/new"))
    assert left(oci, found) == "ac"


@needs_root
def test_local_vms_are_never_removed(oci, fake, small):
    path, found = small
    new_vm(oci, "vm", noise(24 * MIB, 9))
    accessed(oci.vm("vm"), 300)
    pull(oci, fake.add(of_need(path, 8 * MIB), "org/new"))
    assert "vm" in listed(oci)


@needs_root
def test_the_image_just_pulled_stays(oci, fake, small):
    """Nor does a pull of a cached image remove it."""
    path, found = small
    new = of_need(path, 8 * MIB)
    pull(oci, fake.add(new, "org/new"))
    assert new.digest in images(oci)


@needs_root
def test_clone_never_removes_its_source(oci, fake, small):
    """The only old image is the one that is cloned."""
    path, found = small
    for name in "bc":
        oci("delete", fake.name(f"org/{name}"), check=True)
    state = os.statvfs(path)
    free = state.f_bavail * state.f_frsize
    big = image_of(4 * MIB, 5)
    big.layers[-1:-1] = [big.slice(bytes(4 * MIB))] * (free // (4 * MIB) + 1)  # apparent - allocated > free
    oci("pull", fake.add(big, "org/big"), "--insecure", check=True, env={"TART_NO_AUTO_PRUNE": ""})
    accessed(cached(oci, big), 50)
    done = oci("clone", fake.name("org/big"), "copy", check=True)
    assert big.digest in images(oci) and found["a"].digest not in images(oci), done.stderr


@needs_root
def test_prune_limit_of_clone(oci, fake, small):
    """--prune-limit 0: a clone prunes nothing."""
    path, found = small
    state = os.statvfs(path)
    free = state.f_bavail * state.f_frsize
    big = image_of(4 * MIB, 5)
    big.layers[-1:-1] = [big.slice(bytes(4 * MIB))] * (free // (4 * MIB) + 1)
    oci("pull", fake.add(big, "org/big"), "--insecure", check=True, env={"TART_NO_AUTO_PRUNE": ""})
    oci("clone", fake.name("org/big"), "copy", "--prune-limit", 0, check=True)
    assert left(oci, found) == "abc"


@needs_root
def test_a_cache_on_its_own_file_system_is_what_counts(oci, fake):
    """The room is that of cache/, wherever it is."""
    with mounted("ext4", 400 * MIB) as path:
        (path / "cache").mkdir()
        (oci.home / "cache").symlink_to(path / "cache")
        old = image_of(24 * MIB, 1)
        pull(oci, fake.add(old, "org/old"))
        accessed(cached(oci, old), 30)
        os.sync()
        pull(oci, fake.add(of_need(path, 8 * MIB), "org/new"))
        assert old.digest not in images(oci)


def test_50_images_list_and_prune(oci, fake):
    """How fast is bench/transfer.py's to say; here that it is right."""
    for i in range(50):
        pull(oci, fake.add(Image(noise(10000, i)), f"org/vm{i}"))
    rows = json.loads(oci("list", "--format", "json", check=True).stdout)
    assert len(rows) == 100
    oci("prune", "--space-budget", 100, check=True)
    assert len(images(oci)) == 50
