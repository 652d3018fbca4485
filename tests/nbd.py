# SPDX-License-Identifier: Apache-2.0
"""NBD servers for tests: qemu-nbd on the loopback or on a socket."""

import contextlib
import socket
import subprocess
import threading
import time


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """One qemu-nbd that serves the raw file `disk` as the export `export` until end()."""

    def __init__(self, disk, export="", path=None, pki=None, read_only=False):
        self.path, self.port = path, None if path else free_port()
        where = ["--socket", path] if path else ["--bind", "127.0.0.1", "--port", str(self.port)]
        tls = ["--object", f"tls-creds-x509,id=tls,endpoint=server,dir={pki},verify-peer=off", "--tls-creds", "tls"] if pki else []
        self.words = ["qemu-nbd", "--persistent", "--format", "raw", "--shared", "4", "--export-name", export, *where, *tls,
                      *(["--read-only"] if read_only else []), disk]
        self.start()

    def start(self):
        self.process = subprocess.Popen(list(map(str, self.words)), stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < end and self.process.poll() is None, "qemu-nbd does not answer"
            time.sleep(0.05)

    def answers(self):
        family, address = (socket.AF_UNIX, str(self.path)) if self.path else (socket.AF_INET, ("127.0.0.1", self.port))
        with socket.socket(family) as sock:
            try:
                sock.connect(address)
                return sock.recv(8) == b"NBDMAGIC"
            except OSError:
                return False

    def end(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def impostor(words):
    """The port of a server on the loopback that says `words` to each that comes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with sock.accept()[0] as client:
                        client.sendall(words)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()
