# SPDX-License-Identifier: Apache-2.0
"""pull, push, tag, inspect and login where something else happens at the wrong moment."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import termios
import threading
import time

import pytest

import faulty_registry as faulty
import vm_disk
from cache_state import cached, images, is_right, listed, new_vm, one_line
from conftest import BUILD
from loop_mount import needs_root
from oci_image import INDEX, MIB, OCI_CONFIG, Image, digest, mixed_disk, noise
from terminal import Terminal

NOBODY = 65534


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def push(oci, local, *words, check=True, **options):
    return oci("push", local, *words, "--insecure", check=check, **options)


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def image():
    return Image(mixed_disk(8))


def unfinished_pull(oci, image):
    """The directory of one, made."""
    path = oci.home / "cache/pulls" / image.digest.removeprefix("sha256:")
    path.mkdir(parents=True)
    return path


# ---------------------------------------------------------------- what an unfinished pull left

def as_somebody(oci, *words):
    """The program run by a user for whom modes count, which they do not for root."""
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    for path in (oci.home, oci.user, *oci.home.glob("**/*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False) if who else None
    oci.home.parent.chmod(0o711)
    return subprocess.run([BUILD / "linzer", *words], env=oci.environment(HOME="/nonexistent"), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, **who)


@pytest.mark.parametrize("mode", [None, 0o400], ids=["as-it-was-left", "read-only"])
def test_disk_that_was_finished_is_gone_on_with(oci, fake, image, mode):
    """The disk had come when the NVRAM failed; whoever is not root can write to it again."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/" + digest(image.nvram), lambda handler: handler.error(404), times=1)
    assert as_somebody(oci, "pull", name, "--insecure").returncode == 1
    disk, = (oci.home / "cache/pulls").glob("*/disk.img")
    if mode:
        disk.chmod(mode)
    fake.forget()
    done = as_somebody(oci, "pull", name, "--insecure")
    assert (done.returncode, done.stderr) == (0, "")
    is_right(cached(oci, image), image)
    assert fake.count("GET", "/blobs/") == 3  # config, the image's config and NVRAM
    assert (cached(oci, image) / "disk.img").stat().st_mode & 0o777 == 0o400


def test_disk_of_another_image_is_not_written_to(oci, fake, image):
    """A pull that took over a twin's files and was killed left a second name of its disk."""
    pull(oci, fake.add(image, "org/vm"))
    twin = oci.home / "twin"
    os.link(cached(oci, image) / "disk.img", twin)
    os.link(twin, unfinished_pull(oci, image) / "disk.img")
    oci("delete", fake.name("org/vm"), check=True)
    with open(twin, "r+b") as file:  # whose content is not what it was
        file.write(b"another's")
    before = twin.read_bytes()
    pull(oci, fake.name("org/vm"))
    is_right(cached(oci, image), image)
    assert twin.read_bytes() == before


# ---------------------------------------------------------------- stacked images

def test_overlays_of_a_stacked_image_go_wherever_it_goes(oci, fake, image):
    """Into a clone of a clone, and with --populate-cache into the cache, where it is whole."""
    overlay = noise(300_000, 3)
    oci("clone", fake.add(image.stack(overlay), "org/mac"), "one", "--insecure", check=True)
    oci("clone", "one", "two", check=True)
    assert (oci.vm("two") / "overlay-1.asif").read_bytes() == overlay
    push(oci, "two", fake.name("org/mac", "new"), "--populate-cache")
    oci("clone", fake.name("org/mac", "new"), "three", check=True)
    assert (oci.vm("three") / "overlay-1.asif").read_bytes() == overlay
    push(oci, "three", fake.name("org/mac", "newer"))


# ---------------------------------------------------------------- --populate-cache

def waiting_for(path):
    """How many wait for its flock."""
    inode = f":{path.stat().st_ino} "
    with open("/proc/locks") as locks:
        return sum("->" in line and inode in line for line in locks)


@pytest.mark.parametrize("times", range(4))
def test_populated_image_outlives_a_clean_up_at_that_moment(oci, fake, times):
    """Between appearing in the cache and having a tag it belongs to nobody, but is locked."""
    new_vm(oci, "vm", noise(MIB, 1))
    push(oci, "vm", fake.name("org/other"), "--populate-cache")
    lock = oci.home / "cache/.lock"
    with open(lock, "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        child = oci.start("push", "vm", fake.name("org/vm"), "--populate-cache", "--insecure", stdout=-1, stderr=-1)
        wait_until(lambda: waiting_for(lock) == 1)
        cleaner = oci.start("delete", fake.name("org/other"))
        wait_until(lambda: waiting_for(lock) == 2)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err, cleaner.wait(60)) == (0, b"", 0)
    assert fake.name("org/vm") in listed(oci)


# ---------------------------------------------------------------- login

def echoes(terminal):
    return bool(termios.tcgetattr(terminal.master)[3] & termios.ECHO)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "answer"])
def test_terminal_shows_what_is_typed_after_a_password(oci, fake, how):
    environment = {key: value for key, value in oci.environment().items() if value is not None}
    with Terminal([oci.program(), "login", fake.address, "--insecure"], environment) as terminal:
        terminal.wait_for("User: ")
        terminal.send("somebody\n")
        terminal.wait_for("Password: ")
        wait_until(lambda: not echoes(terminal))
        if how == "sigterm":
            os.kill(terminal.pid, signal.SIGTERM)
        else:
            terminal.send("secret\n" if how == "answer" else "sec\x1a\x1c\x03")
        status = terminal.end()
        assert echoes(terminal)
        assert status == {"ctrl-c": 1, "sigterm": -signal.SIGTERM, "answer": 0}[how]
        assert ("Error: CancellationError()" in terminal.output) == (how == "ctrl-c")
        assert "sec" not in terminal.output


# ---------------------------------------------------------------- inspect

EVIL = "\x1b]0;owned\x07\x9b2J"


def test_labels_and_manifests_drive_no_terminal(oci, fake, image):
    labels = {"evil" + EVIL: EVIL, "long": "x" * 500}
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
    image.document["config"] = image.blob(json.dumps(config).encode(), OCI_CONFIG)
    name = fake.add(image, "org/vm")
    shown = oci("inspect", name, "--insecure", check=True).stdout
    assert all(line.isprintable() for line in shown.splitlines()), shown
    assert "long=" + "x" * 500 + "\n" in shown
    fake.put_manifest("org/vm", "evil", ("{\n" + EVIL + "\n}").encode())
    words = ["inspect", fake.name("org/vm", "evil"), "--manifest", "--insecure"]
    environment = {key: value for key, value in oci.environment().items() if value is not None}
    with Terminal([oci.program(), *words], environment) as terminal:
        assert terminal.end() == 0
        assert terminal.output == "{\r\n?]0;owned??2J\r\n}"
    assert oci(*words, check=True).stdout == "{\n" + EVIL + "\n}"  # to anything else, byte by byte


def test_tag_is_for_images_of_vms(oci, fake, image):
    """An index would be put as the manifest that it is not."""
    fake.add(image, "org/vm")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    fake.put_manifest("org/vm", "index", json.dumps(index).encode(), INDEX)
    done = oci("tag", fake.name("org/vm", "index"), fake.name("org/vm", "new"), "--insecure")
    one_line(done, fake.name("org/vm", "index"), "image index")
    assert fake.count("PUT") == 0


# ---------------------------------------------------------------- more slices than an image may have

def test_slices_that_are_too_small_for_the_disk(oci, fake):
    """Not after everything was uploaded, and not in an image that nobody can pull."""
    new_vm(oci, "vm", size=70)
    done = push(oci, "vm", fake.name("org/vm"), "--slice-size", 1, check=False)
    one_line(done, "slices are too many")
    assert fake.manifests == {} and fake.count("PUT", "/blobs/") <= 2  # the configs


def test_disk_that_grew_after_it_came_in_tiny_slices(oci, fake, tmp_path):
    oci("clone", fake.add(Image(noise(48_000, 1), slice_size=1), "org/vm"), "vm", "--insecure", check=True)
    oci("set", "vm", "--disk-size", 100, check=True)
    name = f"oci:{tmp_path}/layout"
    oci("push", "vm", name, check=True)
    oci("pull", name, check=True)


# ---------------------------------------------------------------- a file system without holes

@needs_root
def test_interrupted_pull_where_no_holes_can_be_made(oci, fake, image):
    """A ramfs, as NFS 3 and others: what a cut pull left is replaced, of itself or of a poisoned twin."""
    script = "mount -t ramfs ramfs /mnt && echo mounted && read -r _"
    child = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "mounted\n"
        oci.home = pathlib.Path(f"/proc/{child.pid}/root/mnt/home")
        name = fake.add(image, "org/vm")
        (unfinished_pull(oci, image) / "disk.img").write_bytes(noise(len(image.disk), 8))
        pull(oci, name)
        assert (cached(oci, image) / "disk.img").read_bytes() == image.disk
    finally:
        child.communicate("\n", timeout=60)


# ---------------------------------------------------------------- access dates

def test_pulled_image_was_accessed(oci, fake, image):
    """Whether it came now or was here: what prunes by age lets it be, however its atime is kept."""
    name = fake.add(image, "org/vm")
    pull(oci, name)
    accessed = cached(oci, image) / ".accessed"
    assert time.time() - accessed.stat().st_mtime < 60
    os.utime(accessed, (0, 0))
    pull(oci, name)
    assert time.time() - accessed.stat().st_mtime < 60
    oci("prune", "--older-than", 1, check=True)
    assert name in listed(oci)


# ---------------------------------------------------------------- a VM that is pushed

@pytest.mark.parametrize("size", [MIB // 2, 6 * MIB], ids=["copied", "frozen"])
def test_vm_is_cloned_while_it_is_pushed(oci, fake, size):
    """At once, as nobody runs it; what is pushed is the disk of before, and it counts as in use."""
    disk = noise(size, 1)
    new_vm(oci, "vm", disk)
    go_on = threading.Event()
    fake.fault("PUT", "/blobs/uploads", lambda handler: go_on.wait(600) and faulty.GO_ON)
    try:
        child = oci.start("push", "vm", fake.name("org/vm"), "--populate-cache", "--insecure", stdout=-1, stderr=-1)
        wait_until(lambda: fake.count("PUT", "/blobs/uploads"))
        oci("clone", "vm", "copy", check=True)
        assert child.poll() is None, "it waited for the push"
        vm_disk.write(oci.vm("copy"), 7, 0)
        one_line(oci("delete", "vm"), 'VM "vm" is running')
        one_line(push(oci, "vm", fake.name("org/other"), check=False), 'VM "vm" is running')
        assert json.loads(oci("get", "vm", "--format", "json", check=True).stdout)["State"] == "running"
    finally:
        go_on.set()
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, b"")
    image, = images(oci).values()
    assert (image / "disk.img").read_bytes() == disk
    assert vm_disk.digest(oci.vm("vm")) == vm_disk.digest_of(disk)
    oci("delete", "vm", check=True)
    assert vm_disk.holds(oci.vm("copy"), 7, 0)
