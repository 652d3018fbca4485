# SPDX-License-Identifier: Apache-2.0
"""What a registry, its token server or a race of two programs can do to the credentials, the certificates and the cache."""

import fcntl
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.parse

import pytest

import faulty_registry as faulty
from cache_state import cached, images, is_right, listed, new_vm, one_line
from cached_image import image_path, make, repository_path
from loop_mount import home_on, needs_root
from oci_image import MIB, Image, mixed_disk

WHO = {"TART_REGISTRY_USERNAME": "someone", "TART_REGISTRY_PASSWORD": "se:cret"}
BASE = "ghcr.io/org/base"


@pytest.fixture
def image():
    return Image(mixed_disk(2))


# ---------------------------------------------------------------- certs.d

PLACES = ["/etc/docker", "/etc/containers"]


@pytest.fixture
def certs(oci, tmp_path):
    """Runs the program where PLACE/certs.d is a directory of the test's."""
    etc = tmp_path / "etc"

    def run(*words, place=PLACES[0], env=None):
        script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        return subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", etc, place,
                               oci.program(), *map(str, words)], env=oci.environment(**(env or {})),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def put(host, **files):
        """name=path: NAME's last _ is a dot."""
        directory = etc / "certs.d" / host
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            (directory / ".".join(name.rsplit("_", 1))).write_bytes(path.read_bytes())
        return directory
    etc.mkdir()
    run.put = put
    return run


@pytest.fixture
def secure(certificate, image):
    with faulty.FakeRegistry(tls=certificate) as server:
        server.image = server.add(image, "org/vm")
        yield server


def asking_for_certificate(certificate, authority, mode=ssl.CERT_REQUIRED):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(authority.ca)
    context.verify_mode = mode
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # refused at the handshake and not afterwards
    return context


@pytest.fixture(scope="session")
def client(authority):
    return authority.certificate("client", "DNS:client.test")


@needs_root
@pytest.mark.parametrize("place", PLACES)
def test_authority_of_certs_d(oci, certs, secure, authority, image, place):
    certs.put(secure.address, ca_crt=authority.ca)
    done = certs("pull", secure.image, place=place)
    assert (done.returncode, done.stderr) == (0, "")
    is_right(cached(oci, image), image)


@needs_root
def test_authority_of_certs_d_is_one_hosts_alone(certs, secure, authority):
    certs.put("127.0.0.1", ca_crt=authority.ca)
    certs.put("127.0.0.1:1", ca_crt=authority.ca)
    assert "certificate" in one_line(certs("pull", secure.image), secure.url)


@needs_root
def test_what_is_no_certificate_is_passed_over(certs, secure, authority, tmp_path):
    directory = certs.put(secure.address, ca_crt=authority.ca)
    (directory / "a.crt").mkdir()
    os.mkfifo(directory / "b.crt")
    (directory / "c.crt").symlink_to("nowhere")
    (directory / "README").write_text("no certificate")
    assert certs("pull", secure.image).returncode == 0


@needs_root
def test_client_certificate(oci, certs, authority, certificate, client, image):
    with faulty.FakeRegistry(tls=asking_for_certificate(certificate, authority)) as server:
        name = server.add(image, "org/vm")
        certs.put(server.address, ca_crt=authority.ca)
        one_line(certs("pull", name), server.url)
        assert server.records == []
        certs.put(server.address, me_cert=client[0], me_key=client[1])
        done = certs("pull", name)
        assert (done.returncode, done.stderr) == (0, "")
        is_right(cached(oci, image), image)


@needs_root
@pytest.mark.parametrize("key", ["missing", "garbage", "another's"])
def test_client_certificate_without_its_key(certs, authority, certificate, client, image, key):
    with faulty.FakeRegistry(tls=asking_for_certificate(certificate, authority)) as server:
        directory = certs.put(server.address, ca_crt=authority.ca, me_cert=client[0])
        if key == "garbage":
            (directory / "me.key").write_text("garbage")
        elif key == "another's":
            (directory / "me.key").write_bytes(certificate[1].read_bytes())
        one_line(certs("pull", server.add(image, "org/vm")), server.url)
        assert server.records == []


@needs_root
def test_client_certificate_is_not_shown_to_others(oci, certs, authority, certificate, client, image):
    """Neither to a blob storage on another host."""
    shown = []

    def note(handler):
        shown.append(handler.connection.getpeercert())
        return faulty.GO_ON
    context = asking_for_certificate(certificate, authority, ssl.CERT_OPTIONAL)
    with faulty.FakeRegistry(tls=context) as server, faulty.FakeRegistry(host="127.0.0.2", tls=context) as storage:
        storage.blobs = server.blobs
        storage.fault("*", "", note)
        name = server.add(image, "org/vm")
        certs.put(server.address, me_cert=client[0], me_key=client[1])
        server.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}"))
        assert certs("pull", name, env={"SSL_CERT_FILE": str(authority.ca)}).returncode == 0
        assert shown and not any(shown)


@needs_root
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_token_server_of_an_authority_in_certs_d(oci, certs, authority, certificate, client, image, host):
    """Harbor's is on the registry's own host, GitLab's is not; for docker and podman the authority counts for both."""
    shown = []

    def note(handler):
        shown.append(bool(handler.connection.getpeercert()))
        return faulty.GO_ON
    context = asking_for_certificate(certificate, authority, ssl.CERT_OPTIONAL)
    with faulty.FakeRegistry(tls=context) as server, faulty.FakeRegistry(host=host, tls=context) as tokens:
        realm = server if host == "127.0.0.1" else tokens
        server.auth = tokens._auth = faulty.Bearer("someone", "se:cret", server=realm)
        server.auth.registry = server
        realm.fault("GET", "/token", note)
        name = server.add(image, "org/vm")
        certs.put(server.address, ca_crt=authority.ca, me_cert=client[0], me_key=client[1])
        done = certs("pull", name, env=WHO)
        assert (done.returncode, done.stderr) == (0, "")
        is_right(cached(oci, image), image)
        assert shown == [host == "127.0.0.1"]  # who we are is for the registry itself


def test_empty_variables_of_certificates_are_none(oci, secure, authority):
    """As for curl; the system's authorities count then, which do not know this one."""
    line = one_line(oci("pull", secure.image, env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}), secure.url)
    assert "certificate" in line and "error setting" not in line
    oci("pull", secure.image, env={"SSL_CERT_FILE": str(authority.ca), "SSL_CERT_DIR": ""}, check=True)


# ---------------------------------------------------------------- identity tokens

SECRET = "refresh/me+again=&x"


class TokenServer:
    """The POST of an OAuth2 token server; `forms` is what came."""

    def __init__(self, fake, answer=None):
        self.fake, self.answer, self.forms, self.headers = fake, answer, [], []
        fake.auth = faulty.Bearer("nobody", "knows")
        fake.fault("POST", "^/token", self.serve)

    def serve(self, handler):
        self.forms.append(urllib.parse.parse_qs(handler.body().decode(), strict_parsing=True))
        self.headers.append(handler.headers)
        if self.answer:
            return self.answer(handler)
        self.fake.auth.tokens["the-token"] = None
        return handler.reply(200, json.dumps({"access_token": "the-token"}).encode())


def write_identity(oci, address):
    path = oci.user / ".docker/config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": {address: {"auth": "", "identitytoken": SECRET}}}))


def test_identity_token_is_posted(oci, fake, image):
    name = fake.add(image, "org/vm")
    server = TokenServer(fake)
    write_identity(oci, fake.address)
    done = oci("pull", name, "--insecure", check=True)
    assert done.stderr == "" and SECRET not in done.stdout
    is_right(cached(oci, image), image)
    assert server.forms == [{"grant_type": ["refresh_token"], "client_id": ["linzer"], "service": ["fake service"],
                             "scope": ["repository:org/vm:pull"], "refresh_token": [SECRET]}]
    assert server.headers[0]["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in server.headers[0]
    sent = {r.headers.get("Authorization") for r in fake.records}
    assert sent == {None, "Bearer the-token"}
    assert not any(SECRET in urllib.parse.unquote(r.path) for r in fake.records)


def test_identity_token_of_a_push(oci, fake):
    new_vm(oci, "vm", mixed_disk(2))
    server = TokenServer(fake)
    write_identity(oci, fake.address)
    oci("push", "vm", fake.name("org/vm"), "--insecure", check=True)
    assert [form["scope"] for form in server.forms][0][0].startswith("repository:org/vm:pull,push")


BAD = {"401": faulty.error(401, "UNAUTHORIZED", "who are you"), "404": faulty.error(404), "nonsense": faulty.status(200, b"x"),
       "empty": faulty.status(200, b"{}"), "huge": faulty.status(200, b'{"token":"' + b"x" * (64 * MIB) + b'"}')}


@pytest.mark.parametrize("how", BAD)
def test_identity_token_that_is_refused(oci, fake, image, how):
    name = fake.add(image, "org/vm")
    TokenServer(fake, BAD[how])
    write_identity(oci, fake.address)
    done = oci("pull", name, "--insecure")
    line = one_line(done, "POST " + fake.url + "/token")
    assert SECRET not in line and SECRET not in done.stdout


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_identity_token_follows_no_redirect(oci, fake, image, code):
    with faulty.FakeRegistry(host="127.0.0.2") as other:
        name = fake.add(image, "org/vm")
        TokenServer(fake, faulty.redirect(other.url + "{path}", code))
        write_identity(oci, fake.address)
        one_line(oci("pull", name, "--insecure"), fake.url + "/token")
        assert other.records == []


def test_identity_token_goes_not_over_plain_http(oci, secure, fake, authority):
    secure.auth = faulty.Bearer("nobody", "knows", server=fake)
    write_identity(oci, secure.address)
    line = one_line(oci("pull", secure.image, env={"SSL_CERT_FILE": str(authority.ca)}), secure.url)
    assert "AuthFailed" in line and fake.records == []


# ---------------------------------------------------------------- answers

def test_informational_answers_without_end(oci, fake, image):
    def act(handler):
        handler.close_connection = True
        until = time.monotonic() + 30
        while time.monotonic() < until:
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLocation: http://127.0.0.1:1/\r\n\r\n" * 100)
    fake.fault("GET", "/manifests/", act)
    began = time.monotonic()
    one_line(oci("pull", fake.add(image, "org/vm"), "--insecure"), "/manifests/latest", "headers")
    assert time.monotonic() - began < 25


def test_early_hints_are_no_answer(oci, fake, image):
    """Nor do their headers count."""
    def act(handler):
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLocation: http://127.0.0.1:1/\r\nRetry-After: 300\r\n\r\n")
        return faulty.GO_ON
    fake.fault("*", "", act)
    oci("pull", fake.add(image, "org/vm"), "--insecure", check=True)
    is_right(cached(oci, image), image)


@pytest.mark.parametrize("body", [b"", b"done"])
def test_long_wait_for_the_answer_to_an_upload(oci, fake, body):
    """Twice the patience, for which there is a reason; whatever the answer's body is."""
    new_vm(oci, "vm", mixed_disk(2))

    def act(handler):
        handler.body()
        time.sleep(5)
        handler.registry.put_manifest("org/vm", "latest", handler.body())
        handler.reply(201, body)
    fake.fault("PUT", "/manifests/", act)
    oci("push", "vm", fake.name("org/vm"), "--insecure", check=True, env={"LINZER_STALL_SECONDS": "2"})
    assert fake.count("PUT", "/manifests/") == 1


# ---------------------------------------------------------------- the cache

def removed(done):
    assert done.returncode == 0, done.stderr
    return [line.rsplit(" (", 1)[0] for line in done.stderr.splitlines()]


def fill_to(path, left):
    """Until only so many bytes are left."""
    state = os.statvfs(path)
    with open(path / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - left)


@pytest.fixture
def small(linzer):
    with home_on(linzer, "ext4", 200 << 20) as path:
        make(linzer.home, BASE, "source", seed=1, size=20 * MIB, data=2 * MIB, days=9)
        yield path


@needs_root
def test_what_is_in_use_is_no_reason_to_make_less_room(linzer, small):
    oldest = make(linzer.home, BASE, "oldest", seed=2, size=12 * MIB, days=8)
    make(linzer.home, BASE, "older", seed=3, size=12 * MIB, days=7)
    make(linzer.home, BASE, "newest", seed=4, size=12 * MIB, days=1)
    fill_to(small, 8 * MIB)  # 18 MiB may be needed
    reader = os.open(image_path(linzer.home, BASE, oldest), os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == [f"{BASE}:older"]
    os.close(reader)


@needs_root
def test_a_full_file_system_is_reason_enough(linzer, small):
    """Nothing is left but what is root's."""
    make(linzer.home, BASE, "old", seed=2, size=24 * MIB, days=8)
    loop = f"/dev/loop{os.minor(os.stat(small).st_dev)}"
    subprocess.run(["tune2fs", "-r", "5000", loop], check=True, stdout=subprocess.DEVNULL)
    fill_to(small, 0)
    assert os.statvfs(small).f_bavail == 0
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == [f"{BASE}:old"]


def left_of_a_pull(home, name, days=1):
    path = home / "cache/pulls" / name
    path.mkdir(parents=True)
    when = time.time() - days * 86400
    os.utime(path, (when, when))
    return path


@needs_root
def test_an_unfinished_pull_that_gives_nothing_back_stays(linzer, small):
    """Its bytes have another name."""
    make(linzer.home, BASE, "old", seed=2, size=24 * MIB, days=8)
    path = left_of_a_pull(linzer.home, "left")
    (small / "elsewhere").write_bytes(os.urandom(24 * MIB))
    os.link(small / "elsewhere", path / "disk.img")
    fill_to(small, 8 * MIB)
    assert removed(linzer("clone", f"{BASE}:source", "vm")) == [f"{BASE}:old"]
    assert path.exists()


@needs_root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_an_unfinished_pull_of_shared_extents_stays(linzer, kind):
    with home_on(linzer, kind, 512 << 20) as path:
        make(linzer.home, BASE, "source", seed=1, size=2048 * MIB, data=2 * MIB, days=9)
        make(linzer.home, BASE, "old", seed=2, size=48 * MIB, days=8)
        unfinished = left_of_a_pull(linzer.home, "left")
        (path / "elsewhere").write_bytes(os.urandom(48 * MIB))
        subprocess.run(["cp", "--reflink=always", path / "elsewhere", unfinished / "disk.img"], check=True)
        os.sync()
        state = os.statvfs(path)
        growth = state.f_bavail * state.f_frsize + 16 * MIB
        source = image_path(linzer.home, BASE, os.readlink(repository_path(linzer.home, BASE) / "source"))
        os.truncate(source / "disk.img", growth + 2 * MIB)
        done = linzer("clone", f"{BASE}:source", "vm")
        assert removed(done) == [f"{BASE}:old"]
        assert unfinished.exists()


NOBODY = 65534


@needs_root
def test_somebody_elses_image_does_not_fail_a_pull(oci, fake, tmp_path):
    """What `sudo` pulled cannot be collected by whoever pulls the next one."""
    def run(*words):
        for path in (oci.home, oci.user):
            os.chown(path, NOBODY, NOBODY)
        return subprocess.run([oci.program(), *words], env=oci.environment(HOME="/nonexistent"), user=NOBODY,
                              group=NOBODY, extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)
    oci.home.parent.chmod(0o711)
    for path in (oci.names, *oci.names.parents):
        if str(path).startswith(str(tmp_path.parents[1])):
            path.chmod(path.stat().st_mode | 0o711)
    first, second = Image(mixed_disk(1)), Image(mixed_disk(2))
    assert run("pull", fake.add(first, "org/vm"), "--insecure").returncode == 0
    theirs = cached(oci, first)
    os.chown(theirs, 0, 0)
    theirs.chmod(0o700)
    done = run("pull", fake.add(second, "org/vm"), "--insecure")
    assert (done.returncode, done.stderr) == (0, "")
    is_right(cached(oci, second), second)
    assert first.digest in images(oci)
    one_line(run("prune", "--gc"), "Permission denied")


def test_etag_that_is_no_header_value(oci, fake, image):
    """It would come back in a header of ours."""
    slice = image.slices[0]["digest"]

    def act(handler):
        data, _ = faulty.content(handler)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"a\rX-Evil: 1\"\r\n\r\n" % len(data))
        handler.wfile.write(data[:100])
        handler.close_connection = True
    fake.fault("GET", slice, act, times=1)
    oci("pull", fake.add(image, "org/vm"), "--insecure", check=True)
    again = fake.asked("GET", slice)[1]
    assert "Range" in again.headers and "If-Range" not in again.headers and "X-Evil" not in again.headers


# ---------------------------------------------------------------- layouts

@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_what_a_killed_push_left_in_a_layout_goes(oci, tmp_path, name):
    new_vm(oci, "vm", mixed_disk(1))
    layout = tmp_path / "layout"
    layout.mkdir()
    if name == "index.json":
        oci("push", "vm", f"oci:{layout}:one", check=True)
    left = layout / f"{name}.0123456789abcdef.new"
    left.write_text("{")
    oci("push", "vm", f"oci:{layout}:two", check=True)
    assert not left.exists()


# ---------------------------------------------------------------- races

def test_image_deleted_before_its_clone_has_it(oci, fake, image):
    """It was cached when clone looked, and is pulled again as if it had not been."""
    name = fake.add(image, "org/vm")
    oci("pull", name, "--insecure", check=True)
    directory = cached(oci, image)
    remover = os.open(directory, os.O_RDONLY)
    fcntl.flock(remover, fcntl.LOCK_EX)
    child = oci.start("clone", name, "vm", "--insecure", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.7)  # it waits for the lock
    (directory.parent / "latest").unlink()
    directory.rename(directory.parent.parent / ".trash-test")
    os.close(remover)
    out, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (0, ""), out
    assert (oci.vm("vm") / "disk.img").read_bytes()[:len(image.disk)] == image.disk
    is_right(cached(oci, image), image)


def test_clone_of_what_the_registry_has_not_is_not_tried_for_ever(oci, fake):
    one_line(oci("clone", fake.name("org/none"), "vm", "--insecure"), "404")
    assert fake.count("GET", "/manifests/") == 1
