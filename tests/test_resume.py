# SPDX-License-Identifier: Apache-2.0
"""A suspended VM is ready when it was as before: one real guest goes through all tests, in their order."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

import scratch
from test_leaks import processes
from test_life import BOOT, eventually
from test_suspend import COUNT, Sleeper, late, network_left

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sets up a network of its own")
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# what mounts the folders in our image, which other guests do not have
OURS = "/etc/udev/rules.d/60-linzer-shares.rules"
PLACE = "/home/admin/a place\\of its own"
MOUNT = """sudo mkdir -p "$1" && sudo mount -t virtiofs -o ro,noexec,nodev com.apple.virtio-fs.automount "$1" """


def count_anew(sleeper):
    sleeper.sh(COUNT)
    eventually(lambda: sleeper.sh("cat /dev/shm/count 2>/dev/null || true"))


class Resumed(Sleeper):
    """With two tags, and no disk besides its own."""

    def __init__(self, linzer, folder):
        self.linzer, self.folder, self.dir = linzer, folder, linzer.vm(self.name)
        self.state = self.dir / "state"

    def options(self):
        return ["--no-graphics", f"--dir={self.folder}", f"--dir={self.folder}:ro,tag=other"]

    def mounts(self):
        """What the guest has of virtiofs: place and options."""
        lines = self.sh("grep ' virtiofs ' /proc/mounts || true").splitlines()
        return sorted(line.split()[:4] for line in lines)


@pytest.fixture(scope="module")
def sleeper(guests):
    with scratch.directory() as place:
        place.chmod(0o755)
        folder = place / "folder"
        folder.mkdir(mode=0o755)
        (folder / "file").write_text("of the host\n")
        guests("clone", "debian", Sleeper.name, check=True)
        vm = Resumed(guests, folder)
        vm.run()
        count_anew(vm)
        yield vm


def test_ready_is_with_clock_and_folders(sleeper):
    """The moment that --wait-ready returns: a clock that was behind or ahead is right, and what our image mounts is mounted."""
    before = sleeper.mounts()
    assert [mount[1] for mount in before] == ["/mnt/shared", "/mnt/other"]
    for script in (":", "sudo date -s '+1 hour'"):
        sleeper.sh(script)
        sleeper.suspended()
        time.sleep(5)
        sleeper.run()
        assert late(sleeper) < 1
        assert sleeper.mounts() == before and sleeper.sh("cat /mnt/shared/file /mnt/other/file") == 2 * "of the host\n"


def test_suspended_again_while_it_wakes(sleeper):
    """The guest's clock and folders are still being put right: neither is lost."""
    sleeper.running()
    before = sleeper.mounts()
    for agent in (True, False):
        sleeper.suspended()
        sleeper.linzer("run", "--detach", *sleeper.options(), sleeper.name, check=True)
        if agent:
            sleeper.sh(":")
        sleeper.suspended()
        time.sleep(4)
        sleeper.run()
        assert late(sleeper) < 1 and sleeper.mounts() == before


def test_a_guest_that_mounts_nothing_by_itself_has_its_folders_again(sleeper):
    """Where they were, with the options that they had; and none that was not mounted."""
    sleeper.sh(f"sudo mv {OURS} /root; sudo udevadm control --reload; sudo umount /mnt/other")
    try:
        sleeper.sh(MOUNT, PLACE)
        before = sleeper.mounts()
        assert [mount[:2] for mount in before] == [["com.apple.virtio-fs.automount", "/home/admin/a\\040place\\134of\\040its\\040own"],
                                                   ["com.apple.virtio-fs.automount", "/mnt/shared"]], before
        sleeper.suspended()
        sleeper.run()
        assert sleeper.mounts() == before and sleeper.sh('cat "$1/file"', PLACE) == "of the host\n"
    finally:
        sleeper.sh(f"sudo umount '{PLACE}'; sudo mv /root/{os.path.basename(OURS)} {OURS}; sudo udevadm control --reload")


def test_a_folder_in_use_is_given_back(sleeper):
    """A process that has its working directory and an open file there: both fail afterwards, and the folder does not."""
    sleeper.sh("""cd /mnt/shared && setsid sh -c 'exec 5<file; while :; do
        cat <&5 >/dev/null 2>/dev/shm/file; ls . >/dev/null 2>/dev/shm/place; sleep 0.2; done' </dev/null >/dev/null 2>&1 &""")
    eventually(lambda: sleeper.sh("ls /dev/shm/place || true"))
    assert sleeper.sh("cat /dev/shm/file /dev/shm/place") == ""
    sleeper.suspended()
    sleeper.run()
    eventually(lambda: sleeper.sh("grep -l 'not connected' /dev/shm/file /dev/shm/place || true") == "/dev/shm/file\n/dev/shm/place\n",
               explain=lambda: sleeper.sh("cat /dev/shm/file /dev/shm/place"))
    assert sleeper.sh("cat /mnt/shared/file") == "of the host\n"


def sparse(state):
    """The memory takes less than half of its size."""
    memory = (state / "memory").stat()
    return memory.st_blocks * 512 < memory.st_size / 2


def test_only_what_is_used_of_the_memory_is_kept(sleeper):
    """In the state as in a clone's."""
    sleeper.suspended()
    sleeper.linzer("clone", sleeper.name, "twin", check=True)
    try:
        assert sparse(sleeper.state) and sparse(sleeper.linzer.vm("twin") / "state")
        assert (sleeper.linzer.vm("twin") / "state/memory").stat().st_mode & 0o7777 == 0o600
    finally:
        sleeper.linzer("delete", "twin", check=True)


def test_another_vm_has_its_address_meanwhile(sleeper):
    """Who kept it is killed. The guest asks for another."""
    sleeper.running()
    linzer, address = sleeper.linzer, sleeper.linzer("ip", "--wait", BOOT, sleeper.name, check=True).stdout.strip()
    sleeper.suspended()
    for keeper in processes("linzer-suspend"):
        os.kill(keeper, signal.SIGKILL)
    eventually(lambda: not any(network_left(address)), explain=lambda: network_left(address))  # as after its life
    linzer("create", "--linux", "--disk-size", 1, "thief", check=True)
    try:
        linzer("set", "thief", "--ip", address, check=True)
        eventually(lambda: linzer("run", "--detach", "--no-graphics", "thief").returncode == 0)
        sleeper.run()
        eventually(lambda: linzer("ip", sleeper.name).stdout.strip() not in ("", address))
        own = linzer("ip", sleeper.name).stdout.strip()
        eventually(lambda: sleeper.sh("hostname -I").split() == [own], explain=lambda: sleeper.sh("ip addr"))
    finally:
        linzer("stop", "thief", "--timeout", 1)
        linzer("delete", "thief")


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_any_moment_of_resuming(sleeper, times):
    """Either it is suspended as before, or its state is used up and it is as after a power cut; never both."""
    for number in range(times):
        sleeper.running()
        sleeper.sh("echo $1 >/home/admin/kept; sync", str(number))
        boot, count = sleeper.sh(BOOT_ID), sleeper.count()
        sleeper.suspended()
        child = sleeper.linzer.start("run", *sleeper.options(), sleeper.name, stdout=subprocess.DEVNULL)
        time.sleep(random.random() * 4)
        child.kill()
        child.wait()
        suspended = sleeper.state.exists()
        assert sleeper.shown() == ("suspended" if suspended else "stopped")
        sleeper.run()
        assert not list(sleeper.dir.glob("state*"))
        assert (sleeper.sh(BOOT_ID) == boot) == suspended and sleeper.sh("cat /home/admin/kept") == f"{number}\n"
        if suspended:
            assert sleeper.count() >= count
            sleeper.goes_on()
        else:
            count_anew(sleeper)


def is_suspended(linzer, name):
    return json.loads(linzer("get", name, "--format", "json", check=True).stdout)["State"] == "suspended"


def test_without_an_agent(oci, registry):
    """Firmware alone, in its first second. The state goes with a new name and to a clone, and nowhere else."""
    linzer, pushed = oci, registry.name("some/vm")
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    for _ in range(2):
        linzer("run", "--detach", "--no-graphics", "--net-none", "vm", check=True)
        linzer("suspend", "vm", check=True)
        eventually(lambda: is_suspended(linzer, "vm"), explain=lambda: (linzer.vm("vm") / "run.log").read_text())
        assert sparse(linzer.vm("vm") / "state")
    archive = linzer.home / "vm.tvm"
    linzer("export", "vm", archive, check=True)
    linzer("import", archive, "imported", check=True)
    linzer("clone", "--raw", "vm", "raw", check=True)
    linzer("push", "vm", pushed, "--insecure", check=True)
    linzer("clone", pushed, "pulled", "--insecure", check=True)
    for name in ("imported", "raw", "pulled"):
        assert not is_suspended(linzer, name) and not list(linzer.vm(name).glob("state*"))
    linzer("rename", "vm", "renamed", check=True)
    assert is_suspended(linzer, "renamed") and not linzer.vm("vm").exists()
    linzer("run", "--detach", "--no-graphics", "--net-none", "renamed", check=True)
    assert not list(linzer.vm("renamed").glob("state*"))
    linzer("stop", "renamed", "--timeout", 1, check=True)


@pytest.mark.soak
def test_firmware_does_not_give_a_folder_back(linzer):
    """So that it is not suspended, which is said, and goes on."""
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    linzer("run", "--detach", "--no-graphics", "--net-none", f"--dir={linzer.home}:ro", "vm", check=True)
    log = linzer.vm("vm") / "run.log"
    linzer("suspend", "vm", check=True)
    eventually(lambda: "Failed to suspend the VM: the guest does not give 'share0' back" in log.read_text(), explain=log.read_text)
    assert not is_suspended(linzer, "vm") and not list(linzer.vm("vm").glob("state*"))
    linzer("stop", "vm", "--timeout", 1, check=True)
    assert "error" not in log.read_text()
