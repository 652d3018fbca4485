# SPDX-License-Identifier: Apache-2.0
"""Agents that are none: a socket in the place of control.sock, and the frames (RFC 9113) to lie with."""

import os
import socket
import struct
import threading

SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # an empty one
OK_HEADERS = b"\0\0\1\1\4\0\0\0\1\x88"  # ":status 200" of stream 1
TRAILERS = b"\0\0\x0f\1\5\0\0\0\1\0\x0bgrpc-status\x010"  # which end stream 1 well
RESET = b"\0\0\4\3\0\0\0\0\1\0\0\0\0"  # without an error


def data(payload):
    """DATA frames of stream 1."""
    pieces = [payload[at:at + 16000] for at in range(0, len(payload), 16000)]
    return b"".join(len(piece).to_bytes(3, "big") + b"\0\0\0\0\0\1" + piece for piece in pieces)


def varint(value):
    low = []
    while value > 0x7f:
        low.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*low, value])


def field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def message(content):
    return data(struct.pack(">BI", 0, len(content)) + content)


def output(content, number=2):
    """Of the command; 3: its standard error."""
    return b"".join(message(field(number, field(1, content[at:at + 8000]))) for at in range(0, len(content), 8000))


def exited(code):
    return message(field(1, b"\x08" + varint(code) if code else b"")) + RESET


class Impostor:
    """Takes a client on control.sock for each of `answers`, has it answered, and closes it."""

    def __init__(self, linzer, *answers):
        self.listener = socket.socket(socket.AF_UNIX)
        here = os.open(linzer.vm("vm"), os.O_RDONLY)
        (linzer.vm("vm") / "control.sock").unlink(missing_ok=True)
        self.listener.bind(f"/proc/self/fd/{here}/control.sock")
        os.close(here)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, args=(answers,), daemon=True)
        self.thread.start()

    def serve(self, answers):
        for answer in answers:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            with client:
                client.settimeout(60)
                try:
                    answer(client)
                    while client.recv(65536):
                        pass
                except OSError:
                    pass

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
