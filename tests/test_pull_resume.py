# SPDX-License-Identifier: Apache-2.0
"""Transfers that are cut off, by kill -9 or by the registry: the next one finishes, right to the byte,
and fetches again at most what was in flight."""

import os
import random
import signal
import time

import pytest

import faulty_registry as faulty
from cache_state import cached, images, is_right, listed, new_vm, nothing_new, one_line, unfinished
from oci_image import KIB, MIB, Image, noise

CONCURRENCY = 4
SLICE = 256 * KIB
IN_FLIGHT = CONCURRENCY * (SLICE + KIB)  # compressed noise is a little more than its plain bytes
SMALL = 200 * KIB  # config and NVRAM


@pytest.fixture
def image():
    """24 slices that differ, and some of zeroes between."""
    return Image(b"".join(noise(SLICE, i) if i % 4 else bytes(SLICE) for i in range(32)) + noise(777, 99), SLICE)


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def slice_bytes(fake, image):
    """Bytes of disk blobs that were sent."""
    return sum(fake.sent("/blobs/" + name) for name in {s["digest"] for s in image.slices})


def interrupt_pull(oci, fake, image, after=10, signal_number=signal.SIGKILL):
    """A pull that gets `after` slices and then no more; killed there. Gives the digests of those that came."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/(" + "|".join({s["digest"] for s in image.slices}) + ")", faulty.silence(), skip=after)
    child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, env={"LINZER_STALL_SECONDS": "100"})
    until = time.monotonic() + 60
    while fake.faults[-1].used < CONCURRENCY:  # who asks for one more has verified what he got before
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal_number)
    child.communicate(timeout=30)
    came = {r.path.rsplit("/", 1)[1] for r in fake.asked("GET", "/blobs/") if r.ended and r.status == 200 and r.sent}
    fake.forget()
    return name, came & {s["digest"] for s in image.slices}


def assert_only_the_rest_is_fetched(oci, fake, image, name, came):
    pull(oci, name)
    is_right(cached(oci, image), image)
    again = [d for d in came if fake.count("GET", "/blobs/" + d)]
    assert len(came) >= 8 and again == []
    assert unfinished(oci) == 0 and list((oci.home / "cache/pulls").glob("*")) == []


def test_what_was_verified_is_not_fetched_again(oci, fake, image):
    name, came = interrupt_pull(oci, fake, image)
    nothing_new(oci)
    assert_only_the_rest_is_fetched(oci, fake, image, name, came)


@pytest.mark.parametrize("commands", [
    [("list",)], [("prune", "--gc", "--older-than", 100)], [("prune", "--older-than", 30)],
    [("create", "--linux", "--disk-size", 1, "other")],
    [("list",), ("create", "--linux", "x"), ("clone", "x", "y"), ("get", "y"), ("delete", "x"), ("prune", "--space-budget", 100)],
])
def test_no_other_commands_clean_up_destroys_it(oci, fake, image, commands):
    name, came = interrupt_pull(oci, fake, image)
    for command in commands:
        oci(*command, check=True)
    assert_only_the_rest_is_fetched(oci, fake, image, name, came)


def test_a_pull_of_another_image_lets_it_be(oci, fake, image):
    name, came = interrupt_pull(oci, fake, image)
    other = Image(noise(MIB, 555))
    pull(oci, fake.add(other, "org/other"))
    fake.forget()
    assert_only_the_rest_is_fetched(oci, fake, image, name, came)


def test_under_another_name_it_goes_on_too(oci, fake, image):
    """The same image by its digest, from another repository."""
    _, came = interrupt_pull(oci, fake, image)
    fake.add(image, "mirror/vm")
    assert_only_the_rest_is_fetched(oci, fake, image, fake.name("mirror/vm", image.digest), came)


def test_ctrl_c_keeps_what_was_verified(oci, fake, image):
    name, came = interrupt_pull(oci, fake, image, signal_number=signal.SIGINT)
    oci("list", check=True)
    assert_only_the_rest_is_fetched(oci, fake, image, name, came)


def test_sigterm_keeps_what_was_verified(oci, fake, image):
    name, came = interrupt_pull(oci, fake, image, signal_number=signal.SIGTERM)
    assert_only_the_rest_is_fetched(oci, fake, image, name, came)


def test_a_failed_pull_keeps_what_was_verified(oci, fake, image):
    """One slice is not to be had: the line says which; later only that one is fetched."""
    name = fake.add(image, "org/vm")
    missing = image.slices[-2]["digest"]
    fake.fault("GET", missing, faulty.error(404, "BLOB_UNKNOWN"))
    one_line(pull(oci, name, check=False), fake.url, missing, "404")
    nothing_new(oci)
    fetched = {s["digest"] for s in image.slices if any(
        r.status == 200 and r.ended for r in fake.asked("GET", s["digest"]))}
    fake.forget()
    pull(oci, name)
    is_right(cached(oci, image), image)
    assert slice_bytes(fake, image) <= IN_FLIGHT
    assert len(fetched) >= 16


def test_slices_of_an_unfinished_pull_that_went_bad(oci, fake, image):
    """Somebody, or a crash of the machine, altered what was kept: it is verified, not believed."""
    name, _ = interrupt_pull(oci, fake, image)
    damaged = 0
    for path in (oci.home / "cache/pulls").glob("**/*"):
        if path.is_file() and path.stat().st_size >= len(image.disk):
            path.chmod(0o600)
            with open(path, "r+b") as file:
                for at in range(SLICE + 100, len(image.disk), SLICE):
                    file.seek(at)
                    byte = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte[0] ^ 1]))
                    damaged += 1
    assert damaged, "no unfinished disk was found in cache/pulls"
    pull(oci, name)
    is_right(cached(oci, image), image)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 4096, b"{", b"9" * 100000],
                         ids=["empty", "garbage", "zeroes", "brace", "nines"])
def test_notes_of_an_unfinished_pull_that_are_garbage(oci, fake, image, content):
    """Every file there but the disk is replaced; the pull starts anew or goes on, and is right."""
    name, _ = interrupt_pull(oci, fake, image)
    for path in list((oci.home / "cache/pulls").glob("**/*")):
        if path.is_file() and path.stat().st_size < MIB:
            path.chmod(0o600)
            path.write_bytes(content)
    pull(oci, name)
    is_right(cached(oci, image), image)


def test_links_in_an_unfinished_pull_are_not_followed(oci, fake, image, tmp_path):
    name, _ = interrupt_pull(oci, fake, image)
    precious = tmp_path / "precious"
    precious.write_bytes(b"p" * len(image.disk))
    for path in list((oci.home / "cache/pulls").glob("**/*")):
        if path.is_file():
            path.unlink()
            path.symlink_to(precious)
    done = pull(oci, name, check=False)
    assert precious.read_bytes() == b"p" * len(image.disk)
    if done.returncode == 0:
        is_right(cached(oci, image), image)


def test_prune_all_removes_it(oci, fake, image):
    name, came = interrupt_pull(oci, fake, image)
    oci("prune", "--all", check=True)
    assert unfinished(oci) == 0
    pull(oci, name)
    assert all(fake.count("GET", "/blobs/" + d) == 1 for d in came)


def test_prune_all_lets_a_running_pull_be(oci, fake, image):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.delayed(0.1))
    child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True)
    while child.poll() is None:
        oci("prune", "--all")
    out, err = child.communicate()
    if child.returncode == 0:
        assert err == ""
    else:
        assert len(err.splitlines()) == 1, (out, err)
    pull(oci, name)
    is_right(cached(oci, image), image)


def test_old_unfinished_pulls_are_pruned_by_age(oci, fake, image):
    name, _ = interrupt_pull(oci, fake, image)
    old = time.time() - 40 * 86400
    for path in [*(oci.home / "cache/pulls").glob("**/*"), *(oci.home / "cache/pulls").glob("*")]:
        os.utime(path, (old, old), follow_symlinks=False)
    oci("prune", "--older-than", 30, check=True)
    pull(oci, name)  # whether it was removed or not
    is_right(cached(oci, image), image)


def test_two_pulls_and_the_first_is_killed(oci, fake, image):
    """The one that waits goes on with what the other had."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.delayed(0.1))
    first = oci.start("pull", name, "--insecure", stdout=-1, text=True)
    until = time.monotonic() + 60
    while fake.count("GET", "/blobs/") < 10:
        assert time.monotonic() < until
        time.sleep(0.02)
    second = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True)
    time.sleep(0.2)
    first.kill()
    _, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, "")
    is_right(cached(oci, image), image)
    assert slice_bytes(fake, image) <= image.compressed + IN_FLIGHT


# ---------------------------------------------------------------- kill -9 at any moment

def kill_pulls(oci, fake, image, rounds, seed):
    rng = random.Random(seed)
    fake.fault("GET", "/blobs/", faulty.delayed(0.03))
    for number in range(rounds):
        name = fake.add(image, f"org/vm{number}")
        fake.records = []
        began = time.monotonic()
        child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1)
        time.sleep(rng.uniform(0, 0.45))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        lived = time.monotonic() - began
        time.sleep(0.05)  # the server sees that it is gone
        if name in listed(oci):  # it has ended, or was about to
            is_right(cached(oci, image), image)
        pull(oci, name)
        is_right(cached(oci, image), image)
        sent = fake.sent()
        assert sent <= image.compressed + 2 * SMALL + IN_FLIGHT, \
            f"round {number} of seed {seed}, killed after {lived:.3f} s: {sent} bytes of {image.compressed}"
        oci("delete", name, check=True)
        assert images(oci) == {} and unfinished(oci) == 0


def kill_pushes(oci, fake, rounds, seed):
    rng = random.Random(seed)
    slices, size = 12, 1 * MIB
    new_vm(oci, "vm", b"".join(noise(size, i) for i in range(slices)))
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(0.06))
    for number in range(rounds):
        name = fake.name(f"org/vm{number}")
        fake.mount = "ignored"
        fake.records = []
        began = time.monotonic()
        child = oci.start("push", "vm", name, "--insecure", "--slice-size", "1", stdout=-1, stderr=-1)
        time.sleep(rng.uniform(0, 0.5))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        lived = time.monotonic() - began
        until = time.monotonic() + 60
        while fake.in_flight and time.monotonic() < until:
            time.sleep(0.01)
        oci("push", "vm", name, "--insecure", "--slice-size", 1, check=True)
        sent, whole = fake.received(), slices * (size + KIB) + SMALL
        assert sent <= whole + CONCURRENCY * (size + KIB) + SMALL, \
            f"round {number} of seed {seed}, killed after {lived:.3f} s: {sent} bytes of {whole}"
        pull(oci, name)
        directory, = images(oci).values()
        assert (directory / "disk.img").read_bytes() == (oci.vm("vm") / "disk.img").read_bytes()
        oci("delete", name, check=True)


def test_kill_9_at_random_moments_of_a_pull(oci, fake, image):
    kill_pulls(oci, fake, image, 12, seed=int.from_bytes(os.urandom(4), "big"))


def test_kill_9_at_random_moments_of_a_push(oci, fake):
    kill_pushes(oci, fake, 12, seed=int.from_bytes(os.urandom(4), "big"))


@pytest.mark.soak
def test_kill_9_at_50_random_moments_of_a_pull(oci, fake, image):
    kill_pulls(oci, fake, image, 50, seed=int.from_bytes(os.urandom(4), "big"))


@pytest.mark.soak
def test_kill_9_at_50_random_moments_of_a_push(oci, fake):
    kill_pushes(oci, fake, 50, seed=int.from_bytes(os.urandom(4), "big"))


def test_a_pull_killed_again_and_again_gets_there(oci, fake, image):
    """Killed whenever six more slices have come: each try goes on from the last, so it ends, soon."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.delayed(0.05))
    for _ in range(60):  # without what the one before got, none would ever end
        before = len([r for r in fake.asked("GET", "/blobs/") if r.ended])
        child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1)
        while child.poll() is None and len([r for r in fake.asked("GET", "/blobs/") if r.ended]) < before + 6:
            time.sleep(0.005)
        time.sleep(0.02)
        child.kill()
        child.communicate()
        if child.returncode == 0:
            break
    assert child.returncode == 0
    is_right(cached(oci, image), image)


def test_a_killed_push_leaves_no_manifest_and_nothing_at_home(oci, fake):
    new_vm(oci, "vm", noise(4 * MIB, 1))
    fake.fault("PUT", "/blobs/uploads/", faulty.silence())
    child = oci.start("push", "vm", fake.name("org/vm"), "--insecure", "--slice-size", "1", stdout=-1, stderr=-1,
                      env={"LINZER_STALL_SECONDS": "100"})
    until = time.monotonic() + 60
    while not fake.count("PUT"):
        assert time.monotonic() < until
        time.sleep(0.01)
    child.kill()
    child.communicate()
    assert fake.manifests == {}
    assert oci("list", "-q", check=True).stdout == "vm\n"
    assert os.listdir(oci.home / "tmp") == []


def test_interrupted_push(oci, fake):
    new_vm(oci, "vm", noise(4 * MIB, 1))
    fake.fault("PUT", "/blobs/uploads/", faulty.silence())
    child = oci.start("push", "vm", fake.name("org/vm"), "--insecure", "--slice-size", "1", stdout=-1, stderr=-1,
                      text=True, env={"LINZER_STALL_SECONDS": "100"})
    until = time.monotonic() + 60
    while not fake.count("PUT"):
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, "Error: CancellationError()\n")
