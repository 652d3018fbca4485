# SPDX-License-Identifier: Apache-2.0
"""The Debian package (`make deb`): installed by dpkg into a throw-away root, used by an ordinary user, purged.

The root is an overlay over this machine's, in a mount namespace and with a network of its own: what dpkg and the
maintainer scripts do there is seen in the overlay's upper layer, and goes with the test.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import stat
import subprocess

import pytest

import scratch
from conftest import ROOT
from netlab import Lab, sh
from test_life import BOOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and users need root")
UID = 61700
# "$1": the upper layer's place, "$2": the user's home on a real disk
MOUNTS = """mount -t tmpfs -o mode=755 none "$1" && mkdir "$1/upper" "$1/work" "$1/root" &&
mount -t overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" none "$1/root" && cd "$1/root" &&
for d in proc sys dev; do mount --rbind /$d $d || exit; done &&
mount -t tmpfs -o mode=755 none dev/net && mknod -m 666 dev/net/tun c 10 200 &&
mkdir -p home/mia && mount --bind "$2" home/mia && echo ready && exec sleep infinity"""
# dpkg's own book-keeping, what its triggers made, and copies that account tools keep
BOOKS = re.compile(r"(var/lib/dpkg|var/log|var/cache)/.*|etc/(passwd|group|shadow|gshadow|subuid|subgid)-|etc/\.pwd\.lock")


def control():
    """Field -> text of debian/control's package."""
    text = (ROOT / "debian/control").read_text().split("\n\n")[1]
    return {field: " ".join(value.split()) for field, value in
            re.findall(r"^(\w[\w-]*):((?:.*\n)(?: .*\n)*)", text + "\n", re.M)}


def names(text):
    return set(re.findall(r"(?:^|[,|]) *([a-z0-9][a-z0-9.+-]+)", text))


def test_the_package_wants_what_deps_installs():
    lists = dict(re.findall(r'^(\w+)="([^"]*)"', (ROOT / "scripts/deps").read_text(), re.M))
    fields = control()
    assert set(lists["run"].split()) <= names(fields["Depends"]) | names(fields["Suggests"])
    source = (ROOT / "debian/control").read_text()
    wanted = names(re.search(r"Build-Depends:((?:.*\n)(?: .*\n)*)", source)[1].replace("\n", " "))
    assert wanted == set(lists["build"].split()) - {"git", "dpkg-dev"}


def test_the_packages_version_is_the_programs():
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    assert (ROOT / "debian/changelog").read_text().startswith(f"linzer ({version}) ")


@pytest.fixture(scope="module")
def package():
    """As `make deb` builds it."""
    env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "DESTDIR", "OUT")}
    done = subprocess.run([ROOT / "scripts/deb"], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, timeout=3600)
    assert done.returncode == 0, done.stderr
    return ROOT / done.stdout.strip()


def content(path):
    """What a change of would be a change of the file."""
    st = path.lstat()
    if stat.S_ISREG(st.st_mode):
        data = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        data = os.readlink(path) if path.is_symlink() else st.st_rdev
    marks = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
             if name.startswith(("security.", "user."))}
    return stat.filemode(st.st_mode), st.st_uid, st.st_gid, data, marks


class Machine:
    """The overlay, entered by `words`."""

    def __init__(self, lab, place, home):
        place.mkdir()
        with lab.inside("host"):
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "--propagation", "private", "sh",
                                             "-c", MOUNTS, "sh", place, home], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.upper = pathlib.Path(f"/proc/{self.process.pid}/root{place}/upper")
        self.words = ["nsenter", "-t", str(self.process.pid), "-m", "-n", "--", "chroot", str(place / "root")]

    def run(self, *words):
        return sh(*self.words, *map(str, words))

    def as_user(self, *words, **options):
        env = {"PATH": "/usr/bin:/bin", "HOME": "/home/mia", "XDG_RUNTIME_DIR": f"/run/user/{UID}", "LANG": "C.UTF-8"}
        return subprocess.run([*self.words, "setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups", "env", "-i",
                               *(f"{name}={value}" for name, value in env.items()), *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, **options)

    def changes(self):
        """Path -> content of all that this root has otherwise than the machine below it, but books."""
        found = {}
        for place, directories, files in os.walk(self.upper):
            for name in directories + files:
                path = pathlib.Path(place, name)
                below = pathlib.Path("/", path.relative_to(self.upper))
                if BOOKS.fullmatch(str(path.relative_to(self.upper))):
                    continue
                if not os.path.lexists(below) or not path.is_dir() and content(path) != content(below):
                    found[str(below)] = content(path)
        return found

    def end(self):
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def machine(path):
    with scratch.directory() as place:
        place.chmod(0o755)
        home = place / "mia"
        home.mkdir()
        lab, there = Lab(path), None
        try:
            there = Machine(lab, place / "overlay", home)
            there.home = home
            yield there
        finally:
            if there:
                there.end()
            lab.end()


def add_user(there):
    there.run("rm", "-rf", "/run/linzer")  # this machine's
    there.run("useradd", "--uid", UID, "--user-group", "--no-create-home", "--home-dir", "/home/mia", "--shell", "/bin/sh", "mia")
    there.run("install", "-d", "-m", "700", "-o", "mia", "-g", "mia", f"/run/user/{UID}")
    sh("chown", "-R", f"{UID}:{UID}", str(there.home))


def installed_paths(package):
    return {line.split(maxsplit=5)[5][1:] for line in sh("dpkg-deb", "-c", str(package)).splitlines() if not line.endswith("/")}


def demo(there):
    """scripts/demo on the installed program, by an ordinary user."""
    there.home.joinpath("scripts").mkdir()
    there.home.joinpath("scripts/demo").write_bytes((ROOT / "scripts/demo").read_bytes())
    done = there.as_user("env", "BUILD=/usr/bin", "sh", "/home/mia/scripts/demo", timeout=4 * BOOT)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()


def test_install_demo_and_purge_leave_nothing(package, image_home, tmp_path):
    with machine(tmp_path) as there:
        (there.home / ".tart/vms").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", image_home / "vms/debian", there.home / ".tart/vms"], check=True)
        (there.home / package.name).write_bytes(package.read_bytes())
        add_user(there)
        before = there.changes()

        there.run("dpkg", "--install", f"/home/mia/{package.name}")
        added = set(there.changes()) - set(before)
        assert installed_paths(package) <= added
        assert {"/etc/tmpfiles.d/linzer.conf", "/usr/libexec/linzer/linzer-net-plain"} <= added
        assert there.run("stat", "-c", "%a %U %G", "/run/linzer") == "750 root linzer\n"
        assert there.run("getcap", "/usr/libexec/linzer/linzer-net").split()[1] == "cap_net_admin,cap_net_raw=ep"
        there.run("usermod", "--append", "--groups", "linzer", "mia")
        there.run("dpkg", "--install", f"/home/mia/{package.name}")  # an upgrade keeps who may do what
        assert there.run("stat", "-c", "%a %U %G", "/usr/libexec/linzer/linzer-net") == "750 root linzer\n"
        there.run("mkdir", "-p", "/etc/linzer")
        there.run("sh", "-c", "echo subnet = 10.78.0.0/16 >/etc/linzer/net.conf")

        lines = demo(there)
        assert lines[0].startswith("demo: linzer clone debian ") and lines[-1] == "demo: done"
        assert any(line.startswith("demo: its address is 10.78.") for line in lines)
        assert sum(line.startswith("Linux ") for line in lines) == 2  # by exec and by SSH
        doctor = there.as_user("linzer", "doctor")
        assert doctor.returncode == 0 and "linzer-net has its capabilities" in doctor.stdout

        there.run("dpkg", "--remove", "linzer")
        left = set(there.changes()) - set(before)
        assert left == {"/etc/tmpfiles.d/linzer.conf", "/etc/linzer", "/etc/linzer/net.conf"} | \
            {path for path in left if path.startswith("/run/linzer")}
        there.run("dpkg", "--purge", "linzer")
        assert there.changes() == before
        assert "linzer" not in there.run("cat", "/etc/group", "/etc/gshadow")
        assert there.as_user("cat", "/home/mia/.tart/vms/debian/config.json").returncode == 0  # VMs are their user's


def test_configured_where_files_keep_no_capabilities(package, tmp_path):
    """As in some containers; ramfs has no extended attributes. dpkg is content, and one line tells the user."""
    with machine(tmp_path) as there:
        (there.home / package.name).write_bytes(package.read_bytes())
        add_user(there)
        there.run("mkdir", "-p", "/usr/libexec/linzer")
        there.run("mount", "-t", "ramfs", "none", "/usr/libexec/linzer")
        there.run("chmod", "755", "/usr/libexec/linzer")
        done = subprocess.run([*there.words, "dpkg", "--install", f"/home/mia/{package.name}"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0 and "/usr/libexec/linzer/linzer-net' cannot have capabilities (" in done.stderr, done
        assert there.run("dpkg-query", "-f", "${Status}", "-W", "linzer") == "install ok installed"


def test_a_purge_does_not_pull_the_locks_from_under_running_vms(tmp_path):
    """A keeper locks /run/linzer by its name. /etc, /run and /usr/libexec are empty ones, and so is the list of processes."""
    script = """for d in etc run usr/libexec; do mount -t tmpfs none /$d || exit; done
    mkdir -p /run/linzer/uid /etc/tmpfiles.d /usr/libexec/linzer
    cp "$(command -v sleep)" /usr/libexec/linzer/linzer-net
    /usr/libexec/linzer/linzer-net infinity & keeper=$!
    until readlink /proc/$keeper/exe | grep -q linzer-net; do :; done
    rm /usr/libexec/linzer/linzer-net
    sh debian/postrm purge && ls /run/linzer
    { kill $keeper; wait $keeper; } 2>/dev/null
    sh debian/postrm purge && [ ! -e /run/linzer ]"""
    (tmp_path / "getent").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "getent").chmod(0o755)
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script],
                          cwd=ROOT, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"})
    assert (done.returncode, done.stdout) == (0, "uid\n"), done
    assert done.stderr == "VMs still run: /run/linzer stays until the next boot\n"


def test_a_group_that_cannot_go_does_not_keep_the_package(tmp_path):
    """It is somebody's primary group; /etc and /run are empty ones."""
    for name, text in {"groupdel": "echo cannot >&2; exit 8", "getent": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = "mount -t tmpfs none /etc && mount -t tmpfs none /run && mkdir -p /run/linzer/uid /etc/tmpfiles.d && sh debian/postrm purge && ls /run"
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                           script], cwd=ROOT, capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "cannot\nthe group linzer stays\n")
