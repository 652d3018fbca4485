# SPDX-License-Identifier: Apache-2.0
"""`create --from-image`: every format comes in unchanged, hostile ones are one line and no VM."""

import bz2
import gzip
import lzma
import pathlib
import subprocess

import pytest

SIZE = 24 << 20
FORMATS = {
    "raw": [], "qcow2": [], "vdi": [], "vhdx": [], "parallels": [],
    "vmdk": ["-o", "subformat=streamOptimized"], "vpc": ["-o", "force_size=on"],
}


def qemu_img(*args):
    subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    with open(path, "wb") as f:
        f.truncate(SIZE)
        f.write(b"first" * 100000)
        f.seek(20 << 20)
        f.write(b"last" * 30000)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_each_format_becomes_the_disk(linzer, disk, tmp_path, form):
    image = tmp_path / "image"
    qemu_img("convert", "-f", "raw", "-O", form, *FORMATS[form], disk, image)
    before = image.read_bytes()
    linzer("create", "--from-image", image, "vm", check=True)
    with open(linzer.vm("vm") / "disk.img", "rb") as f:
        assert f.read(SIZE) == disk.read_bytes()
    assert image.read_bytes() == before


def zstd(content):
    return subprocess.run(["zstd", "-q"], input=content, capture_output=True, check=True).stdout


COMPRESSED = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@pytest.mark.parametrize("tool", COMPRESSED)
def test_a_compressed_image_becomes_the_disk(linzer, disk, tmp_path, tool):
    image = disk
    if tool == "xz":  # one of a format, beneath
        image = tmp_path / "image"
        qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, image)
    (tmp_path / "compressed").write_bytes(COMPRESSED[tool](image.read_bytes()))
    linzer("create", "--from-image", tmp_path / "compressed", "vm", check=True)
    with open(linzer.vm("vm") / "disk.img", "rb") as f:
        assert f.read(SIZE) == disk.read_bytes()
    assert (linzer.vm("vm") / "disk.img").stat().st_blocks * 512 < SIZE // 2  # holes
    assert list((linzer.home / "tmp").iterdir()) == []


def test_a_compressed_image_that_is_none_is_one_line(linzer, disk, tmp_path):
    whole = lzma.compress(disk.read_bytes())
    inner = gzip.compress(b"QFI\xfb\0\0\0\3" + bytes(100))
    for content, why in ((whole[:-100], "cannot decompress: "), (whole[:20] + b"x" * 5000, "cannot decompress: "), (inner, "")):
        (tmp_path / "bad").write_bytes(content)
        done = linzer("create", "--from-image", tmp_path / "bad", "vm")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
        assert done.stderr.startswith(f"{tmp_path}/bad: {why}") and not linzer.vm("vm").exists()
        assert list((linzer.home / "tmp").iterdir()) == []


def hostile(tmp_path):
    """name -> what the line says"""
    make = {
        "backing": (["create", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw"], "refers to another file"),
        "json": (["create", "-f", "qcow2", "-u", "-b", 'json:{"driver":"nbd","host":"127.0.0.1"}', "-F", "raw"],
                 "refers to another file"),
    }
    for name, (args, text) in make.items():
        qemu_img(*args, tmp_path / name, "1M")
        yield name, text
    (tmp_path / "descriptor").write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
        'createType="monolithicFlat"\nRW 8 FLAT "/etc/shadow" 0\n')
    yield "descriptor", "refers to another file"
    (tmp_path / "cut").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(100))
    yield "cut", ""


def test_a_hostile_image_is_one_line_and_no_vm(linzer, tmp_path):
    for name, text in hostile(tmp_path):
        done = linzer("create", "--from-image", tmp_path / name, "vm")
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1 and text in done.stderr, done.stderr
        assert not linzer.vm("vm").exists()
        assert b"root:" not in b"".join(p.read_bytes() for p in pathlib.Path(linzer.home).rglob("*") if p.is_file())


def test_an_image_that_does_not_exist_is_one_line(linzer, tmp_path):
    done = linzer("create", "--from-image", tmp_path / "absent", "vm")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert not linzer.vm("vm").exists()
