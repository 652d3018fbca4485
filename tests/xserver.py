# SPDX-License-Identifier: Apache-2.0
"""Xvfb, which lets in only who has its cookie, and what a window manager would do to a window in it."""

import contextlib
import ctypes
import os
import secrets
import struct
import subprocess
import time

X11 = None
FAMILY_WILD = 65535


def library():
    global X11
    if X11 is None:
        X11 = ctypes.CDLL("libX11.so.6")
        X11.XOpenDisplay.restype = ctypes.c_void_p
        X11.XDefaultRootWindow.restype = X11.XInternAtom.restype = ctypes.c_ulong
    return X11


class ClientMessage(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 24)]


class Server:
    """DISPLAY and XAUTHORITY of a running Xvfb."""

    def __init__(self, directory):
        self.cookies = directory / "cookies"
        self.screen = directory / "Xvfb_screen0"
        name, cookie = b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16)
        self.cookies.write_bytes(struct.pack(">HHHH", FAMILY_WILD, 0, 0, len(name)) + name +
                                 struct.pack(">H", len(cookie)) + cookie)
        self.cookies.chmod(0o600)
        ready, theirs = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1600x1200x24", "-nolisten", "tcp", "-noreset",
             "-auth", str(self.cookies), "-fbdir", str(directory)],
            pass_fds=[theirs], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        with os.fdopen(ready) as pipe:
            self.name = ":" + pipe.readline().strip()
        assert self.name != ":", "Xvfb did not start"
        self.settings = {"DISPLAY": self.name, "XAUTHORITY": str(self.cookies), "WAYLAND_DISPLAY": None}

    def end(self):
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def connection(self):
        x = library()
        os.environ["XAUTHORITY"] = str(self.cookies)
        try:
            display = x.XOpenDisplay(self.name.encode())
        finally:
            del os.environ["XAUTHORITY"]
        assert display, "Xvfb does not let us in"
        try:
            yield x, ctypes.c_void_p(display)
        finally:
            x.XCloseDisplay(ctypes.c_void_p(display))

    def windows(self):
        """Name -> number of the windows that have a name."""
        found = {}
        with self.connection() as (x, display):
            root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
            children = ctypes.POINTER(ctypes.c_ulong)()
            x.XQueryTree(display, ctypes.c_ulong(x.XDefaultRootWindow(display)), ctypes.byref(root),
                         ctypes.byref(parent), ctypes.byref(children), ctypes.byref(count))
            for number in children[:count.value]:
                name = ctypes.c_char_p()
                if x.XFetchName(display, ctypes.c_ulong(number), ctypes.byref(name)) and name.value:
                    found[name.value.decode()] = number
        return found

    def close(self, number):
        """As the button in the window's corner does."""
        with self.connection() as (x, display):
            protocols = x.XInternAtom(display, b"WM_PROTOCOLS", 0)
            delete = x.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
            message = ClientMessage(type=33, window=number, message_type=protocols, format=32)
            message.data[0] = delete
            assert x.XSendEvent(display, ctypes.c_ulong(number), 0, ctypes.c_long(0), ctypes.byref(message))
            x.XSync(display, 0)

    def picture(self):
        """The pixels of the whole screen, 4 bytes each."""
        data = self.screen.read_bytes()
        header, _version, _format, _depth, width, height = struct.unpack(">6I", data[:24])
        return width, height, data[-4 * width * height:]
