# SPDX-License-Identifier: Apache-2.0
"""A small VNC client (RFC 6143): version 3.8, password authentication, raw pixels of 32 bits."""

import re
import socket
import struct
import subprocess

LINE = re.compile(r"VNC server is running at vnc://:([A-Za-z0-9_-]{8})@127\.0\.0\.1:(\d{1,5})")
RETURN = 0xff0d
RAW, DESKTOP_SIZE = 0, -223
NONE, PASSWORD = 1, 2


class Refused(Exception):
    """The server does not let us in."""


def des(password, challenge):
    """The challenge under DES whose key is the password with each byte's bits reversed."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    done = subprocess.run(["openssl", "enc", "-des-ede3-ecb", "-nopad", "-K", (key * 3).hex()],
                          input=challenge, capture_output=True, check=True, timeout=30)
    return done.stdout


class Client:
    """A connection to 127.0.0.1; logged in unless `password` is None."""

    def __init__(self, port, password=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.pixels = bytearray()
        self.width = self.height = 0
        if password is not None:
            self.log_in(password)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def read(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                raise Refused("the server hung up")
            data += piece
        return bytes(data)

    def unpack(self, form):
        return struct.unpack(form, self.read(struct.calcsize(form)))

    def send(self, form, *values):
        self.socket.sendall(struct.pack(form, *values))

    def methods(self):
        """How one may log in."""
        assert self.read(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n")
        return list(self.read(self.unpack("B")[0]))

    def log_in(self, password):
        assert self.methods() == [PASSWORD]
        self.send("B", PASSWORD)
        self.socket.sendall(des(password, self.read(16)))
        if self.unpack(">I")[0] != 0:
            raise Refused(self.read(self.unpack(">I")[0]).decode())
        self.send("B", 1)  # others may look, too
        self.size(*self.unpack(">HH"))
        self.read(16)
        self.read(self.unpack(">I")[0])
        self.send(">B3x BBBB HHH BBB 3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        self.send(">BxH ii", 2, 2, RAW, DESKTOP_SIZE)

    def size(self, width, height):
        self.width, self.height = width, height
        self.pixels = bytearray(4 * width * height)

    def take_rectangle(self):
        x, y, width, height, encoding = self.unpack(">HHHHi")
        if encoding == DESKTOP_SIZE:
            self.size(width, height)
            return
        assert encoding == RAW, encoding
        for row in range(y, y + height):
            start = 4 * (row * self.width + x)
            self.pixels[start:start + 4 * width] = self.read(4 * width)

    def update(self):
        """What the whole screen shows now. Return: it has another size than before."""
        before = self.width, self.height
        self.send(">BBHHHH", 3, 0, 0, 0, self.width, self.height)
        while True:
            kind = self.unpack("B")[0]
            if kind == 0:
                for _ in range(self.unpack(">xH")[0]):
                    self.take_rectangle()
                return before != (self.width, self.height)
            if kind == 3:
                self.read(self.unpack(">3xI")[0])
            else:
                assert kind == 2, kind

    def screen(self):
        """The pixels of the whole screen, without padding bytes."""
        while self.update():
            pass
        colours = bytearray(self.pixels)
        del colours[3::4]
        return bytes(colours)

    def press(self, key):
        self.send(">BBxxI", 4, 1, key)
        self.send(">BBxxI", 4, 0, key)

    def type(self, text):
        for character in text:
            self.press(RETURN if character == "\n" else ord(character))
