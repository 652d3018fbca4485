# SPDX-License-Identifier: Apache-2.0
"""cp: what becomes of what, what is kept, and guests that lie.

First without a VM (agent_stage.py: the "guest" is this machine), or with an impostor in an agent's place; then in a guest.
"""

import io
import os
import random
import signal
import stat
import tarfile
import threading
import time

import pytest

from agent_impostor import OK_HEADERS, SETTINGS, Impostor, exited, output
from agent_stage import running, stage  # noqa: F401 (fixtures)
from terminal import SECONDS, Terminal
from test_life import end, start


def describe(root):
    """All of a tree: kind, mode, time in ns, content, and which names are one file."""
    names, tree = {}, {}
    for directory, folders, files in os.walk(root):
        for path in [directory] * (directory == str(root)) + [os.path.join(directory, name) for name in folders + files]:
            state = os.lstat(path)
            inside = os.path.relpath(path, root)
            what = os.readlink(path) if stat.S_ISLNK(state.st_mode) else \
                open(path, "rb").read() if stat.S_ISREG(state.st_mode) else None
            first = names.setdefault(state.st_ino, inside) if stat.S_ISREG(state.st_mode) else None
            tree[inside] = (state.st_mode, state.st_mtime_ns, what, first)
    return tree


def grow(root, files, seed=1):
    """A tree with a bit of everything."""
    chance = random.Random(seed)
    root.mkdir()
    folders = [root]
    for number in range(files):
        if number % 20 == 0:
            folders.append(chance.choice(folders[-5:]) / f"folder {number}")
            folders[-1].mkdir()
        path = chance.choice(folders) / f"file-{number}"
        path.write_bytes(chance.randbytes(chance.choice([0, 10, 511, 512, 5000, 70_000] if number % 50 == 0 else [0, 10, 600])))
        path.chmod(chance.choice([0o600, 0o644, 0o755, 0o400, 0o777]))
        os.utime(path, ns=(0, chance.randrange(10**18, 17 * 10**17)))
        if number % 10 == 3:
            os.link(path, chance.choice(folders) / f"hard-{number}")
        if number % 10 == 5:
            link = chance.choice(folders) / f"link-{number}"
            link.symlink_to(chance.choice(["/nowhere", "../x", path.name]))
            os.utime(link, ns=(0, 10**18 + number), follow_symlinks=False)
    (root / ("long" * 40)).mkdir()
    (root / ("long" * 40) / ("name" * 40)).write_text("long")
    (root / "Ünïcödé \n\t").write_text("odd")
    (root / "-f").write_text("dash")
    with open(root / "holes", "wb") as holes:
        holes.seek(300_000)
        holes.write(b"end")
    for folder in reversed(folders):
        if folder != root:
            folder.chmod(chance.choice([0o700, 0o755, 0o555]))
        os.utime(folder, ns=(0, chance.randrange(10**18, 17 * 10**17)))
    return root


@pytest.fixture
def cp(stage, tmp_path):
    def copy(*args, **options):
        return stage.linzer("cp", *args, cwd=tmp_path, **options)

    return copy


# ---- what becomes of what ----


def test_a_tree_goes_in_and_out_as_it_was(cp, tmp_path):
    tree = grow(tmp_path / "tree", 200)
    cp(tree, f"vm:{tmp_path}/there", check=True)
    assert describe(tmp_path / "there") == describe(tree)
    cp(f"vm:{tmp_path}/there", "back", check=True)
    assert describe(tmp_path / "back") == describe(tree)
    assert (tmp_path / "back/holes").stat().st_blocks * 512 < 100_000


@pytest.mark.parametrize("into", [True, False])
class TestNames:
    """The table of docker cp, in both directions; what is refused leaves everything as it was."""

    @pytest.fixture
    def names(self, tmp_path, cp, into):
        for folder in ("d", "e", "d/sub"):
            (tmp_path / folder).mkdir()
        for name, text in {"f": "f", "g": "g", "d/x": "x", "d/sub/y": "y"}.items():
            (tmp_path / name).write_text(text)
        (tmp_path / "to-f").symlink_to("f")
        (tmp_path / "to-d").symlink_to("d")

        def copy(source, destination, **options):
            source, destination = (f"{tmp_path}/{source}", f"vm:{tmp_path}/{destination}") if into else \
                (f"vm:{tmp_path}/{source}", destination)
            return cp(source, destination, **options)

        return copy

    def texts(self, root):
        return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}

    def test_a_file_to_a_new_name(self, names, tmp_path):
        names("f", "new", check=True)
        assert (tmp_path / "new").read_text() == "f"

    def test_a_file_over_a_file(self, names, tmp_path):
        names("f", "g", check=True)
        assert (tmp_path / "g").read_text() == "f"

    def test_a_file_into_a_folder(self, names, tmp_path):
        names("f", "e", check=True)
        names("g", "e/", check=True)
        assert self.texts(tmp_path / "e") == {"f": "f", "g": "g"}

    def test_a_folder_to_a_new_name(self, names, tmp_path):
        names("d", "new", check=True)
        assert self.texts(tmp_path / "new") == {"x": "x", "sub/y": "y"}

    def test_a_folder_into_a_folder(self, names, tmp_path):
        names("d", "e", check=True)
        names("d/sub/", "e", check=True)
        assert self.texts(tmp_path / "e") == {"d/x": "x", "d/sub/y": "y", "sub/y": "y"}

    def test_what_is_in_a_folder(self, names, tmp_path):
        (tmp_path / "e").chmod(0o711)
        names("d/.", "e", check=True)
        names("d/.", "new", check=True)
        assert self.texts(tmp_path / "e") == self.texts(tmp_path / "new") == {"x": "x", "sub/y": "y"}
        assert (tmp_path / "e").stat().st_mode & 0o7777 == 0o711

    def test_folders_are_merged(self, names, tmp_path):
        (tmp_path / "e/d").mkdir()
        (tmp_path / "e/d/old").write_text("old")
        (tmp_path / "e/d/x").write_text("old")
        names("d", "e", check=True)
        assert self.texts(tmp_path / "e") == {"d/x": "x", "d/sub/y": "y", "d/old": "old"}

    def test_a_link_is_copied_as_one(self, names, tmp_path):
        names("to-f", "e", check=True)
        names("to-d", "e", check=True)
        assert os.readlink(tmp_path / "e/to-f") == "f" and os.readlink(tmp_path / "e/to-d") == "d"
        names("to-d/.", "new", check=True)
        assert self.texts(tmp_path / "new") == {"x": "x", "sub/y": "y"}

    def test_a_link_as_destination_is_followed(self, names, tmp_path):
        names("g", "to-f", check=True)
        names("g", "to-d", check=True)
        assert (tmp_path / "to-f").is_symlink() and (tmp_path / "to-d").is_symlink()
        assert (tmp_path / "f").read_text() == "g" and (tmp_path / "d/g").read_text() == "g"

    @pytest.mark.parametrize("source, destination", [("f", "new/"), ("f", "g/"), ("f", "no/such"), ("d", "f"), ("d", "no/such"),
                                                     ("none", "new"), ("f/", "new")])
    def test_what_is_refused(self, names, tmp_path, source, destination):
        before = describe(tmp_path)
        done = names(source, destination)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""
        after = describe(tmp_path)
        assert {name: entry for name, entry in after.items() if name != "names"} == \
            {name: entry for name, entry in before.items() if name != "names"}


def test_paths_start_at_home(stage, cp, tmp_path):
    (tmp_path / "a").write_text("a")
    home = stage.exec("vm", "sh", "-c", "mktemp -d ./linzer-cp-XXXXXX", check=True).stdout.strip().removeprefix("./")
    try:
        cp("a", f"vm:{home}/b", check=True)
        cp(f"vm:~/{home}/b", "c", check=True)
        assert (tmp_path / "c").read_text() == "a"
    finally:
        stage.exec("vm", "rm", "-r", home, check=True)


def test_a_local_name_with_a_colon(cp, tmp_path):
    (tmp_path / "a:b").write_text("a")
    cp("./a:b", f"vm:{tmp_path}/c", check=True)
    assert (tmp_path / "c").read_text() == "a"


@pytest.mark.parametrize("source, destination, message", [
    ("a", "b", "one of the two must be in a VM, as NAME:PATH\n"),
    ("vm:a", "vm:b", "only one of the two must be in a VM, as NAME:PATH\n"),
])
def test_which_side_is_the_vm(cp, source, destination, message):
    done = cp(source, destination)
    assert (done.returncode, done.stderr) == (1, message)


def test_a_vm_that_is_not_there_or_does_not_run(cp, stage):
    assert cp("/etc/hostname", "nobody:/tmp/x").returncode == 2
    stage.linzer("create", "--linux", "--disk-size", "1", "stopped", check=True)
    done = cp("/etc/hostname", "stopped:/tmp/x")
    assert (done.returncode, done.stderr) == (2, 'VM "stopped" is not running\n')


def test_pipes_and_sockets_are_left_out_and_said(cp, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("file")
    os.mkfifo(tmp_path / "d/pipe")
    for source, destination, copy in (("d", f"vm:{tmp_path}/in", "in"), (f"vm:{tmp_path}/d", "out", "out")):
        done = cp(source, destination, check=True)
        assert done.stderr == "Not copied: 1 devices, pipes or sockets\n"
        assert os.listdir(tmp_path / copy) == ["file"]
    assert cp("d/pipe", f"vm:{tmp_path}/x").returncode == 1
    assert cp(f"vm:{tmp_path}/d/pipe", "x").returncode == 1
    assert cp(f"vm:{tmp_path}/d/file", "d/pipe").returncode == 1


def test_modes_are_kept_whatever_the_umask(cp, tmp_path):
    """As docker cp and scp -p do; a folder's, too."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("a")
    for path, mode in (("d/a", 0o666), ("d", 0o777)):
        (tmp_path / path).chmod(mode)
    cp(f"vm:{tmp_path}/d", "e", check=True, preexec_fn=lambda: os.umask(0o077))
    assert [(tmp_path / path).stat().st_mode & 0o7777 for path in ("e", "e/a")] == [0o777, 0o666]


def test_set_user_id_does_not_come_out(cp, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "a").chmod(0o6755)
    cp(f"vm:{tmp_path}/a", "b", check=True)
    assert (tmp_path / "b").stat().st_mode & 0o7777 == 0o755


def test_what_the_guest_cannot_do_is_said(cp, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").mkdir()
    done = cp("a", f"vm:{tmp_path}/d")
    assert (done.returncode, done.stderr) == (1, f"in the VM: '{tmp_path}/d/a' is a folder\n")
    done = cp("a", "vm:/proc/x")
    assert done.returncode == 1 and done.stderr.startswith("in the VM: tar: ")


def test_a_file_larger_than_all_buffers(cp, tmp_path):
    content = random.Random(7).randbytes(30_000_000)
    (tmp_path / "a").write_bytes(content)
    cp("a", f"vm:{tmp_path}/b", check=True)
    cp(f"vm:{tmp_path}/b", "c", check=True)
    assert (tmp_path / "c").read_bytes() == content


def test_progress_on_a_terminal(running, tmp_path):
    """A guest that sends half of a file, and the rest when the progress was seen."""
    seen = threading.Event()
    stream = tar(("./x", tarfile.REGTYPE, bytes(2_000_000)))

    def slowly(client):
        client.sendall(SETTINGS + OK_HEADERS)
        at = 0
        while not seen.is_set():
            client.sendall(output(stream[at:at + 500]))
            at += 500
            time.sleep(0.02)
        client.sendall(output(stream[at:]) + exited(0))

    impostor = Impostor(running, lambda client: client.sendall(SETTINGS + OK_HEADERS + output(b"f\n") + exited(0)), slowly)
    environment = {**running.environment(), "TERM": "xterm"}
    environment.pop("CI", None)
    with Terminal([running.program(), "cp", "vm:x", tmp_path / "copy"], environment) as terminal:
        terminal.wait_for("copying: ")
        terminal.wait_for_match(f", {SECONDS}\x1b\\[K")
        seen.set()
        assert terminal.end() == 0
        assert terminal.output.endswith("\r\x1b[K")
    impostor.end()
    assert (tmp_path / "copy").read_bytes() == bytes(2_000_000)


def test_progress_on_a_terminal_into_the_vm(stage, tmp_path):
    """The agent is held up, but for moments, until the progress was seen."""
    (tmp_path / "big").write_bytes(bytes(range(256)) * (400 << 10))
    (tmp_path / "there").mkdir()
    environment = {**stage.linzer.environment(), "TERM": "xterm"}
    environment.pop("CI", None)
    with Terminal([stage.linzer.program(), "cp", tmp_path / "big", f"vm:{tmp_path}/there/"], environment) as terminal:
        until = time.monotonic() + 240
        while not any(path.stat().st_size for path in (tmp_path / "there").iterdir()):
            assert time.monotonic() < until
        while "copying: " not in terminal.output:
            assert time.monotonic() < until
            os.kill(stage.agent.pid, signal.SIGSTOP)
            terminal.read(0.3)
            os.kill(stage.agent.pid, signal.SIGCONT)
            terminal.read(0.005)
        assert terminal.end() == 0 and terminal.output.endswith("\r\x1b[K")
    assert (tmp_path / "there/big").read_bytes() == (tmp_path / "big").read_bytes()


def test_who_interrupts_keeps_the_old_file(running, tmp_path):
    sent = threading.Event()
    stream = tar(("./x", tarfile.REGTYPE, bytes(2_000_000)))

    def half(client):
        client.sendall(SETTINGS + OK_HEADERS + output(stream[:100_000]))
        sent.set()

    impostor = Impostor(running, lambda client: client.sendall(SETTINGS + OK_HEADERS + output(b"f\n") + exited(0)), half)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("old")
    child = running.start("cp", "vm:x", tmp_path / "d")
    assert sent.wait(60)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 1
    impostor.end()
    assert os.listdir(tmp_path / "d") == ["x"] and (tmp_path / "d/x").read_text() == "old"


# ---- guests that lie ----


def tar(*members):
    """A stream of (name, type, content or target)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, what in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o755
            if kind == tarfile.REGTYPE:
                entry.size = len(what)
            else:
                entry.linkname = what
            archive.addfile(entry, io.BytesIO(what if kind == tarfile.REGTYPE else b""))
    return made.getvalue()


TOP = (".", tarfile.DIRTYPE, "")
LINK = ("./out", tarfile.SYMTYPE, "..")
EVIL = {
    "an absolute path": ("d", [TOP, ("/evil", tarfile.REGTYPE, b"x")], "the guest sent an absolute path"),
    "a path upwards": ("d", [TOP, ("../evil", tarfile.REGTYPE, b"x")], "the guest sent a path that leads out of the folder"),
    "through its own link": ("d", [TOP, LINK, ("./out/evil", tarfile.REGTYPE, b"x")],
                             "out/evil: 'out' is a link, which is not followed"),
    "through a link that is there": ("d", [TOP, ("./there/evil", tarfile.REGTYPE, b"x")],
                                     "there/evil: 'there' is a link, which is not followed"),
    "a hard link to what is outside": ("d", [TOP, ("./x", tarfile.LNKTYPE, "../safe")],
                                       "x: the guest sent a path that leads out of the folder"),
    "another file": ("f", [("./f", tarfile.REGTYPE, b"x"), ("./evil", tarfile.REGTYPE, b"x")],
                     "the guest sent something else than the one file"),
    "a folder for a file": ("f", [TOP, ("./evil", tarfile.REGTYPE, b"x")], "the guest sent something else than the one file"),
    "no folder": ("d", [("./evil", tarfile.REGTYPE, b"x")], "the guest sent files without their folder"),
    "nothing": ("d", [], "the guest sent nothing"),
}


@pytest.fixture
def lying(running, tmp_path):
    """Copy the "x" of a guest that says it is of that kind, and sends those bytes, to "copy"."""
    (tmp_path / "safe").write_text("safe")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/there").symlink_to("..")
    made = []

    def copy(kind, stream, code=0, complaint=b"", source=None):
        made.append(Impostor(running, lambda client: client.sendall(SETTINGS + OK_HEADERS + output(kind) + exited(0)),
                             lambda client: client.sendall(SETTINGS + OK_HEADERS + output(stream) +
                                                           output(complaint, 3) + exited(code))))
        source = source or ("vm:x/." if kind == b"d\n" else "vm:x")
        return running("cp", source, "copy", cwd=tmp_path, timeout=60)

    yield copy
    for one in made:
        one.end()


@pytest.mark.parametrize("way", EVIL)
def test_ways_out(lying, tmp_path, way):
    kind, members, message = EVIL[way]
    done = lying(kind.encode() + b"\n", tar(*members))
    assert (done.returncode, done.stderr) == (1, message + "\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "names", "safe"]
    assert (tmp_path / "safe").read_text() == "safe" and (tmp_path / "safe").stat().st_nlink == 1
    assert not any("evil" in name for name in os.listdir(tmp_path / "copy"))


def test_devices_are_not_made(lying, tmp_path):
    done = lying(b"d\n", tar(TOP, ("./null", tarfile.CHRTYPE, ""), ("./disk", tarfile.BLKTYPE, ""), ("./f", tarfile.REGTYPE, b"x")))
    assert (done.returncode, done.stderr) == (0, "Not copied: 2 devices, pipes or sockets\n")
    assert sorted(os.listdir(tmp_path / "copy")) == ["f", "there"]


@pytest.mark.parametrize("stream, message", [
    (b"garbage " * 1000, "the archive is damaged: a header\n"),
    (tar(TOP, ("./f", tarfile.REGTYPE, b"x" * 9000))[:3000], "the archive is damaged: it ends too early\n"),
    (b"", "the archive is damaged: it ends too early\n"),
])
def test_a_stream_that_is_none(lying, tmp_path, stream, message):
    done = lying(b"d\n", stream)
    assert (done.returncode, done.stderr) == (1, message)
    assert os.listdir(tmp_path / "copy") == ["there"]


def test_a_guest_that_does_not_say_what_is_there(lying):
    done = lying(b"\x1b]0;evil\x07\n", b"")
    assert (done.returncode, done.stderr) == (1, "the guest does not say what './x' is\n")
    done = lying(b"d\n" * 10000, b"")
    assert (done.returncode, done.stderr) == (1, "the guest's answer is too long\n")


@pytest.mark.parametrize("kind, members", [
    (b"f", [("./x", tarfile.REGTYPE, b"evil")]),
    (b"d", [TOP, ("./authorized_keys", tarfile.REGTYPE, b"evil")]),
])
def test_the_guest_does_not_choose_the_name(lying, tmp_path, kind, members):
    done = lying(kind + b"\n/tmp/.evil\n", tar(*members), source="vm:x")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path / "copy")) == ["there", "x"]


def test_what_the_guest_says_does_not_drive_the_terminal(lying):
    done = lying(b"d\n", tar(TOP), 2, b"\x1b[2Jtar: no\nmore\n" * 1000)
    assert (done.returncode, done.stderr) == (1, "in the VM: ?[2Jtar: no\n")


# ---- in a guest ----


@pytest.fixture(scope="module")
def guest(guests):
    """A running VM that this module's tests share."""
    start(guests, "copies", "--no-graphics")
    yield "copies"
    end(guests, "copies")


class TestInAGuest:
    def round_trip(self, guests, guest, tmp_path, files):
        tree = grow(tmp_path / "tree", files)
        guests("cp", tree, f"{guest}:tree", check=True, timeout=3600)
        guests("cp", f"{guest}:tree", tmp_path / "back", check=True, timeout=3600)
        guests("exec", guest, "sh", "-c", "chmod -R u+w tree; rm -r tree", check=True, timeout=600)
        assert describe(tmp_path / "back") == describe(tree)

    def test_a_tree_of_500_files_keeps_modes_times_and_links(self, guests, guest, tmp_path):
        self.round_trip(guests, guest, tmp_path, 500)

    @pytest.mark.soak
    def test_a_tree_of_10000_files(self, guests, guest, tmp_path):
        self.round_trip(guests, guest, tmp_path, 10000)

    def test_what_comes_in_belongs_to_the_agents_user(self, guests, guest, tmp_path):
        (tmp_path / "file").write_text("file")
        guests("cp", tmp_path / "file", f"{guest}:", check=True)
        assert guests("exec", guest, "stat", "-c", "%U %a %Y", "file").stdout == \
            f"admin 644 {int((tmp_path / 'file').stat().st_mtime)}\n"

    def test_what_may_not_be_read_or_written_is_said(self, guests, guest, tmp_path):
        done = guests("cp", f"{guest}:/etc/shadow", tmp_path / "shadow")
        assert done.returncode == 1 and "in the VM: tar: ./shadow: Cannot open: Permission denied" in done.stderr
        assert not (tmp_path / "shadow").exists()
        done = guests("cp", "/etc/hostname", f"{guest}:/etc/x")
        assert done.returncode == 1 and "Permission denied" in done.stderr
