# SPDX-License-Identifier: Apache-2.0
"""The disk of a stopped VM, through all its layers, by qemu-io and qemu-img."""

import hashlib
import json
import os
import subprocess

import scratch


def layers(directory):
    try:
        return json.loads((directory / "disk.json").read_text())["layers"]
    except FileNotFoundError:
        return [{"file": "disk.img", "format": "raw"}]


def image(directory):
    """As QEMU's json: file name; no name inside a header is followed."""
    node = None
    for layer in reversed(layers(directory)):
        assert "/" not in layer["file"]
        below = {"backing": node} if node else {}
        node = {"driver": layer["format"], **below,
                "file": {"driver": "file", "filename": str(directory / layer["file"])}}
    return "json:" + json.dumps(node)


def write(directory, byte, offset, length=65536):
    subprocess.run(["qemu-io", "-c", f"write -P {byte} {offset} {length}", "-c", "flush", image(directory)], check=True,
                   stdout=subprocess.DEVNULL)


def holds(directory, byte, offset, length=65536):
    """Is that part of the disk all `byte`?"""
    done = subprocess.run(["qemu-io", "-r", "-c", f"read -P {byte} {offset} {length}", image(directory)],
                          capture_output=True, text=True)
    assert "read " in done.stdout, done.stderr
    return "Pattern verification failed" not in done.stdout


def digest(directory):
    """Of the whole content."""
    with scratch.directory() as path:
        subprocess.run(["qemu-img", "convert", "-O", "raw", image(directory), path / "flat"], check=True)
        with open(path / "flat", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(disk):
    """What digest() says of those bytes: QEMU's disks are whole sectors."""
    return hashlib.sha256(disk + bytes(-len(disk) % 512)).hexdigest()


def fill(directory, size):
    """Random data into a raw disk."""
    with open(directory / "disk.img", "r+b") as disk:
        for _ in range(size // (1 << 20)):
            disk.write(os.urandom(1 << 20))
        os.fsync(disk.fileno())
