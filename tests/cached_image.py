# SPDX-License-Identifier: Apache-2.0
"""Images put into a home's cache by hand, as a pull leaves them."""

import hashlib
import json
import os
import pathlib
import time

CONFIG = {"version": 1, "os": "linux", "arch": "amd64", "cpuCountMin": 2, "cpuCount": 2,
          "memorySizeMin": 1 << 30, "memorySize": 1 << 30, "macAddress": "7a:00:00:00:00:01",
          "display": {"width": 1024, "height": 768}}


def repository_path(home, repository):
    return pathlib.Path(home) / "cache/OCIs" / repository.replace(":", "%3A")


def digest_of(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def manifest(size):
    """Of one slice: it has the form of an image's manifest and describes no blob that exists."""
    blob = {"annotations": {}, "digest": digest_of("blob"), "size": 100}
    kind = "application/vnd.cirruslabs.tart."
    notes = {"org.cirruslabs.tart.uncompressed-content-digest": digest_of("content"),
             "org.cirruslabs.tart.uncompressed-size": str(size)}
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {**blob, "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [{**blob, "mediaType": kind + "config.v1"},
                       {**blob, "annotations": notes, "mediaType": kind + "disk.v2"},
                       {**blob, "mediaType": kind + "nvram.v1"}]}


def make(home, repository, *tags, seed=None, size=4 << 20, data=None, days=0, absolute=False,
         mode=0o400, **config):
    """A whole image of `size` bytes of disk, the first `data` (all) of them random. Returns its digest."""
    digest = digest_of(repository + str(seed))
    where = repository_path(home, repository)
    image = where / digest
    image.mkdir(parents=True)
    (image / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (image / "nvram.bin").write_bytes(b"nvram" * 100)
    (image / "manifest.json").write_text(json.dumps(manifest(size)))
    with open(image / "disk.img", "wb") as disk:
        left = size if data is None else data
        while left:
            left -= disk.write(os.urandom(min(left, 1 << 20)))
        disk.truncate(size)
        os.fsync(disk.fileno())
    (image / "disk.img").chmod(mode)
    (image / ".accessed").touch()
    os.utime(image / ".accessed", (time.time() - days * 86400 - 5,) * 2)
    for tag in tags:
        (where / tag).symlink_to(image if absolute else digest)
    return digest


def image_path(home, repository, digest):
    return repository_path(home, repository) / digest
