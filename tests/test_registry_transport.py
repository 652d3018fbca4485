# SPDX-License-Identifier: Apache-2.0
"""The way to a registry: what breaks is tried again with patience, what is redirected is followed with care."""

import base64
import signal
import ssl
import time

import pytest

import faulty_registry as faulty
from cache_state import cached, images, is_right, listed, new_vm, nothing_new, one_line
from oci_image import KIB, MIB, Image, mixed_disk, noise
from proxy import Proxy
from registry import registry as docker_registry

WHO = {"TART_REGISTRY_USERNAME": "someone", "TART_REGISTRY_PASSWORD": "se:cret"}


@pytest.fixture
def image():
    return Image(mixed_disk())


def pull(oci, name, *more, check=True, insecure=True, **options):
    return oci("pull", name, *(["--insecure"] if insecure else []), *more, check=check, **options)


def right_in_spite_of(oci, fake, image, **options):
    done = pull(oci, fake.add(image, "org/vm"), **options)
    assert done.stderr == ""
    is_right(cached(oci, image), image)
    return done


# ---------------------------------------------------------------- tried again

TRANSIENT = {"408": faulty.error(408), "429": faulty.error(429, "TOOMANYREQUESTS"), "500": faulty.error(500),
             "502": faulty.error(502), "503": faulty.error(503), "504": faulty.error(504), "reset": faulty.reset(),
             "nothing": faulty.not_http(b""), "half a head": faulty.not_http(b"HTTP/1.1 20")}


@pytest.mark.parametrize("what", TRANSIENT)
@pytest.mark.parametrize("where", ["/manifests/", "slice", "config", "nvram"])
def test_a_passing_failure_of_a_pull(oci, fake, image, what, where):
    layers = {"slice": 2, "config": 0, "nvram": -1}
    pattern = image.layers[layers[where]]["digest"] if where in layers else where
    fake.fault("GET", pattern, TRANSIENT[what], times=2)
    right_in_spite_of(oci, fake, image)
    assert fake.count("GET", pattern) == 3


@pytest.mark.parametrize("what", TRANSIENT)
@pytest.mark.parametrize("method, pattern", [("HEAD", "/blobs/sha256:"), ("POST", "/blobs/uploads/"),
                                             ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")])
def test_a_passing_failure_of_a_push(oci, fake, what, method, pattern):
    disk = mixed_disk(9, size=64 * KIB)
    new_vm(oci, "vm", disk)
    fake.fault(method, pattern, TRANSIENT[what], times=2)
    done = oci("push", "vm", fake.name("org/vm"), "--insecure", check=True)
    assert done.stderr == ""
    pull(oci, fake.name("org/vm"))
    directory, = images(oci).values()
    assert (directory / "disk.img").read_bytes() == disk


def test_a_passing_failure_of_a_chunk(oci, fake):
    new_vm(oci, "vm", noise(5 * MIB, 1))
    fake.fault("PATCH", "/blobs/uploads/", faulty.error(503), times=1, skip=2)
    oci("push", "vm", fake.name("org/vm"), "--insecure", "--chunk-size", 1, check=True)
    pull(oci, fake.name("org/vm"))


@pytest.mark.parametrize("code", [500, 503, 429])
def test_for_ever(oci, fake, image, code):
    """It gives up, after several tries, and says what the last answer was."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[1]["digest"], faulty.error(code, message="the machine is on fire"))
    one_line(pull(oci, name, check=False), f"{fake.url}/v2/org/vm/blobs/{image.slices[1]['digest']}", str(code),
             "the machine is on fire")
    assert 3 <= fake.count("GET", image.slices[1]["digest"]) <= 20
    nothing_new(oci)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 418])
def test_what_is_not_tried_again(oci, fake, image, code):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/manifests/", faulty.error(code, "WHATEVER", "because"))
    one_line(pull(oci, name, check=False), *([f"{fake.url}/v2/org/vm/manifests/latest"] if code != 401 else []), str(code))
    assert fake.count("GET", "/manifests/") <= 2  # once more with credentials after 401
    nothing_new(oci)


def test_back_off_grows(oci, fake, image):
    """Each wait is longer than the one before, on the whole: not a storm of requests."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/manifests/", faulty.error(503))
    pull(oci, name, check=False, env={"LINZER_RETRY_BASE_MS": "100"})
    times = [r.at for r in fake.asked("GET", "/manifests/")]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert len(gaps) >= 2 and sum(gaps) > 0.2 and max(gaps[-2:]) > gaps[0] / 2


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_in_seconds(oci, fake, image, code):
    fake.fault("GET", image.slices[1]["digest"], faulty.error(code, Retry_After="2"), times=1)
    right_in_spite_of(oci, fake, image)
    first, second = fake.asked("GET", image.slices[1]["digest"])
    assert 1.9 <= second.at - first.at < 60


def test_retry_after_as_a_date(oci, fake, image):
    fake.fault("GET", image.slices[1]["digest"], faulty.retry_date(503, 3), times=1)
    right_in_spite_of(oci, fake, image)
    first, second = fake.asked("GET", image.slices[1]["digest"])
    assert 1.5 <= second.at - first.at < 60


@pytest.mark.parametrize("value", ["-5", "x", "", "Mon, 01 Jan 1990 00:00:00 GMT", "0", "1e9"])
def test_retry_after_that_makes_no_sense(oci, fake, image, value):
    fake.fault("GET", image.slices[1]["digest"], faulty.error(503, Retry_After=value), times=1)
    began = time.monotonic()
    right_in_spite_of(oci, fake, image)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("value", ["99999999", "Mon, 01 Jan 2125 00:00:00 GMT", "9" * 100], ids=lambda v: v[:8])
def test_retry_after_of_a_year(oci, fake, image, value):
    """A registry cannot make us wait for ever: it is an error, or the wait has a bound, and Ctrl-C ends it."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[1]["digest"], faulty.error(503, Retry_After=value), times=1)
    child = oci.start("pull", name, "--insecure", stdout=-1, stderr=-1, text=True)
    until = time.monotonic() + 60
    while not fake.count("GET", image.slices[1]["digest"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(1)
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (1, "Error: CancellationError()\n")
    else:
        out, err = child.communicate()
        assert child.returncode == 0 or len(err.splitlines()) == 1, (out, err)


def test_429_to_everybody_now_and_then(oci, fake):
    """A registry that allows only so many requests: every fourth is refused; all come through."""
    image = Image(noise(20 * 64 * KIB, 2), 64 * KIB)
    for skip in range(3, 40, 4):
        fake.fault("GET", "/blobs/", faulty.error(429, Retry_After="0"), times=1, skip=skip)
    right_in_spite_of(oci, fake, image)


# ---------------------------------------------------------------- a body that stops in its middle

def test_a_short_body_goes_on_by_range(oci, fake):
    """What came is not fetched again."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    blob = image.slices[0]["digest"]
    for cut in (300_000, 200_000, 1):
        fake.fault("GET", blob, faulty.truncated(cut), times=1)
    right_in_spite_of(oci, fake, image)
    ranges = [r.headers.get("Range") for r in fake.asked("GET", blob)]
    assert ranges == [None, "bytes=300000-", "bytes=500000-", "bytes=500001-"]
    assert fake.sent("/blobs/" + blob) == image.slices[0]["size"]


def test_a_reset_in_the_middle(oci, fake):
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    fake.fault("GET", image.slices[0]["digest"], faulty.truncated(500_000, reset=True), times=3)
    right_in_spite_of(oci, fake, image)


def test_many_breaks_with_progress_between(oci, fake):
    """A bad line: every 40 KB it breaks. As long as bytes come, it goes on."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    fake.fault("GET", image.slices[0]["digest"], faulty.truncated(40_000))
    right_in_spite_of(oci, fake, image)


def test_a_server_that_ignores_range(oci, fake):
    """200 and all of it again."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    blob = image.slices[0]["digest"]
    fake.fault("GET", blob, faulty.truncated(300_000), times=1)
    fake.fault("GET", blob, faulty.without_range())
    right_in_spite_of(oci, fake, image)


def test_a_server_that_answers_with_another_range(oci, fake):
    """It must not be put at the place that was asked for."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    blob = image.slices[0]["digest"]
    fake.fault("GET", blob, faulty.truncated(300_000), times=1)
    fake.fault("GET", blob, faulty.wrong_range(), times=1)
    name = fake.add(image, "org/vm")
    done = pull(oci, name, check=False)
    if done.returncode:
        one_line(done, blob)
        nothing_new(oci)
        fake.forget()
        pull(oci, name)
    is_right(cached(oci, image), image)


def test_a_range_that_is_refused(oci, fake):
    """416 to the second request: anew, or one line."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    blob = image.slices[0]["digest"]
    fake.fault("GET", blob, faulty.truncated(300_000), times=1)
    fake.fault("GET", blob, faulty.error(416), times=1)
    done = pull(oci, fake.add(image, "org/vm"), check=False)
    if done.returncode:
        one_line(done, blob, "416")
    else:
        is_right(cached(oci, image), image)


def test_206_without_being_asked(oci, fake, image):
    fake.fault("GET", image.slices[1]["digest"], faulty.wrong_range(0), times=1)
    done = pull(oci, fake.add(image, "org/vm"), check=False)
    if done.returncode:
        one_line(done, image.slices[1]["digest"])
    else:
        is_right(cached(oci, image), image)


def test_the_content_changes_between_two_ranges(oci, fake):
    """The first half from one version, the second from another: the digest tells; later it is right."""
    image = Image(noise(1 * MIB, 1), 1 * MIB)
    blob = image.slices[0]["digest"]
    name = fake.add(image, "org/vm")
    right = image.blobs[blob]
    fake.fault("GET", blob, faulty.truncated(300_000), times=1)

    def other_half(handler):
        handler.reply(206, bytes(len(right) - 300_000),
                      {"Content-Range": f"bytes 300000-{len(right) - 1}/{len(right)}"})
    fake.fault("GET", blob, other_half, times=1)
    done = pull(oci, name, check=False)
    if done.returncode:
        one_line(done, blob)
        nothing_new(oci)
        pull(oci, name)
    is_right(cached(oci, image), image)


# ---------------------------------------------------------------- stalls

def test_a_byte_at_a_time(oci, fake, image):
    """It moves, but it is no transfer: given up within the patience that was set, not after hours."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[1]["digest"], faulty.dripping(0.5))
    began = time.monotonic()
    one_line(pull(oci, name, check=False, timeout=200, env={"LINZER_STALL_SECONDS": "2"}), image.slices[1]["digest"])
    assert time.monotonic() - began < 150
    nothing_new(oci)


@pytest.mark.parametrize("where", ["/manifests/", "slice"])
@pytest.mark.parametrize("after", [None, 100])
def test_silence(oci, fake, image, where, after):
    """No answer, or none after the first bytes."""
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[1]["digest"] if where == "slice" else where, faulty.silence(after=after))
    began = time.monotonic()
    one_line(pull(oci, name, check=False, timeout=200, env={"LINZER_STALL_SECONDS": "1"}), fake.url)
    assert time.monotonic() - began < 150


def test_silence_once(oci, fake, image):
    """A stalled connection is given up and the slice comes by another."""
    fake.fault("GET", image.slices[1]["digest"], faulty.silence(after=1000), times=1)
    began = time.monotonic()
    right_in_spite_of(oci, fake, image, env={"LINZER_STALL_SECONDS": "2"})
    assert time.monotonic() - began < 100  # of the 120 that it says nothing


def test_slow_is_not_stalled(oci, fake):
    """No total time-out: three times the patience, but it moves."""
    image = Image(noise(600 * KIB, 1), 600 * KIB)
    fake.fault("GET", image.slices[0]["digest"], faulty.throttled(50 * KIB))
    right_in_spite_of(oci, fake, image, env={"LINZER_STALL_SECONDS": "4"})
    assert fake.count("GET", image.slices[0]["digest"]) == 1


def test_a_slow_answer_to_an_upload_is_not_a_stall_of_the_disk(oci, fake):
    """A registry that thinks for a second before its 201."""
    new_vm(oci, "vm", noise(MIB, 1))
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(1))
    oci("push", "vm", fake.name("org/vm"), "--insecure", check=True)
    assert max(fake.uploaded().count(d) for d in fake.uploaded()) == 1


def test_headers_that_never_end(oci, fake, image):
    fake.fault("GET", "/manifests/", faulty.endless_headers())
    one_line(pull(oci, fake.add(image, "org/vm"), check=False, timeout=100), "/manifests/latest")
    assert sum(r.sent for r in fake.records) < MIB


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 1000, b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 999\r\n\r\n"],
                         ids=["ssh", "zeroes", "http9", "999"])
def test_no_http_at_all(oci, fake, image, data):
    fake.fault("GET", "/manifests/", faulty.not_http(data))
    one_line(pull(oci, fake.add(image, "org/vm"), check=False), f"{fake.url}/v2/org/vm/manifests/latest")


def test_nobody_listens(oci):
    done = pull(oci, "127.0.0.1:1/org/vm", check=False)
    one_line(done, "http://127.0.0.1:1/v2/org/vm/manifests/latest", "connect")


def test_host_that_does_not_exist(oci):
    one_line(pull(oci, "no-such-host.invalid/org/vm", check=False, timeout=100), "no-such-host.invalid")


# ---------------------------------------------------------------- redirects

@pytest.fixture
def storage():
    """A blob storage on another host; its blobs are those of whoever redirects there."""
    with faulty.FakeRegistry(host="127.0.0.2") as server:
        yield server


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_blobs_on_another_host(oci, fake, storage, image, code):
    """Followed; the password stays here, be it in a header or after a challenge."""
    fake.auth = faulty.Basic()
    storage.blobs = fake.blobs
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}?signature=abc", code))
    pull(oci, name, env=WHO)
    is_right(cached(oci, image), image)
    assert storage.count("GET") >= 5
    assert [r for r in storage.records if "Authorization" in r.headers or "Cookie" in r.headers] == []
    assert all("signature=abc" in r.path for r in storage.records)


def test_a_storage_that_asks_for_credentials_gets_none(oci, fake, storage, image):
    """401 from the redirect's target is no reason to send it the registry's password."""
    fake.auth = faulty.Basic()
    storage.blobs = fake.blobs
    storage.auth = faulty.Basic(header='Basic realm="give it to me"')
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}"))
    one_line(pull(oci, name, env=WHO, check=False), "401")
    assert [r for r in storage.records if "Authorization" in r.headers] == []


def test_the_token_does_not_travel_either(oci, fake, storage, image):
    fake.auth = faulty.Bearer("someone", "se:cret")
    storage.blobs = fake.blobs
    fake.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}"))
    pull(oci, fake.add(image, "org/vm"), env=WHO)
    assert [r for r in storage.records if "Authorization" in r.headers] == []


def test_redirect_on_the_same_host_and_relative(oci, fake, image):
    """/v2/org/moved: followed with the credentials, which are for this host."""
    fake.auth = faulty.Basic()
    name = fake.add(image, "org/vm")
    fake.add(image, "org/moved")
    fake.fault("GET", "/v2/org/vm/blobs/" + image.slices[0]["digest"],
               faulty.redirect(f"/v2/org/moved/blobs/{image.slices[0]['digest']}"))
    pull(oci, name, env=WHO)
    is_right(cached(oci, image), image)


def test_a_storage_resumes_too(oci, fake, storage, image):
    storage.blobs = fake.blobs
    blob = image.slices[1]["digest"]
    storage.fault("GET", blob, faulty.truncated(10_000), times=1)
    fake.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}"))
    pull(oci, fake.add(image, "org/vm"))
    is_right(cached(oci, image), image)
    assert [r.headers.get("Range") for r in storage.asked("GET", blob)] == [None, "bytes=10000-"]


def test_a_signed_address_that_expires(oci, fake, storage, image):
    """403 from the storage: the registry is asked again for a fresh address."""
    storage.blobs = fake.blobs
    blob = image.slices[1]["digest"]
    storage.fault("GET", blob, faulty.truncated(10_000), times=1)
    storage.fault("GET", blob, faulty.error(403, "AccessDenied", "Request has expired"), times=1)
    fake.fault("GET", "/blobs/", faulty.redirect(storage.url + "{path}"))
    name = fake.add(image, "org/vm")
    done = pull(oci, name, check=False)
    if done.returncode:
        one_line(done, "403")
        pull(oci, name)
    is_right(cached(oci, image), image)


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_redirect_loop(oci, fake, image, where):
    fake.fault("GET", where, faulty.redirect("{path}"))
    line = one_line(pull(oci, fake.add(image, "org/vm"), check=False), f"{fake.url}/v2/org/vm{where}")
    assert "redirect" in line or "sent on" in line
    assert fake.count("GET", where) <= 4 * 6 * 21


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1:1/", "ftp://127.0.0.1/x", "smb://127.0.0.1/x",
                                    "dict://127.0.0.1:1/x", "", "http://", "http://[::1", "javascript:alert(1)"])
def test_redirect_to_nowhere_good(oci, fake, image, target):
    name = fake.add(image, "org/vm")
    fake.fault("GET", "/manifests/", faulty.redirect(target))
    one_line(pull(oci, name, check=False), f"{fake.url}/v2/org/vm/manifests/")
    nothing_new(oci)


def test_redirect_from_https_to_http(oci, image, authority, certificate):
    """Whatever comes of it, no credential goes by plain HTTP, and no bytes are believed but by their digest."""
    with faulty.FakeRegistry(tls=certificate, auth=faulty.Basic()) as secure, faulty.FakeRegistry() as plain:
        plain.blobs = secure.blobs
        name = secure.add(image, "org/vm")
        secure.fault("GET", "/blobs/", faulty.redirect(plain.url + "{path}"))
        done = pull(oci, name, insecure=False, check=False, env={**WHO, "SSL_CERT_FILE": str(authority.ca)})
        assert [r for r in plain.records if "Authorization" in r.headers] == []
        if done.returncode:
            one_line(done, secure.url)
            nothing_new(oci)
        else:
            is_right(cached(oci, image), image)


def test_upload_location_from_https_to_http(oci, authority, certificate):
    new_vm(oci, "vm", mixed_disk(2))
    with faulty.FakeRegistry(tls=certificate, auth=faulty.Basic()) as secure, faulty.FakeRegistry() as plain:
        plain.blobs, plain.uploads = secure.blobs, secure.uploads
        secure.elsewhere = plain
        done = oci("push", "vm", secure.name("org/vm"), env={**WHO, "SSL_CERT_FILE": str(authority.ca)})
        assert [r for r in plain.records if "Authorization" in r.headers] == []
        if done.returncode:
            one_line(done, secure.url)


# ---------------------------------------------------------------- TLS

def test_a_ca_of_ones_own(oci, image, authority, certificate):
    with faulty.FakeRegistry(tls=certificate) as secure:
        name = secure.add(image, "org/vm")
        line = one_line(pull(oci, name, insecure=False, check=False), f"{secure.url}/v2/org/vm/manifests/latest")
        assert "certificate" in line
        assert [r for r in secure.records if r.method] == []
        pull(oci, name, insecure=False, env={"SSL_CERT_FILE": str(authority.ca)})
        is_right(cached(oci, image), image)


def test_insecure_is_no_way_around_a_certificate(oci, image, certificate):
    """--insecure means plain HTTP, not TLS without a check."""
    with faulty.FakeRegistry(tls=certificate) as secure:
        one_line(pull(oci, secure.add(image, "org/vm"), check=False, timeout=100), "http://" + secure.address)
        assert secure.count("GET", "/v2/") == 0


def test_certificate_of_another_host(oci, image, authority):
    other = authority.certificate("other", "DNS:other.test")
    with faulty.FakeRegistry(tls=other) as secure:
        line = one_line(pull(oci, secure.add(image, "org/vm"), insecure=False, check=False,
                             env={"SSL_CERT_FILE": str(authority.ca)}), secure.url)
        assert "certificate" in line


def test_http_2(oci, authority, certificate):
    """docker-registry over TLS speaks HTTP/2, and so do we, but for large uploads (libcurl's are slow there)."""
    disk = mixed_disk(9, size=2 * MIB)
    new_vm(oci, "vm", disk)
    env = {"SSL_CERT_FILE": str(authority.ca)}
    with docker_registry(tls=certificate) as server:
        oci("push", "vm", server.name("org/vm"), "--slice-size", 1, check=True, env=env)
        oci("pull", server.name("org/vm"), check=True, env=env)
        seen = server.requests()
    assert {protocol for method, _, protocol, _ in seen if method not in ("PUT", "PATCH")} == {"HTTP/2.0"}
    directory, = images(oci).values()
    assert (directory / "disk.img").read_bytes() == disk


def test_http_1_1_over_tls(oci, image, authority, certificate):
    """A server without HTTP/2."""
    with faulty.FakeRegistry(tls=certificate) as secure:
        pull(oci, secure.add(image, "org/vm"), insecure=False, env={"SSL_CERT_FILE": str(authority.ca)})
        is_right(cached(oci, image), image)


def test_connections_are_used_again(oci, fake):
    """Not a connection a slice."""
    image = Image(noise(40 * 64 * KIB, 1), 64 * KIB)
    seen = set()

    def note(handler):
        seen.add(handler.client_address)
        return faulty.GO_ON
    fake.fault("GET", "/", note)
    right_in_spite_of(oci, fake, image)
    assert len(seen) <= 8


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(oci, image, authority, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    with faulty.FakeRegistry(tls=context) as secure:
        one_line(pull(oci, secure.add(image, "org/vm"), insecure=False, check=False,
                      env={"SSL_CERT_FILE": str(authority.ca)}), secure.url)
        assert secure.count("GET", "/v2/") == 0


# ---------------------------------------------------------------- proxies

@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_http_proxy(oci, fake, image, variable):
    """A name that only the proxy knows."""
    fake.add(image, "org/vm")
    with Proxy({"registry.test:5000": fake.address}) as proxy:
        pull(oci, "registry.test:5000/org/vm", env={variable: f"http://{proxy.address}"})
        is_right(cached(oci, image), image)
        assert len(proxy.records) >= 5 and all(p.startswith("http://registry.test:5000/") for _, p, _ in proxy.records)
        oci("clone", "registry.test:5000/org/vm", "copy", check=True)
        oci("push", "copy", "registry.test:5000/other/vm", "--insecure", check=True,
            env={variable: f"http://{proxy.address}"})
    assert fake.manifests["other/vm", "latest"]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_https_proxy(oci, image, authority, certificate, variable):
    with faulty.FakeRegistry(tls=certificate, shown="registry.test", auth=faulty.Basic()) as secure:
        name = secure.add(image, "org/vm")
        with Proxy({secure.address: secure.address.replace("registry.test", "127.0.0.1")}) as proxy:
            pull(oci, name, insecure=False, env={**WHO, variable: f"http://{proxy.address}",
                                                 "SSL_CERT_FILE": str(authority.ca)})
            is_right(cached(oci, image), image)
            assert {method for method, _, _ in proxy.records} == {"CONNECT"}
            assert not any("Authorization" in headers for _, _, headers in proxy.records)


def test_no_proxy(oci, fake, image):
    name = fake.add(image, "org/vm")
    with Proxy() as proxy:
        pull(oci, name, env={"http_proxy": f"http://{proxy.address}", "no_proxy": "127.0.0.1"})
        assert proxy.records == []


def test_proxy_with_a_password(oci, fake, image):
    fake.add(image, "org/vm")
    right = "Basic " + base64.b64encode(b"me:pass").decode()
    with Proxy({"registry.test:5000": fake.address}, authorization=right) as proxy:
        pull(oci, "registry.test:5000/org/vm", env={"http_proxy": f"http://me:pass@{proxy.address}"})
        is_right(cached(oci, image), image)
    assert not any("Proxy-Authorization" in r.headers for r in fake.records)


def test_proxy_that_is_not_there_or_refuses(oci, fake, image):
    name = fake.add(image, "org/vm")
    one_line(pull(oci, name, check=False, env={"http_proxy": "http://127.0.0.1:1"}))
    with Proxy(authorization="never") as proxy:
        line = one_line(pull(oci, name, check=False, env={"http_proxy": f"http://me:topsecret@{proxy.address}"}), "407")
        assert "topsecret" not in line
    assert fake.records == []


# ---------------------------------------------------------------- what the server learns

def test_no_cookies(oci, fake, image):
    """Harbor sets cookies and then wants a CSRF token: none is ever sent back."""
    def cookie(handler):
        data, media_type = faulty.content(handler)
        handler.reply(200, data, {"Content-Type": media_type, "Set-Cookie": "sid=1; Path=/"})
    fake.fault("GET", "/(manifests|blobs)/", cookie)
    right_in_spite_of(oci, fake, image)
    assert not any("Cookie" in r.headers for r in fake.records)


def test_compression_of_the_transfer_is_not_asked_for(oci, fake, image):
    """Range and digests are of the stored bytes: nobody may compress them on the way."""
    right_in_spite_of(oci, fake, image)
    assert all(r.headers.get("Accept-Encoding", "identity") == "identity" for r in fake.asked("GET", "/blobs/"))


def test_many_pulls_are_listed_right(oci, fake):
    """Ports in names: the cache's directory has %3A, the list has the colon."""
    names = []
    for i in range(5):
        image = Image(noise(1000, i))
        name = fake.add(image, f"org/vm{i}")
        pull(oci, name)
        names += [name, fake.name(f"org/vm{i}", image.digest)]
    assert listed(oci) == sorted(names)
