# SPDX-License-Identifier: Apache-2.0
"""A host with accounts of its own, and who calls Linzer there: root, an ordinary user in group linzer after
`make install-caps`, one outside of that group, one where nothing of that was done.

The host is a laboratory's (netlab.py) with a mount namespace, which ends with the test run.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess

import scratch
from conftest import BUILD, ROOT, Linzer
from netlab import Lab, sh

# what /etc needs for accounts to be made and found
ACCOUNTS = ("passwd", "group", "shadow", "gshadow", "nsswitch.conf", "login.defs")
# what udev and tmpfiles.d make; "$1" as /etc
MOUNTS = """mount --bind "$1" /etc &&
mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&
mount -t tmpfs -o mode=755 none /run/linzer && echo ready && exec sleep infinity"""


class Host:
    """Programs of an installation in `place`; `words` begin what shall run on it."""

    def __init__(self, lab, place):
        self.lab, self.place = lab, place
        for name in ACCOUNTS:
            if os.path.exists(f"/etc/{name}"):
                shutil.copy(f"/etc/{name}", lab.etc)
        pathlib.Path("/run/linzer").mkdir(exist_ok=True)
        for name in ("linzer", "linzer-net"):
            shutil.copy(BUILD / name, place / name)
            (place / name).chmod(0o755)
        (place / "tart").symlink_to("linzer")
        with lab.inside("host"):
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "--propagation",
                                             "private", "sh", "-c", MOUNTS, "sh", str(lab.etc)],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.words = ["nsenter", "-t", str(self.process.pid), "-m", "-n", "--"]

    def run(self, *words):
        return sh(*self.words, *map(str, words))

    def install_capabilities(self):
        """As `make install-caps` does."""
        return self.run(ROOT / "scripts/install-caps", self.place / "linzer-net")

    def add_caller(self, name, form, first_uid):
        """An account for who calls Linzer as root, with linzer-net's capabilities ("caps") or "none". -> uid"""
        if form == "root":
            return 0
        if form == "caps":
            self.install_capabilities()
        uid = first_uid + self.lab.number
        self.add_user(name, uid, "linzer")
        return uid

    def add_user(self, name, uid, *groups):
        """An account; of `groups` it becomes a member."""
        with open(self.lab.etc / "passwd", "a") as file:
            file.write(f"{name}:x:{uid}:{uid}::{self.place}:/bin/sh\n")
        lines = (self.lab.etc / "group").read_text().splitlines()
        lines = [line + ("," * (line[-1] != ":") + name) * (line.split(":")[0] in groups) for line in lines]
        (self.lab.etc / "group").write_text("\n".join([*lines, f"{name}:x:{uid}:", ""]))

    def end(self):
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def host(path, subnet="10.77.0.0/16"):
    """A laboratory with such a host; VMs get addresses of `subnet`."""
    with scratch.directory() as place:
        place.chmod(0o755)
        lab = Lab(path)
        (lab.etc / "linzer/net.conf").write_text(f"subnet = {subnet}\n")
        there = None
        try:
            there = Host(lab, place)
            yield there
        finally:
            if there:
                there.end()
            lab.end()


class Person(Linzer):
    """Calls the host's linzer, with a home and a runtime directory of its own."""

    def __init__(self, host, name, uid=0):
        self.root = host.place / name
        super().__init__(self.root / "home", host.place)
        self.host, self.uid, self.user = host, uid, name
        for directory in (self.root, self.home, self.home / "vms", self.root / "run"):
            directory.mkdir(mode=0o700)
        self.settings = {"HOME": str(self.root), "XDG_RUNTIME_DIR": str(self.root / "run")}
        who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups"] if uid else []
        self.before = [*host.words, *who]
        self.own()

    def own(self):
        """All that lies in the home belongs to whose home it is."""
        sh("chown", "-R", f"{self.uid}:{self.uid}", str(self.root))

    def processes(self, *names):
        """What runs in the host's network, or as this user: process numbers of those with one of the names."""
        found = []
        for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                state = comm.with_name("stat").read_text().rsplit(")", 1)[1].split()[0]
                ours = os.stat(comm.parent).st_uid == self.uid if self.uid else \
                    os.path.samestat(os.stat(comm.with_name("ns") / "net"), os.fstat(self.host.lab.namespaces["host"]))
                if ours and state != "Z" and any(comm.read_text().strip().startswith(name) for name in names):
                    found.append(int(comm.parent.name))
        return found

    def left(self):
        """Of networks and VMs, when none runs: nothing on the host, no process, nothing in the runtime directory."""
        return (self.host.lab.leftovers(), self.processes("linzer", "qemu", "passt"),
                [p.name for p in (self.root / "run").iterdir()])
