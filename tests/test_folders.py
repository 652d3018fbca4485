# SPDX-License-Identifier: Apache-2.0
"""Folders of the host in a guest (run --dir): one VM of root's for most of it, one of an ordinary user's."""

import contextlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess

import pytest

import scratch
from conftest import BUILD, Linzer
from test_life import BOOT, alive, end, eventually, runtime, status_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
OWNER, OTHER, USER = 61900, 61901, 61902
SEEN = 30  # seconds; the guest asks the host again after one
ENGINE_UID = range(0x70000000, 0x70010000)
WRITE_MODE = 'use Fcntl; umask 0; exit(!sysopen(F, $ARGV[0], O_CREAT|O_WRONLY, oct($ARGV[1])))'
# in a directory below $1: tells which ways to a set-user-ID or set-group-ID bit exist there
SET_USER_ID = f"""mkdir -p "$1/suid" && cd "$1/suid" && cp /bin/true program || exit 9
try() {{ "$@" 2>/dev/null && echo "$*"; }}
for mode in 4755 2755 6755; do
    try chmod $mode program
    try chmod $mode .
    try mkdir -m $mode made; rmdir made
    try perl -e '{WRITE_MODE}' opened $mode; rm -f opened
done; exit 0"""
AS_ROOT = 'sudo sh -c "$1" sh "$2"'
DEVICES = """for node in "c 1 3" "b 8 0" "c 0 0"; do sudo mknod "$1/node" $node 2>/dev/null && echo $node && sudo rm "$1/node"
done; exit 0"""
RENAME_WHITEOUT = "exit(syscall(316, -100, $ARGV[0], -100, $ARGV[1], 4) == -1)"


def make(path, owner, **files):
    """A folder with files that belong to `owner`."""
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
        os.chown(path / name, owner, owner)
    os.chown(path, owner, owner)
    return path


def owner_of(path):
    found = path.lstat()
    return found.st_uid, found.st_gid


def virtiofsds():
    """Process numbers."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[0].endswith(b"/virtiofsd") and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


def workers():
    """Those that serve; each has a parent that waits for it, in whose place nothing is mounted away."""
    waiting = {int(status_of(pid)["PPid"]) for pid in virtiofsds()}
    return [pid for pid in virtiofsds() if pid not in waiting]


def root_of(pid):
    return pathlib.Path(f"/proc/{pid}/root")


class Shared:
    """A VM and the folders that it shares."""

    def __init__(self, linzer, name, place):
        self.linzer, self.name, self.place = linzer, name, place

    def sh(self, script, *words, check=True):
        """In the guest, as admin."""
        return self.linzer("exec", self.name, "sh", "-c", script, "sh", *words, check=check)

    def fails(self, script, why):
        done = self.sh(script, check=False)
        assert done.returncode != 0 and why in done.stderr, done
        return True


@pytest.fixture(scope="class")
def shared(guests):
    with scratch.directory() as place:  # 0700 and root's: the owner has no way to the folders
        make(place / "plain", OWNER, hello="hello\n")
        make(place / "one", OWNER, hello="one\n")
        make(place / "two", OWNER)
        make(place / "gone", OWNER, file="there\n")
        make(place / "roots", 0, public="anybody\n", secret="root\n")
        (place / "roots/secret").chmod(0o600)
        (place / "outside").write_text("outside\n")
        guests("clone", "debian", "shared", check=True)
        guests("run", "--wait-ready", "--net-none", f"--dir={place}/plain", f"--dir=one:{place}/one:ro,tag=named",
               "--dir=two:./two:tag=named", f"--dir={place}/gone:tag=gone", f"--dir={place}/roots:tag=roots",
               "shared", check=True, timeout=3 * BOOT, cwd=place)
        yield Shared(guests, "shared", place)
        end(guests, "shared")


class TestShared:
    def test_folders_are_mounted_when_the_agent_answers(self, shared):
        assert shared.sh("cat /mnt/shared/hello /mnt/named/one/hello /mnt/gone/file").stdout == "hello\none\nthere\n"

    def test_the_default_tag_is_mounted_by_hand(self, shared):
        """As guests do that have no agent of ours."""
        mount = "sudo mount -t virtiofs com.apple.virtio-fs.automount /tmp/by-hand"
        assert shared.sh(f"mkdir /tmp/by-hand && {mount} && cat /tmp/by-hand/hello; sudo umount /tmp/by-hand").stdout == "hello\n"

    def test_its_guest_has_no_card(self, shared):
        """It is run with --net-none."""
        assert shared.sh("ls /sys/class/net").stdout == "lo\n"

    def test_named_folders_are_all_that_their_tag_has(self, shared):
        assert shared.sh("ls -A /mnt/named").stdout.split() == ["one", "two"]
        assert shared.fails("sudo mkdir /mnt/named/three", "Read-only file system")

    @pytest.mark.parametrize("where", ["/mnt/shared", "/mnt/named/two"])
    def test_root_and_the_login_user_write_and_the_owner_has_it(self, shared, where):
        folder = shared.place / ("plain" if where == "/mnt/shared" else "two")
        shared.sh(f"echo admin >{where}/by-admin && sudo sh -c 'echo root >{where}/by-root && mkdir {where}/d && ln -s x {where}/l'")
        assert (folder / "by-admin").read_text() == "admin\n" and (folder / "by-root").read_text() == "root\n"
        assert {owner_of(folder / name) for name in ("by-admin", "by-root", "d", "l")} == {(OWNER, OWNER)}
        assert shared.sh(f"stat -c %U {where}/by-root").stdout == "admin\n"

    def test_another_user_writes_where_the_mode_lets_others(self, shared):
        shared.sh("mkdir -m 777 /mnt/shared/open && sudo -u nobody sh -c 'echo x >/mnt/shared/open/by-nobody'")
        assert owner_of(shared.place / "plain/open/by-nobody") == (OWNER, OWNER)

    def test_chown_changes_nothing_on_the_host(self, shared):
        shared.sh("touch /mnt/shared/owned && sudo chown root:daemon /mnt/shared/owned")
        assert owner_of(shared.place / "plain/owned") == (OWNER, OWNER)

    def test_no_way_to_a_set_user_id_file(self, shared):
        for words in ((SET_USER_ID,), (AS_ROOT, SET_USER_ID)):
            allowed = shared.sh(*words, "/home/admin").stdout.splitlines()  # where nothing forbids it
            assert len(allowed) == 3 * 4, allowed
            assert shared.sh(*words, "/mnt/shared").stdout == ""
        modes = [path.lstat().st_mode for path in (shared.place / "plain").rglob("*")]
        assert len(modes) > 3 and not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes)

    def test_no_way_to_a_device_file(self, shared):
        assert shared.sh(DEVICES, "/root").stdout.splitlines() == ["c 1 3", "b 8 0", "c 0 0"]
        assert shared.sh(DEVICES, "/mnt/shared").stdout == ""
        kinds = [stat.S_IFMT(path.lstat().st_mode) for path in (shared.place / "plain").rglob("*")]
        assert stat.S_IFREG in kinds and not {stat.S_IFCHR, stat.S_IFBLK} & set(kinds)

    def test_no_device_file_by_a_rename(self, shared):
        """RENAME_WHITEOUT leaves a device 0:0 behind, which needs no privilege."""
        shared.sh("echo x >/mnt/shared/from")
        assert shared.sh(f"sudo perl -e '{RENAME_WHITEOUT}' /mnt/shared/from /mnt/shared/to", check=False).returncode == 1
        assert (shared.place / "plain/from").read_text() == "x\n" and not (shared.place / "plain/to").exists()

    def test_read_only_is_the_hosts_to_say(self, shared):
        before = sorted(os.listdir(shared.place / "one"))
        shared.sh("sudo mount -o remount,rw /mnt/named")
        for change in ("touch /mnt/named/one/new", "rm /mnt/named/one/hello", "chmod 777 /mnt/named/one/hello",
                       "sh -c 'echo x >>/mnt/named/one/hello'", "mv /mnt/named/one/hello /mnt/named/two/hello"):
            assert shared.sh(f"sudo {change}", check=False).returncode != 0
        assert shared.fails("sudo touch /mnt/named/one/new", "Read-only file system")
        assert (shared.place / "one/hello").read_text() == "one\n" and sorted(os.listdir(shared.place / "one")) == before

    def test_each_side_sees_the_others_changes(self, shared):
        folder, file = shared.place / "plain", shared.place / "plain/both"
        file.write_text("first\n")
        file.chmod(0o666)
        eventually(lambda: shared.sh("cat /mnt/shared/both", check=False).stdout == "first\n", SEEN)
        file.write_text("and second\n")
        eventually(lambda: shared.sh("cat /mnt/shared/both").stdout == "and second\n", SEEN)
        shared.sh("echo third >>/mnt/shared/both && mv /mnt/shared/both /mnt/shared/renamed")
        assert (folder / "renamed").read_text() == "and second\nthird\n" and not file.exists()
        (folder / "renamed").unlink()
        eventually(lambda: "renamed" not in shared.sh("ls /mnt/shared").stdout, SEEN)

    def test_links_lead_nowhere_on_the_host(self, shared):
        outside = shared.place / "outside"
        (shared.place / "plain/by-host").symlink_to(outside)
        (shared.place / "plain/upwards").symlink_to("../outside")
        shared.sh(f"ln -s {outside} /mnt/shared/by-guest")
        for name in ("by-host", "by-guest", "upwards"):
            assert shared.fails(f"sudo cat /mnt/shared/{name}", "No such file or directory")
            assert (shared.place / "plain" / name).read_text() == "outside\n"
        assert shared.sh("cat /mnt/shared/hello").stdout == "hello\n"

    def test_roots_folder_is_served_as_nobody_of_note(self, shared):
        assert shared.sh("cat /mnt/roots/public").stdout == "anybody\n"
        assert shared.fails("sudo cat /mnt/roots/secret", "Permission denied")
        assert shared.fails("sudo touch /mnt/roots/new", "Permission denied")
        log = (shared.linzer.vm("shared") / "run.log").read_text()
        assert log == (f"the folder '{shared.place}/roots' is root's, as whom no folder is served: the guest may do there "
                       "what anybody may; give it another owner to let it write\n")

    def test_who_serves_is_locked_in(self, shared):
        serving = workers()
        users = sorted(int(status_of(pid)["Uid"].split()[0]) for pid in virtiofsds())
        assert users.count(OWNER) == 6 and users[-1] in ENGINE_UID and len(serving) == 4
        for pid in virtiofsds():
            status = status_of(pid)
            assert len(set(status["Uid"].split())) == len(set(status["Gid"].split())) == 1
            assert status["Gid"].split()[0] != "0" and status["Groups"].split() == []
            assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
            for kind in ("user", "mnt"):
                assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        for pid in serving:
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")

    def test_who_serves_has_the_folders_and_no_other_file(self, shared):
        roots = {tuple(sorted(os.listdir(root_of(pid)))): pid for pid in workers()}
        expected = [sorted(os.listdir(shared.place / name)) for name in ("plain", "roots")] + [["one", "two"]]
        for names in expected:
            assert tuple(names) in roots
        pid = roots[("one", "two")]
        mounts = {line.split()[4]: set(line.split()[5].split(","))
                  for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
        assert {"ro", "nosuid", "nodev"} <= mounts["/one"] and {"rw", "nosuid", "nodev"} <= mounts["/two"]
        assert {"ro", "nosuid", "nodev"} <= mounts["/"] and set(mounts) == {"/", "/one", "/two"}

    def test_a_folder_that_vanishes_harms_nothing_else(self, shared):
        folder = shared.place / "gone"
        shared.sh("cat /mnt/gone/file")
        shutil.rmtree(folder)
        eventually(lambda: shared.sh("cat /mnt/gone/file", check=False).returncode != 0, SEEN)
        assert shared.sh("echo x >/mnt/gone/new", check=False).returncode != 0
        assert not folder.exists()
        make(folder, OWNER, file="another\n")  # of the same name, and not the one that was shared
        assert shared.sh("cat /mnt/gone/file", check=False).returncode != 0
        assert shared.sh("cat /mnt/shared/hello").stdout == "hello\n"


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    yield "vm"
    linzer("stop", "vm", "--timeout", 1)


@pytest.fixture
def place():
    with scratch.directory() as path:
        make(path / "a", OWNER)
        make(path / "b", OTHER)
        (path / "file").write_text("")
        yield path


@pytest.mark.parametrize("values, message", [
    (["{}/absent"], "the folder '{}/absent' does not exist"),
    (["{}/file"], "'{}/file' is not a folder"),
    (["/"], "'/' cannot be shared, but the folders in it can: name one"),
    (["{}/a/../../../../../../.."], "'/' cannot be shared, but the folders in it can: name one"),
    (["/proc/self"], None), (["/sys"], "'/sys' belongs to the kernel and cannot be shared"),
    (["a:{}/a", "b:{}/b"], "the folders '{}/a' and '{}/b' belong to different users: give each a tag of its own (tag=TAG)"),
    ([f"{{}}/a:tag=t{n}" for n in range(9)], "--dir: at most 8 tags"),
], ids=["absent", "file", "root", "root-by-dots", "proc", "sys", "owners", "tags"])
def test_folders_that_cannot_be_shared(linzer, vm, place, values, message):
    done = linzer("run", *[f"--dir={value.format(place)}" for value in values], vm)
    assert done.returncode == 1 and done.stdout == ""
    if message:
        assert done.stderr == message.format(place, place) + "\n"
    else:
        assert done.stderr.endswith("' belongs to the kernel and cannot be shared\n") and done.stderr.count("\n") == 1
    assert virtiofsds() == []


@pytest.mark.parametrize("second", ["absent", "b:tag=t8"])
def test_nothing_is_started_for_folders_of_which_one_cannot_be_shared(linzer, vm, place, second):
    program = place / "virtiofsd"
    program.write_text(f"#!/bin/sh\necho >{place}/started\n")
    program.chmod(0o755)
    folders = [f"--dir={place}/a:tag=t{n}" for n in range(8)] + [f"--dir={place}/{second}"]
    done = linzer("run", *folders, vm, env={"LINZER_VIRTIOFSD": str(program)})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert not (place / "started").exists()


@pytest.mark.parametrize("values, message", [
    (["{}/a", "{}/b"], "invalid --dir syntax: for multiple directory shares each one of them should be named"),
    (["a:{}/a:tag=t", "{}/b:tag=t"], "invalid --dir syntax: for multiple directory shares each one of them should be named"),
    (["a:{}/a", "a:{}/b"], "--dir: two folders are called 'a'"),
    (["{}/a:ro,wr"], "--dir {}/a:ro,wr: no such option: 'wr' (there are ro and tag=TAG)"),
    (["{}/a:tag=../x"], "--dir {}/a:tag=../x: a tag has letters, digits and, not first, '.', '-' and '_', which '../x' has not"),
])
def test_mistakes_are_one_line(linzer, vm, place, values, message):
    done = linzer("run", *[f"--dir={value.format(place)}" for value in values], vm)
    assert done.returncode == 64 and done.stderr.splitlines()[0] == "Error: " + message.format(place)


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_nothing_is_left_of_a_run(linzer, vm, place, how):
    linzer("run", "--detach", f"--dir={place}/a", f"--dir={place}/b:tag=t", vm, check=True)
    assert len(virtiofsds()) == 4
    if how == "SIGINT":
        linzer.switch_off(vm)
        assert virtiofsds() == []
    else:
        os.kill(runtime(linzer, vm)["pid"], signal.SIGKILL)
        eventually(lambda: virtiofsds() == [], 60)


def test_a_vm_outlives_who_serves_its_folders(linzer, vm, place):
    linzer("run", "--detach", f"--dir={place}/a:tag=t", vm, check=True)
    serving, = workers()
    os.kill(serving, signal.SIGKILL)
    log = linzer.vm(vm) / "run.log"
    eventually(lambda: log.read_text() != "", 30)
    assert log.read_text() == "the folders of tag 't' are gone: virtiofsd ended\n"
    assert alive(runtime(linzer, vm)["qemuPid"])


@pytest.mark.parametrize("script, message", [
    ("echo boom >&2; exit 1", "--dir: virtiofsd failed: boom\n"),
    ("exit 1", "--dir: virtiofsd failed\n"),
])
def test_virtiofsd_that_fails(linzer, vm, place, script, message):
    program = place / "virtiofsd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    place.chmod(0o755)
    done = linzer("run", f"--dir={place}/a", vm, env={"LINZER_VIRTIOFSD": str(program)})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


def test_virtiofsd_in_rust_is_started_as_it_wants_to_be(linzer, vm, place):
    """A stand-in of 1.13, which other hosts have: it tells what it was given, as the reason why it fails."""
    program = place / "virtiofsd"
    program.write_text("#!/bin/sh\n[ \"$*\" = --version ] && exec echo virtiofsd 1.13.2\n"
                       "[ -S /proc/self/fd/3 ] && kind=socket\necho \"$* $kind $(id -u)\" >&2\nexit 1\n")
    program.chmod(0o755)
    place.chmod(0o755)
    done = linzer("run", f"--dir={place}/a", vm, env={"LINZER_VIRTIOFSD": str(program)})
    assert done.stderr == ("--dir: virtiofsd failed: --fd=3 --shared-dir=/sys --sandbox=namespace --log-level=error "
                           "--rlimit-nofile=0 --translate-uid=host:0:1000:1 --translate-gid=host:0:1000:1 socket 0\n")


def test_a_qemu_that_fails_is_not_blamed_on_virtiofsd(linzer, vm, place):
    program = place / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\necho no such machine >&2\nexit 1\n")
    program.chmod(0o755)
    place.chmod(0o755)
    done = linzer("run", f"--dir={place}/a", vm, env={"PATH": f"{place}:{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (1, "failed to start the VM: no such machine\n")


def test_virtiofsd_that_is_not_there(linzer, vm, place):
    done = linzer("run", f"--dir={place}/a", vm, env={"LINZER_VIRTIOFSD": f"{place}/none"})
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and f"cannot run '{place}/none'" in done.stderr


class UsersLinzer(Linzer):
    """What is called through it runs as the user."""

    def environment(self, **extra):
        return {**super().environment(**extra), "HOME": str(self.home)}

    def program(self, name="linzer"):
        return str(BUILD / name)

    def __call__(self, *args, **options):
        return super().__call__(*args, user=USER, group=USER, extra_groups=[], **options)


@pytest.fixture(scope="class")
def users(image_home, tmp_path_factory):
    """An ordinary user's VM; its folders are the user's, and one is somebody else's."""
    with scratch.directory() as place:
        place.chmod(0o755)
        (place / "home/vms").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", image_home / "vms/debian", place / "home/vms/net"], check=True)
        make(place / "home/src", USER, hello="hello\n")
        subprocess.run(["chown", "-R", f"{USER}:{USER}", place / "home"], check=True)
        make(place / "others", OTHER, public="anybody\n")
        linzer = UsersLinzer(place / "home", tmp_path_factory.mktemp("names"))
        linzer("run", "--wait-ready", "--net-none", "--dir=src:~/src", f"--dir=locked:{place}/home/src:ro",
               f"--dir={place}/others:tag=others", "net", check=True, timeout=3 * BOOT)
        yield Shared(linzer, "net", place / "home")
        linzer("stop", "net", "--timeout", 1)
        linzer.end()


class TestUsers:
    def test_all_of_it_is_the_users(self, users):
        assert users.sh("cat /mnt/shared/src/hello").stdout == "hello\n"
        users.sh("echo admin >/mnt/shared/src/by-admin && sudo touch /mnt/shared/src/by-root && sudo chown 7 /mnt/shared/src/by-root")
        assert {owner_of(users.place / "src" / name) for name in ("by-admin", "by-root")} == {(USER, USER)}
        assert {status_of(pid)["Uid"].split()[0] for pid in virtiofsds()} == {str(USER)}

    def test_read_only_is_the_hosts_to_say(self, users):
        assert users.sh("cat /mnt/shared/locked/hello").stdout == "hello\n"
        users.sh("sudo mount -o remount,rw /mnt/shared")
        assert users.fails("sudo touch /mnt/shared/locked/new", "Read-only file system")
        assert not (users.place / "src/new").exists()

    def test_no_set_user_id_and_no_device_file(self, users):
        users.sh("cp /bin/true /mnt/shared/src/program")
        assert users.fails("sudo chmod 4755 /mnt/shared/src/program", "Operation not permitted")
        assert users.fails("sudo mknod /mnt/shared/src/node c 0 0", "Operation not permitted")
        assert not (users.place / "src/node").exists()
        assert not (users.place / "src/program").stat().st_mode & stat.S_ISUID

    def test_others_files_are_as_they_are_to_the_user(self, users):
        assert users.sh("cat /mnt/others/public").stdout == "anybody\n"
        assert users.fails("sudo touch /mnt/others/new", "Permission denied")
