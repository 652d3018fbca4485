# SPDX-License-Identifier: Apache-2.0
"""`run --dir=URL`: an archive from a real HTTP server, unpacked and shared; and what a hostile one gets done: nothing."""

import base64
import contextlib
import gzip
import http.server
import io
import os
import pathlib
import signal
import ssl
import stat
import subprocess
import tarfile
import threading
import time

import pytest

import scratch
from test_life import BOOT, alive, eventually, runtime

LIMIT = 1 << 30  # FETCH_BYTES_MAX, DIR_CACHE_MAX
UNPACKED = 16 << 30  # UNPACK_BYTES_MAX
CHUNK = bytes(1 << 20)
ENTRIES = 1000 * 1000  # UNPACK_ENTRIES_MAX


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of server.root, with Last-Modified; beside them what a server may say otherwise."""
    protocol_version = "HTTP/1.1"

    def __init__(self, request, address, server):
        super().__init__(request, address, server, directory=server.root)

    def do_GET(self):
        special = getattr(self, "say_" + self.path.strip("/").split("/")[0], None)
        return special() if special else super().do_GET()

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def file(self):
        return open(f"{self.server.root}/{self.path.rsplit('/', 1)[-1]}", "rb").read()

    def say_elsewhere(self):
        self.say(302, Location=f"/{self.path.rsplit('/', 1)[-1]}")

    def say_out(self):
        self.say(302, Location="file:///etc/passwd")

    def say_unversioned(self):
        self.say(200, self.file())

    def say_private(self):
        self.say(200, self.file(), ETag='"1"', Cache_Control="private, no-store")

    def say_tagged(self):
        same = self.headers.get("If-None-Match") == '"tag one"'
        self.say(304 if same else 200, b"" if same else self.file(), ETag='"tag one"')

    def say_huge(self):
        self.say(200, b"x", Content_Length=LIMIT + 1)

    def say_cut(self):
        self.say(200, self.file()[:-9], Content_Length=len(self.file()))

    def say_silent(self):
        self.server.connected = True
        time.sleep(self.server.silence)

    def drip(self, begin, what):
        """Never quite silent, and never done."""
        with contextlib.suppress(ConnectionError):
            self.wfile.write(begin)
            for _ in range(1000):
                self.wfile.write(what)
                time.sleep(0.1)
        self.close_connection = True

    def say_dripping(self):
        self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")

    def say_headers(self):
        self.drip(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n")

    def say_guarded(self):
        """To whoever knows that user's password."""
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"mia:s3cret").decode()
        return super().do_GET() if known else self.say(401)

    def say_endless(self):
        """Beside an error, or a redirect to what is there, as much as anybody takes."""
        status = int(self.path.rsplit("/", 1)[-1])
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Location", "/a.tar.gz")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(LIMIT // len(CHUNK) + 64):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_request(self, code="-", size="-"):
        self.server.seen.append((self.path, int(code)))

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, root, port=0):
        self.root, self.seen, self.silence, self.connected = root, [], 4, False
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def end(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    server = Server(tmp_path / "www")
    yield server
    server.end()


def member(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = 1_000_000_000
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def pack(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def hello(server, name="a.tar.gz", text=b"hello\n", **how):
    return pack(server.root / name, member("d", type=tarfile.DIRTYPE, mode=0o755), member("d/file", text), **how)


@pytest.fixture
def vm(linzer):
    """A VM without a system: what happens before its start is enough here."""
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    yield "vm"
    linzer("stop", "vm", "--timeout", 1)


def run(linzer, *urls, name="vm", **how):
    return linzer("run", "--detach", "--net-none", *(f"--dir={url}" for url in urls), name, **how)


def volumes(linzer):
    return sorted((linzer.home / "tmp").glob("*.volume"))


def kept(linzer):
    return sorted(path.name.split(".")[1] for path in (linzer.home / "cache/archives").glob("[!.]*"))


def ran(linzer, vm, *urls, **how):
    """What one run says of the archives, here and in its log; and the only volume's files."""
    log = linzer.vm(vm) / "run.log"
    log.unlink(missing_ok=True)
    done = run(linzer, *urls, name=vm, check=True, **how)
    volume, = volumes(linzer)
    files = {str(path.relative_to(volume / "files")): path.read_bytes() for path in volume.rglob("*") if path.is_file()}
    said = (done.stdout + log.read_text()).splitlines(), done.stderr
    linzer.switch_off(vm)
    assert list((linzer.home / "tmp").iterdir()) == []
    return *said, files


class TestCache:
    def test_first_downloaded_then_used_again(self, linzer, server, vm):
        hello(server)
        url = f"{server.url}/a.tar.gz"
        assert ran(linzer, vm, url) == ([f"Downloading {url}...", "Cached for future invocations!",
                                         "Unarchived into a temporary directory!"], "", {"d/file": b"hello\n"})
        assert ran(linzer, vm, url) == ([f"Using cached archive for {url}...",
                                         "Unarchived into a temporary directory!"], "", {"d/file": b"hello\n"})
        assert server.seen == [("/a.tar.gz", 200), ("/a.tar.gz", 304)]
        assert kept(linzer) == ["archive", "json"]

    def test_what_changed_is_downloaded_anew(self, linzer, server, vm):
        os.utime(hello(server), (1, 1))
        url = f"{server.url}/a.tar.gz"
        ran(linzer, vm, url)
        hello(server, text=b"changed\n")
        said, _, files = ran(linzer, vm, url)
        assert said[:2] == [f"Downloading {url}...", "Cached for future invocations!"] and files == {"d/file": b"changed\n"}
        assert kept(linzer) == ["archive", "json"]

    def test_by_entity_tag(self, linzer, server, vm):
        hello(server)
        for _ in range(2):
            assert ran(linzer, vm, f"{server.url}/tagged/a.tar.gz")[2] == {"d/file": b"hello\n"}
        assert [code for _, code in server.seen] == [200, 304]

    @pytest.mark.parametrize("way", ["unversioned", "private"])
    def test_what_is_not_to_be_kept_is_not(self, linzer, server, vm, way):
        hello(server)
        url = f"{server.url}/{way}/a.tar.gz"
        assert ran(linzer, vm, url) == ([f"Downloading {url}...", "Unarchived into a temporary directory!"], "",
                                        {"d/file": b"hello\n"})
        assert kept(linzer) == []

    def test_without_the_server_the_cached_one_will_do(self, linzer, server, vm):
        hello(server)
        url = f"{server.url}/a.tar.gz"
        ran(linzer, vm, url)
        server.end()
        said, errors, files = ran(linzer, vm, url)
        assert said[0] == f"Using cached archive for {url}..." and files == {"d/file": b"hello\n"}
        assert len(errors.splitlines()) == 1 and errors.startswith(f"{url}: ") and "may have changed since" in errors
        server.__init__(server.root)  # for the fixture to end

    @pytest.mark.parametrize("damage", ["json", "archive", "another"])
    def test_a_damaged_cache_is_as_none(self, linzer, server, vm, damage):
        hello(server)
        url = f"{server.url}/a.tar.gz"
        ran(linzer, vm, url)
        path, = (linzer.home / "cache/archives").glob(f"*.{damage.replace('another', 'archive')}")
        if damage == "another":  # two that fetched it at once, and the slower one's version
            hello(server, "b.tar.gz", b"other\n").rename(path)
        else:
            path.write_text("{") if damage == "json" else path.unlink()
        assert ran(linzer, vm, url)[0][0] == f"Downloading {url}..."
        assert [code for _, code in server.seen] == [200, 200]

    def test_the_longest_unused_goes(self, linzer, server, vm):
        hello(server)
        place = linzer.home / "cache/archives"
        place.mkdir(parents=True)
        for name, age in (("older", 300), ("old", 200), ("newer", 100)):
            with open(place / f"{name}.archive", "wb") as f:
                f.truncate(LIMIT // 2)
            os.utime(place / f"{name}.archive", (time.time() - age,) * 2)
        ran(linzer, vm, f"{server.url}/a.tar.gz")
        left = {path.stem for path in place.glob("*.archive")}
        assert len(left) == 2 and "newer" in left

    def test_a_version_without_its_archive_goes(self, linzer, server, vm):
        hello(server)
        place = linzer.home / "cache/archives"
        place.mkdir(parents=True)
        orphan, whole, other = (place / f"{digit * 16}.json" for digit in "abc")
        for path in (orphan, whole, whole.with_suffix(".archive"), other.with_suffix(".part")):
            path.touch()
        ran(linzer, vm, f"{server.url}/a.tar.gz")
        assert not orphan.exists() and whole.exists()
        assert len(kept(linzer)) == 4

    def test_two_at_once_get_it_whole(self, linzer, server, vm):
        linzer("create", "--linux", "--disk-size", 1, "other", check=True)
        hello(server)
        started = [linzer.start("run", "--detach", "--net-none", f"--dir={server.url}/a.tar.gz", name) for name in (vm, "other")]
        assert [child.wait(timeout=BOOT) for child in started] == [0, 0]
        assert [(volume / "files/d/file").read_bytes() for volume in volumes(linzer)] == [b"hello\n"] * 2
        assert sorted(code for _, code in server.seen) == [200, 304]
        linzer("stop", "other", "--timeout", 1)

    def test_a_redirect_is_followed(self, linzer, server, vm):
        hello(server)
        assert ran(linzer, vm, f"{server.url}/elsewhere/a.tar.gz")[2] == {"d/file": b"hello\n"}


@pytest.mark.parametrize("path, why", [
    ("absent.tar", "the server answered with status 404"),
    ("huge", f"it has more than {LIMIT} bytes"),
    ("endless/404", f"it has more than {LIMIT} bytes"),
    ("endless/302", f"it has more than {LIMIT} bytes"),
    ("cut/a.tar.gz", "transfer closed with 9 bytes remaining to read"),
    ("out/a.tar.gz", "Protocol \"file\" not supported or disabled in libcurl"),
    ("silent", "Operation too slow."),
    ("dripping", "Operation too slow."),
    ("headers", "Operation too slow."),
])
def test_a_server_that_gives_nothing_is_one_line(linzer, server, vm, path, why):
    hello(server)
    done = run(linzer, f"{server.url}/{path}", env={"LINZER_STALL_SECONDS": "2" if "slow" in why else "60"})
    assert done.returncode == 1 and done.stderr.startswith(f"--dir {server.url}/{path}: {why}"), done
    assert len(done.stderr.splitlines()) == 1 and kept(linzer) == [] and volumes(linzer) == []


def test_nobody_there_is_one_line(linzer, server, vm):
    server.end()
    done = run(linzer, f"{server.url}/a.tar.gz")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"--dir {server.url}/a.tar.gz: Failed to connect")
    server.__init__(server.root)


def programs(name):
    """Directories in /proc of the processes of that program."""
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "comm").read_text().strip() == name[:15] and alive(int(place.name)):
                found.append(place)
    return found


def test_what_fetches_has_no_privilege_and_no_password_on_its_command_line(linzer, server, vm):
    server.silence = 60
    child = linzer.start("run", "--net-none", f"--dir={server.url.replace('//', '//mia:s3cret@')}/silent", vm,
                         env={"SECRET": "s3cret", "http_proxy": "", "no_proxy": "*"})
    try:
        eventually(lambda: server.connected)
        fetcher, = programs("linzer-archive")
        status = dict(line.split(":\t", 1) for line in (fetcher / "status").read_text().splitlines() if ":\t" in line)
        assert "s3cret" not in (fetcher / "cmdline").read_text() and "127.0.0.1" not in (fetcher / "cmdline").read_text()
        assert b"s3cret" not in (fetcher / "environ").read_bytes() and b"no_proxy=*" in (fetcher / "environ").read_bytes()
        assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
        assert len(set(status["Uid"].split())) == 1 and "0" not in status["Uid"].split()
        assert os.geteuid() != 0 or set(status["Uid"].split()) == set(status["Gid"].split())
    finally:
        child.kill()
        child.communicate()


def test_a_password_goes_to_the_server_alone(linzer, server, vm):
    hello(server, "guarded")
    url = server.url.replace("//", "//mia:s3cret@")
    shown = f"{server.url}/guarded"
    for told in ("Downloading", "Using cached archive for"):
        said, errors, files = ran(linzer, vm, f"{url}/guarded")
        assert said[0] == f"{told} {shown}..." and errors == "" and files == {"d/file": b"hello\n"}
    for failing in ("guarded", "absent"):
        done = run(linzer, f"{server.url.replace('//', '//mia:wr0ng@')}/{failing}")
        assert (done.returncode, done.stderr.startswith(f"--dir {server.url}/{failing}: the server answered with status 4")) == (1, True)
    done = run(linzer, f"{url}/guarded#\x7f")
    assert done.returncode == 64 and "s3cret" not in done.stderr
    server.end()
    assert f"{shown}: " in ran(linzer, vm, f"{url}/guarded")[1]
    server.__init__(server.root)
    kept_text = [path.read_bytes() for path in linzer.home.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
    assert kept_text and not any(word in text for text in kept_text for word in (b"s3cret", b"wr0ng"))


def test_an_authority_that_only_the_caller_may_read(linzer, server, vm):
    """$SSL_CERT_FILE is read before privileges go."""
    hello(server)
    key, certificate = server.root / "key.pem", server.root / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a", "-keyout", key,
                    "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate], check=True, capture_output=True)
    certificate.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"{server.url.replace('http', 'https')}/a.tar.gz"
    assert ran(linzer, vm, url, env={"SSL_CERT_FILE": str(certificate)})[2] == {"d/file": b"hello\n"}
    done = run(linzer, url)
    assert done.returncode == 1 and done.stderr.startswith(f"--dir {url}: SSL certificate problem: self")
    done = run(linzer, url, env={"SSL_CERT_FILE": "/nonexistent/file"})
    assert done.returncode == 1 and done.stderr.startswith(f"--dir {url}: cannot open '/nonexistent/file'")


def many(path):
    """More entries than are allowed, that would be cheap to make."""
    block = tarfile.TarInfo("./").tobuf()
    with gzip.open(path, "wb", compresslevel=1) as f:
        for _ in range(1000):
            f.write(block * (ENTRIES // 1000))
        f.write(block + bytes(1024))


HOSTILE = {
    "absolute": ([member("/tmp/escaped", b"x")], "the archive holds an absolute path: '/tmp/escaped'"),
    "upwards": ([member("d/../../escaped", b"x")], "the archive holds a path with '..': 'd/../../escaped'"),
    "through-a-link": ([member("d", type=tarfile.SYMTYPE, linkname="{outside}"), member("d/escaped", b"x")],
                       "cannot unpack the archive: Cannot extract through symlink"),
    "onto-a-link": ([member("d", type=tarfile.SYMTYPE, linkname="{outside}"), member("d", type=tarfile.DIRTYPE, mode=0o777),
                     member("d/../escaped", b"x")], "the archive holds a path with '..'"),
    "link-outside": ([member("h", type=tarfile.LNKTYPE, linkname="{outside}/secret")], "the archive holds an absolute path: '{outside}/secret'"),
    "link-upwards": ([member("h", type=tarfile.LNKTYPE, linkname="../../../secret")], "the archive holds a path with '..'"),
    "link-through-a-link": ([member("d", type=tarfile.SYMTYPE, linkname="{outside}"), member("h", type=tarfile.LNKTYPE, linkname="d/secret")],
                            "cannot unpack the archive: "),
    "device": ([member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "the archive holds what is neither a file, a folder nor a link: 'null'"),
    "disk": ([member("sda", type=tarfile.BLKTYPE, devmajor=8)], "the archive holds what is neither a file, a folder nor a link: 'sda'"),
    "fifo": ([member("fifo", type=tarfile.FIFOTYPE)], "the archive holds what is neither a file, a folder nor a link: 'fifo'"),
    "deep": ([member("/".join("d" * 65), b"x")], "the archive holds a path that is too long"),
    "long": ([member("d" * 200 + "/" + "e" * 900, b"x")], "the archive holds a path that is too long"),
}


@pytest.fixture
def outside():
    """A folder that anybody may write to."""
    with scratch.directory() as path:
        path.chmod(0o755)
        place = path / "outside"
        place.mkdir()
        place.chmod(0o777)
        (place / "secret").write_text("secret\n")
        (place / "secret").chmod(0o666)
        yield place


def refused(linzer, server, name="a.tar"):
    done = run(linzer, f"{server.url}/{name}")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert list((linzer.home / "tmp").iterdir()) == []
    prefix = f"--dir {server.url}/{name}: "
    assert done.stderr.startswith(prefix)
    return done.stderr.removeprefix(prefix).strip()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_one_line_and_nothing_else(linzer, server, vm, outside, kind):
    members, message = HOSTILE[kind]
    for info, _ in members:
        info.linkname = info.linkname.format(outside=outside)
    pack(server.root / "a.tar", member("first", b"x"), *members, mode="w")
    assert refused(linzer, server).startswith(message.format(outside=outside))
    assert [path.name for path in outside.iterdir()] == ["secret"] and (outside / "secret").stat().st_nlink == 1
    assert not os.path.lexists("/tmp/escaped") and not os.path.lexists(linzer.home / "tmp/escaped")


def test_a_bomb_is_refused(linzer, server, vm):
    """Its header promises more than is allowed, and so it does in several; or a link does; or it is a multitude."""
    huge = tarfile.TarInfo("zeroes")
    huge.size = UNPACKED + 1
    (server.root / "one.tar").write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    assert refused(linzer, server, "one.tar") == f"the archive unpacks to more than {UNPACKED} bytes"
    link = tarfile.TarInfo("link")
    link.type, link.linkname, link.size = tarfile.LNKTYPE, "first", UNPACKED + 1
    (server.root / "link.tar").write_bytes(tarfile.TarInfo("first").tobuf() + link.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 20))
    assert refused(linzer, server, "link.tar") == f"the archive unpacks to more than {UNPACKED} bytes"
    many(server.root / "many.tar.gz")
    assert refused(linzer, server, "many.tar.gz") == f"the archive holds more than {ENTRIES} files"


@pytest.mark.parametrize("content, why", [
    (b"<html>Sign in</html>", "Unrecognized archive format"), (b"", "Unrecognized archive format"), (b"PK\3\4" + bytes(100), "Unrecognized archive format"),
    (gzip.compress(bytes(range(256)) * 16), "Unrecognized archive format"), (gzip.compress(os.urandom(4096))[:2000], "truncated gzip input"),
], ids=["page", "empty", "zip", "gzip", "gzip-cut"])
def test_what_is_no_archive(linzer, server, vm, content, why):
    (server.root / "a.tar").write_bytes(content)
    assert refused(linzer, server) == f"cannot unpack the archive: {why}"


def test_an_archive_that_is_cut_off(linzer, server, vm):
    whole = pack(server.root / "a.tar", member("noise", os.urandom(100000))).read_bytes()
    (server.root / "a.tar").write_bytes(whole[:50000])
    assert refused(linzer, server) == "cannot unpack the archive: truncated gzip input"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_modes_times_and_links(linzer, server, vm, outside, mode):
    pack(server.root / "a", member("./", type=tarfile.DIRTYPE, mode=0), member("plain", b"x", mode=0o640), member("suid", b"x", mode=0o6755),
         member("closed", type=tarfile.DIRTYPE, mode=0o1000), member("closed/none", b"x", mode=0),
         member("hard", type=tarfile.LNKTYPE, linkname="plain"), member("away", type=tarfile.SYMTYPE, linkname=str(outside / "secret")),
         member("\u00fcml", b"x", mode=0o777, uid=0, gid=0), mode=mode)
    run(linzer, f"{server.url}/a", check=True)
    volume, = volumes(linzer)
    found = {path.name: path.lstat() for path in (volume / "files").rglob("*")}
    modes = {name: oct(stat.S_IMODE(st.st_mode)) for name, st in found.items() if not stat.S_ISLNK(st.st_mode)}
    assert modes == {"plain": "0o640", "suid": "0o755", "closed": "0o700", "none": "0o600", "hard": "0o640", "\u00fcml": "0o755"}
    assert found["hard"].st_ino == found["plain"].st_ino and found["plain"].st_mtime == 1_000_000_000
    assert os.readlink(volume / "files/away") == str(outside / "secret")
    owners = {st.st_uid for st in found.values()}
    assert len(owners) == 1 and owners != {0} and stat.S_IMODE(volume.stat().st_mode) == 0o700
    linzer.switch_off(vm)
    assert volumes(linzer) == [] and (outside / "secret").exists()


def test_after_kill_9_the_next_command_removes_it(linzer, server, vm):
    hello(server)
    run(linzer, f"{server.url}/a.tar.gz", check=True)
    state = runtime(linzer, vm)
    linzer("list", check=True)
    assert len(volumes(linzer)) == 1  # in use
    os.kill(state["pid"], signal.SIGKILL)
    eventually(lambda: not alive(state["pid"]) and not alive(state["qemuPid"]) and not programs("virtiofsd"))
    assert len(volumes(linzer)) == 1
    linzer("list", check=True)
    assert volumes(linzer) == []


def test_killed_while_it_downloads_leaves_nothing_that_counts(linzer, server, vm):
    server.silence = 60
    child = linzer.start("run", "--net-none", f"--dir={server.url}/silent", vm)
    eventually(lambda: kept(linzer) == ["part"])
    child.send_signal(signal.SIGKILL)
    child.wait()
    hello(server)
    ran(linzer, vm, f"{server.url}/a.tar.gz")
    assert kept(linzer) == ["archive", "json"]


def test_a_guest_has_the_files(guests, server):
    """Beside a folder of another tag, and read-only where that is asked for; the guest's modes do not keep them."""
    hello(server)
    hello(server, "b.tar", b"other\n", mode="w")
    guests("clone", "debian", "unpacked", check=True)
    done = guests("run", "--wait-ready", "--net-none", f"--dir={server.url}/a.tar.gz", f"--dir=named:{server.url}/b.tar:ro,tag=more",
                  "unpacked", check=True, timeout=3 * BOOT)
    assert done.stdout.count("Downloading") == 2

    def shell(script, check=True):
        return guests("exec", "unpacked", "sh", "-c", script, check=check)
    assert shell("cat /mnt/shared/d/file /mnt/more/named/d/file").stdout == "hello\nother\n"
    assert shell("echo new >/mnt/shared/d/new && cat /mnt/shared/d/new").stdout == "new\n"
    assert "Read-only file system" in shell("touch /mnt/more/named/new", check=False).stderr
    shell("sudo chmod 0 /mnt/shared/d /mnt/shared")
    assert len(volumes(guests)) == 2
    guests.switch_off("unpacked")
    assert volumes(guests) == []
    guests("delete", "unpacked", check=True)
