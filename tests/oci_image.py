# SPDX-License-Identifier: Apache-2.0
"""VM images made by hand, right or wrong: Apple's LZ4 framing, layers, manifest (contract 5.2-5.4).

    image = Image(disk)                     # in slices of 256 KiB
    image.layers[1]["size"] = -1            # lie as you like; image.document is what is sent
    registry.add(image, "org/vm", "latest")
"""

import base64
import ctypes
import hashlib
import http.client
import json
import os
import random
import struct
import urllib.parse

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 64 * KIB
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
CONFIG = "application/vnd.cirruslabs.tart.config.v1"
DISK = "application/vnd.cirruslabs.tart.disk.v2"
DISK_V1 = "application/vnd.cirruslabs.tart.disk.v1"
OVERLAY = "application/vnd.cirruslabs.tart.disk.asif.overlay.v1"
NVRAM = "application/vnd.cirruslabs.tart.nvram.v1"
PREFIX = "org.cirruslabs.tart."
SIZE = PREFIX + "uncompressed-size"
CONTENT = PREFIX + "uncompressed-content-digest"
DISK_SIZE = PREFIX + "uncompressed-disk-size"
UPLOAD_TIME = PREFIX + "upload-time"
FORMAT = PREFIX + "disk.format"
FILE_DIGEST = PREFIX + "disk-file-content-digest"
CHUNK_COUNT = PREFIX + "disk-file-chunk-count"
BLOCK_SIZE = PREFIX + "disk.block-size"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- LZ4 blocks by hand

def _length(value):
    """The bytes that continue a length whose nibble is 15."""
    out = b""
    while value >= 255:
        out, value = out + b"\xff", value - 255
    return out + bytes([value])


def lz4_block(sequences, tail=b""):
    """A raw LZ4 block: (literals, offset, match length) each, then literals alone. Nothing is checked."""
    out = b""
    for literals, offset, match in sequences:
        n, m = len(literals), match - 4
        out += bytes([min(n, 15) << 4 | min(m, 15)])
        out += (_length(n - 15) if n >= 15 else b"") + literals + struct.pack("<H", offset)
        out += _length(m - 15) if m >= 15 else b""
    n = len(tail)
    return out + bytes([min(n, 15) << 4]) + (_length(n - 15) if n >= 15 else b"") + tail


def lz4_decode(block, before=b""):
    """The plain bytes of a raw block (slow, and by no library): what the tests check encoders with."""
    out, i = bytearray(before), 0
    while i < len(block):
        token, i = block[i], i + 1
        n = token >> 4
        if n == 15:
            while True:
                n, i = n + block[i], i + 1
                if block[i - 1] != 255:
                    break
        out += block[i:i + n]
        i += n
        if i == len(block):
            break
        offset, i = block[i] | block[i + 1] << 8, i + 2
        m = token & 15
        if m == 15:
            while True:
                m, i = m + block[i], i + 1
                if block[i - 1] != 255:
                    break
        assert 0 < offset <= len(out), "a match before the start"
        m += 4
        while m:
            piece = out[-offset:][:m] if m < offset else out[-offset:]
            out += piece
            m -= len(piece)
    return bytes(out[len(before):])


# ---------------------------------------------------------------- Apple's framing

END = b"bv4$"


def stored_block(plain):
    return b"bv4-" + struct.pack("<I", len(plain)) + plain


def packed_block(plain_size, block):
    return b"bv41" + struct.pack("<II", plain_size, len(block)) + block


_lz4 = ctypes.CDLL("liblz4.so.1")
_lz4.LZ4_createStream.restype = ctypes.c_void_p
_lz4.LZ4_freeStream.argtypes = [ctypes.c_void_p]
_lz4.LZ4_compress_fast_continue.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int,
                                            ctypes.c_int, ctypes.c_int]


def frame(plain, linked=True, block=BLOCK, stored=False):
    """A whole stream. Linked, as Apple's encoder does it: matches reach back into the blocks before."""
    plain = bytes(plain)
    if stored:
        return b"".join(stored_block(plain[i:i + block]) for i in range(0, len(plain), block)) + END
    source = ctypes.create_string_buffer(plain, len(plain) + 1)
    target = ctypes.create_string_buffer(block + block // 255 + 64)
    stream, out = _lz4.LZ4_createStream(), []
    for i in range(0, len(plain), block):
        n = min(block, len(plain) - i)
        if not linked:
            _lz4.LZ4_freeStream(stream)
            stream = _lz4.LZ4_createStream()
        m = _lz4.LZ4_compress_fast_continue(stream, ctypes.addressof(source) + i, target, n, len(target), 1)
        assert m > 0
        out.append(packed_block(n, target.raw[:m]) if m < n else stored_block(plain[i:i + n]))
    _lz4.LZ4_freeStream(stream)
    return b"".join(out) + END


def unframe(stream):
    """The plain bytes of a stream; for independent blocks also how many there are of each kind."""
    out, i, kinds = bytearray(), 0, []
    while True:
        magic, i = stream[i:i + 4], i + 4
        kinds.append(magic)
        if magic == END:
            assert i == len(stream), "bytes after the end"
            return bytes(out), kinds
        if magic == b"bv4-":
            n, = struct.unpack_from("<I", stream, i)
            out += stream[i + 4:i + 4 + n]
            i += 4 + n
        else:
            assert magic == b"bv41", magic
            n, m = struct.unpack_from("<II", stream, i)
            plain = lz4_decode(stream[i + 8:i + 8 + m], bytes(out[-BLOCK:]))
            assert len(plain) == n
            out += plain
            i += 8 + m


def blocks_are_independent(stream):
    """Can each block be decoded alone?"""
    i = 0
    while stream[i:i + 4] != END:
        n, = struct.unpack_from("<I", stream, i + 4)
        if stream[i:i + 4] == b"bv4-":
            i += 8 + n
            continue
        m, = struct.unpack_from("<I", stream, i + 8)
        try:
            if len(lz4_decode(stream[i + 12:i + 12 + m])) != n:
                return False
        except AssertionError:
            return False
        i += 12 + m
    return True


# ---------------------------------------------------------------- disks

def noise(size, seed):
    return random.Random(seed).randbytes(size)


def text(size, seed):
    """What compresses to a third, differently everywhere."""
    rng = random.Random(seed)
    words = [rng.randbytes(12).hex().encode() for _ in range(400)]
    out = bytearray()
    while len(out) < size:
        out += rng.choice(words) + b" "
    return bytes(out[:size])


def mixed_disk(slices=8, size=256 * KIB, seed=1, tail=777):
    """Bytes in slices: text, noise, zeroes, the same again, and a tail of odd length."""
    kinds = [lambda i: text(size, (seed, i).__hash__()), lambda i: noise(size, seed * 1000 + i),
             lambda i: bytes(size), lambda i: text(size // 2, seed * 7 + i) + bytes(size - size // 2)]
    return b"".join(kinds[i % 4](i) for i in range(slices)) + text(tail, seed + 99)


def write_sparse(path, data, grain=4 * KIB):
    """A file that holds `data` and has a hole for every block of zeroes."""
    zero = bytes(grain)
    with open(path, "wb") as file:
        file.truncate(len(data))
        for at in range(0, len(data), grain):
            piece = data[at:at + grain]
            if piece != zero[:len(piece)]:
                os.pwrite(file.fileno(), piece, at)
        os.fsync(file.fileno())


def extents(path):
    """[(start, end)] of what SEEK_DATA calls data."""
    found, at = [], 0
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))
    return found


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- the image

class Image:
    """An image whose every part may be altered before it is served."""

    def __init__(self, disk, slice_size=256 * KIB, linked=True, stored=False, block=BLOCK, nvram=None,
                 os_name="linux", arch="amd64", config=None, time="2026-05-12T21:45:18Z"):
        self.disk = bytes(disk)
        self.nvram = noise(128 * KIB, 5) if nvram is None else nvram
        self.blobs = {}
        self.config = {
            "version": 1, "os": os_name, "arch": arch, "cpuCountMin": 1, "cpuCount": 2,
            "memorySizeMin": 512 * MIB, "memorySize": 512 * MIB, "macAddress": "5a:11:22:33:44:55",
            "display": {"width": 1024, "height": 768}}
        self.config.update(config or {})
        layers = [self.layer(CONFIG, json.dumps(self.config).encode())]
        for at in range(0, len(self.disk), slice_size):
            layers.append(self.slice(self.disk[at:at + slice_size], linked=linked, stored=stored, block=block))
        layers.append(self.layer(NVRAM, self.nvram))
        image_config = {"architecture": arch, "config": {"Labels": {FORMAT: "raw"}}, "os": os_name}
        self.document = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.blob(json.dumps(image_config).encode(), OCI_CONFIG),
            "annotations": {DISK_SIZE: str(len(self.disk)), UPLOAD_TIME: time}, "layers": layers}

    def blob(self, data, media_type):
        name = digest(data)
        self.blobs[name] = data
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def layer(self, media_type, data, **annotations):
        return {**self.blob(data, media_type), "annotations": annotations}

    def slice(self, plain, linked=True, stored=False, block=BLOCK, stream=None, media_type=DISK, **more):
        """A disk layer; `stream` instead of the right compressed bytes."""
        data = frame(plain, linked, block, stored) if stream is None else stream
        return self.layer(media_type, data, **{SIZE: str(len(plain)), CONTENT: digest(plain)}, **more)

    @property
    def layers(self):
        return self.document["layers"]

    @property
    def slices(self):
        return [layer for layer in self.layers if layer["mediaType"] == DISK]

    @property
    def manifest(self):
        return json.dumps(self.document).encode()

    @property
    def digest(self):
        return digest(self.manifest)

    @property
    def compressed(self):
        """Bytes of all different disk blobs."""
        return sum({layer["digest"]: layer["size"] for layer in self.slices}.values())

    def stack(self, overlay, slice_size=256 * KIB, block_size=4096):
        """Make it a stacked image: one more file over the disk."""
        self.document["annotations"][BLOCK_SIZE] = str(block_size)
        first = self.slices[0]["annotations"]
        first[FILE_DIGEST] = digest(self.disk)
        first[CHUNK_COUNT] = str(len(self.slices))
        pieces = [overlay[at:at + slice_size] for at in range(0, len(overlay), slice_size)]
        chunks = [self.slice(piece, media_type=OVERLAY) for piece in pieces]
        chunks[0]["annotations"].update({FILE_DIGEST: digest(overlay), CHUNK_COUNT: str(len(chunks))})
        self.layers[-1:-1] = chunks
        return self


# ---------------------------------------------------------------- into any registry

def upload(image, address, repository, tag="latest", user=None, password=None):
    """Over plain HTTP, as simply as it can be done; gives the image's name."""
    host = http.client.HTTPConnection(address, timeout=60)
    who = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()} if user else {}

    def ask(method, path, body=None, headers=None):
        host.request(method, path, body, {**who, **(headers or {})})
        answer = host.getresponse()
        answer.read()
        return answer

    for name, data in image.blobs.items():
        begun = ask("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        assert begun.status == 202, begun.status
        place = urllib.parse.urlsplit(begun.getheader("Location"))
        query = (place.query + "&" if place.query else "") + urllib.parse.urlencode({"digest": name})
        done = ask("PUT", f"{place.path}?{query}", data, {"Content-Type": "application/octet-stream"})
        assert done.status == 201, done.status
    done = ask("PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, {"Content-Type": MANIFEST})
    assert done.status == 201, done.status
    host.close()
    return f"{address}/{repository}:{tag}"
