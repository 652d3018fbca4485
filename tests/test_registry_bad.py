# SPDX-License-Identifier: Apache-2.0
"""A registry that lies is an attacker. Each lie gives one clear line with the URL and the reason, exit 1,
nothing that lists, nothing left but slices that were verified; and the truth can be pulled afterwards."""

import json
import os
import resource
import struct
import subprocess

import pytest

import faulty_registry as faulty
from cache_state import cached, images, is_right, listed, new_vm, nothing_new, one_line, unfinished
from oci_image import (CONTENT, DISK_SIZE, DOCKER_MANIFEST, END, INDEX, KIB, MANIFEST, MIB, OVERLAY, SIZE, Image, digest,
                       frame, lz4_block, mixed_disk, noise, packed_block, stored_block, text)


@pytest.fixture
def image():
    return Image(mixed_disk())


def pull(oci, name, *more, check=False, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def little_memory():
    """Heap and stacks of all threads: far less than what the lies would have us take."""
    resource.setrlimit(resource.RLIMIT_DATA, (192 * MIB, 192 * MIB))


def refused(oci, fake, name, *parts, timeout=200):
    """One line, at once, in little memory, and nothing came of it."""
    done = pull(oci, name, timeout=timeout, preexec_fn=little_memory)
    line = one_line(done, *parts)
    nothing_new(oci)
    return line


def refused_for(oci, fake, image, *parts, tag="latest", media_type=MANIFEST):
    """The same for what image says; no blob of its disk was even asked for."""
    name = fake.add(image, "org/vm", tag, media_type)
    line = refused(oci, fake, name, f"{fake.url}/v2/org/vm/manifests/{tag}", *parts)
    assert fake.count("GET", "/blobs/") == 0
    assert list((oci.home / "cache/pulls").glob("*")) == []
    return line


def the_truth_can_be_pulled(oci, fake, image):
    fake.forget()
    pull(oci, fake.add(image, "org/vm"), check=True)
    is_right(cached(oci, image), image)


# ---------------------------------------------------------------- blobs that are not what was promised

KINDS = {"config": 0, "slice": 2, "nvram": -1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", {
    "one bit": faulty.flipped(), "other bytes": faulty.replaced(b"nonsense"), "nothing": faulty.replaced(b""),
    "cut short": faulty.cut_short(1), "oversized": faulty.oversized(1), "oversized, chunked": faulty.oversized(1, True),
    "much oversized": faulty.oversized(30 * MIB, True), "endless": faulty.endless(),
    "broken off for ever": faulty.truncated(0),
}.items(), ids=lambda pair: pair[0])
def test_wrong_blob(oci, fake, image, kind, fault):
    layer = image.layers[KINDS[kind]]
    name = fake.add(image, "org/vm")
    fake.fault("GET", layer["digest"], fault[1])
    refused(oci, fake, name, f"{fake.url}/v2/org/vm/blobs/{layer['digest']}")
    assert unfinished(oci) <= len(image.disk) + MIB
    the_truth_can_be_pulled(oci, fake, image)


def test_oversized_blob_is_not_read_to_its_end(oci, fake, image):
    """Not even with the connection's buffers: what is beyond the size is not taken."""
    layer = image.slices[1]
    fake.fault("GET", layer["digest"], faulty.endless(30, image.blobs[layer["digest"]]))
    refused(oci, fake, fake.add(image, "org/vm"), layer["digest"])
    assert sum(r.sent for r in fake.asked("GET", layer["digest"])) < 40 * MIB


def test_image_config_is_not_needed_to_be_true(oci, fake, image):
    """Nobody reads the OCI config on pull; if it is fetched, then it is verified."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.document["config"]["digest"], faulty.replaced(b"lies"))
    done = pull(oci, name)
    if done.returncode == 0:
        is_right(cached(oci, image), image)
    else:
        one_line(done, image.document["config"]["digest"])


def test_manifest_by_digest_with_wrong_bytes(oci, fake, image):
    fake.add(image, "org/vm")
    fake.fault("GET", "/manifests/", faulty.replaced(image.manifest + b" ", MANIFEST))
    line = refused(oci, fake, fake.name("org/vm", image.digest), f"/manifests/{image.digest}")
    assert "digest" in line


def test_wrong_docker_content_digest_header(oci, fake, image):
    """The header of a tag's manifest contradicts its bytes: believed or not, never stored under the header's."""
    fake.fault("GET", "/manifests/", faulty.status(200, image.manifest, Content_Type=MANIFEST,
                                                   Docker_Content_Digest=digest(b"other")))
    done = pull(oci, fake.add(image, "org/vm"))
    if done.returncode == 0:
        is_right(cached(oci, image), image)
    else:
        one_line(done, "digest")
    assert digest(b"other") not in images(oci)


# ---------------------------------------------------------------- manifests

def test_manifest_of_100_mb(oci, fake, image):
    image.document["annotations"]["padding"] = "x" * 100_000_000
    refused_for(oci, fake, image)


def test_manifest_of_100_mb_without_a_length(oci, fake, image):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/manifests/", faulty.oversized(100_000_000, chunked=True))
    refused(oci, fake, name, "/manifests/latest")
    assert fake.asked("GET", "/manifests/")[0].sent < 40 * MIB


def test_manifest_that_never_ends(oci, fake, image):
    fake.fault("GET", "/manifests/", faulty.endless())
    refused(oci, fake, fake.add(image, "org/vm"), "/manifests/latest")


def test_a_million_layers(oci, fake, image):
    image.layers[-1:-1] = [{"mediaType": image.slices[0]["mediaType"], "digest": "x", "size": 1}] * 1_000_000
    refused_for(oci, fake, image)


def test_a_hundred_thousand_right_layers(oci, fake):
    """Each is right, but there are too many, in a manifest that is small enough."""
    image = Image(bytes(4 * KIB), 4 * KIB)
    short = {**image.slices[0]}
    image.layers[-1:-1] = [short] * 70_000
    name = fake.add(image, "org/vm")
    refused(oci, fake, name, "/manifests/latest")


@pytest.mark.parametrize("depth", [100, 100_000])
def test_manifest_of_deep_json(oci, fake, depth):
    fake.put_manifest("org/vm", "latest", b"[" * depth + b"]" * depth)
    refused(oci, fake, fake.name("org/vm"), "/manifests/latest")


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"\0" * 1000, b"<html>login</html>",
                                  b'{"schemaVersion":1}', b'{"schemaVersion":2,"layers":[]}'],
                         ids=lambda data: data[:12].decode("latin1").replace("\0", "0"))
def test_manifest_that_is_none(oci, fake, data):
    fake.put_manifest("org/vm", "latest", data)
    refused(oci, fake, fake.name("org/vm"), f"{fake.url}/v2/org/vm/manifests/latest")


def change(path, value):
    """A change of one place in the document: ("layers", 1, "size") to value; DROP removes it."""
    def act(document):
        place = document
        for key in path[:-1]:
            place = place[key]
        if value is DROP:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return act


DROP = object()
BAD_NUMBERS = {"negative": -1, "huge": 1 << 62, "over 63 bits": 1 << 63, "over 64 bits": 1 << 64, "text": "5",
               "fraction": 1.5, "null": None, "list": [5], "true": True, "zero": 0, "1e300": 1e300}
BAD_TEXTS = {"negative": "-1", "huge": str(1 << 62), "over 63 bits": str(1 << 63), "over 64 bits": str(1 << 64),
             "2^64+1": str((1 << 64) + 262144), "fraction": "1.5", "hex": "0x10", "blank": "", "space": " 262144",
             "plus": "+262144", "tail": "262144x", "exponent": "2e5", "zero": "0", "number": 262144, "null": None,
             "list": [], "missing": DROP, "nul": "262144\0", "100000 digits": "9" * 100_000}


@pytest.mark.parametrize("layer", [0, 2, -1])
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_size_of_a_layer(oci, fake, image, layer, value):
    change(("layers", layer, "size"), BAD_NUMBERS[value])(image.document)
    if value == "zero" and layer != 2:
        refused(oci, fake, fake.add(image, "org/vm"), fake.url)  # when the blob comes, at the latest
    else:
        refused_for(oci, fake, image)


@pytest.mark.parametrize("value", BAD_TEXTS)
def test_uncompressed_size_of_a_slice(oci, fake, image, value):
    change(("layers", 2, "annotations", SIZE), BAD_TEXTS[value])(image.document)
    refused_for(oci, fake, image)


@pytest.mark.parametrize("value", ["", "sha256:", "sha256:zz", "sha512:" + "0" * 128, "sha256:" + "0" * 63,
                                   "sha256:" + "0" * 65, "SHA256:" + "0" * 64, "sha256:" + "A" * 64,
                                   "sha256:../../../../etc/passwd", "md5:" + "0" * 32, None, 5,
                                   "sha256:" + "0" * 64 + "\n"], ids=repr)
@pytest.mark.parametrize("where", [("layers", 2, "digest"), ("layers", 0, "digest"), ("layers", -1, "digest"),
                                   ("layers", 2, "annotations", CONTENT)], ids=str)
def test_digests_that_are_none(oci, fake, image, value, where):
    change(where, value)(image.document)
    refused_for(oci, fake, image)


@pytest.mark.parametrize("size, count", [(1 << 45, 60_000), ((1 << 63) - 1, 3), ((1 << 64) - 262144 * 8, 1)])
def test_sizes_whose_sum_overflows(oci, fake, image, size, count):
    for layer in image.slices[-1:]:
        layer["annotations"][SIZE] = str(size)
    image.layers[-1:-1] = [image.slices[-1]] * (count - 1)
    name = fake.add(image, "org/vm")
    refused(oci, fake, name, "/manifests/latest")


def test_compressed_sizes_whose_sum_overflows(oci, fake, image):
    for layer in image.slices:
        layer["size"] = (1 << 63) - 1
    refused_for(oci, fake, image)


@pytest.mark.parametrize("value", [str(1 << 62), "-5", "1", "nonsense", "9" * 10_000, ""], ids=lambda v: v[:20])
def test_disk_size_of_the_manifest(oci, fake, image, value):
    """The sum of the slices is the size. A declared one that differs is refused or ignored, never obeyed."""
    image.document["annotations"][DISK_SIZE] = value
    done = pull(oci, fake.add(image, "org/vm"))
    if done.returncode == 0:
        is_right(cached(oci, image), image)
    else:
        one_line(done, "/manifests/latest")
        nothing_new(oci)


@pytest.mark.parametrize("value", ["x" * 100_000, "\x1b[2J\x1b]0;owned\x07", "2026\n\nError: fake", "2026-13-45T99:99:99Z"],
                         ids=["long", "escapes", "lines", "no date"])
def test_upload_time_that_is_none(oci, fake, image, value):
    """No escape sequence of an image reaches a terminal."""
    image.document["annotations"]["org.cirruslabs.tart.upload-time"] = value
    name = fake.add(image, "org/vm")
    done = pull(oci, name)
    shown = oci("inspect", name, "--insecure")
    for text_ in (done.stdout, done.stderr, shown.stdout, shown.stderr):
        assert "\x1b" not in text_ and "\x07" not in text_ and "\nError" not in text_


LAYOUTS = {
    "no layers": lambda layers: [],
    "no config": lambda layers: layers[1:],
    "two configs": lambda layers: [layers[0], *layers],
    "two configs apart": lambda layers: [*layers[:2], layers[0], *layers[2:]],
    "no disk": lambda layers: [layers[0], layers[-1]],
    "no NVRAM": lambda layers: layers[:-1],
    "two NVRAMs": lambda layers: [*layers, layers[-1]],
    "a tar layer": lambda layers: [{**layer, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
                                   for layer in layers],
    "layer without a type": lambda layers: [*layers[:2], {"digest": layers[2]["digest"], "size": 5}, *layers[3:]],
    "layer that is null": lambda layers: [*layers[:2], None, *layers[3:]],
    "layer that is text": lambda layers: [*layers[:2], "x", *layers[3:]],
    "slice without annotations": lambda layers: [*layers[:2], {k: v for k, v in layers[2].items()
                                                                if k != "annotations"}, *layers[3:]],
    "annotations that are a list": lambda layers: [*layers[:2], {**layers[2], "annotations": []}, *layers[3:]],
    "overlay before the disk": lambda layers: [layers[0], {**layers[1], "mediaType": OVERLAY}, *layers[2:]],
}


ODD = {
    "config is not first": lambda layers: [layers[1], layers[0], *layers[2:]],
    "NVRAM is not last": lambda layers: [*layers[:-2], layers[-1], layers[-2]],
    "NVRAM is first": lambda layers: [layers[-1], *layers[:-1]],
    "unknown layer between": lambda layers: [*layers[:2], {**layers[1], "mediaType": "application/x"}, *layers[2:]],
    "unknown layer at the end": lambda layers: [*layers, {**layers[1], "mediaType": "application/x"}],
}


@pytest.mark.parametrize("how", ODD)
def test_what_older_tart_accepts_is_read(oci, fake, image, how):
    """2.32 looks for each kind wherever it is, and passes over strangers; newer ones are strict."""
    image.document["layers"] = ODD[how](image.layers)
    pull(oci, fake.add(image, "org/vm"), check=True)
    is_right(cached(oci, image), image)


@pytest.mark.parametrize("how", LAYOUTS)
def test_order_and_kinds_of_layers(oci, fake, image, how):
    image.document["layers"] = LAYOUTS[how](image.layers)
    refused_for(oci, fake, image)


@pytest.mark.parametrize("path, value", [
    (("layers",), None), (("layers",), {}), (("layers",), "x"), (("layers",), DROP), (("config",), DROP),
    (("config",), None), (("config", "digest"), "x"), (("config", "size"), -1), (("schemaVersion",), 1),
    (("schemaVersion",), "2"), (("annotations",), []), (("mediaType",), "application/x"), (("mediaType",), 7),
], ids=str)
def test_manifest_with_a_wrong_part(oci, fake, image, path, value):
    change(path, value)(image.document)
    name = fake.add(image, "org/vm")
    refused(oci, fake, name, "/manifests/latest")


@pytest.mark.parametrize("media_type", ["application/vnd.oci.image.config.v1+json", "application/x", "text/html"])
def test_content_type_that_is_no_manifest(oci, fake, image, media_type):
    """A right manifest served as something else; the manifest itself says what it is, or not."""
    del image.document["mediaType"]
    done = pull(oci, fake.add(image, "org/vm", media_type=media_type))
    if done.returncode == 0:
        is_right(cached(oci, image), image)
    else:
        one_line(done, "/manifests/latest")
        nothing_new(oci)


def test_index_instead_of_a_manifest(oci, fake):
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": digest(b"x"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}]}
    fake.put_manifest("org/vm", "latest", json.dumps(index).encode(), INDEX)
    line = refused(oci, fake, fake.name("org/vm"), f"{fake.url}/v2/org/vm/manifests/latest")
    assert "index" in line


def test_docker_media_type(oci, fake, image):
    image.document["mediaType"] = DOCKER_MANIFEST
    fake.add(image, "org/vm", media_type=DOCKER_MANIFEST)
    line = refused(oci, fake, fake.name("org/vm"), f"{fake.url}/v2/org/vm/manifests/latest")
    assert "docker" in line.lower()


def test_container_image(oci, fake):
    """An ordinary container image by mistake: the line helps."""
    layer = noise(1000, 1)
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    document = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config),
                           "size": len(config)},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(layer),
                            "size": len(layer)}]}
    fake.put_manifest("library/debian", "latest", json.dumps(document).encode())
    refused(oci, fake, fake.name("library/debian"), f"{fake.url}/v2/library/debian/manifests/latest")


def test_names_with_dots_in_titles(oci, fake, image, tmp_path):
    """`..` and absolute paths in annotations name nothing."""
    for layer, title in zip(image.layers, ("../../../../etc/owned", "/etc/owned", "..", "config.json", "")):
        layer["annotations"]["org.opencontainers.image.title"] = title
    image.document["annotations"]["org.opencontainers.image.ref.name"] = "../../owned"
    pull(oci, fake.add(image, "org/vm"), check=True)
    is_right(cached(oci, image), image)
    assert not os.path.exists("/etc/owned")
    inside = {p.name for p in cached(oci, image).iterdir()}
    assert {"config.json", "disk.img", "nvram.bin", "manifest.json"} <= inside and not inside & {"owned", ".."}


def test_duplicate_keys(oci, fake, image):
    """Two "layers": whichever counts, what is stored is what its manifest says, or nothing."""
    evil = json.dumps([image.layers[0], image.layers[-1]])
    data = image.manifest.replace(b'"layers":', b'"layers": ' + evil.encode() + b', "layers":')
    fake.add(image, "org/vm")
    fake.put_manifest("org/vm", "latest", data)
    done = pull(oci, fake.name("org/vm"))
    if done.returncode:
        one_line(done, "/manifests/latest")
        nothing_new(oci)
    else:
        directory, = images(oci).values()
        assert (directory / "disk.img").read_bytes() == image.disk


# ---------------------------------------------------------------- LZ4 blocks that lie

def packed(plain):
    stream = frame(plain, linked=False)
    return stream[:-4]


PLAIN = text(64 * KIB, 3)
STREAMS = {
    "empty": b"",
    "only the end": END,
    "no end": packed(PLAIN),
    "bytes after the end": packed(PLAIN) + END + b"x",
    "two ends": packed(PLAIN) + END + END,
    "a second stream": (packed(PLAIN) + END) * 2,
    "unknown magic": b"bv42" + bytes(8) + END,
    "lzfse": b"bvx-" + struct.pack("<I", len(PLAIN)) + PLAIN + b"bvx$",
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "LZ4 frame": b"\x04\x22\x4d\x18" + bytes(100),
    "cut in a header": packed(PLAIN)[:7],
    "cut in a block": packed(PLAIN)[:-10],
    "plain size too large": packed_block(len(PLAIN) + 1, packed(PLAIN)[12:]) + END,
    "plain size too small": packed_block(len(PLAIN) - 1, packed(PLAIN)[12:]) + END,
    "plain size zero": packed_block(0, packed(PLAIN)[12:]) + END,
    "plain size 4 GiB": packed_block(0xffffffff, packed(PLAIN)[12:]) + END,
    "compressed size 4 GiB": b"bv41" + struct.pack("<II", len(PLAIN), 0xffffffff) + packed(PLAIN)[12:] + END,
    "compressed size zero": b"bv41" + struct.pack("<II", len(PLAIN), 0) + END,
    "stored size 4 GiB": b"bv4-" + struct.pack("<I", 0xffffffff) + PLAIN + END,
    "stored size zero, for ever": (b"bv4-" + bytes(4)) * 100_000 + END,
    "match before the start": packed_block(300, lz4_block([(b"abcd", 5, 296)])) + END,
    "match at offset zero": packed_block(300, lz4_block([(b"abcd", 0, 296)])) + END,
    "match far before the start": stored_block(b"x" * 100) + packed_block(64 * KIB, lz4_block(
        [(b"abcd", 60000, 64 * KIB - 9)], b"wxyz5")) + END,
    "literals beyond the block": packed_block(1000, b"\xf0\xff\xff\xff\xff\x10abc") + END,
    "a bomb": packed_block(4 * MIB, lz4_block([(b"a", 1, 4 * MIB - 6)], b"aaaaa")) * 100 + END,
    "endless length": packed_block(64 * KIB, b"\x1fa\x01\x00" + b"\xff" * 60000) + END,
    "more than the slice": packed(PLAIN) * 2 + END,
    "less than the slice": packed(PLAIN[:-1000]) + END,
    "right size, other bytes": packed(bytes(len(PLAIN))) + END,
    "noise": noise(1000, 4),
}


@pytest.mark.parametrize("how", STREAMS)
def test_lz4_that_lies(oci, fake, how):
    """The blob has the digest that the manifest says; what it decodes to is another thing."""
    image = Image(noise(64 * KIB, 1) + PLAIN + noise(64 * KIB, 2), 64 * KIB)
    right = Image(image.disk, 64 * KIB)
    image.layers[2] = image.slice(PLAIN, stream=STREAMS[how])
    name = fake.add(image, "org/vm")
    if how == "stored size zero, for ever":
        image.layers[2]["annotations"].update({SIZE: str(64 * KIB)})
    url = "manifests/latest" if how == "empty" else f"blobs/{image.layers[2]['digest']}"
    refused(oci, fake, name, f"{fake.url}/v2/org/vm/{url}")
    assert unfinished(oci) <= 2 * 64 * KIB + MIB
    the_truth_can_be_pulled(oci, fake, right)


def test_a_bomb_is_not_written_to_disk(oci, fake):
    """A slice of 64 KiB whose stream makes 1.6 GB: the disk never grows beyond what the manifest says."""
    image = Image(PLAIN, 64 * KIB)
    block = packed_block(4 * MIB, lz4_block([(b"a", 1, 4 * MIB - 6)], b"aaaaa"))
    image.layers[1] = image.slice(PLAIN, stream=block * 400 + END)
    refused(oci, fake, fake.add(image, "org/vm"), image.layers[1]["digest"])
    assert unfinished(oci) < MIB


def test_a_huge_sparse_disk_is_bounded(oci, fake):
    """A petabyte of zero slices: refused by its size, not by the file system."""
    size = 1 << 40
    image = Image(bytes(4 * KIB), 4 * KIB)
    layer = {**image.slices[0], "annotations": {SIZE: str(size), CONTENT: digest(b"never")}}
    image.layers[1:2] = [layer] * 1000
    name = fake.add(image, "org/vm")
    refused(oci, fake, name)


# ---------------------------------------------------------------- the VM's config and NVRAM

CONFIGS = {
    "empty": b"", "garbage": b"\0\1\2", "no JSON": b"hello", "null": b"null", "list": b"[]", "empty object": b"{}",
    "version 2": b'{"version":2}', "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("how", CONFIGS)
def test_config_that_is_garbage(oci, fake, image, how):
    image.layers[0] = image.layer(image.layers[0]["mediaType"], CONFIGS[how])
    refused(oci, fake, fake.add(image, "org/vm"), "config")


@pytest.mark.parametrize("change_", [
    {"cpuCount": -1}, {"cpuCount": 1 << 70}, {"memorySize": -1}, {"memorySize": "lots"}, {"macAddress": "../../x"},
    {"macAddress": "$(reboot)"}, {"os": "../.."}, {"arch": "x" * 10_000}, {"display": {"width": -1}}, {"display": 5},
    {"version": "1"}, {"macAddress": None},
], ids=lambda change_: str(change_)[:40])
def test_config_with_a_wrong_value(oci, fake, change_):
    image = Image(mixed_disk(2), config=change_)
    name = fake.add(image, "org/vm")
    done = pull(oci, name)
    if done.returncode:
        one_line(done)
        nothing_new(oci)
        return
    # if it is let in, then it lists, and every other verb stays whole
    assert name in listed(oci)
    new_vm(oci, "other")
    oci("clone", "other", "copy", check=True)
    clone = oci("clone", name, "evil")
    if clone.returncode == 0:
        one_line(oci("run", "--no-graphics", "evil", timeout=30))


def test_oversized_config(oci, fake, image):
    image.config["padding"] = "x" * (2 * MIB)
    image.layers[0] = image.layer(image.layers[0]["mediaType"], json.dumps(image.config).encode())
    refused(oci, fake, fake.add(image, "org/vm"))


def test_config_that_says_it_is_huge(oci, fake, image):
    image.layers[0]["size"] = 1 << 40
    refused(oci, fake, fake.add(image, "org/vm"))


def test_oversized_nvram(oci, fake):
    image = Image(mixed_disk(2), nvram=bytes(65 * MIB))
    refused(oci, fake, fake.add(image, "org/vm"))


def test_empty_nvram(oci, fake):
    image = Image(mixed_disk(2), nvram=b"")
    done = pull(oci, fake.add(image, "org/vm"))
    if done.returncode:
        one_line(done)
        nothing_new(oci)
    else:
        is_right(cached(oci, image), image)


@pytest.mark.parametrize("extra", [
    {"diskFormat": "qcow2"}, {"diskFormat": "/etc/passwd"}, {"diskFormat": "raw", "disk": "/etc/shadow"},
    {"kernel": "/etc/shadow", "initrd": "/etc/passwd"}, {"nvram": "../../x"}, {"layers": [{"file": "/etc/passwd"}]},
], ids=str)
def test_config_that_names_host_files(oci, fake, extra, tmp_path):
    """It may be stored; no path in it is ever opened: QEMU has the VM's own files and no other."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 65536)
    extra = json.loads(json.dumps(extra).replace("/etc/passwd", str(secret)).replace("/etc/shadow", str(secret)))
    overlay = tmp_path / "overlay"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, overlay], check=True)
    image = Image(overlay.read_bytes(), config=extra)
    name = fake.add(image, "org/vm")
    done = oci("clone", name, "copy", "--insecure")
    if done.returncode:
        one_line(done)
        nothing_new(oci)
        return
    is_right(cached(oci, image), image)
    if extra.get("diskFormat", "raw") != "raw":
        one_line(oci("run", "--no-graphics", "copy", timeout=30))
        return
    oci("run", "--detach", "copy", check=True)
    try:
        qemu = json.loads((oci.vm("copy") / "run.json").read_text())["qemuPid"]
        opened = [os.readlink(f"/proc/{qemu}/fd/{fd}") for fd in os.listdir(f"/proc/{qemu}/fd")]
        assert str(secret) not in opened
    finally:
        oci("stop", "copy", "--timeout", 1)


# ---------------------------------------------------------------- stacked images that lie

@pytest.mark.parametrize("path, value", [
    (("layers", -2, "annotations", "org.cirruslabs.tart.disk-file-chunk-count"), "0"),
    (("layers", -2, "annotations", "org.cirruslabs.tart.disk-file-chunk-count"), "99999999999"),
    (("layers", -2, "annotations", "org.cirruslabs.tart.disk-file-chunk-count"), "-1"),
    (("layers", -2, "annotations", "org.cirruslabs.tart.disk-file-chunk-count"), DROP),
    (("layers", -2, "annotations", "org.cirruslabs.tart.disk-file-content-digest"), "x"),
], ids=str)
def test_stacked_image_that_lies(oci, fake, path, value):
    image = Image(mixed_disk(), os_name="darwin", arch="arm64").stack(noise(200 * KIB, 4))
    change(path, value)(image.document)
    refused(oci, fake, fake.add(image, "org/macos"))


def test_stacked_image_with_another_whole_file(oci, fake):
    """Every slice is right, the whole is not what its digest says: refused, or kept as it is, never run."""
    image = Image(mixed_disk(), os_name="darwin", arch="arm64").stack(noise(200 * KIB, 4))
    image.layers[-2]["annotations"]["org.cirruslabs.tart.disk-file-content-digest"] = digest(b"another")
    refused(oci, fake, fake.add(image, "org/macos"))


def test_too_many_overlays(oci, fake):
    image = Image(mixed_disk(2))
    for i in range(100):
        image.stack(noise(1000, i))
    refused(oci, fake, fake.add(image, "org/macos"))


# ---------------------------------------------------------------- a registry that lies while pushing

def push_refused(oci, fake, *parts):
    line = one_line(oci("push", "vm", fake.name("org/vm"), "--insecure", timeout=90), *parts)
    assert os.listdir(oci.home / "tmp") == []
    assert listed(oci) == ["vm"]
    return line


@pytest.fixture
def vm(oci):
    return new_vm(oci, "vm", mixed_disk(9, size=64 * KIB))


@pytest.mark.parametrize("answer", {
    "quota": faulty.error(403, "DENIED", "quota exceeded"), "not found": faulty.error(404, "NAME_UNKNOWN"),
    "no Location": faulty.status(202), "empty Location": faulty.status(202, Location=""),
    "file": faulty.status(202, Location="file:///etc/passwd"),
    "other scheme": faulty.status(202, Location="gopher://127.0.0.1/x"),
    "garbage": faulty.status(202, Location="http://[::1"), "200": faulty.status(200, Location="/v2/x"),
    "huge": faulty.status(202, Location="/" + "x" * 60_000),
}.items(), ids=lambda pair: pair[0])
def test_upload_that_cannot_begin(oci, fake, vm, answer):
    fake.fault("POST", "/blobs/uploads/", answer[1])
    line = push_refused(oci, fake, f"{fake.url}/v2/org/vm/blobs/uploads/")
    if answer[0] == "quota":
        assert "403" in line and "quota exceeded" in line
    assert fake.manifests == {}


def test_message_of_a_registry_is_made_harmless(oci, fake, vm):
    """What it says is shown, without escape sequences and newlines, and not at any length."""
    fake.fault("POST", "/blobs/uploads/", faulty.error(403, "DENIED", "\x1b[31mred\nError: fake\x07" + "x" * 100_000))
    line = push_refused(oci, fake, "403")
    assert len(line) < 700


@pytest.mark.parametrize("code", [400, 403, 404, 413, 416])
def test_put_that_is_refused(oci, fake, vm, code):
    fake.fault("PUT", "/blobs/uploads/", faulty.error(code, "BLOB_UPLOAD_INVALID", "no room for you"))
    push_refused(oci, fake, str(code), "no room for you")
    assert fake.manifests == {}


def test_manifest_that_is_refused(oci, fake, vm):
    fake.fault("PUT", "/manifests/", faulty.error(400, "MANIFEST_INVALID", "too many layers"))
    push_refused(oci, fake, f"{fake.url}/v2/org/vm/manifests/latest", "400", "too many layers")


def test_registry_that_accepts_and_loses(oci, fake, vm):
    """It says 201 to every blob and keeps none; its own check of the manifest tells."""
    fake.fault("PUT", "/blobs/uploads/", faulty.swallowing())
    push_refused(oci, fake, f"{fake.url}/v2/org/vm/manifests/latest", "400")
    fake.forget()
    oci("push", "vm", fake.name("org/vm"), "--insecure", check=True)
    oci("pull", fake.name("org/vm"), "--insecure", check=True)


def test_head_that_lies_about_the_size(oci, fake, vm):
    """It has the blob, but of another size: not the blob. Uploaded, or refused, but no broken image."""
    fake.fault("HEAD", "/blobs/", faulty.lying_head(5))
    done = oci("push", "vm", fake.name("org/vm"), "--insecure")
    if done.returncode:
        one_line(done, fake.url)
    else:
        oci("pull", fake.name("org/vm"), "--insecure", check=True)
        directory, = images(oci).values()
        assert (directory / "disk.img").read_bytes() == mixed_disk(9, size=64 * KIB)


def test_head_that_says_yes_to_all(oci, fake, vm):
    """HEAD 200 for what is not there; the registry then refuses the manifest, and we say so."""
    fake.fault("HEAD", "/blobs/", faulty.status(200))
    done = oci("push", "vm", fake.name("org/vm"), "--insecure")
    if done.returncode:
        one_line(done, fake.url)
    else:
        oci("pull", fake.name("org/vm"), "--insecure", check=True)


def test_pulled_name_is_never_a_path(oci, fake, image):
    """Hosts and tags become directories: none leaves cache/OCIs."""
    for name in (f"{fake.address}/../../x:latest", f"{fake.address}/a/../../b", f"{fake.address}/a/./b:..",
                 f"{fake.address}/a//b", f"{fake.address}/.hidden", f"{fake.address}/a:../../../x"):
        done = pull(oci, name)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert fake.records == []
    assert not list((oci.home / "cache").glob("OCIs/*"))
