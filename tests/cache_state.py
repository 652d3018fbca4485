# SPDX-License-Identifier: Apache-2.0
"""What transfers leave in a home and take of a processor, and how their failures must look."""

import json
import os
import resource

from oci_image import digest, extents


def processor_seconds():
    """Of all that this process has started and waited for: whoever else keeps the machine busy does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def listed(oci, *options):
    """Names of `list`."""
    return oci("list", "--quiet", *options, check=True).stdout.split()


def images(oci):
    """{digest: directory} of all image directories in the cache, whole or not."""
    return {path.name: path for path in (oci.home / "cache/OCIs").glob("**/sha256:*")
            if path.is_dir() and not path.is_symlink()}


def cached(oci, image):
    """The directory of one image in the cache."""
    found = [path for path in (oci.home / "cache/OCIs").glob(f"**/{image.digest}") if not path.is_symlink()]
    assert len(found) == 1, found
    return found[0]


def is_right(directory, image):
    """The image's directory holds it to the byte, with a hole for each 4 KiB of zeroes."""
    disk = (directory / "disk.img").read_bytes()
    assert len(disk) == len(image.disk)
    assert disk == image.disk, f"differs first at {next(i for i, (a, b) in enumerate(zip(disk, image.disk)) if a != b)}"
    assert (directory / "nvram.bin").read_bytes() == image.nvram
    config = json.loads((directory / "config.json").read_text())
    assert config.items() >= {k: v for k, v in image.config.items() if k != "display"}.items()
    manifest = directory / "manifest.json"
    if manifest.exists():  # the bytes as they were received
        assert digest(manifest.read_bytes()) == image.digest
    no_zeroes_are_stored(directory / "disk.img")


def no_zeroes_are_stored(path, grain=4096):
    with open(path, "rb") as file:
        for start, end in extents(path):
            file.seek(start)
            data = file.read(end - start)
            for at in range(0, len(data) - grain + 1, grain):
                assert data.count(0, at, at + grain) != grain, f"{path}: zeroes are stored at {start + at}"


def unfinished(oci):
    """Bytes on disk of unfinished pulls."""
    return sum(path.stat().st_blocks * 512 for path in (oci.home / "cache/pulls").glob("**/*") if path.is_file())


def nothing_new(oci, names=()):
    """Nothing is listed but `names`, no image is in the cache but theirs, and tmp/ is empty."""
    assert listed(oci) == list(names)
    assert len(images(oci)) == len([name for name in names if "@" in name])
    assert list((oci.home / "tmp").glob("*")) == []
    assert not list(oci.home.glob("vms/.tmp-*"))


def one_line(done, *parts, code=1):
    """Failed with one clear line that has all `parts`."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    line = done.stderr.rstrip("\n")
    assert line.isprintable() and len(line) <= 1000, done.stderr
    for part in parts:
        assert str(part) in line, (part, line)
    return line


def misused(done, message):
    """A usage error."""
    assert done.returncode == 64 and done.stderr.splitlines()[0] == "Error: " + message, done


def new_vm(oci, name="vm", disk=None, size=1, path=None):
    """A stopped VM; with the bytes `disk`, sparse, or the file `path` as its disk."""
    from oci_image import write_sparse
    oci("create", "--linux", "--disk-size", size, name, check=True)
    target = oci.vm(name) / "disk.img"
    if disk is not None:
        target.unlink()
        write_sparse(target, disk)
    elif path is not None:
        os.replace(path, target)
    return oci.vm(name)
