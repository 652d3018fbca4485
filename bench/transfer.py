#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""push and pull of a 4 GB image of a real file system, beside `skopeo copy` of the same image.

usage: transfer.py [speed] [delta] [cache]   (as root; BUILD names the build directory; default: all)

speed   push to an empty docker-registry beside skopeo copy of the same compressed image to another
        one; pull beside skopeo copy into a directory. Best of three, by turns, each tool without what
        it remembers. The most memory of all processes of a transfer together.
delta   after an upgrade of packages inside the file system (about 1 % of its blocks): the bytes that
        travel, counted between us and the registry, by push and by pull.
cache   list, and clone with automatic pruning, with 50 images in the cache.

Everything is in a directory of its own under $TEST_DIR (else /var/tmp), which goes with us; mounts
and servers end with this process.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import scratch  # noqa: E402
from faulty_registry import FakeRegistry  # noqa: E402
from oci_image import MIB, Image  # noqa: E402
from proxy import Relay  # noqa: E402
from registry import registry as docker_registry  # noqa: E402

LINZER = pathlib.Path(os.environ.get("BUILD", "build")).resolve() / "linzer"
CLONE_NEWNS = 0x20000
DISK = 4 * 10**9 // MIB * MIB
FILL = 2600 * 10**6  # bytes of files
ROUNDS = 3
RATIO, MEMORY, TRAVEL, QUICK = 0.8, 128 * MIB, 0.15, 50


def verdict(good):
    return "good" if good else "BAD"


def private_mounts():
    """Mounts of our own; skopeo's memory of blobs in /var/lib is empty, and ours."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) < 0:
        sys.exit("needs root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def forget_skopeo():
    shutil.rmtree("/var/lib/containers", ignore_errors=True)


# ---------------------------------------------------------------- the file system

def files_of_usr():
    """[(path, size)] of what is put into the image: /usr in order until it is FILL bytes."""
    total = 0
    for directory, names, files in os.walk("/usr"):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            state = os.lstat(path)
            if not (os.path.islink(path) or os.path.isfile(path)):
                continue
            total += state.st_size
            if total > FILL:
                return
            yield path


def make_file_system(disk, stage):
    for path in files_of_usr():
        target = stage / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.islink(path):
            target.symlink_to(os.readlink(path))
            continue
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)
    disk.touch()
    os.truncate(disk, DISK)
    subprocess.run(["mkfs.ext4", "-q", "-d", stage, "-U", "5a5a5a5a-0000-4000-8000-000000000000", "-E",
                    "hash_seed=5a5a5a5a-0000-4000-8000-000000000001,lazy_itable_init=0", disk], check=True,
                   env={**os.environ, "E2FSPROGS_FAKE_TIME": "1700000000"})
    shutil.rmtree(stage)


def packages_in(mounted):
    """{package: [its files in the image]}, in order."""
    found = {}
    for path in sorted(pathlib.Path("/var/lib/dpkg/info").glob("*.list")):
        inside = []
        for line in path.read_text().splitlines():
            file = mounted / line.lstrip("/")
            if line.startswith("/usr/") and file.is_file() and not file.is_symlink():
                inside.append(file)
        if inside:
            found[path.stem] = inside
    return found


def upgrade(disk, wanted):
    """As dpkg does it: each file of a package anew beside the old one, then in its place; `wanted` bytes."""
    subprocess.run(["mount", "-o", "loop", disk, "/mnt"], check=True)
    packages, done = packages_in(pathlib.Path("/mnt")), 0
    names = list(packages)
    for number, name in enumerate(names[::7] + names[3::7]):
        size = sum(file.stat().st_size for file in packages[name])
        if size > wanted / 4 or done + size > wanted:
            continue
        for i, file in enumerate(packages[name]):
            data = file.read_bytes()
            if number % 5 == 4 and i == 0:  # a file that the new version has not
                file.unlink()
                continue
            fresh = file.with_name(file.name + ".dpkg-new")
            fresh.write_bytes(data[:64] + data)  # another version: all of it moved, as compressible as before
            shutil.copystat(file, fresh)
            fresh.rename(file)
        added = packages[name][-1].with_name(packages[name][-1].name + ".new-in-this-version")
        added.write_bytes(f"{name}\n".encode() * 200)
        done += size
    subprocess.run(["umount", "/mnt"], check=True)


def changed_blocks(a, b):
    """The part of 4 KiB blocks that differ."""
    differ, blocks = 0, 0
    with open(a, "rb") as one, open(b, "rb") as two:
        while x := one.read(MIB):
            y = two.read(MIB)
            blocks += len(x) // 4096
            if x != y:
                differ += sum(x[i:i + 4096] != y[i:i + 4096] for i in range(0, len(x), 4096))
    return differ / blocks


# ---------------------------------------------------------------- measuring

def tree(pid):
    """A process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += tree(int(child))
    return found


def watch(child, peaks):
    """The most memory of each process below `child` so far."""
    while child.poll() is None:
        for pid in tree(child.pid):
            with contextlib.suppress(OSError, TypeError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                peaks[pid] = max(peaks.get(pid, 0), int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
        time.sleep(0.005)


def timed(*command, **options):
    """(seconds, bytes of memory at most: the peaks of all its processes together)."""
    os.sync()
    peaks, began = {}, time.monotonic()
    child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True, **options)
    watcher = threading.Thread(target=watch, args=(child, peaks))
    watcher.start()
    _, err = child.communicate()
    took = time.monotonic() - began
    watcher.join()
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {err}")
    return took, sum(peaks.values())


def linzer(home, *words):
    return timed(LINZER, *words, env={**os.environ, "TART_HOME": str(home), "TART_NO_AUTO_PRUNE": ""})


def skopeo(*words):
    return timed("skopeo", "--insecure-policy", *words)


def report(what, ours, theirs, memory):
    best, other = min(ours), min(theirs)
    good = best <= RATIO * other and memory < MEMORY
    print(f"{what}: {best:.2f} s ({', '.join(f'{t:.2f}' for t in ours)}), skopeo {other:.2f} s "
          f"({', '.join(f'{t:.2f}' for t in theirs)}): {best / other:.2f}, {memory / MIB:.0f} MiB   "
          f"(wanted: <= {RATIO}, < {MEMORY / MIB:.0f} MiB)   {verdict(good)}", flush=True)
    return good


# ---------------------------------------------------------------- speed

def bench_push(work, home, copy):
    """`copy`: the image as skopeo has it, compressed, in a directory."""
    ours, theirs, most = [], [], 0
    for _ in range(ROUNDS):
        with contextlib.suppress(FileNotFoundError):  # what a push remembers of the last one
            (home / "vms/vm/origin.json").unlink()
        with docker_registry() as empty:
            took, memory = linzer(home, "push", "vm", empty.name("org/vm"), "--insecure")
            ours.append(took)
            most = max(most, memory)
        forget_skopeo()
        with docker_registry() as empty:
            theirs.append(skopeo("copy", "--dest-tls-verify=false", f"dir:{copy}",
                                 "docker://" + empty.name("org/vm"))[0])
    return report("push", ours, theirs, most)


def bench_pull(work, home, name):
    ours, theirs, most = [], [], 0
    fresh, copy = work / "fresh", work / "skopeo"
    for _ in range(ROUNDS):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        took, memory = linzer(fresh, "pull", name, "--insecure")
        ours.append(took)
        most = max(most, memory)
        shutil.rmtree(copy, ignore_errors=True)
        forget_skopeo()
        theirs.append(skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{copy}")[0])
    pulled = next((fresh / "cache/OCIs").glob("**/disk.img"))
    same = subprocess.run(["cmp", pulled, home / "vms/vm/disk.img"], check=False).returncode == 0
    if not same:
        print("pull: the disk is another one   BAD")
    shutil.rmtree(fresh)
    return report("pull", ours, theirs, most) and same


def bench_speed(work, home):
    with docker_registry() as server:
        name = server.name("org/vm")
        linzer(home, "push", "vm", name, "--insecure")
        good = bench_pull(work, home, name)
        good &= bench_push(work, home, work / "skopeo")
    shutil.rmtree(work / "skopeo")
    return good


# ---------------------------------------------------------------- what travels

def bench_delta(work, home):
    disk, before, fresh = home / "vms/vm/disk.img", work / "before.img", work / "fresh"
    fresh.mkdir()
    with contextlib.suppress(FileNotFoundError):
        (home / "vms/vm/origin.json").unlink()
    subprocess.run(["cp", "--sparse=always", disk, before], check=True)
    with docker_registry() as server, Relay(server.address) as relay:
        first, second = f"{relay.address}/org/vm:v1", f"{relay.address}/org/vm:v2"
        linzer(home, "push", "vm", first, "--insecure")
        whole = relay.up
        linzer(fresh, "pull", first, "--insecure")
        whole_down = relay.down
        upgrade(disk, wanted=0.0085 * DISK)
        part = changed_blocks(before, disk)
        relay.up = relay.down = 0
        linzer(home, "push", "vm", second, "--insecure")
        up, relay.up, relay.down = relay.up, 0, 0
        linzer(fresh, "pull", second, "--insecure")
        down = relay.down
    good = True
    for what, bytes_, all_ in (("push", up, whole), ("pull", down, whole_down)):
        right = bytes_ < TRAVEL * all_ and 0.007 <= part <= 0.015
        good &= right
        print(f"{what} of a second version, {part * 100:.2f} % of its blocks changed: {bytes_ / 1e6:.1f} of "
              f"{all_ / 1e6:.0f} MB travel: {bytes_ / all_ * 100:.1f} %   (wanted: < {TRAVEL * 100:.0f} % at about 1 %)   "
              f"{verdict(right)}", flush=True)
    pulled = [p for p in (fresh / "cache/OCIs").glob("**/disk.img")
              if subprocess.run(["cmp", "-s", p, disk], check=False).returncode == 0]
    if not pulled:
        print("pull of a second version: the disk is another one   BAD")
    shutil.rmtree(fresh)
    before.unlink()
    return good and bool(pulled)


# ---------------------------------------------------------------- 50 images

IMAGES = 50


@contextlib.contextmanager
def mounted(work, size):
    image = work / "small.img"
    image.touch()
    os.truncate(image, size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, "/mnt"], check=True)
    image.unlink()
    try:
        yield pathlib.Path("/mnt")
    finally:
        subprocess.run(["umount", "/mnt"], check=True)


def calls(home, *words, count=1):
    """Milliseconds of each call, and what the last said on stderr; with automatic pruning."""
    env = {k: v for k, v in os.environ.items() if k != "TART_NO_AUTO_PRUNE"}
    took = []
    for i in range(count):
        began = time.monotonic()
        done = subprocess.run([LINZER, *(str(word).replace("{i}", str(i)) for word in words)], capture_output=True,
                              text=True, check=True, env={**env, "TART_HOME": str(home)})
        took.append((time.monotonic() - began) * 1000)
    return took, done.stderr


def bench_cache(work):
    """clone of an image so sparse that 3 others must go, in a cache of 50."""
    with mounted(work, 1 << 30) as path, FakeRegistry() as fake:
        home = path / "home"
        home.mkdir()
        for i in range(IMAGES):
            image = Image(os.urandom(8 * MIB), 4 * MIB, stored=True)
            linzer(home, "pull", fake.add(image, f"org/vm{i}"), "--insecure")
            directory = next((home / "cache/OCIs").glob(f"*/org/vm{i}/sha256:*"))
            at = time.time() - (IMAGES - i) * 86400
            (directory / ".accessed").touch()
            os.utime(directory / ".accessed", (at, at))
            fake.blobs.clear()
        os.sync()
        lists, _ = calls(home, "list", count=ROUNDS)
        prunes, said = [], ""
        for i in range(ROUNDS):
            state = os.statvfs(path)
            free = state.f_bavail * state.f_frsize
            image = Image(bytes(4096), 4096)
            image.layers[1:2] = [image.slice(bytes(4 * MIB))] * ((free + 20 * MIB) // (4 * MIB))
            linzer(home, "pull", fake.add(image, f"org/sparse{i}"), "--insecure")
            os.sync()
            took, said = calls(home, "clone", fake.name(f"org/sparse{i}"), f"copy{i}")
            prunes += took
        told = len(said.splitlines())
    good = True
    for what, took in (("list", lists), ("clone with automatic pruning", prunes)):
        right = min(took) < QUICK and (what == "list" or told >= 2)
        good &= right
        extra = "" if what == "list" else f", {told} images removed and told"
        print(f"{what}, {IMAGES} images in the cache: {min(took):.1f} ms{extra}   (wanted: < {QUICK} ms)   "
              f"{verdict(right)}", flush=True)
    return good


def main():
    parts = sys.argv[1:] or ["speed", "delta", "cache"]
    private_mounts()
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("TART_")]:
        del os.environ[name]
    good = True
    with scratch.directory() as work:
        # HOME too: no credentials, and nothing that skopeo keeps there
        os.environ["HOME"] = str(work)
        (work / "var-lib").mkdir()
        subprocess.run(["mount", "--bind", work / "var-lib", "/var/lib/containers"], check=False,
                       stderr=subprocess.DEVNULL)
        home = work / "home"
        home.mkdir()
        if "speed" in parts or "delta" in parts:
            linzer(home, "create", "--linux", "--disk-size", "1", "vm")
            disk = home / "vms/vm/disk.img"
            disk.unlink()
            make_file_system(disk, work / "stage")
            print(f"image: {DISK / 1e9:.2f} GB, {disk.stat().st_blocks * 512 / DISK * 100:.0f} % of it data", flush=True)
        if "speed" in parts:
            good &= bench_speed(work, home)
        if "delta" in parts:
            good &= bench_delta(work, home)
        if "cache" in parts:
            good &= bench_cache(work)
    sys.exit(not good)


if __name__ == "__main__":
    main()
