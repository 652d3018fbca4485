# SPDX-License-Identifier: Apache-2.0
"""JSON that is small as text and large in memory, or when it is written again."""

import json
import os
import subprocess
import sys

import pytest

import tvm
from cache_state import nothing_new, one_line
from conftest import BUILD
from oci_image import CONFIG, Image, mixed_disk

MIB = 1 << 20


def nested(depth, inside):
    return "[" * depth + inside + "]" * depth


# each is a value of one more member
HOSTILE = {
    "long": nested(8, "1," * 120_000 + "1"),
    "deep": nested(1900, "[" + "1," * 100_000 + "1]"),
    "crowded": "[" + "{}," * 300_000 + "{}]",
}


def grown(config, value):
    return (json.dumps(config)[:-1] + ', "own": ' + value + "}").encode()


# Of a child's child: what is started begins with the memory of what starts it in its account.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
with open(int(sys.argv[1]), "w") as out:
    out.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


def peak(oci, *words):
    """What a call that has to fail says, and the most memory that it ever had, in MB."""
    reader, writer = os.pipe()
    with open(reader) as told:
        done = subprocess.run([sys.executable, "-I", "-c", MEASURE, str(writer), BUILD / "linzer", *words],
                              env=oci.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              pass_fds=[writer])
        os.close(writer)
        return done, int(told.read()) / 1024


@pytest.mark.parametrize("kind", HOSTILE)
def test_config_that_grows_is_not_pulled(oci, fake, kind):
    image = Image(mixed_disk(2))
    image.layers[0] = image.layer(CONFIG, grown(image.config, HOSTILE[kind]))
    done, memory = peak(oci, "pull", fake.add(image, "org/vm"), "--insecure")
    one_line(done, "VM config", image.layers[0]["digest"])
    nothing_new(oci)
    assert memory < 128


@pytest.mark.parametrize("kind", HOSTILE)
def test_config_that_grows_is_not_imported(oci, tmp_path, kind):
    config = Image(b"").config
    archive = tmp_path / "vm.tvm"
    archive.write_bytes(tvm.container(tvm.directory() + tvm.file("config.json", grown(config, HOSTILE[kind])) +
                                      tvm.file("disk.img", bytes(MIB)) + tvm.file("nvram.bin", b"x")))
    done, memory = peak(oci, "import", archive, "vm")
    one_line(done, "VM import failed: config.json")
    assert not oci.vm("vm").exists()
    assert memory < 128


def test_config_that_is_large_is_cloned(oci, fake):
    """What is accepted can be written again, and stays readable."""
    image = Image(mixed_disk(2))
    image.layers[0] = image.layer(CONFIG, grown(image.config, "[" + "1," * 100_000 + "1]"))
    name = fake.add(image, "org/vm")
    oci("clone", name, "vm", "--insecure", check=True)
    oci("set", "vm", "--cpu", 3, check=True)
    assert json.loads(oci("get", "vm", "--format", "json", check=True).stdout)["CPU"] == 3


@pytest.mark.parametrize("kind", HOSTILE)
def test_index_of_a_layout_is_bounded(oci, tmp_path, kind):
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    size = len(HOSTILE[kind])
    (tmp_path / "index.json").write_text('{"manifests": [], "own": [' + ",".join([HOSTILE[kind]] * (7 * MIB // size)) + "]}")
    done, memory = peak(oci, "pull", f"oci:{tmp_path}:latest")
    one_line(done, str(tmp_path), "index.json")
    assert memory < 64
