# SPDX-License-Identifier: Apache-2.0
"""Archives of VMs made and read by hand: Apple's container and entries (contract 8)."""

import struct

BLOCK = 4 << 20
VALUES = {"*": 0, "1": 1, "2": 2, "4": 4, "8": 8, "F": 4, "G": 20, "H": 32, "I": 48, "J": 64, "S": 8, "T": 12}
BLOBS = {"A": "<H", "B": "<I", "C": "<Q"}


def header(*fields):
    body = b"".join(fields)
    return b"AA01" + struct.pack("<H", 6 + len(body)) + body


def text(key, value):
    value = value.encode() if isinstance(value, str) else value
    return key.encode() + b"P" + struct.pack("<H", len(value)) + value


def blob(key, size):
    form = "A" if size < 1 << 16 else "B" if size < 1 << 32 else "C"
    return key.encode() + form.encode() + struct.pack(BLOBS[form], size)


def file(path, data, kind=b"F", size=None):
    return header(b"TYP1" + kind, text("PAT", path), blob("DAT", len(data) if size is None else size)) + data


def directory(path=""):
    return header(b"TYP1D", text("PAT", path))


def link(path, target):
    return header(b"TYP1L", text("PAT", path), text("LNK", target))


def container(body, block=BLOCK, magic=b"pbze", end=b""):
    out = magic + struct.pack(">Q", block)
    for start in range(0, len(body), block):
        part = body[start:start + block]
        out += struct.pack(">QQ", len(part), len(part)) + part
    return out + end


def unpack(archive):
    """The bytes in a container of stored blocks, whose form is checked."""
    assert archive[:12] == b"pbze" + struct.pack(">Q", BLOCK)
    at, blocks = 12, []
    while at < len(archive):
        size, packed = struct.unpack_from(">QQ", archive, at)
        assert size == packed
        blocks.append(archive[at + 16:at + 16 + size])
        at += 16 + size
    assert at == len(archive)
    assert all(len(block) == BLOCK for block in blocks[:-1]) and 0 < len(blocks[-1]) <= BLOCK
    return b"".join(blocks)


def entries(body):
    """Of each entry its fields ("TYP1": bytes) in order, and the content of its blobs."""
    at = 0
    while at < len(body):
        assert body[at:at + 4] == b"AA01"
        end = at + struct.unpack_from("<H", body, at + 4)[0]
        at += 6
        fields, blobs = {}, []
        while at < end:
            key, form = body[at:at + 4].decode(), chr(body[at + 3])
            at += 4
            size = VALUES.get(form) if form in VALUES else struct.calcsize(BLOBS.get(form, "<H"))
            value = body[at:at + size]
            at += size
            if form == "P":
                size = int.from_bytes(value, "little")
                value = body[at:at + size]
                at += size
            elif form in BLOBS:
                blobs.append((key[:3], int.from_bytes(value, "little")))
            fields[key] = value
        assert at == end
        content = {}
        for key, size in blobs:
            content[key] = body[at:at + size]
            assert len(content[key]) == size
            at += size
        yield fields, content
