# SPDX-License-Identifier: Apache-2.0
"""Called as vetu: the verbs, options and output that Orchard's worker and Cirrus CLI know it by (companions.md D.6).
With a guest it is driven in test_clients.py."""

import json
import os
import signal

import pytest

from oci_image import Image, mixed_disk, upload
from test_life import eventually

OPTIONS = {"clone": ["concurrency", "insecure"], "pull": ["concurrency", "insecure"],
           "push": ["populate-cache", "insecure"], "login": ["username", "password-stdin", "no-validate"], "logout": [],
           "set": ["cpu", "memory", "disk-size"], "run": ["net-bridged", "net-host"], "ip": ["wait"],
           "stop": ["timeout"], "list": ["source", "quiet", "format"], "fqn": [], "delete": [], "create": ["cpu", "memory"]}


@pytest.fixture
def vetu(oci, tmp_path):
    def call(*words, **options):
        return oci(*words, program="vetu", **options)
    oci.settings.update(VETU_HOME=str(tmp_path / "vetu"))
    return call


def silent(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def config(vetu, name):
    return json.loads(vetu("get", "--format", "json", name, check=True).stdout)


def refused(done, text, status=1):
    assert done.returncode == status and done.stdout == "" and text in done.stderr.splitlines()[0], done


@pytest.mark.parametrize("verb", OPTIONS)
def test_verbs_and_options(vetu, verb):
    text = vetu(verb, "--help-hidden", check=True).stdout
    assert f"Usage: vetu {verb}" in text
    for option in OPTIONS[verb]:
        assert f"--{option}" in text, option


class TestCreate:
    def test_a_vm_has_vetus_cpus_and_memory(self, vetu):
        silent(vetu("create", "--linux", "--disk-size=1", "vm"))
        assert (config(vetu, "vm")["CPU"], config(vetu, "vm")["Memory"]) == (2, 4096)

    def test_by_any_other_name_it_has_four_cpus(self, oci):
        silent(oci("create", "--linux", "--disk-size=1", "vm"))
        assert json.loads(oci("get", "--format=json", "vm").stdout)["CPU"] == 4

    @pytest.mark.parametrize("program", ["vetu", "linzer"])
    def test_cpu_and_memory(self, oci, program):
        silent(oci("create", "--linux", "--disk-size=1", "--cpu", 3, "--memory=512", "vm", program=program))
        found = json.loads(oci("get", "--format=json", "vm").stdout)
        assert (found["CPU"], found["Memory"]) == (3, 512)
        silent(oci("set", "vm", "--cpu", 1))

    def test_too_little(self, vetu):
        refused(vetu("create", "--linux", "--cpu", 0, "vm"), "VM should have 1 CPU cores at minimum (requested 0)")
        refused(vetu("create", "--linux", "--memory", 0, "vm"), "bytes of memory at minimum (requested 0)")
        refused(vetu("create", "--linux", "--memory", 2 ** 44, "vm"), "more than the largest VM can have")
        assert vetu("list", "-q").stdout == ""

    def test_from_a_disk(self, vetu, tmp_path):
        content = os.urandom(1 << 20)
        (tmp_path / "disk").write_bytes(content)
        silent(vetu("create", "vm", "--disk", tmp_path / "disk"))
        assert (tmp_path / "vetu/vms/vm/disk.img").read_bytes() == content

    @pytest.mark.parametrize("option", ["--kernel", "--initramfs", "--cmdline"])
    def test_a_kernel_of_its_own(self, vetu, tmp_path, option):
        (tmp_path / "file").write_bytes(bytes(1 << 20))
        done = vetu("create", "vm", option, tmp_path / "file", "--disk", tmp_path / "file")
        refused(done, f"Error: {option} cannot be had here: a VM boots by UEFI what is on its disk")
        assert vetu("list", "-q").stdout == ""

    def test_two_disks(self, vetu, tmp_path):
        (tmp_path / "file").write_bytes(bytes(1 << 20))
        refused(vetu("create", "vm", "--disk", tmp_path / "file", "--disk", tmp_path / "file"),
                "Error: a VM has one disk of its own; run --disk attaches more")


class TestRun:
    def test_devices_are_refused(self, vetu):
        silent(vetu("create", "--linux", "--disk-size=1", "vm"))
        refused(vetu("run", "--device", "path=/sys/bus/pci/devices/0000:01:00.0", "vm"), "Error: --device cannot be had")

    def test_another_mtu_is_refused(self, vetu):
        silent(vetu("create", "--linux", "--disk-size=1", "vm"))
        refused(vetu("run", "--net-host", "--net-host-mtu", 9000, "vm"), "--net-host-mtu: the MTU is always 1500")
        refused(vetu("run", "--net-host", "--net-host-mtu", 1500, "missing"), 'the specified VM "missing" does not exist')

    @pytest.mark.skipif(os.geteuid() != 0, reason="network")
    def test_without_flags_or_a_display(self, oci, vetu, tmp_path):
        """As Orchard's worker does; "--net-host-mtu 1500" is what a network has anyway."""
        silent(vetu("create", "--linux", "--disk-size=1", "vm"))
        for words in (["run", "vm"], ["run", "--net-host", "--net-host-mtu=1500", "vm"]):
            child = oci.start(*words, program="vetu", stdout=-1, stderr=-1, text=True)
            running = {"Name": "vm", "Source": "local", "State": "running", "Running": True}
            eventually(lambda: running.items() <= json.loads(vetu("list", "--format", "json").stdout)[0].items(), 60)
            eventually(lambda: (tmp_path / "vetu/vms/vm/run.json").exists(), 60)
            child.send_signal(signal.SIGINT)
            assert (child.communicate(timeout=60), child.returncode) == (("Stopping VM...\n", ""), 0)


class TestImages:
    """With a registry."""

    def test_what_the_worker_does_before_run(self, vetu, registry):
        name = upload(Image(mixed_disk(4)), registry.address, "org/vm")
        assert vetu("pull", name, "--insecure", check=True).returncode == 0
        silent(vetu("clone", name, "orchard-x-1"))
        done = vetu("fqn", name, check=True)
        assert done.stdout.startswith(f"{registry.address}/org/vm@sha256:") and done.stderr == ""
        for words in (["--memory", "2048"], ["--cpu", "2"], ["--disk-size", "1"]):
            silent(vetu("set", *words, "orchard-x-1"))
        rows = json.loads(vetu("list", "--format", "json", check=True).stdout)
        assert {row["Name"]: (row["Source"], row["State"], row["Running"]) for row in rows}["orchard-x-1"] == \
            ("local", "stopped", False)
        refused(vetu("stop", "--timeout", 5, "orchard-x-1"), 'VM "orchard-x-1" is not running', 2)
        silent(vetu("delete", "orchard-x-1"))
        silent(vetu("delete", name))


def test_missing_things_are_said_in_the_first_line(vetu):
    for words in (["delete", "x"], ["stop", "--timeout", 5, "x"], ["set", "--cpu", 2, "x"], ["ip", "--wait", 60, "x"],
                  ["clone", "x", "y"]):
        refused(vetu(*words), 'the specified VM "x" does not exist', 2)
    refused(vetu("run", "x"), 'Error: the specified VM "x" does not exist')
