# SPDX-License-Identifier: Apache-2.0
"""The screen of a VM: VNC, pictures, its size, keyboard and pointer, on real QEMU."""

import contextlib
import os
import pathlib
import random
import re
import select
import socket
import struct
import subprocess
import zlib

import pytest

import rfb
import rfb_qemu
import scratch
import xserver
from conftest import BUILD, descriptors
from test_hostile_engine import engine  # noqa: F401 - a fixture
from test_life import BOOT, alive, eventually, runtime

PLAYER = pathlib.Path(__file__).with_name("hda_player.c")
UEFI = BOOT  # seconds until the firmware has set the size of the screen


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    yield "vm"
    linzer("stop", "vm", "--timeout", 1)


def first_line(child, seconds=60):
    """The first line of a pipe, which must come by itself: the child goes on."""
    assert select.select([child.stdout], [], [], seconds)[0], "nothing was printed"
    return child.stdout.readline()


def serve(linzer, vm, *options):
    """`run` with VNC. Return: the child, password and port."""
    child = linzer.start("run", "--vnc-experimental", *options, vm, stdout=subprocess.PIPE, text=True)
    match = re.fullmatch(rfb.LINE, first_line(child).rstrip("\n"))
    assert match
    eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
    return child, match[1], int(match[2])


def arguments(linzer, vm):
    return pathlib.Path(f"/proc/{runtime(linzer, vm)['qemuPid']}/cmdline").read_text().split("\0")


def values(linzer, vm, option):
    words = arguments(linzer, vm)
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def listeners(pid):
    """The addresses on which the process listens by TCP, as (hexadecimal address, port)."""
    inodes = set()
    for name in descriptors(pid).values():
        match = re.fullmatch(r"socket:\[(\d+)\]", name)
        if match:
            inodes.add(match[1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, port = words[1].split(":")
                found.append((address, int(port, 16)))
    return found


class Png:
    """A PNG file of 8 bits a channel, checked and unpacked."""

    def __init__(self, data):
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        at, packed = 8, b""
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at:at + 8])
            body = data[at + 8:at + 8 + length]
            assert struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body)
            if kind == b"IHDR":
                self.width, self.height = struct.unpack(">II", body[:8])
            packed += body if kind == b"IDAT" else b""
            at += 12 + length
        assert kind == b"IEND"
        self.rows = zlib.decompress(packed)

    def pixels(self):
        """Red, green and blue of each pixel, after the filters of the PNG specification (9.2)."""
        stride, above, out = 3 * self.width, bytes(3 * self.width), bytearray()
        for at in range(0, len(self.rows), stride + 1):
            above = unfilter(self.rows[at], self.rows[at + 1:at + 1 + stride], above)
            out += above
        return bytes(out)


def paeth(left, up, corner):
    near = left + up - corner
    return min((left, up, corner), key=lambda value: abs(near - value))


def unfilter(kind, row, above):
    if kind == 0:
        return row
    if kind == 2:
        return bytes((a + b) & 255 for a, b in zip(row, above))
    done = bytearray(3)  # left of the first pixel
    for i, byte in enumerate(row):
        left, up, corner = done[i], above[i], above[i - 3] if i >= 3 else 0
        done.append((byte + {1: left, 3: (left + up) // 2, 4: paeth(left, up, corner)}[kind]) & 255)
    return bytes(done[3:])


def screenshot(linzer, vm, path):
    done = linzer("screenshot", vm, path, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    return Png(pathlib.Path(path).read_bytes())


def binds(sock, port):
    with contextlib.suppress(OSError):
        sock.bind(("127.0.0.1", port))
        return True
    return False


class TestVnc:
    def test_the_line_comes_at_once_and_lets_one_in(self, linzer, vm):
        _child, password, port = serve(linzer, vm, "--no-graphics")
        with rfb.Client(port, password) as client:
            assert client.width and client.height

    def test_the_password_is_in_no_argument_and_new_each_time(self, linzer, vm):
        child, password, _port = serve(linzer, vm)
        assert all(password not in word for word in arguments(linzer, vm))
        linzer("stop", vm, "--timeout", 1)
        child.wait(60)
        assert serve(linzer, vm)[1] != password

    def test_a_wrong_password_is_refused(self, linzer, vm):
        _child, password, port = serve(linzer, vm)
        other = ("A" if password[0] != "A" else "B") + password[1:]
        for wrong in (other, "", password[:7], password[::-1] if password != password[::-1] else other):
            with pytest.raises(rfb.Refused):
                rfb.Client(port, wrong)
        with rfb.Client(port, password):
            pass

    def test_a_password_is_the_only_way_in(self, linzer, vm):
        _child, _password, port = serve(linzer, vm)
        with rfb.Client(port) as client:
            assert client.methods() == [rfb.PASSWORD]
            client.send("B", rfb.NONE)
            with pytest.raises((rfb.Refused, ConnectionError)):
                assert client.unpack(">I")[0] != 0
                raise rfb.Refused

    def test_only_the_loopback_address_listens(self, linzer, vm):
        _child, _password, port = serve(linzer, vm)
        assert listeners(runtime(linzer, vm)["qemuPid"]) == [("0100007F", port)]

    def test_without_the_option_nobody_listens(self, linzer, vm):
        linzer("run", "--detach", "--no-graphics", vm, check=True)
        assert listeners(runtime(linzer, vm)["qemuPid"]) == []

    def test_a_port_in_use_is_passed_over(self, linzer, vm):
        taken = socket.socket()
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            eventually(lambda: binds(taken, 5900), 60)  # the QEMU of the test before may take a moment to go
            taken.listen()
            _child, password, port = serve(linzer, vm)
            assert port > 5900
            with rfb.Client(port, password):
                pass
        finally:
            taken.close()

    def test_detached_the_line_is_in_run_log(self, linzer, vm):
        linzer("run", "--detach", "--vnc-experimental", vm, check=True)
        log = linzer.vm(vm) / "run.log"
        assert log.stat().st_mode & 0o077 == 0
        eventually(lambda: re.search(rfb.LINE, log.read_text()), 60)

    RUBBISH = {
        "nothing": b"", "zeroes": bytes(1 << 16), "text": b"GET / HTTP/1.1\r\n\r\n" * 1000,
        "version alone": b"RFB 003.008\n", "old version": b"RFB 000.000\n\2", "newer version": b"RFB 999.999\n\2" + bytes(16),
        "answer of zeroes": b"RFB 003.008\n\2" + bytes(16), "all at once": b"RFB 003.008\n\2" + b"\xff" * (1 << 20),
        "no such method": b"RFB 003.008\n\x63", "version of percent signs": b"RFB %s%n.%n%\n",
    }

    @pytest.mark.parametrize("name", RUBBISH)
    def test_rubbish_from_a_client_harms_nothing(self, linzer, vm, name):
        child, password, port = serve(linzer, vm)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
                try:
                    peer.sendall(self.RUBBISH[name])
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65536):
                        pass
                except OSError:  # it hung up on us
                    pass
        with rfb.Client(port, password) as client:
            client.update()
        assert child.poll() is None

    def test_rubbish_from_one_who_is_logged_in_harms_nothing(self, linzer, vm):
        child, password, port = serve(linzer, vm)
        messages = [bytes([kind]) + b"\xff" * 40 for kind in range(256)]
        messages += [struct.pack(">BxH", 2, 65535) + bytes(4 * 65535), struct.pack(">B3xI", 6, 0xffffffff),
                     struct.pack(">B3x BBBB HHH BBB 3x", 0, 7, 99, 9, 9, 0, 0, 0, 255, 255, 255),
                     struct.pack(">BBHHHH", 3, 0, 65535, 65535, 65535, 65535)]
        for message in messages:
            with rfb.Client(port, password) as client:
                try:
                    client.socket.sendall(message)
                except ConnectionError:
                    pass
        with rfb.Client(port, password) as client:
            client.update()
        assert child.poll() is None and alive(runtime(linzer, vm)["qemuPid"])

    def test_without_a_card_the_guests_own_server_is_not_waited_for(self, linzer, vm):
        done = linzer("run", "--detach", "--vnc", "--net-none", vm, check=True)
        assert (done.stdout, done.stderr) == ("", "")
        assert (linzer.vm(vm) / "run.log").read_text() == "--vnc has no effect without a network card\n"


class TestScreenshot:
    def test_the_firmware_is_on_it_without_graphics(self, linzer, vm, tmp_path):
        linzer("run", "--detach", "--no-graphics", vm, check=True)
        eventually(lambda: len(set(screenshot(linzer, vm, tmp_path / "s.png").rows)) > 2, UEFI)

    @pytest.mark.parametrize("width, height", [(1024, 768), (1280, 720), (1920, 1080), (640, 480)])
    def test_the_size_is_the_configured_one(self, linzer, vm, tmp_path, width, height):
        linzer("set", vm, "--display", f"{width}x{height}", check=True)
        linzer("run", "--detach", vm, check=True)

        def fits():
            picture = screenshot(linzer, vm, tmp_path / "s.png")
            return (picture.width, picture.height) == (width, height)
        eventually(fits, UEFI)

    @pytest.mark.parametrize("size", ["65535x65535", "1x1"])
    def test_a_size_that_no_adapter_has_is_cut(self, linzer, vm, tmp_path, size):
        linzer("set", vm, "--display", size, check=True)
        linzer("run", "--detach", vm, check=True)
        screenshot(linzer, vm, tmp_path / "s.png")

    def test_a_new_file_has_the_callers_mode(self, linzer, vm, tmp_path):
        linzer("run", "--detach", vm, check=True)
        path = tmp_path / "s.png"
        linzer("screenshot", vm, path, check=True, preexec_fn=lambda: os.umask(0o027))
        assert path.stat().st_mode & 0o7777 == 0o640
        assert [entry.name for entry in tmp_path.iterdir() if entry.name != "names"] == ["s.png"]

    def test_what_is_there_is_overwritten_as_by_cp(self, linzer, vm, tmp_path):
        linzer("run", "--detach", vm, check=True)
        path, link, twin = tmp_path / "s.png", tmp_path / "link", tmp_path / "twin"
        path.write_bytes(b"x" * 1_000_000)
        path.chmod(0o604)
        link.symlink_to(path)
        screenshot(linzer, vm, link)
        assert link.is_symlink() and path.stat().st_mode & 0o7777 == 0o604
        os.link(path, twin)
        path.write_bytes(b"x" * 1_000_000)
        screenshot(linzer, vm, path)
        assert twin.read_bytes() == path.read_bytes()

    def test_where_nothing_can_be_made_it_is_written_to(self, linzer, user):
        """Somebody's own file, in a directory that is not his."""
        place = linzer.home / "place"
        place.mkdir()
        (place / "s.png").write_text("x" * 1_000_000)
        path = user.give("place/s.png")
        inode = path.stat().st_ino
        user.start("run", "--no-graphics", "--net-none", "vm")
        eventually(lambda: (linzer.vm("vm") / "run.json").exists(), 60)
        child = user.start("screenshot", "vm", str(path))
        assert (*child.communicate(timeout=60), child.returncode) == ("", "", 0)
        assert Png(path.read_bytes()).width and path.stat().st_ino == inode and len(os.listdir(place)) == 1

    def test_a_pipe_gets_it(self, linzer, vm):
        linzer("run", "--detach", vm, check=True)
        for name in ("-", "/dev/stdout"):
            Png(linzer("screenshot", vm, name, check=True, text=False).stdout)

    def test_many_in_a_row_leave_nothing_open(self, linzer, vm, tmp_path):
        linzer("run", "--detach", vm, check=True)
        state = runtime(linzer, vm)
        screenshot(linzer, vm, tmp_path / "s.png")
        count = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (state["pid"], state["qemuPid"])}
        for _ in range(10):
            screenshot(linzer, vm, tmp_path / "s.png")
        for pid, number in count.items():
            eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= number, 60)

    def test_a_vm_that_is_not_running(self, linzer, vm, tmp_path):
        done = linzer("screenshot", vm, tmp_path / "s.png")
        assert (done.returncode, done.stderr) == (2, 'VM "vm" is not running\n')
        assert not (tmp_path / "s.png").exists()

    def test_a_vm_that_is_not_there(self, linzer, tmp_path):
        done = linzer("screenshot", "nobody", tmp_path / "s.png")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize("file, message", [
        ("no/such/s.png", "No such file or directory"), (".", "'.' is a directory"), ("", "the file has no name"),
        ("/dev/full", "No space left on device"), ("/proc/s.png", ""),
    ])
    def test_a_file_that_cannot_be_written(self, linzer, vm, tmp_path, file, message):
        linzer("run", "--detach", vm, check=True)
        done = linzer("screenshot", vm, file, cwd=tmp_path)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert message in done.stderr
        assert runtime(linzer, vm)["pid"] and screenshot(linzer, vm, tmp_path / "s.png")


# a console without anything, and without a cursor that blinks
CLEAR = "systemctl stop getty@tty1; printf '\\033c\\033[?25l' >/dev/tty1"
# the terminal is open, and keeps what is typed, before we hear of it
READER = f"{CLEAR}; exec </dev/tty1; echo ready; exec head -n 1"
INPUTS = "grep -h ^N: /proc/bus/input/devices || true"


def inputs(guests, name):
    """The names of the guest's input devices, after what drives virtio's is loaded as udev would."""
    guests("exec", name, "sudo", "modprobe", "virtio_input", check=True)
    out = guests("exec", name, "sh", "-c", INPUTS, check=True).stdout
    return set(re.findall(r'Name="(.*)"', out))


def is_dark(pixels):
    return not any(pixels)


def start(guests, name, *options, vnc="--vnc-experimental"):
    """Clone the image and run it with VNC until its agent answers. Return: QEMU's server's password and port."""
    guests("clone", "debian", name, check=True)
    guests("set", name, "--display", "1152x864", check=True)
    guests("run", "--wait-ready", vnc, *options, name, check=True, timeout=2 * BOOT)
    match = re.search(rfb.LINE, (guests.vm(name) / "run.log").read_text())
    return (match[1], int(match[2])) if match else None


# what spice-vdagent says and hears: chunks of port 1, each a message of its own here. With an argument it has
# that text and gives it, otherwise it takes the host's
VDAGENT = r"""
$| = 1;
my $text = shift;
open(my $port, "+<", "/dev/virtio-ports/com.redhat.spice.0") or die "$!";
sub say { my ($type, $data) = @_;
    syswrite($port, pack("V V V V Q< V", 1, 20 + length $data, 1, $type, 0, length $data) . $data) or die "$!"; }
sub take { my ($count) = @_; my $all = "";
    while (length $all < $count) { sysread($port, $all, $count - length $all, length $all) or die "end"; } $all }
my ($pending, $announced) = ("", 0);
sub bytes { my ($count) = @_;
    while (length $pending < $count) { my (undef, $size) = unpack("V V", take(8)); $pending .= take($size); }
    substr($pending, 0, $count, "") }
say(6, pack("V V", 1, 1 << 5 | 1 << 6));  # we can: clipboard on demand, selections
while (1) {
    my (undef, $type, undef, $size) = unpack("V V Q< V", bytes(20));
    my $data = bytes($size);
    if ($type == 6 && !$announced++) {
        print "connected\n";
        say(7, pack("C x3 V", 0, 1)) if defined $text;  # we have text
    }
    if ($type == 8 && defined $text) { say(4, pack("C x3 V", 0, 1) . $text); last }
    next if defined $text;
    say(8, pack("C x3 V", 0, 1)) if $type == 7;  # the host has text: ask for it
    if ($type == 4) { print substr($data, 8), "\n"; last }
}
"""


@pytest.fixture(scope="module")
def desk(guests):
    yield start(guests, "desk")
    guests("stop", "desk", "--timeout", 1)


@pytest.fixture(scope="module")
def keys(guests):
    yield start(guests, "keys", "--no-pointer", "--no-audio", "--no-clipboard", "--net-host")
    guests("stop", "keys", "--timeout", 1)


@pytest.fixture(scope="module")
def player():
    """hda_player, which stands in for the sound drivers that the guest's kernel has not."""
    with scratch.directory() as directory:
        program = directory / "hda_player"
        subprocess.run(["cc", "-O2", "-static", "-o", program, PLAYER], check=True)
        yield program


def hear_it_play(guests, name, player, client):
    """The guest plays a second of sound, of levels that nobody knew before. Return: one of its 43 rounds, the levels."""
    guests("cp", player, f"{name}:/tmp/hda_player", check=True)
    levels = random.sample(range(-1 << 15, 0), 8) + random.sample(range(1, 1 << 15), 8)
    client.enable_sound()
    child = guests.start("exec", name, "sudo", "/tmp/hda_player", *levels, stdout=subprocess.PIPE, text=True)
    while child.poll() is None:
        if select.select([client.socket], [], [], 0.1)[0]:
            client.hear()
    assert (child.returncode, child.stdout.read()) == (0, "played\n")
    client.hear_all()
    return b"".join(struct.pack("<hh", level, level) * 64 for level in levels), levels


class TestInTheGuest:
    def test_the_console_has_the_configured_size(self, guests, desk):
        out = guests("exec", "desk", "cat", "/sys/class/graphics/fb0/virtual_size", check=True).stdout
        assert out == "1152,864\n"
        with rfb.Client(desk[1], desk[0]) as client:
            client.screen()
            assert (client.width, client.height) == (1152, 864)

    def test_a_client_sees_the_console_and_types(self, guests, desk):
        with rfb.Client(desk[1], desk[0]) as client:
            guests("exec", "desk", "sudo", "sh", "-c", CLEAR, check=True)
            eventually(lambda: is_dark(client.screen()), 60)
            guests("exec", "desk", "sudo", "sh", "-c", "echo seen from outside >/dev/tty1", check=True)
            eventually(lambda: not is_dark(client.screen()), 60)
            reader = guests.start("exec", "desk", "sudo", "sh", "-c", READER, stdout=subprocess.PIPE, text=True)
            assert first_line(reader, BOOT) == "ready\n"  # systemd stops a getty when it has time
            eventually(lambda: is_dark(client.screen()), 60)
            client.type("typed by vnc 42\n")
            assert first_line(reader) == "typed by vnc 42\n"
            eventually(lambda: not is_dark(client.screen()), 60)  # the console echoes what is typed

    def test_a_screenshot_is_what_the_client_sees(self, guests, desk, tmp_path):
        guests("exec", "desk", "sudo", "sh", "-c", "printf '\\033c\\033[?25lpicture' >/dev/tty1", check=True)

        def same():
            picture = screenshot(guests, "desk", tmp_path / "s.png").pixels()
            with rfb.Client(desk[1], desk[0]) as client:
                blue_first = client.screen()
            assert len(picture) == len(blue_first)
            return any(picture) and (picture[0::3], picture[2::3]) == (blue_first[2::3], blue_first[0::3])
        eventually(same, 60)

    def test_keyboard_pointer_sound_and_clipboard_are_there(self, guests, desk):
        names = inputs(guests, "desk")
        assert "AT Translated Set 2 keyboard" in names and "QEMU Virtio Tablet" in names
        ports = guests("exec", "desk", "sh", "-c", "cat /sys/class/virtio-ports/*/name", check=True).stdout.split()
        assert ports == ["org.linzer.agent", "com.redhat.spice.0"]
        classes = guests("exec", "desk", "sh", "-c", "cat /sys/bus/pci/devices/*/class", check=True).stdout.split()
        assert "0x040300" in classes and "0x0c0330" in classes

    def test_the_clipboard_of_a_client_reaches_the_guest(self, guests, desk):
        """The guest speaks as spice-vdagent does: it says that it can, and is told of the text."""
        agent = guests.start("exec", "desk", "sudo", "perl", "-e", VDAGENT, stdout=subprocess.PIPE, text=True)
        assert first_line(agent) == "connected\n"
        with rfb.Client(desk[1], desk[0]) as client:
            text = b"from the client's clipboard"
            client.socket.sendall(struct.pack(">B3xI", 6, len(text)) + text)
            client.update()
            assert first_line(agent) == text.decode() + "\n"
        assert agent.wait(BOOT) == 0  # the next test's wants the port

    def test_the_clipboard_of_the_guest_reaches_a_client(self, guests, desk):
        """As spice-vdagent does: the guest says that it has text, and gives it to the client that asks."""
        text = f"from the guest's clipboard, {random.randrange(1 << 64)}: \u00fc\u4e16"
        with rfb_qemu.Client(desk[1], desk[0]) as client:
            client.hear_all()
            assert rfb_qemu.CLIPBOARD in client.offered
            agent = guests.start("exec", "desk", "sudo", "perl", "-e", VDAGENT, text, stdout=subprocess.PIPE, text=True)
            client.clipboard_message(rfb_qemu.NOTIFY | rfb_qemu.TEXT)
            assert client.paste().decode() == text
            assert agent.wait(BOOT) == 0

    def test_a_client_hears_what_the_guest_plays(self, guests, desk, player):
        with rfb_qemu.Client(desk[1], desk[0]) as client:
            played, levels = hear_it_play(guests, "desk", player, client)
            assert rfb_qemu.SOUND in client.offered
            assert client.sound.count(played) > 1
            assert {value for value, in struct.iter_unpack("<h", client.sound)} <= {0, *levels}

    def test_no_clipboard_and_no_audio_are_kept_from_a_client(self, guests, keys, player):
        with rfb_qemu.Client(keys[1], keys[0]) as client:
            done = guests("exec", "keys", "sudo", "perl", "-e", VDAGENT, "text")
            assert done.returncode != 0 and done.stderr.startswith("No such file or directory")
            hear_it_play(guests, "keys", player, client)
            assert (client.clipboard, client.sound.strip(b"\0")) == ([], b"")

    def test_no_keyboard_no_audio_no_clipboard_and_the_guests_own_vnc(self, guests):
        start(guests, "bare", "--no-keyboard", "--no-audio", "--no-clipboard", vnc="--vnc")
        try:
            address = guests("ip", "--wait", BOOT, "bare", check=True, timeout=2 * BOOT).stdout.strip()
            log = guests.vm("bare") / "run.log"
            eventually(lambda: log.read_text().endswith(f"VNC server is running at vnc://{address}\n"), 60)
            names = inputs(guests, "bare")
            assert "QEMU Virtio Tablet" in names and not any("eyboard" in name for name in names)
            ports = guests("exec", "bare", "sh", "-c", "cat /sys/class/virtio-ports/*/name", check=True).stdout.split()
            assert ports == ["org.linzer.agent"]
            assert "hda-output,bus=hda.0,audiodev=sound" in values(guests, "bare", "-device")
        finally:
            guests("stop", "bare", "--timeout", 1)

    def test_no_pointer(self, guests, keys):
        password, port = keys
        names = inputs(guests, "keys")
        assert "QEMU Virtio Keyboard" in names
        assert not any("ablet" in name or "ouse" in name for name in names)
        with rfb.Client(port, password) as client:
            reader = guests.start("exec", "keys", "sudo", "sh", "-c", READER, stdout=subprocess.PIPE, text=True)
            assert first_line(reader, BOOT) == "ready\n"  # systemd stops a getty when it has time
            client.type("without a mouse\n")
            assert first_line(reader) == "without a mouse\n"

    def test_on_a_network_with_the_host_alone(self, guests, keys):
        """It is run with --net-host: an address of that network, the host on it, and no way further."""
        address = guests("ip", "--wait", BOOT, "keys", check=True, timeout=2 * BOOT).stdout.strip()
        assert address.startswith("192.168.128.")
        eventually(lambda: address in guests("exec", "keys", "ip", "-4", "addr").stdout, BOOT)
        guests("exec", "keys", "ping", "-c", 1, "-W", 30, "192.168.128.1", check=True)
        assert guests("exec", "keys", "ping", "-c", 1, "-W", 2, "198.51.100.1").returncode != 0


WINDOW = "QEMU (linzer)"


@pytest.fixture
def desktop(tmp_path):
    place = tmp_path / "x"
    place.mkdir()
    server = xserver.Server(place)
    yield server
    server.end()


def run_in_window(linzer, vm, desktop, *options):
    child = linzer.start("run", *options, vm, env=desktop.settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    eventually(lambda: WINDOW in desktop.windows() or child.poll() is not None, 60)
    assert WINDOW in desktop.windows(), child.communicate()
    eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
    return child


def without_window(linzer, vm, desktop, *options):
    linzer("run", "--detach", *options, vm, env=desktop.settings, check=True)
    screenshot(linzer, vm, linzer.home / "s.png")
    return WINDOW not in desktop.windows() and values(linzer, vm, "-display") == ["none"]


class User:
    """Somebody with neither root nor capabilities, in whose home the VM "vm" is."""

    UID = 54_321

    def __init__(self, linzer):
        self.linzer, self.home = linzer, linzer.home
        self.settings = {"XDG_RUNTIME_DIR": str(self.home), "HOME": str(self.home)}
        for path in (self.home.parent, self.home):
            os.chown(path, self.UID, self.UID)
        assert self.start("create", "--linux", "--disk-size", "1", "vm").wait(60) == 0

    def sits_at(self, desktop):
        cookies = self.give("cookies", desktop.cookies.read_bytes())
        self.settings.update(desktop.settings, XAUTHORITY=str(cookies))

    def give(self, name, content=None):
        path = self.home / name
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        os.chown(path, self.UID, self.UID)
        return path

    def start(self, *words):
        child = subprocess.Popen([str(BUILD / "linzer"), *words], user=self.UID, group=self.UID, extra_groups=[],
                                 cwd=self.home, env=self.linzer.environment(**self.settings), text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.linzer.children.append(child)
        return child


@pytest.fixture
def user(linzer):
    return User(linzer)


class TestWindow:
    def test_it_shows_what_the_firmware_draws(self, linzer, vm, desktop):
        empty = desktop.picture()
        child = run_in_window(linzer, vm, desktop)
        eventually(lambda: len(set(screenshot(linzer, vm, linzer.home / "s.png").rows)) > 2, UEFI)

        def drawn():
            """More colours than an empty window has."""
            width, _height, pixels = desktop.picture()
            lines = pixels[4 * width * 60:4 * width * 400]
            return desktop.picture() != empty and len({lines[i:i + 4] for i in range(0, len(lines), 4)}) > 2
        eventually(drawn, 60)
        assert child.poll() is None

    def test_closing_it_stops_the_vm(self, linzer, vm, desktop):
        child = run_in_window(linzer, vm, desktop)
        desktop.close(desktop.windows()[WINDOW])
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out, err) == (0, "Stopping VM...\n", "")
        assert not (linzer.vm(vm) / "run.json").exists()

    def test_a_suspendable_vm_outlives_the_button(self, linzer, vm, desktop):
        """QEMU could not be suspended any more once its window is closed, so it stays open."""
        child = run_in_window(linzer, vm, desktop, "--suspendable")
        desktop.close(desktop.windows()[WINDOW])
        for _ in range(3):  # QEMU answers from the loop that also hears of its window
            screenshot(linzer, vm, linzer.home / "s.png")
        assert WINDOW in desktop.windows() and child.poll() is None
        linzer("suspend", vm, check=True)
        out, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, "the window of a suspendable VM cannot be closed: "
                                              "use 'linzer suspend vm' or 'linzer stop vm'\n")
        assert out.endswith("snapshot created successfully! shutting down the VM...\n")

    def test_a_desktop_that_goes_away_is_one_line(self, linzer, vm, desktop):
        child = run_in_window(linzer, vm, desktop)
        desktop.end()
        out, err = child.communicate(timeout=60)
        assert child.returncode == 1 and len(err.splitlines()) == 1
        assert out == f"guest has stopped the virtual machine due to error: {err}"

    def test_a_desktop_that_is_not_there_is_one_line(self, linzer, vm):
        done = linzer("run", vm, env={"DISPLAY": ":7654", "WAYLAND_DISPLAY": None})
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert done.stderr.startswith("failed to start the VM: ")
        assert done.stderr.endswith("; --no-graphics runs it without a window\n")

    def test_only_this_displays_cookie_is_handed_over(self, linzer, vm, desktop):
        its_own = desktop.cookies.read_bytes()
        name, number = os.uname().nodename.encode(), b"77"
        desktop.cookies.write_bytes(its_own + b"".join(
            struct.pack(">H", len(field)) + field if isinstance(field, bytes) else struct.pack(">H", field)
            for field in (256, name, number, b"MIT-MAGIC-COOKIE-1", b"another secret..")))
        run_in_window(linzer, vm, desktop)
        fds = descriptors(runtime(linzer, vm)["qemuPid"])
        assert [fd.read_bytes() for fd, name in fds.items() if "memfd:cookies" in name] == [its_own]

    def test_qemu_stays_in_its_sandbox(self, linzer, vm, desktop):
        run_in_window(linzer, vm, desktop)
        status = pathlib.Path(f"/proc/{runtime(linzer, vm)['qemuPid']}/status").read_text()
        assert "\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status
        assert not re.search(r"^Uid:.*\b0\b", status, re.M) and re.search(r"^CapEff:\t0+$", status, re.M)

    @pytest.mark.parametrize("options", [["--no-graphics"], ["--vnc-experimental"], ["--vnc"]], ids=" ".join)
    def test_there_is_none_with(self, linzer, vm, desktop, options):
        assert without_window(linzer, vm, desktop, *options)

    def test_graphics_opens_it_beside_vnc(self, linzer, vm, desktop):
        child = run_in_window(linzer, vm, desktop, "--graphics", "--vnc-experimental")
        match = re.fullmatch(rfb.LINE, first_line(child).rstrip("\n"))
        with rfb.Client(int(match[2]), match[1]) as client:
            client.update()

    def test_an_ordinary_user_has_one(self, linzer, desktop, user):
        """The same user's QEMU; the X server lets in only who has its cookie, which is the user's."""
        user.sits_at(desktop)
        child = user.start("run", "--graphics", "--vnc-experimental", "--net-none", "vm")
        match = re.fullmatch(rfb.LINE, first_line(child).rstrip("\n"))
        eventually(lambda: WINDOW in desktop.windows(), 60)
        with rfb.Client(int(match[2]), match[1]) as client:
            client.update()
        status = pathlib.Path(f"/proc/{runtime(linzer, 'vm')['qemuPid']}/status").read_text()
        assert f"\nUid:\t{user.UID}\t{user.UID}\t" in status
        assert user.start("screenshot", "vm", "s.png").wait(60) == 0
        assert (linzer.home / "s.png").stat().st_uid == user.UID
        desktop.close(desktop.windows()[WINDOW])
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out, err) == (0, "Stopping VM...\n", "")

    def test_a_sound_server_that_has_died_is_done_without(self, linzer, desktop, user):
        user.sits_at(desktop)
        (linzer.home / "pulse").mkdir(mode=0o700)
        user.give("pulse")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(linzer.home / "pulse/native"))
        child = user.start("run", "--net-none", "vm")
        eventually(lambda: WINDOW in desktop.windows() or child.poll() is not None, 60)
        eventually(lambda: (linzer.vm("vm") / "run.json").exists() or child.poll() is not None, 60)
        assert values(linzer, "vm", "-audiodev") == ["none,id=sound"] and child.poll() is None

    def test_a_sound_server_is_spoken_to(self, linzer, desktop, user):
        """As libpulse begins: a frame on no channel, with credentials. Refused, the run ends with one line."""
        user.sits_at(desktop)
        (linzer.home / "pulse").mkdir(mode=0o700)
        user.give("pulse")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(linzer.home / "pulse/native"))
            user.give("pulse/native")
            server.listen()
            server.settimeout(60)
            child = user.start("run", "--net-none", "vm")
            heard = b""
            while not heard:  # linzer looks whether somebody is there and hangs up
                peer = server.accept()[0]
                peer.settimeout(60)
                heard = peer.recv(8)
                peer.close()
            length, channel = struct.unpack(">II", heard)
            assert channel == 0xffffffff and length < 4096
            out, err = child.communicate(timeout=90)
            assert (child.returncode, out, len(err.splitlines())) == (1, "", 1)
            assert err.startswith("failed to start the VM: ") and "audio" in err

    def test_system_keys_are_captured(self, linzer, vm, desktop):
        run_in_window(linzer, vm, desktop, "--capture-system-keys")
        assert values(linzer, vm, "-display") == ["gtk,gl=off,zoom-to-fit=on,grab-on-hover=on"]

    @pytest.fixture
    def with_ui(self):
        """Makes a PATH whose QEMU says that it has these kinds of windows."""
        with scratch.directory() as directory:
            def make(kinds):
                program = directory / "qemu-system-x86_64"
                program.write_text(f'#!/bin/sh\n[ "$*" = "-display help" ] && exec echo {kinds}\n'
                                   'exec /usr/bin/qemu-system-x86_64 "$@"\n')
                program.chmod(0o755)
                return {"PATH": f"{directory}:{os.environ['PATH']}"}
            directory.chmod(0o755)
            yield make

    @pytest.fixture
    def without_ui(self, with_ui):
        return with_ui("none")

    def test_without_gtk_it_is_sdls(self, linzer, vm, desktop, with_ui):
        child = linzer.start("run", vm, env={**desktop.settings, **with_ui("sdl")}, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        eventually(lambda: desktop.windows() or child.poll() is not None, 60)
        eventually(lambda: (linzer.vm(vm) / "run.json").exists() or child.poll() is not None, 60)
        assert values(linzer, vm, "-display") == ["sdl,gl=off"]
        desktop.close(*desktop.windows().values())
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out, err) == (0, "Stopping VM...\n", "")

    MISSING = "QEMU here has no window: install the package 'qemu-system-gui', or use --no-graphics\n"

    def test_a_qemu_without_one_is_told_of(self, linzer, vm, desktop, without_ui):
        child = linzer.start("run", vm, env={**desktop.settings, **without_ui}, stderr=subprocess.PIPE, text=True)
        eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
        assert child.stderr.readline() == self.MISSING
        assert values(linzer, vm, "-display") == ["none"]

    def test_a_qemu_without_one_that_was_asked_for(self, linzer, vm, desktop, without_ui):
        done = linzer("run", "--graphics", vm, env={**desktop.settings, **without_ui})
        assert (done.returncode, done.stdout, done.stderr) == (1, "", self.MISSING)


class TestHostileEngine:
    """A QEMU that its guest has taken over."""

    @pytest.mark.parametrize("change", [
        {"host": "0.0.0.0"}, {"host": "::1"}, {"auth": "none"}, {"service": "0"}, {"service": "65536"}, {"service": "x"},
        {"service": 5900}, {"host": None},
    ], ids=str)
    def test_a_server_that_is_not_as_it_was_asked_for(self, linzer, vm, engine, change):
        answer = {"enabled": True, "host": "127.0.0.1", "service": "5900", "auth": "vnc", **change}
        done = linzer("run", "--vnc-experimental", "--net-none", vm, env=engine(
            "greet()\nsay({'return': {}, 'id': hear('set_password')})\n"
            f"say({{'return': {answer!r}, 'id': hear('query-vnc')}})\ntime.sleep(60)\n"))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "cannot serve the display by VNC: QEMU's VNC server is not as it was asked for\n"

    @pytest.mark.parametrize("refused, asked, complaint, line", [
        ("-chardev qemu-vdagent,", "-chardev help", "'qemu-vdagent' is not a valid char driver name",
         "QEMU here has no 'qemu-vdagent': there is no shared clipboard"),
        ("-device intel-hda,", "-none", "Device 'intel-hda' not found", "QEMU here has no 'intel-hda': there is no sound"),
    ])
    def test_what_a_qemu_is_built_without_is_left_out(self, linzer, vm, refused, asked, complaint, line):
        """... with one line; the real QEMU of the next run is not mistaken for it, nor it for that."""
        with scratch.directory() as directory:
            directory.chmod(0o755)
            program = directory / "qemu-system-x86_64"
            program.write_text(f"#!/bin/sh\ncase \"$*\" in *'{refused}'*)\necho \"qemu: {complaint}\" >&2; exit 1;;\n"
                               f"'{asked}') exec echo stdio;;\nesac\n"
                               "exec /usr/bin/qemu-system-x86_64 \"$@\"\n")
            program.chmod(0o755)
            lacking = {"PATH": f"{directory}:{os.environ['PATH']}"}
            for env, said in ((lacking, [line]), (None, []), (lacking, [line])):
                child = linzer.start("run", vm, env=env, stderr=subprocess.PIPE, text=True)
                eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
                assert any(refused.split()[1] in value for value in values(linzer, vm, refused.split()[0])) == (not said)
                linzer.switch_off(vm)
                assert child.communicate(timeout=60)[1].splitlines() == said and child.returncode == 0

    def test_an_engine_that_has_all_is_asked_once(self, linzer, vm):
        with scratch.directory() as directory:
            directory.chmod(0o755)
            program, log = directory / "qemu-system-x86_64", directory / "asked"
            log.touch()
            log.chmod(0o666)
            program.write_text(f"#!/bin/sh\ncase \"$*\" in *help) echo \"$*\" >>{log};; esac\n"
                               "exec /usr/bin/qemu-system-x86_64 \"$@\"\n")
            program.chmod(0o755)
            env = {"PATH": f"{directory}:{os.environ['PATH']}"}
            for _ in range(2):
                linzer("run", "--detach", vm, env=env, check=True)
                linzer("stop", vm, "--timeout", 1, check=True)
            assert log.read_text().splitlines() == ["-chardev help", "-device intel-hda,help"]

    def test_a_qemu_without_vnc_is_one_line(self, linzer, vm, engine):
        done = linzer("run", "--vnc-experimental", "--net-none", vm, env=engine(
            "greet()\nsay({'error': {'class': 'E', 'desc': 'no such thing'}, 'id': hear('set_password')})\ntime.sleep(60)\n"))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "cannot serve the display by VNC: 'set_password' failed: no such thing\n"

    DRAWS = ("greet()\nsay({'return': {'fdset-id': 1, 'fd': 9}, 'id': hear('add-fd')})\n"
             "say({ANSWER, 'id': hear('screendump')})\nsay({'return': {}, 'id': hear('remove-fd')})\ntime.sleep(60)\n")

    @pytest.mark.parametrize("answer, message", [
        ("'return': {}", "what QEMU drew is no PNG"),
        ("'error': {'class': 'E', 'desc': 'no console'}", 'VM "vm" cannot screenshot: \'screendump\' failed: no console'),
    ])
    def test_a_picture_that_was_not_drawn(self, linzer, vm, engine, tmp_path, answer, message):
        path = tmp_path / "s.png"
        path.write_text("what was there")
        child = linzer.start("run", "--net-none", vm, env=engine(self.DRAWS.replace("ANSWER", answer)))
        eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
        done = linzer("screenshot", vm, path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", message + "\n")
        assert path.read_text() == "what was there" and child.poll() is None

    def test_a_window_that_is_closed_ends_the_vm_whatever_qemu_does(self, linzer, vm, engine):
        done = linzer("run", "--net-none", vm, env={"DISPLAY": ":7654", **engine(
            "greet()\nevent('SHUTDOWN', guest=False, reason='host-qmp-quit')\ntime.sleep(600)\n")})
        assert (done.returncode, done.stdout, done.stderr) == (0, "Stopping VM...\n", "")

    @pytest.mark.soak  # twenty seconds; qmp.test.c has it short
    def test_a_picture_that_comes_too_late_does_not_part_us(self, linzer, vm, engine, tmp_path):
        """The answer is late for the client; what QEMU says after it is heard."""
        child = linzer.start("run", "--net-none", vm, stdout=subprocess.PIPE, text=True, env=engine(
            "greet()\nsay({'return': {'fdset-id': 1, 'fd': 9}, 'id': hear('add-fd')})\n"
            "late = hear('screendump')\nback = hear('remove-fd')\n"
            "say({'return': {}, 'id': late})\nsay({'return': {}, 'id': back})\npowered_off()\n"))
        eventually(lambda: (linzer.vm(vm) / "run.json").exists(), 60)
        done = linzer("screenshot", vm, tmp_path / "s.png")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert done.stderr.endswith("QEMU does not answer\n") and not (tmp_path / "s.png").exists()
        out, _err = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, "guest has stopped the virtual machine\n")
