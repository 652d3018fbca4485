# SPDX-License-Identifier: Apache-2.0
"""The tests' own registries and images, held against other people's programs: a fake that is wrong proves nothing."""

import json
import subprocess

import pytest

import faulty_registry as faulty
from oci_image import END, Image, blocks_are_independent, frame, lz4_block, lz4_decode, mixed_disk, text, unframe, upload
from proxy import Proxy, Relay
from registry import PASSWORD, USER, registry as docker_registry, skopeo


def test_lz4_by_hand():
    assert lz4_decode(lz4_block([(b"abcd", 4, 300)], b"x" * 20)) == b"abcd" * 76 + b"x" * 20
    assert lz4_decode(lz4_block([(b"", 4, 4)], b"!"), b"1234") == b"1234!"
    assert lz4_decode(lz4_block([], b"y" * 300)) == b"y" * 300


@pytest.mark.parametrize("way", [{}, {"linked": False}, {"stored": True}])
def test_framing_is_what_another_decoder_reads(way, tmp_path):
    disk = mixed_disk()
    stream = frame(disk, **way)
    assert unframe(stream)[0] == disk and stream.endswith(END)
    assert blocks_are_independent(stream) == bool(way)


def test_linked_blocks_do_reach_back():
    plain = text(300000, 3)
    assert len(frame(plain)) < len(frame(plain, linked=False))


def test_an_image_goes_through_docker_registry_and_skopeo(registry, tmp_path):
    image = Image(mixed_disk())
    name = upload(image, registry.address, "org/vm", "latest")
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copy")
    assert (tmp_path / "copy/manifest.json").read_bytes() == image.manifest == registry.manifest("org/vm")


@pytest.mark.parametrize("auth", [None, faulty.Basic, faulty.Bearer])
@pytest.mark.parametrize("location", ["relative", "absolute", "query"])
def test_skopeo_copies_from_and_to_the_fake(auth, location, tmp_path):
    image = Image(mixed_disk())
    who = f"{USER}:{PASSWORD}"
    with faulty.FakeRegistry(auth=auth and auth(USER, PASSWORD)) as fake:
        fake.location = location
        name = fake.add(image, "org/vm")
        skopeo("copy", *(["--src-creds", who] if auth else []), "--src-tls-verify=false", f"docker://{name}",
               f"dir:{tmp_path}/copy")
        skopeo("copy", *(["--dest-creds", who] if auth else []), "--dest-tls-verify=false", f"dir:{tmp_path}/copy",
               f"docker://{fake.name('other/vm')}")
        assert fake.manifests["other/vm", "latest"][0] == image.manifest
        assert set(fake.blobs["other/vm"]) == set(image.blobs) == set(fake.uploaded())


def curl(*words):
    return subprocess.run(["curl", "-sS", *words], capture_output=True, timeout=60)


@pytest.mark.parametrize("fault, code", [
    (faulty.truncated(100), 18), (faulty.truncated(100, reset=True), 56), (faulty.reset(), 56),
    (faulty.not_http(), 1), (faulty.status(503), 0), (faulty.flipped(), 0),
])
def test_faults_are_what_they_say(fake, certificate, authority, fault, code):
    image = Image(mixed_disk(2))
    with faulty.FakeRegistry(tls=certificate) as secure:
        for server in (fake, secure):
            server.add(image, "org/vm")
            path = f"/v2/org/vm/blobs/{image.layers[1]['digest']}"
            server.fault("GET", "/blobs/", fault, times=1)
            assert curl("--cacert", authority.ca, server.url + path).returncode in (code, 56 if code else 0)
            assert curl("--cacert", authority.ca, server.url + path).stdout == image.blobs[image.layers[1]["digest"]]
            part = curl("--cacert", authority.ca, "-r", "100-", "-i", server.url + path).stdout
            assert part.startswith(b"HTTP/1.1 206") and part.endswith(image.blobs[image.layers[1]["digest"]][100:])


def test_proxy_and_relay(fake, certificate, authority):
    name = fake.add(Image(mixed_disk(1)), "org/vm")
    with Proxy({"nowhere.test:5000": fake.address}) as proxy, Relay(fake.address) as relay:
        assert json.loads(curl("-x", proxy.address, "http://nowhere.test:5000/v2/org/vm/manifests/latest").stdout)
        assert json.loads(curl(f"http://{relay.address}/v2/org/vm/manifests/latest").stdout)
        assert relay.up > 0 and relay.down > 500 and len(proxy.records) == 1 and name
    with faulty.FakeRegistry(tls=certificate, shown="registry.test") as secure:
        with Proxy({secure.address: secure.address.replace("registry.test", "127.0.0.1")}) as proxy:
            done = curl("-x", proxy.address, "--cacert", authority.ca, f"{secure.url}/v2/")
            assert done.stdout == b"{}" and proxy.records[0][0] == "CONNECT"


def test_docker_registry_asks_for_the_password():
    with docker_registry(auth=True) as server:
        url = f"http://{server.address}/v2/"
        assert curl("-o", "/dev/null", "-w", "%{http_code}", url).stdout == b"401"
        assert curl("-o", "/dev/null", "-w", "%{http_code}", "-u", f"{USER}:{PASSWORD}", url).stdout == b"200"
