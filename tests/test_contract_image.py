# SPDX-License-Identifier: Apache-2.0
"""create --from-image: every format comes out as the same raw disk; a hostile image gets one
line, and no VM."""

import json
import os
import signal
import subprocess
import time

import pytest

MIB = 1 << 20
SIZE = 16 * MIB


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "disk.raw"
    with open(path, "wb") as file:
        file.write(os.urandom(MIB))
        file.seek(9 * MIB)
        file.write(os.urandom(MIB))
        file.truncate(SIZE)
    return path


def convert(raw, form, *options):
    path = raw.with_suffix("." + form)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, path], check=True,
                   stdout=subprocess.DEVNULL)
    return path


def disk(linzer, name="vm"):
    return linzer.vm(name) / "disk.img"


def refused(linzer, done):
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.count("\n") == 1 and len(done.stderr) > 10
    assert linzer("list", "-q").stdout == ""
    assert os.listdir(linzer.home / "tmp") == []


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "parallels", "qed"])
def test_every_format_becomes_the_same_raw_disk(linzer, raw, form):
    image = raw if form == "raw" else convert(raw, form)
    done = linzer("create", "--from-image", image, "vm")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    got = disk(linzer).read_bytes()
    assert got[:SIZE] == raw.read_bytes() and not any(got[SIZE:])
    assert disk(linzer).stat().st_blocks * 512 < 4 * MIB  # sparse
    assert image.exists() and os.listdir(linzer.home / "tmp") == []
    assert json.loads(linzer("get", "vm", "--format=json").stdout)["DiskFormat"] == "raw"


def test_a_compressed_image(linzer, raw):
    assert linzer("create", "--from-image", convert(raw, "qcow2", "-c"), "vm").returncode == 0
    assert disk(linzer).read_bytes() == raw.read_bytes()


def test_the_disk_can_be_made_larger_at_once(linzer, raw):
    assert linzer("create", "--from-image", convert(raw, "qcow2"), "--disk-size", "1",
                  "vm").returncode == 0
    assert disk(linzer).stat().st_size == 10**9
    assert disk(linzer).read_bytes()[:SIZE] == raw.read_bytes()


def test_the_disk_cannot_be_made_smaller(linzer, tmp_path):
    with open(tmp_path / "big.raw", "wb") as file:
        file.truncate(2 * 10**9)
    done = linzer("create", "--from-image", tmp_path / "big.raw", "--disk-size", "1", "vm")
    refused(linzer, done)
    assert done.stderr == \
        "new disk size of 1 GB should be larger than the current disk size of 2 GB\n"


def test_an_image_that_names_a_host_file_is_refused(linzer, raw, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 100000)
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, overlay],
                   check=True)
    refused(linzer, linzer("create", "--from-image", overlay, "vm"))
    data = tmp_path / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    f"data_file={tmp_path / 'data.raw'},data_file_raw=on", data, "1M"], check=True)
    refused(linzer, linzer("create", "--from-image", data, "vm"))
    descriptor = tmp_path / "flat.vmdk"
    descriptor.write_text(f'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n'
                          f'createType="monolithicFlat"\nRW 1000 FLAT "{secret}" 0\n'
                          f'ddb.adapterType = "ide"\n')
    done = linzer("create", "--from-image", descriptor, "vm")
    if done.returncode == 0:  # taken for what it is: text
        assert b"secretsecret" not in disk(linzer).read_bytes()
    else:
        refused(linzer, done)


def test_what_is_no_image(linzer, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "truncated.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 100)
    for path in (tmp_path / "missing.raw", tmp_path, tmp_path / "fifo", "/dev/null",
                 tmp_path / "truncated.qcow2"):
        refused(linzer, linzer("create", "--from-image", path, "vm", timeout=60))


def test_an_image_that_claims_to_be_huge(linzer, tmp_path):
    huge = tmp_path / "huge.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", huge, "100T"], check=True)
    refused(linzer, linzer("create", "--from-image", huge, "vm"))


def test_a_failure_leaves_the_vm_that_was_there(linzer, tmp_path, raw):
    assert linzer("create", "--from-image", raw, "vm").returncode == 0
    (tmp_path / "bad.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 1000)
    assert linzer("create", "--from-image", tmp_path / "bad.qcow2", "vm").returncode == 1
    assert disk(linzer).read_bytes() == raw.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_interrupted_at_any_moment_it_leaves_nothing(linzer, raw, number):
    image = convert(raw, "qcow2", "-c")
    for attempt in range(12):
        child = linzer.start("create", "--from-image", image, "vm", stderr=subprocess.DEVNULL)
        time.sleep(attempt * 0.005)
        child.send_signal(number)
        status = child.wait(60)
        deadline = time.monotonic() + 60
        while True:  # qemu-img, which dies with its parent, holds the lock of what it wrote
            done = linzer("list", "-q")
            assert done.stderr == ""
            if not (left := os.listdir(linzer.home / "tmp")):
                break
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        if status == 0:
            assert done.stdout == "vm\n"
        if done.stdout:
            assert disk(linzer).read_bytes() == raw.read_bytes()
            linzer("delete", "vm", check=True)
