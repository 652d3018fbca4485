# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry on a free port of the loopback, with storage of its own.

It dies with us, however we end (PDEATHSIG); its storage is a scratch directory.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import scratch

USER, PASSWORD = "someone", "se:cret"
# of that password (bcrypt, cost 5), as `htpasswd -B` makes it
HTPASSWD = "$2b$05$JtMdiulYb8GaFRskg1SBA.kew5H1Sna4brB0VLuEga9p1aK0UAice"


class Authority:
    """A certificate authority of our own in a directory, and certificates for names and addresses."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = self.directory / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-subj", "/CN=Test authority", "-days", "3650", "-keyout", "ca.key", "-out", "ca.pem",
                      "-addext", "keyUsage=critical,keyCertSign")

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)

    def certificate(self, name="server", alternatives="IP:127.0.0.1,IP:127.0.0.2,DNS:localhost,DNS:registry.test"):
        """Paths of a certificate and of its key."""
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "3650", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"


class Registry:
    """One docker-registry; `address` is its host:port."""

    def __init__(self, directory, auth=False, tls=None):
        """auth: USER and PASSWORD are asked for. tls: (certificate, key)."""
        self.directory = pathlib.Path(directory)
        self.storage = self.directory / "storage"
        self.log = self.directory / "log"
        config = {
            "version": 0.1, "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0", "secret": "a secret of the tests"},
        }
        if auth:
            (self.directory / "htpasswd").write_text(f"{USER}:{HTPASSWD}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.directory / "htpasswd")}}
        if tls:
            config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        (self.directory / "config.yml").write_text(json.dumps(config))  # which is YAML
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", self.directory / "config.yml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 120
        while True:
            found = re.findall(r"listening on (127\.0\.0\.1:\d+)", self.log.read_text(errors="replace"))
            if found:
                self.address = found[-1]
                return
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text(errors="replace")
            time.sleep(0.01)

    def end(self):
        self.process.kill()
        self.process.wait()

    def name(self, repository, tag="latest"):
        return f"{self.address}/{repository}:{tag}"

    def requests(self):
        """[(method, path, protocol, status)] of all so far, from its access log."""
        time.sleep(0.1)  # a line is written after its answer
        return [(m, p, proto, int(s)) for m, p, proto, s in re.findall(
            r'"([A-Z]+) (\S+) (HTTP/[\d.]+)" (\d{3}) ', self.log.read_text(errors="replace"))]

    def blobs(self):
        """{digest: bytes on its disk} of all blobs, manifests included."""
        return {f"sha256:{path.parent.name}": path.stat().st_size
                for path in self.storage.glob("docker/registry/v2/blobs/sha256/*/*/data")}

    def manifest(self, repository, tag="latest"):
        """The bytes of a manifest."""
        link = self.storage / f"docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        return self.blob(link.read_text())

    def blob(self, digest):
        name = digest.removeprefix("sha256:")
        return (self.storage / f"docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data").read_bytes()


@contextlib.contextmanager
def registry(**options):
    with scratch.directory() as path:
        server = Registry(path, **options)
        try:
            yield server
        finally:
            server.end()


def skopeo(*words, check=True, **options):
    """skopeo without a policy and without the credentials of whoever runs the tests; what it remembers of blobs and
    registries (in /var/lib or its home) is forgotten."""
    command = ["skopeo", "--insecure-policy", *map(str, words)]
    if os.geteuid() == 0:
        command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /var/lib && exec "$@"', "sh", *command]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "HOME": home},
                              **options)
    if check:
        assert done.returncode == 0, (words, done.stderr)
    return done
