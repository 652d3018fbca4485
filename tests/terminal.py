# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own (which is /dev/tty to it)."""

import os
import pty
import re
import select
import signal
import struct
import fcntl
import termios
import time

SECONDS = "[1-9][0-9]* s"  # of a line's first look: one, or as many as went by before there was a processor


class Terminal:
    """`output` is what it wrote so far; stderr goes to the file `errors` if given."""

    def __init__(self, command, env, errors=None, columns=100):
        self.output, self.status = "", None
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
                if errors is not None:
                    fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                    os.dup2(fd, 2)
                os.execve(command[0], [str(word) for word in command], env)
            finally:
                os._exit(127)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def read(self, seconds):
        """What comes next, waiting at most that long for it."""
        self._read(seconds)

    def _read(self, seconds):
        """False at the end."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, text, seconds=120):
        self.wait_for_match(re.escape(text), seconds)

    def wait_for_match(self, pattern, seconds=120):
        until = time.monotonic() + seconds
        while not re.search(pattern, self.output):
            assert time.monotonic() < until, self.output
            assert self._read(0.1) or re.search(pattern, self.output), self.output

    def send(self, text):
        os.write(self.master, text.encode())

    def end(self, seconds=120):
        """Read to the end; gives the exit status."""
        until = time.monotonic() + seconds
        while self._read(0.1):
            assert time.monotonic() < until, self.output
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status
