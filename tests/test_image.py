# SPDX-License-Identifier: Apache-2.0
"""The guest image as it is built: small and pristine. (`make soak` builds it twice and compares.)"""

import json
import subprocess

import pytest

from conftest import BUILD, ROOT

ROOT_OFFSET = 64 << 20  # of the root file system, images/debian/build


@pytest.fixture(scope="module")
def disk(image_home):
    vm = image_home / "vms/debian"
    chain = vm / "disk.json"  # there where somebody cloned it: the image is the lowest layer
    return vm / (json.loads(chain.read_text())["layers"][-1]["file"] if chain.exists() else "disk.img")


def debugfs(disk, command):
    done = subprocess.run(["debugfs", "-R", command, f"{disk}?offset={ROOT_OFFSET}"], capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout + done.stderr.split("\n", 1)[1]


def test_at_most_600_mb(disk):
    assert disk.stat().st_blocks * 512 <= 600e6


def test_no_key_id_or_seed_inside(disk):
    listing = debugfs(disk, "ls -p /etc/ssh")
    assert "sshd_config" in listing and "ssh_host_" not in listing
    assert debugfs(disk, "cat /etc/machine-id").strip() in ("", "uninitialized") \
        or "File not found" in debugfs(disk, "cat /etc/machine-id")
    assert "File not found" in debugfs(disk, "stat /var/lib/systemd/random-seed")


def test_holds_what_it_must(disk):
    for path in ("/usr/sbin/sshd", "/usr/bin/sudo", "/usr/bin/curl", "/usr/bin/ping", "/usr/sbin/ip",
                 "/usr/libexec/linzer-agent"):
        assert "File not found" not in debugfs(disk, f"stat {path}"), path
    assert "admin" in debugfs(disk, "cat /etc/passwd")


def test_partition_table_is_whole(disk):
    table = subprocess.check_output(["sfdisk", "--dump", disk], text=True, stderr=subprocess.STDOUT)
    assert "label: gpt" in table and "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" in table
    subprocess.run(["e2fsck", "-fn", f"{disk}?offset={ROOT_OFFSET}"], check=True, stdout=subprocess.DEVNULL)


def test_make_image_replaces_no_vm_that_it_did_not_make(linzer):
    linzer("create", "--linux", "--disk-size", 1, "debian", check=True)
    before = (linzer.vm("debian") / "config.json").read_bytes()
    done = subprocess.run([ROOT / "scripts/image"], env=linzer.environment(BUILD=str(BUILD)), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "the VM 'debian' exists and was not made by 'make image': rename or delete it first\n"
    assert (linzer.vm("debian") / "config.json").read_bytes() == before
