# SPDX-License-Identifier: Apache-2.0
"""A guest that is asked for its folder's device and gives it back only when the suspend was given up."""

import json
import os

import pytest

import scratch
from test_life import BOOT, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the folder is another user's")
HOTPLUG = "/sys/firmware/acpi/interrupts/gpe01"  # by which QEMU asks for it


class Late:
    def __init__(self, linzer):
        self.linzer = linzer

    def sh(self, script):
        return self.linzer("exec", "late", "sudo", "sh", "-c", script, check=True).stdout

    def log(self):
        return (self.linzer.vm("late") / "run.log").read_text()

    def devices(self):
        """Another that gets the same name has another inode."""
        return self.sh("find /sys/bus/virtio/drivers/virtiofs/ -name 'virtio*' -exec stat -L -c %i {} +").split()


@pytest.mark.soak
def test_it_gets_its_folder_again(guests):
    """The guest is deaf to that first; nothing takes the question back, so that it is heard later."""
    with scratch.directory() as place:
        place.chmod(0o755)
        folder = place / "folder"
        folder.mkdir(mode=0o755)
        (folder / "file").write_text("of the host\n")
        guests("clone", "debian", "late", check=True)
        guests("run", "--no-graphics", "--wait-ready", f"--dir={folder}", "late", check=True, timeout=BOOT)
        late = Late(guests)
        read = "cat /mnt/shared/file || true"
        assert late.sh(read) == "of the host\n"
        first = late.devices()
        late.sh(f"echo mask >{HOTPLUG}")
        guests("suspend", "late", check=True)
        eventually(lambda: "does not give" in late.log(), explain=late.log)
        assert json.loads(guests("get", "late", "--format", "json", check=True).stdout)["State"] == "running"
        assert late.devices() == first
        late.sh(f"echo unmask >{HOTPLUG}")
        eventually(lambda: late.devices() not in (first, []), explain=late.log)
        eventually(lambda: late.sh(read) == "of the host\n", explain=late.log)
        guests("suspend", "late", check=True)
        eventually(lambda: late.log().endswith("shutting down the VM...\n"), explain=late.log)
