# SPDX-License-Identifier: Apache-2.0
"""set --recovery-partition and --flatten: what Packer's plugin does to a raw disk.img, natively. What is written is
held against sfdisk."""

import hashlib
import json
import os
import random
import subprocess
import time

import pytest

import scratch
import vm_disk
from test_contract_stop import run, vm  # noqa: F401 - fixtures

SFDISK = "/usr/sbin/sfdisk"
SECTOR = 512
GB = 10 ** 9
MARK = bytes(range(256)) * 2
NAME = "RecoveryOSContainer"
# sectors of a disk of 1 GB; the last ends where the table lets it
DISK = 10 ** 9 // SECTOR
EFI, CONTAINER, RECOVERY = (40, 2000), (2048, 1_000_000), (1_200_000, DISK - 34)


def lay_out(vm, *partitions, label="gpt"):
    """A table of (first, last, name)."""
    lines = [f"start={first},size={last - first + 1}" + (f",name={name}" if name else "")
             for first, last, name in partitions]
    head = [f"label: {label}", *["first-lba: 34"] * (label == "gpt")]
    subprocess.run([SFDISK, "-q", vm / "disk.img"], input="\n".join([*head, *lines, ""]), text=True,
                   check=True, timeout=60)


def mac_disk(vm):
    lay_out(vm, (*EFI, "EFI"), (*CONTAINER, "Container"), (*RECOVERY, NAME))


def put(vm, sector, data=MARK):
    with open(vm / "disk.img", "r+b") as disk:
        disk.seek(sector * SECTOR)
        disk.write(data)


def get(vm, sector, count=1):
    with open(vm / "disk.img", "rb") as disk:
        disk.seek(sector * SECTOR)
        return disk.read(count * SECTOR)


def table(vm):
    """What sfdisk reads, which finds nothing to complain of."""
    done = subprocess.run([SFDISK, "--verify", vm / "disk.img"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "No errors detected" in done.stdout, done
    done = subprocess.run([SFDISK, "--json", vm / "disk.img"], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)["partitiontable"]


def content(vm):
    """A digest of what is in the disk, holes and zeros left out."""
    found = hashlib.sha256()
    with scratch.directory() as path:
        subprocess.run(["qemu-img", "convert", "-O", "raw", vm_disk.image(vm), path / "flat"], check=True, timeout=120)
        with open(path / "flat", "rb") as disk:
            end = os.fstat(disk.fileno()).st_size
            at = 0
            while at < end:
                try:
                    at = disk.seek(at, os.SEEK_DATA)
                except OSError:  # nothing but a hole
                    break
                block = disk.read(4096)
                found.update(f"{at} ".encode() + block if any(block) else b"")
                at += 4096
    return f"{end} {found.hexdigest()}"


def names(found):
    return [partition["name"] for partition in found["partitions"]]


def change(linzer, how, *options):
    return linzer("set", "vm", *options, "--recovery-partition", how, timeout=300)


def refused(done, text):
    assert done.returncode == 1 and done.stdout == "" and text in done.stderr and done.stderr.count("\n") == 1, done


def silent(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


class TestDelete:
    def test_it_goes_and_both_tables_are_at_the_disks_ends(self, linzer, vm):
        mac_disk(vm)
        put(vm, CONTAINER[1])
        before = table(vm)
        silent(change(linzer, "delete", "--disk-size", 2))
        after = table(vm)
        assert names(after) == ["EFI", "Container"]
        assert after["lastlba"] == 2 * GB // SECTOR - 34
        assert after["id"] == before["id"] and after["partitions"] == before["partitions"][:2]
        assert get(vm, CONTAINER[1]) == MARK

    def test_what_it_occupied_is_given_back(self, linzer, vm):
        mac_disk(vm)
        put(vm, RECOVERY[0], os.urandom(1 << 24))
        before = (vm / "disk.img").stat().st_blocks
        silent(change(linzer, "delete"))
        assert (before - (vm / "disk.img").stat().st_blocks) * SECTOR >= 1 << 23
        assert get(vm, RECOVERY[0], 100) == bytes(100 * SECTOR)

    def test_once_more_is_no_error(self, linzer, vm):
        mac_disk(vm)
        silent(change(linzer, "delete"))
        before = content(vm)
        silent(change(linzer, "delete"))
        assert content(vm) == before

    def test_it_must_be_the_last(self, linzer, vm):
        lay_out(vm, (*EFI, NAME), (*CONTAINER, "Container"))
        before = content(vm)
        refused(change(linzer, "delete"), f"the partition {NAME} is not the last one of the disk")
        assert content(vm) == before

    def test_a_blank_disk_is_skipped(self, linzer, vm):
        silent(change(linzer, "delete"))
        assert (vm / "disk.img").stat().st_blocks == 0

    def test_a_file_system_without_a_table_is_skipped(self, linzer, vm):
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", vm / "disk.img"], check=True, timeout=120)
        before = content(vm)
        silent(change(linzer, "delete"))
        assert content(vm) == before


class TestRelocate:
    def test_to_the_end(self, linzer, vm):
        """With room for it, in place."""
        mac_disk(vm)
        put(vm, RECOVERY[0])
        put(vm, RECOVERY[1])
        before = table(vm)["partitions"]
        silent(change(linzer, "relocate", "--disk-size", 2))
        after = table(vm)
        last = 2 * GB // SECTOR - 34
        first = last - (RECOVERY[1] - RECOVERY[0])
        moved = after["partitions"][2]
        assert (moved["start"], moved["size"]) == (first, last - first + 1)
        assert {**moved, "start": RECOVERY[0]} == before[2] and after["partitions"][:2] == before[:2]
        assert get(vm, first) == MARK and get(vm, last) == MARK
        assert get(vm, first + 1) == bytes(SECTOR) and get(vm, RECOVERY[0]) == bytes(SECTOR)
        assert (vm / "disk.img").stat().st_blocks * SECTOR < 1 << 20, "it is no longer sparse"

    def test_over_itself(self, linzer, vm):
        """The new place touches the old one."""
        first = 100_000
        lay_out(vm, (*EFI, "EFI"), (first, DISK - 34, NAME))
        with open(vm / "disk.img", "r+b") as disk:
            for sector in range(first, DISK - 33, 9973):
                disk.seek(sector * SECTOR)
                disk.write(sector.to_bytes(8, "little"))
        by = 123_456
        with open(vm / "disk.img", "r+b") as disk:
            disk.truncate((DISK + by) * SECTOR)
        silent(change(linzer, "relocate"))
        assert table(vm)["partitions"][1]["start"] == first + by
        for sector in range(first, DISK - 33, 9973):
            assert get(vm, sector + by)[:8] == sector.to_bytes(8, "little")
            assert get(vm, sector + by)[8:] == bytes(SECTOR - 8)

    def test_there_already(self, linzer, vm):
        mac_disk(vm)
        before = content(vm)
        silent(change(linzer, "relocate"))
        assert content(vm) == before

    def test_no_room(self, linzer, vm):
        lay_out(vm, (*EFI, NAME), (DISK - 1000, DISK - 34, "last"))
        before = content(vm)
        refused(change(linzer, "relocate"), f"there is no room for the partition {NAME} at the end of the disk")
        assert content(vm) == before

    def test_it_needs_a_table(self, linzer, vm):
        refused(change(linzer, "relocate"), "the disk has no partition table")


class TestTables:
    def test_keep_does_nothing(self, linzer, vm):
        mac_disk(vm)
        before = content(vm)
        silent(change(linzer, "keep"))
        assert content(vm) == before

    @pytest.mark.parametrize("how", ["delete", "relocate"])
    def test_two_of_that_name(self, linzer, vm, how):
        lay_out(vm, (*CONTAINER, NAME), (*RECOVERY, NAME))
        refused(change(linzer, how), f"more than one partition is named {NAME}")

    @pytest.mark.parametrize("how", ["delete", "relocate"])
    def test_mbr(self, linzer, vm, how):
        lay_out(vm, (*CONTAINER, ""), label="dos")
        before = content(vm)
        refused(change(linzer, how), "the disk has an MBR partition table, not a GPT")
        assert content(vm) == before

    def test_a_damaged_first_table_is_made_from_the_second(self, linzer, vm):
        mac_disk(vm)
        put(vm, 1, bytes(SECTOR))
        silent(change(linzer, "delete"))
        assert names(table(vm)) == ["EFI", "Container"]

    def test_both_damaged(self, linzer, vm):
        mac_disk(vm)
        put(vm, 2, b"x")
        put(vm, DISK - 1, bytes(SECTOR))
        before = content(vm)
        refused(change(linzer, "delete"), "the disk's partition table is damaged: its entries have a wrong checksum")
        assert content(vm) == before

    @pytest.mark.parametrize("seed", range(3))
    def test_rubbish(self, linzer, vm, seed):
        """Whatever a guest left there: a line or nothing, and never anything else than a table is changed."""
        mac_disk(vm)
        dice = random.Random(seed)
        for _ in range(20):
            put(vm, dice.choice([0, 1, 2]), dice.randbytes(dice.choice([1, 16, SECTOR])))
            done = change(linzer, dice.choice(["delete", "relocate"]))
            assert done.returncode in (0, 1) and done.stderr.count("\n") == done.returncode, done
            assert (vm / "disk.img").stat().st_size == DISK * SECTOR

    def test_a_running_vm(self, linzer, vm, run):
        mac_disk(vm)
        run()
        for words in (["--recovery-partition", "delete"], ["--recovery-partition=relocate"], ["--flatten"]):
            refused(linzer("set", "vm", *words), 'VM "vm" is running')
        assert len(table(vm)["partitions"]) == 3


@pytest.fixture
def overlay(linzer, vm):
    """The VM "copy", whose disk is an overlay, with data of its own; $TEST_DIR's file system has no reflinks."""
    mac_disk(vm)
    put(vm, CONTAINER[0], os.urandom(64 << 20))
    linzer("clone", "vm", "copy", check=True)
    copy = linzer.vm("copy")
    assert (copy / "disk.json").exists(), "this file system has reflinks: set TEST_DIR to one that has none"
    vm_disk.write(copy, 7, CONTAINER[0] * SECTOR)
    return copy


class TestFlatten:
    def test_an_overlay_is_refused_and_flattened(self, linzer, overlay):
        refused(linzer("set", "copy", "--recovery-partition", "delete"),
                'the disk of VM "copy" is an overlay: --flatten makes it one file')
        before = content(overlay)
        silent(linzer("set", "copy", "--flatten"))
        assert not (overlay / "disk.json").exists() and not list(overlay.glob("layer-*"))
        disk = (overlay / "disk.img").stat()
        assert disk.st_size == GB and disk.st_blocks * SECTOR < 80 << 20, "not raw, or not sparse"
        assert content(overlay) == before
        silent(linzer("set", "copy", "--recovery-partition", "delete"))
        assert names(table(overlay)) == ["EFI", "Container"]

    def test_in_one_call(self, linzer, overlay):
        silent(linzer("set", "copy", "--disk-size", 2, "--flatten", "--recovery-partition", "relocate"))
        found = table(overlay)
        assert found["partitions"][2]["start"] + found["partitions"][2]["size"] - 1 == 2 * GB // SECTOR - 34

    def test_killed_at_any_time_leaves_either(self, linzer, overlay):
        before = content(overlay)
        dice = random.Random(5)
        for _ in range(12):
            child = linzer.start("set", "copy", "--flatten")
            time.sleep(dice.uniform(0, 0.2))
            child.kill()
            child.wait()
            assert linzer("get", "copy").returncode == 0
            assert content(overlay) == before
        silent(linzer("set", "copy", "--flatten"))
        assert content(overlay) == before and not (overlay / "disk.json").exists()
        assert not list(overlay.glob("*.next"))


@pytest.mark.parametrize("first", [RECOVERY[0], 100_000], ids=["in-place", "in-a-copy"])
def test_a_relocation_killed_at_any_time(linzer, vm, first):
    """The partition is where it was, or where it shall be, and whole."""
    lay_out(vm, (*EFI, "EFI"), (first, DISK - 34, NAME))
    data = os.urandom(32 << 20)
    put(vm, first, data)
    by = 10 ** 6 if first == RECOVERY[0] else 50_000
    with open(vm / "disk.img", "r+b") as disk:
        disk.truncate((DISK + by) * SECTOR)
    dice = random.Random(first)
    for _ in range(12):
        child = linzer.start("set", "vm", "--recovery-partition", "relocate")
        time.sleep(dice.uniform(0, 0.15))
        child.kill()
        child.wait()
        done = subprocess.run([SFDISK, "--json", vm / "disk.img"], capture_output=True, text=True, check=True)
        start = json.loads(done.stdout)["partitiontable"]["partitions"][1]["start"]
        assert start in (first, first + by)
        assert get(vm, start, len(data) // SECTOR) == data
    silent(change(linzer, "relocate"))
    assert table(vm)["partitions"][1]["start"] == first + by
    assert get(vm, first + by, len(data) // SECTOR) == data
