# SPDX-License-Identifier: Apache-2.0
"""A bootable ISO image (ECMA-119 with El Torito's boot catalog, for UEFI) that holds one file: a disk with an ESP."""

import struct

SECTOR = 2048
CATALOG, ROOT, FILE = 22, 21, 32  # sectors
DATA = FILE * SECTOR  # where the disk begins


def both(form, value):
    """A number in both byte orders."""
    return struct.pack("<" + form, value) + struct.pack(">" + form, value)


def record(name, sector, size, directory):
    body = both("I", sector) + both("I", size) + bytes(7) + bytes([2 if directory else 0, 0, 0]) + both("H", 1) + \
        bytes([len(name)]) + name
    body += bytes(len(body) % 2)
    return bytes([len(body) + 2, 0]) + body


def descriptor(kind, body):
    return (bytes([kind]) + b"CD001\1" + body).ljust(SECTOR, b"\0")


def primary(sectors):
    head = b"\0" + b" " * 32 + b"LINZER".ljust(32) + bytes(8) + both("I", sectors) + bytes(32)
    head += both("H", 1) + both("H", 1) + both("H", SECTOR) + both("I", 10)
    head += struct.pack("<II", 19, 0) + struct.pack(">II", 20, 0)
    return descriptor(1, head + record(b"\0", ROOT, SECTOR, True))


def catalog(sector):
    """One entry: load nothing, the firmware looks at the file system that begins there (UEFI 2.10, 13.3.2.1)."""
    head = bytearray(b"\1\xef".ljust(30, b"\0") + b"\x55\xaa")
    struct.pack_into("<H", head, 28, -sum(struct.unpack("<16H", head)) & 0xFFFF)
    return (bytes(head) + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 0, sector).ljust(32, b"\0")).ljust(SECTOR, b"\0")


def make(path, disk, esp):
    """At `path` an ISO of the raw `disk`, whose file system at byte `esp` is what boots."""
    content = disk.read_bytes()
    sectors = FILE + len(content) // SECTOR
    root = record(b"\0", ROOT, SECTOR, True) + record(b"\1", ROOT, SECTOR, True) + record(b"DISK.IMG;1", FILE, len(content), False)
    table = b"\1\0" + struct.pack("<IH", ROOT, 1) + b"\0\0", b"\1\0" + struct.pack(">IH", ROOT, 1) + b"\0\0"
    boot = descriptor(0, b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", CATALOG))
    parts = {16: primary(sectors), 17: boot, 18: descriptor(255, b""), 19: table[0], 20: table[1], ROOT: root,
             CATALOG: catalog((DATA + esp) // SECTOR), FILE: content}
    with open(path, "wb") as file:
        for sector, part in parts.items():
            file.seek(sector * SECTOR)
            file.write(part)
