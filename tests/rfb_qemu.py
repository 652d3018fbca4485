# SPDX-License-Identifier: Apache-2.0
"""A VNC client of what QEMU adds to RFC 6143: the extended clipboard and sound (rfbproto.rst of the RFB community)."""

import struct
import zlib

import rfb

CLIPBOARD, SOUND = -0x3f5e1a32, -259  # pseudo-encodings; the first is 0xc0a1e5ce
TEXT = 1 << 0
CAPS, REQUEST, NOTIFY, PROVIDE = (1 << bit for bit in (24, 25, 27, 28))
FROM_QEMU, OF_SOUND = 255, 1
END, BEGIN, DATA = range(3)
ENABLE, FORMAT = 0, 2
SIGNED_16 = 3


class Client(rfb.Client):
    """Hears all that a server sends unasked."""

    def __init__(self, port, password):
        super().__init__(port, password)
        self.offered = set()  # pseudo-encodings
        self.clipboard = []  # (flags, what follows) of each message on a text
        self.sound = b""  # of two channels, 44100 frames a second, 16 bits signed, the lower first
        self.send(">BxH iii", 2, 3, rfb.RAW, CLIPBOARD, SOUND)

    def rectangles(self):
        for _ in range(self.unpack(">xH")[0]):
            _x, _y, width, height, encoding = self.unpack(">HHHHi")
            self.offered.add(encoding)
            if encoding == rfb.RAW:
                self.read(4 * width * height)

    def cut_text(self):
        length, = self.unpack(">3xi")
        assert length < 0, "the server does not know the extended clipboard"
        flags, rest = self.unpack(">I")[0], self.read(-length - 4)
        if flags & CAPS:
            self.offered.add(CLIPBOARD)
        else:
            self.clipboard.append((flags, rest))

    def of_sound(self):
        kind, operation = self.unpack(">BH")
        assert kind == OF_SOUND and operation in (END, BEGIN, DATA)
        if operation == DATA:
            self.sound += self.read(self.unpack(">I")[0])

    def hear(self):
        """One message. Return: its kind."""
        kind, = self.unpack("B")
        {0: self.rectangles, 2: lambda: None, 3: self.cut_text, FROM_QEMU: self.of_sound}[kind]()
        return kind

    def hear_all(self):
        """What was sent until now: a picture comes after it."""
        self.send(">BBHHHH", 3, 0, 0, 0, 1, 1)
        while self.hear() != 0 or rfb.RAW not in self.offered:
            pass
        self.offered.discard(rfb.RAW)

    def enable_sound(self):
        self.send(">BBH BBI", FROM_QEMU, OF_SOUND, FORMAT, SIGNED_16, 2, 44100)
        self.send(">BBH", FROM_QEMU, OF_SOUND, ENABLE)

    def clipboard_message(self, wanted):
        """What follows the flags of the next message that has those `wanted`; those before it are dropped."""
        while True:
            while self.clipboard:
                flags, rest = self.clipboard.pop(0)
                if flags & wanted == wanted:
                    return rest
            self.hear()

    def paste(self):
        """Ask for the text that was announced. Return: it."""
        self.send(">B3xi I", 6, -4, REQUEST | TEXT)
        plain = zlib.decompress(self.clipboard_message(PROVIDE | TEXT))
        length, = struct.unpack(">I", plain[:4])
        assert len(plain) == 4 + length
        return plain[4:]
