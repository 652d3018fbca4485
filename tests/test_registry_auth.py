# SPDX-License-Identifier: Apache-2.0
"""Who we are to a registry: login and logout, the environment, docker's and podman's files and helpers, tokens.

A password is never printed, never sent where it was not asked for, and never to another host.
"""

import base64
import json
import os
import stat
import termios
import time

import pytest

import faulty_registry as faulty
from cache_state import cached, is_right, misused, new_vm, nothing_new, one_line
from oci_image import Image, mixed_disk, noise, upload
from registry import PASSWORD, USER, registry as docker_registry, skopeo
from terminal import Terminal

WHO = {"TART_REGISTRY_USERNAME": USER, "TART_REGISTRY_PASSWORD": PASSWORD}


@pytest.fixture
def image():
    return Image(mixed_disk(2))


@pytest.fixture
def guarded(fake, image):
    """A registry that asks for USER's password, with an image as org/vm."""
    fake.auth = faulty.Basic(USER, PASSWORD)
    fake.add(image, "org/vm")
    return fake


@pytest.fixture
def htpasswd():
    """docker-registry that asks for USER's password."""
    with docker_registry(auth=True) as server:
        yield server


def login(oci, host, *more, user=USER, password=PASSWORD, **options):
    return oci("login", host, "--username", user, "--password-stdin", "--insecure", *more, input=password, **options)


def upload_with(image, server, repository):
    return upload(image, server.address, repository, user=USER, password=PASSWORD)


def pull(oci, name, *more, check=True, **options):
    return oci("pull", name, "--insecure", *more, check=check, **options)


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def asked_as(server):
    """[(user, password)] of all requests with Basic, without repeats."""
    seen = []
    for record in server.records:
        said = record.headers.get("Authorization", "")
        if said.startswith("Basic "):
            who = tuple(base64.b64decode(said[6:]).decode().split(":", 1))
            if who not in seen:
                seen.append(who)
    return seen


# ---------------------------------------------------------------- login and logout

def test_login_pull_logout(oci, htpasswd):
    image = Image(mixed_disk(2))
    name = upload_with(image, htpasswd, "org/vm")
    one_line(pull(oci, name, check=False), "401")
    done = login(oci, htpasswd.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pull(oci, name)
    is_right(cached(oci, image), image)
    oci("clone", name, "copy", check=True)
    oci("push", "copy", htpasswd.name("other/vm"), "--insecure", check=True)
    done = oci("logout", htpasswd.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    one_line(oci("push", "copy", htpasswd.name("third/vm"), "--insecure"), "401")


def test_logout_of_what_is_not_there(oci):
    done = oci("logout", "ghcr.io")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_password_file_is_ours_alone(oci, htpasswd):
    """0600, whatever the umask is; with the registry's entry alone."""
    path = oci.home / "auth.json"
    old = os.umask(0)
    try:
        login(oci, htpasswd.address, check=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["auths"] == {htpasswd.address: {"auth": basic(USER, PASSWORD)}}
    login(oci, "ghcr.io", "--no-validate", user="other", password="x", check=True)
    assert set(json.loads(path.read_text())["auths"]) == {htpasswd.address, "ghcr.io"}
    oci("logout", htpasswd.address, check=True)
    assert set(json.loads(path.read_text())["auths"]) == {"ghcr.io"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_login_replaces_a_file_of_another_mode(oci, htpasswd):
    (oci.home / "auth.json").write_text('{"auths":{}}')
    (oci.home / "auth.json").chmod(0o644)
    login(oci, htpasswd.address, check=True)
    assert stat.S_IMODE((oci.home / "auth.json").stat().st_mode) == 0o600


def test_wrong_password(oci, htpasswd):
    done = login(oci, htpasswd.address, password="wrong-one")
    line = one_line(done)
    assert line.startswith("invalid credentials: ") and "wrong-one" not in line
    assert not (oci.home / "auth.json").exists()


def test_wrong_password_keeps_the_right_one(oci, htpasswd):
    login(oci, htpasswd.address, check=True)
    before = (oci.home / "auth.json").read_bytes()
    assert login(oci, htpasswd.address, password="wrong").returncode == 1
    assert (oci.home / "auth.json").read_bytes() == before


def test_no_validate_asks_nobody(oci, fake):
    done = login(oci, fake.address, "--no-validate", password="whatever")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and fake.records == []


def test_login_to_nobody(oci):
    assert one_line(login(oci, "127.0.0.1:1")).startswith("invalid credentials: ")


@pytest.mark.parametrize("words", [("--username", "u"), ("--password-stdin",)])
def test_both_are_required(oci, words):
    misused(oci("login", "ghcr.io", *words, input=""), "both --username and --password-stdin are required")


@pytest.mark.parametrize("host", ["http://ghcr.io", "https://ghcr.io", "https://ghcr.io/", "ghcr.io/org", "", "a b", "-x.io",
                                  "ghcr.io:port", "../../etc"])
def test_login_to_what_is_no_host(oci, host):
    done = oci("login", f"--username={USER}", "--password-stdin", "--", host, input=PASSWORD)
    line = one_line(done)
    assert line.startswith(f'improperly formatted host "{host}" was provided')
    assert ("make sure that it doesn't start with http:// or https://" in line) == host.startswith("http")


@pytest.mark.parametrize("typed, kept", [("pass\n", "pass"), ("pass\r\n", "pass"), ("pass\n\n\n", "pass"), ("pass", "pass"),
                                         ("two\nlines\n", "two\nlines"), (" space ", " space "),
                                         ("\u00e4:\u20ac", "\u00e4:\u20ac")])
def test_password_from_stdin(oci, fake, typed, kept):
    """All of it, without newlines at its end."""
    fake.auth = faulty.Basic(USER, kept)
    done = login(oci, fake.address, password=typed)
    if "\n" in kept:
        assert done.returncode in (0, 1)  # no header can hold it in plain text; base64 can
    else:
        assert done.returncode == 0, done
        assert asked_as(fake) == [(USER, kept)]


def test_empty_password(oci, fake):
    fake.auth = faulty.Basic(USER, "right")
    assert one_line(login(oci, fake.address, password="")).startswith("invalid credentials: ")


def test_huge_password(oci, fake):
    fake.auth = faulty.Basic(USER, "right")
    one_line(login(oci, fake.address, password="x" * 10_000_000))


def test_prompt_on_a_terminal(oci, htpasswd, tmp_path):
    """User and password are asked on /dev/tty; the password is not echoed."""
    command = [oci.program(), "login", htpasswd.address, "--insecure"]
    with Terminal(command, oci.environment()) as terminal:
        terminal.wait_for("User: ")
        terminal.send(USER + "\n")
        terminal.wait_for("Password: ")
        terminal.send(PASSWORD + "\n")
        assert terminal.end() == 0, terminal.output
        assert PASSWORD not in terminal.output
    assert json.loads((oci.home / "auth.json").read_text())["auths"] == {htpasswd.address: {"auth": basic(USER, PASSWORD)}}


def test_prompt_is_left_by_ctrl_c_with_echo_on(oci, htpasswd):
    with Terminal([oci.program(), "login", htpasswd.address, "--insecure"], oci.environment()) as terminal:
        terminal.wait_for("User: ")
        terminal.send(USER + "\n")
        terminal.wait_for("Password: ")
        assert not termios.tcgetattr(terminal.master)[3] & termios.ECHO
        terminal.send("\x03")
        assert terminal.end() not in (0, None)
        assert termios.tcgetattr(terminal.master)[3] & termios.ECHO
    assert not (oci.home / "auth.json").exists()


def test_without_a_terminal_there_is_no_prompt(oci, fake):
    """In a script: an error, not a wait."""
    done = oci("login", fake.address, "--insecure", start_new_session=True, timeout=60)
    one_line(done)


def test_login_by_token(oci, fake):
    """A registry with a token server."""
    fake.auth = faulty.Bearer(USER, PASSWORD)
    login(oci, fake.address, check=True)
    assert one_line(login(oci, fake.address, password="no")).startswith("invalid credentials: ")


def test_logout_and_login_at_once(oci, fake):
    """Ten at a time: the file is whole, and has all of them."""
    children = [oci.start("login", f"host{i}.test", "--username", USER, "--password-stdin", "--no-validate", stdin=-1,
                          text=True) for i in range(10)]
    for child in children:
        child.communicate(PASSWORD, timeout=60)
    assert [child.returncode for child in children] == [0] * 10
    assert set(json.loads((oci.home / "auth.json").read_text())["auths"]) == {f"host{i}.test" for i in range(10)}


# ---------------------------------------------------------------- the environment

def test_environment(oci, guarded):
    pull(oci, guarded.name("org/vm"), env=WHO)
    assert asked_as(guarded) == [(USER, PASSWORD)]


def test_first_request_is_without_credentials(oci, guarded):
    """The header is asked for first, once."""
    pull(oci, guarded.name("org/vm"), env=WHO)
    first = guarded.records[0]
    assert "Authorization" not in first.headers and first.status == 401
    assert sum(r.status == 401 for r in guarded.records) <= 4  # at most once a worker


@pytest.mark.parametrize("hostname, used", [("{address}", True), ("127.0.0.1", False), ("ghcr.io", False), ("", None)])
def test_environment_for_one_host(oci, guarded, hostname, used):
    env = {**WHO, "TART_REGISTRY_HOSTNAME": hostname.format(address=guarded.address)}
    done = pull(oci, guarded.name("org/vm"), env=env, check=False)
    if used is not None:
        assert (done.returncode == 0) == used == bool(asked_as(guarded))


@pytest.mark.parametrize("missing", ["TART_REGISTRY_USERNAME", "TART_REGISTRY_PASSWORD"])
def test_environment_needs_both(oci, guarded, missing):
    one_line(pull(oci, guarded.name("org/vm"), env={**WHO, missing: None}, check=False), "401")
    assert asked_as(guarded) == []


def test_environment_comes_first(oci, guarded):
    login(oci, guarded.address, "--no-validate", user="stored", password="stored", check=True)
    pull(oci, guarded.name("org/vm"), env=WHO)
    assert asked_as(guarded) == [(USER, PASSWORD)]


def test_no_credentials(oci, guarded):
    one_line(pull(oci, guarded.name("org/vm"), check=False), f"{guarded.url}/v2/org/vm/manifests/latest", "401")
    nothing_new(oci)


def test_wrong_credentials_are_not_tried_for_ever(oci, guarded):
    line = one_line(pull(oci, guarded.name("org/vm"), env={**WHO, "TART_REGISTRY_PASSWORD": "topsecret"}, check=False), "401")
    assert "topsecret" not in line and guarded.count() <= 4


def test_no_password_in_any_output_or_file(oci, guarded):
    """Nor in what other processes see of us."""
    env = {**WHO, "TART_REGISTRY_PASSWORD": "topsecret"}
    guarded.auth = faulty.Basic(USER, "topsecret")
    done = pull(oci, guarded.name("org/vm"), env=env)
    assert "topsecret" not in done.stdout + done.stderr
    for path in oci.home.glob("**/*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            assert b"topsecret" not in path.read_bytes()


# ---------------------------------------------------------------- docker's and podman's files

def write_auth(path, host, user=USER, password=PASSWORD, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {host: {"auth": basic(user, password)}}, **more}))


WHERE = {
    "docker": (lambda oci: oci.user / ".docker/config.json", lambda oci: {}),
    "DOCKER_CONFIG": (lambda oci: oci.user / "elsewhere/config.json",
                      lambda oci: {"DOCKER_CONFIG": str(oci.user / "elsewhere")}),
    "REGISTRY_AUTH_FILE": (lambda oci: oci.user / "some.json", lambda oci: {"REGISTRY_AUTH_FILE": str(oci.user / "some.json")}),
    "podman at run time": (lambda oci: oci.user / "run/containers/auth.json",
                           lambda oci: {"XDG_RUNTIME_DIR": str(oci.user / "run")}),
    "podman": (lambda oci: oci.user / ".config/containers/auth.json", lambda oci: {}),
    "ours": (lambda oci: oci.home / "auth.json", lambda oci: {}),
}


@pytest.mark.parametrize("where", WHERE)
def test_files(oci, guarded, where):
    path, env = WHERE[where]
    write_auth(path(oci), guarded.address)
    done = pull(oci, guarded.name("org/vm"), env=env(oci))
    assert done.stderr == "" and asked_as(guarded) == [(USER, PASSWORD)]


def test_file_of_skopeo_login(oci, htpasswd):
    """As another program writes it."""
    path = oci.user / "some.json"
    skopeo("login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, "--authfile", path, htpasswd.address)
    image = Image(mixed_disk(2))
    pull(oci, upload_with(image, htpasswd, "org/vm"), env={"REGISTRY_AUTH_FILE": str(path)})


def test_order_of_the_files(oci, guarded):
    """Ours, podman's, docker's: the first that knows the host."""
    write_auth(WHERE["docker"][0](oci), guarded.address)
    pull(oci, guarded.name("org/vm"))
    write_auth(WHERE["podman"][0](oci), guarded.address, "podman")
    pull(oci, guarded.name("org/vm"), check=False)
    write_auth(WHERE["ours"][0](oci), guarded.address, "ours")
    pull(oci, guarded.name("org/vm"), check=False)
    assert [user for user, _ in asked_as(guarded)] == [USER, "podman", "ours"]


def test_a_file_without_the_host_is_passed_over(oci, guarded):
    write_auth(WHERE["podman"][0](oci), "other.test", "wrong")
    write_auth(WHERE["docker"][0](oci), guarded.address)
    assert pull(oci, guarded.name("org/vm")).stderr == ""


def test_podman_key_of_a_namespace(oci, guarded):
    """The longest key that holds the repository."""
    path = WHERE["podman"][0](oci)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {
        f"{guarded.address}/org": {"auth": basic(USER, PASSWORD)}, guarded.address: {"auth": basic("host", "x")},
        f"{guarded.address}/orga": {"auth": basic("no", "x")}}}))
    pull(oci, guarded.name("org/vm"))
    assert asked_as(guarded) == [(USER, PASSWORD)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"auths":[]}', b'{"auths":{"HOST":[]}}',
                                     b'{"auths":{"HOST":{"auth":"!!!"}}}', b'{"auths":{"HOST":{"auth":"bm9jb2xvbg=="}}}',
                                     b'{"auths":{"HOST":{"auth":5}}}', b"\0" * 1000, b"[" * 100000],
                         ids=lambda c: c[:32].decode().replace("\0", "0"))
def test_a_broken_file_is_passed_over(oci, guarded, content):
    """A line on stderr, and the next one is asked."""
    path = WHERE["podman"][0](oci)
    path.parent.mkdir(parents=True)
    path.write_bytes(content.replace(b"HOST", guarded.address.encode()))
    write_auth(WHERE["docker"][0](oci), guarded.address)
    done = pull(oci, guarded.name("org/vm"))
    assert len(done.stderr.splitlines()) <= 1 and (not done.stderr or str(path) in done.stderr)
    assert asked_as(guarded) == [(USER, PASSWORD)]


def test_a_file_that_cannot_be_read(oci, guarded):
    path = WHERE["podman"][0](oci)
    path.mkdir(parents=True)
    write_auth(WHERE["docker"][0](oci), guarded.address)
    done = pull(oci, guarded.name("org/vm"))
    assert len(done.stderr.splitlines()) == 1 and str(path) in done.stderr


def test_a_huge_file(oci, guarded):
    path = WHERE["podman"][0](oci)
    path.parent.mkdir(parents=True)
    with open(path, "wb") as file:
        file.truncate(1 << 32)
    write_auth(WHERE["docker"][0](oci), guarded.address)
    done = pull(oci, guarded.name("org/vm"))
    assert len(done.stderr.splitlines()) == 1 and str(path) in done.stderr


@pytest.mark.parametrize("extra", ["username", "https"])
def test_other_forms_of_docker(oci, guarded, extra):
    """Plain username and password; keys as addresses, which old docker wrote."""
    path = WHERE["docker"][0](oci)
    path.parent.mkdir(parents=True)
    if extra == "username":
        path.write_text(json.dumps({"auths": {guarded.address: {"username": USER, "password": PASSWORD}}}))
    else:
        path.write_text(json.dumps({"auths": {f"https://{guarded.address}/v2/": {"auth": basic(USER, PASSWORD)}}}))
    pull(oci, guarded.name("org/vm"))
    assert asked_as(guarded) == [(USER, PASSWORD)]


def test_unknown_keys_do_not_matter(oci, guarded):
    path = WHERE["docker"][0](oci)
    write_auth(path, guarded.address, HttpHeaders={"User-Agent": "Docker"}, psFormat="x", plugins={}, detachKeys=5)
    assert pull(oci, guarded.name("org/vm")).stderr == ""


# ---------------------------------------------------------------- helpers

@pytest.fixture
def helpers(oci, tmp_path):
    """Makes docker-credential-NAME of a script; `log` is what was asked."""
    directory = tmp_path / "bin"
    directory.mkdir()

    def make(name, script):
        path = directory / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    oci.settings["PATH"] = f"{directory}:{os.environ['PATH']}"
    make.log = tmp_path / "log"
    make.right = (f'echo "$0 $1 $(cat)" >>{make.log}\n'
                  f"""echo '{json.dumps({"ServerURL": "x", "Username": USER, "Secret": PASSWORD})}'""")
    return make


def write_docker(oci, **content):
    path = WHERE["docker"][0](oci)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("key", ["{address}", "127.0.0.1:.*", "(.*).0.0.1:[0-9]+"])
def test_cred_helpers(oci, guarded, helpers, key):
    """The host itself, or a regular expression for the whole of it."""
    helpers("mine", helpers.right)
    write_docker(oci, credHelpers={key.format(address=guarded.address): "mine"})
    assert pull(oci, guarded.name("org/vm")).stderr == ""
    assert asked_as(guarded) == [(USER, PASSWORD)]
    assert helpers.log.read_text().split(" ", 1)[1] == f"get {guarded.address}\n"


@pytest.mark.parametrize("key", ["127.0.0.1", "0.0.1:.*", "27.*", "ghcr.io", "(", "*", "a{99999999}"])
def test_cred_helpers_of_others(oci, guarded, helpers, key):
    helpers("mine", helpers.right)
    write_docker(oci, credHelpers={key: "mine"})
    assert pull(oci, guarded.name("org/vm"), check=False).returncode == 1
    assert asked_as(guarded) == [] and not helpers.log.exists()


def test_exact_key_before_a_regular_expression(oci, guarded, helpers):
    helpers("right", helpers.right)
    helpers("wrong", "echo '{\"Username\":\"wrong\",\"Secret\":\"wrong\"}'")
    write_docker(oci, credHelpers={".*": "wrong", guarded.address: "right"})
    pull(oci, guarded.name("org/vm"))


def test_creds_store(oci, guarded, helpers):
    helpers("store", helpers.right)
    write_docker(oci, credsStore="store", auths={guarded.address: {}})
    assert pull(oci, guarded.name("org/vm")).stderr == ""
    assert asked_as(guarded) == [(USER, PASSWORD)]


def test_creds_store_that_does_not_know(oci, guarded, helpers):
    """docker's own words for it: no error, there are just none."""
    helpers("store", "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1")
    write_docker(oci, credsStore="store")
    done = pull(oci, guarded.name("org/vm"), check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "401" in done.stderr


def test_identity_token(oci, guarded, helpers):
    """A helper's user `<token>`: the secret is a refresh token, not a password."""
    helpers("store", "cat >/dev/null; echo '{\"Username\":\"<token>\",\"Secret\":\"refresh-me\"}'")
    write_docker(oci, credsStore="store")
    pull(oci, guarded.name("org/vm"), check=False)
    assert ("<token>", "refresh-me") not in asked_as(guarded)


@pytest.mark.parametrize("script", [
    "exit 1", "echo nonsense", "echo '{}'", "echo '[]'", "echo '{\"Username\":5}'", "kill -9 $$", "echo broken >&2; exit 3",
    "head -c 100000000 /dev/zero", "printf '\\033[31mred'; exit 1"])
def test_failing_helper(oci, guarded, helpers, script):
    """A line on stderr, and on with the next: here nobody, or the next file."""
    helpers("bad", "cat >/dev/null\n" + script)
    write_docker(oci, credHelpers={guarded.address: "bad"}, auths={})
    done = pull(oci, guarded.name("org/vm"), check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 2, done.stderr
    assert "docker-credential-bad" in lines[0] and "401" in lines[1] and "\x1b" not in done.stderr


def test_failing_helper_is_not_the_end(oci, image, guarded, helpers):
    """A public registry needs none: the pull works in spite of it."""
    helpers("bad", "exit 1")
    with faulty.FakeRegistry() as public:
        write_docker(oci, credHelpers={public.address: "bad", guarded.address: "bad"})
        done = pull(oci, public.add(image, "org/vm"))
        assert len(done.stderr.splitlines()) <= 1


def test_missing_helper(oci, guarded):
    write_docker(oci, credHelpers={guarded.address: "not-installed"})
    done = pull(oci, guarded.name("org/vm"), check=False)
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "docker-credential-not-installed" in lines[0] and "401" in lines[1]


@pytest.mark.parametrize("name", ["../evil", "a/b", "/bin/sh", "", "; touch owned", "$(touch owned)"])
def test_name_of_a_helper_is_no_path(oci, guarded, helpers, name, tmp_path):
    (tmp_path / "evil").write_text("#!/bin/sh\ntouch owned\n")
    write_docker(oci, credHelpers={guarded.address: name})
    done = pull(oci, guarded.name("org/vm"), check=False, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "owned").exists()


@pytest.mark.soak
def test_helper_that_hangs(oci, guarded, helpers):
    """It has a time of its own; then it is passed over, and ended."""
    helpers("slow", "exec sleep 300")
    write_docker(oci, credHelpers={guarded.address: "slow"})
    began = time.monotonic()
    done = pull(oci, guarded.name("org/vm"), check=False, timeout=100)
    assert done.returncode == 1 and time.monotonic() - began < 90
    assert "docker-credential-slow" in done.stderr.splitlines()[0]


def test_helper_is_not_asked_when_nobody_asks_us(oci, fake, helpers, image):
    """A public image: no helper is run."""
    helpers("mine", helpers.right)
    write_docker(oci, credsStore="mine")
    pull(oci, fake.add(image, "org/vm"))
    assert not helpers.log.exists()
    assert not any("Authorization" in r.headers for r in fake.records)


def test_helper_is_asked_once(oci, guarded, helpers):
    """Not for each of a hundred slices and not by each worker."""
    image = Image(noise(40 * 4096, 1), 4096)
    helpers("mine", helpers.right)
    write_docker(oci, credsStore="mine")
    pull(oci, guarded.add(image, "org/big"))
    assert len(helpers.log.read_text().splitlines()) == 1


# ---------------------------------------------------------------- tokens

def bearer(fake, image, **options):
    fake.auth = faulty.Bearer(USER, PASSWORD, **options)
    return fake.add(image, "org/vm")


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_token(oci, fake, image, key):
    """The scope and service of the challenge go to the realm, with the password; then the token alone."""
    name = bearer(fake, image, key=key)
    pull(oci, name, env=WHO)
    is_right(cached(oci, image), image)
    query, said = fake.auth.served[0]
    assert query == {"service": ["fake service"], "scope": ["repository:org/vm:pull"]}
    assert said == "Basic " + basic(USER, PASSWORD)
    assert len(fake.auth.served) == 1
    for record in fake.asked("*", "^/v2/"):
        assert not record.headers.get("Authorization", "Bearer").startswith("Basic")


def test_anonymous_token(oci, fake, image):
    """ghcr.io's way for public images."""
    fake.auth = faulty.Bearer()
    pull(oci, fake.add(image, "org/vm"))
    assert fake.auth.served[0][1] is None


def test_token_of_a_push(oci, fake):
    """The scope of the write is asked for, too."""
    new_vm(oci, "vm", mixed_disk(2))
    fake.auth = faulty.Bearer(USER, PASSWORD)
    oci("push", "vm", fake.name("org/vm"), "--insecure", env=WHO, check=True)
    scopes = {scope for query, _ in fake.auth.served for scope in query.get("scope", [])}
    assert any("push" in scope for scope in scopes)


def test_token_that_expires_in_the_middle(oci, fake):
    """It lives for half a second of a transfer of several: a new one is fetched, and nothing fails."""
    image = Image(noise(40 * 4096, 1), 4096)
    name = bearer(fake, image, seconds=0.5)
    fake.fault("GET", "/blobs/", faulty.delayed(0.15))
    began = time.monotonic()
    assert pull(oci, name, env=WHO).stderr == ""
    lives = (time.monotonic() - began) / 0.5
    is_right(cached(oci, image), image)
    assert 2 <= len(fake.auth.served) <= 4 * (lives + 1)  # at most once a worker


def test_token_for_three_requests(oci, fake):
    image = Image(noise(20 * 4096, 1), 4096)
    name = bearer(fake, image, uses=3)
    assert pull(oci, name, "--concurrency", 1, env=WHO).stderr == ""
    is_right(cached(oci, image), image)
    assert 5 <= len(fake.auth.served) <= 30


def test_token_that_expires_in_the_middle_of_a_push(oci, fake):
    new_vm(oci, "vm", noise(12 << 20, 1))
    fake.auth = faulty.Bearer(USER, PASSWORD, seconds=0.5)
    fake.fault("PUT", "/blobs/uploads/", faulty.delayed(0.2))
    oci("push", "vm", fake.name("org/vm"), "--insecure", "--slice-size", 1, env=WHO, check=True)
    assert len(fake.auth.served) >= 2
    fake.auth = None
    pull(oci, fake.name("org/vm"))


def test_token_with_a_life_time(oci, fake, image):
    """expires_in and issued_at: what is past is not sent at all."""
    name = bearer(fake, image, answer={"expires_in": 3600, "issued_at": "1970-01-01T00:00:00Z"})
    done = pull(oci, name, env=WHO, check=False)
    if done.returncode:
        one_line(done)
    else:
        assert len(fake.auth.served) > 1


@pytest.mark.parametrize("answer", [{"expires_in": -5}, {"expires_in": 1 << 62}, {"expires_in": "soon"}, {"expires_in": 0},
                                    {"issued_at": "yesterday"}, {"issued_at": 5}, {"issued_at": "x" * 10000}, {"extra": [1]}],
                         ids=lambda answer: str(answer)[:40])
def test_token_with_odd_times(oci, fake, image, answer):
    name = bearer(fake, image, answer=answer)
    done = pull(oci, name, env=WHO, check=False)
    if done.returncode:
        one_line(done, "/token")
    else:
        is_right(cached(oci, image), image)


def raw(data, code=200):
    def answer(handler):
        handler.reply(code, data, {"Content-Type": "application/json"})
    return answer


BAD_TOKENS = {
    "empty": raw(b""), "garbage": raw(b"<html>"), "null": raw(b"null"), "no token": raw(b"{}"), "number": raw(b'{"token":5}'),
    "empty token": raw(b'{"token":""}'), "newline": raw(b'{"token":"a\\r\\nX-Evil: 1"}'), "nul": raw(b'{"token":"a\\u0000b"}'),
    "huge": raw(b'{"token":"' + b"x" * 50_000_000 + b'"}'), "403": raw(b'{"details":"no such user"}', 403),
    "500": raw(b"oops", 500), "redirected": faulty.redirect("{path}"), "endless": faulty.endless(),
    "deep": raw(b"[" * 100_000), "200 MB": faulty.endless(first=b'{"token":"'), "silence": faulty.silence(),
}


@pytest.mark.parametrize("how", BAD_TOKENS)
def test_token_server_that_misbehaves(oci, fake, image, how):
    name = bearer(fake, image, answer=BAD_TOKENS[how])
    line = one_line(pull(oci, name, env={**WHO, "LINZER_STALL_SECONDS": "2"}, check=False, timeout=150), f"{fake.url}/token")
    assert PASSWORD not in line and len(line) < 700
    assert not any("X-Evil" in r.headers for r in fake.records)
    nothing_new(oci)


def test_large_token(oci, fake, image):
    """Some are kilobytes long (ECR, ACR)."""
    token = "x" * 6000
    fake.auth = faulty.Bearer(USER, PASSWORD, answer=raw(json.dumps({"token": token}).encode()))
    fake.auth.tokens[token] = None
    pull(oci, fake.add(image, "org/vm"), env=WHO)


def test_token_server_on_another_host(oci, fake, image):
    """auth.docker.io for registry-1.docker.io: the password goes where the registry says, over the same scheme."""
    with faulty.FakeRegistry(host="127.0.0.2") as server:
        fake.auth = faulty.Bearer(USER, PASSWORD, server=server)
        server._auth = fake.auth
        pull(oci, fake.add(image, "org/vm"), env=WHO)
        assert server.count("GET", "^/token") == 1


def test_token_server_by_plain_http_for_an_https_registry(oci, image, authority, certificate):
    """No password goes over plain HTTP when the registry is spoken to by HTTPS."""
    with faulty.FakeRegistry() as plain:
        auth = faulty.Bearer(USER, PASSWORD, server=plain)
        with faulty.FakeRegistry(tls=certificate, auth=auth) as secure:
            plain._auth = auth
            done = oci("pull", secure.add(image, "org/vm"), env={**WHO, "SSL_CERT_FILE": str(authority.ca)})
            assert not any("Authorization" in r.headers for r in plain.records)
            if done.returncode:
                one_line(done)


def test_redirect_of_the_token_server(oci, fake, image):
    """To another host without the password."""
    with faulty.FakeRegistry(host="127.0.0.2") as other:
        other.fault("GET", "/token", faulty.error(401))
        name = bearer(fake, image, answer=faulty.redirect(other.url + "{path}"))
        one_line(pull(oci, name, env=WHO, check=False))
        assert not any("Authorization" in r.headers for r in other.records)


CHALLENGES = {
    "none": None, "empty": "", "Whatever": "Whatever", "Bearer": "Bearer ", "Bearer whatever": "Bearer whatever",
    "no realm": 'Bearer service="x"', "empty realm": 'Bearer realm=""', "file": 'Bearer realm="file:///etc/passwd"',
    "garbage realm": 'Bearer realm="http://[::1"', "open quote": 'Bearer realm="http://x',
    "Digest": 'Digest realm="x", nonce="y"', "Negotiate": "Negotiate", "huge": 'Bearer realm="' + "x" * 60000 + '"',
    "only commas": "Bearer ,,,,,", "equals": "Bearer =", "many": "Bearer " + ",".join(f'a{i}="x"' for i in range(5000)),
}


@pytest.mark.parametrize("how", CHALLENGES)
def test_malformed_challenge(oci, fake, image, how):
    fake.auth = faulty.Basic(USER, PASSWORD, header=CHALLENGES[how])
    line = one_line(pull(oci, fake.add(image, "org/vm"), env=WHO, check=False, timeout=60))
    assert line.startswith("Error: AuthFailed(why: ") or "http://x" in line
    if how == "none":
        assert "WWW-Authenticate header is missing" in line
    if how != "empty realm":  # which is the registry's own root
        assert asked_as(fake) == []
    nothing_new(oci)


@pytest.mark.parametrize("header", [
    'bearer REALM="{realm}", Service="fake service" ,scope="{scope}"', 'Bearer realm={realm},scope="{scope}"',
    'Bearer realm="{realm}",scope="repository:org/vm:pull,push"', 'Bearer realm="{realm}?old=query",service="a,b=c"',
    'Bearer  realm="{realm}" , error="insufficient_scope",unknown=x'])
def test_challenges_in_other_forms(oci, fake, image, header):
    """Case of the scheme, blanks, unquoted values, commas in quotes."""
    name = bearer(fake, image, header=header)
    pull(oci, name, env=WHO)
    is_right(cached(oci, image), image)
    query = fake.auth.served[0][0]
    if "push" in header:
        assert query["scope"][0].startswith("repository:org/vm:pull")
    if "a,b=c" in header:
        assert query["service"] == ["a,b=c"]


def test_credentials_go_only_to_their_host(oci, guarded, image):
    """Another registry on another port asks: it gets nothing of the first's."""
    write_auth(WHERE["docker"][0](oci), guarded.address)
    with faulty.FakeRegistry(auth=faulty.Basic(USER, PASSWORD)) as other:
        one_line(pull(oci, other.add(image, "org/vm"), check=False), "401")
        assert asked_as(other) == []


def test_works_without_a_desktop(oci, htpasswd):
    """An SSH session: no D-Bus, no DISPLAY, no keyring, no terminal."""
    bare = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "TERM", "XDG_RUNTIME_DIR"))
    assert login(oci, htpasswd.address, env=bare).returncode == 0
    pull(oci, upload_with(Image(mixed_disk(2)), htpasswd, "org/vm"), env=bare)
