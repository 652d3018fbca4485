# SPDX-License-Identifier: Apache-2.0
"""What a VM keeps of its network: set, get, and where filter and no-local go with clones, archives and images."""

import json
import os
import subprocess
import sys
import time

import pytest

import faulty_registry as faulty
import tvm
from cache_state import images, listed, new_vm, nothing_new, one_line
from oci_image import KIB, OCI_CONFIG, Image, mixed_disk
from registry import registry as second_registry
from registry import skopeo

STAND_IN = os.path.join(os.path.dirname(__file__), "stand_in.py")
FILTER, NO_LOCAL = "org.linzer.net-filter", "org.linzer.no-local"
TEXT_MAX, LABEL_MAX = 1 << 20, 64 * KIB
RULES = "# what this VM may do\r\npass out proto udp to 1.1.1.1 port 53\r\n\nblock any"


def silent(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def got(linzer, name="vm"):
    """The three that `get` shows."""
    shown = json.loads(linzer("get", name, "--format", "json", check=True).stdout)
    return shown["NetFilter"], shown["IP"], shown["NoLocal"]


def files(linzer, name="vm"):
    """{name: bytes} of the VM's directory, what every use changes aside."""
    return {path.name: path.read_bytes() for path in linzer.vm(name).iterdir()
            if path.is_file() and path.name not in (".accessed", ".lock", "disk.img")}


def rules_of(linzer, name):
    return (linzer.vm(name) / "net.rules").read_bytes().decode()


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    return linzer


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "my.rules"
    path.write_text(RULES, newline="")
    return path


@pytest.fixture
def fenced(oci, rules):
    """A VM "vm" with a filter, no-local and an address of its own."""
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    silent(oci("set", "vm", "--net-filter", rules, "--no-local", "--ip", "192.168.64.77"))
    return oci


# ------------------------------------------------------------------ set and get

def test_a_new_vm_has_none_of_it(vm):
    assert got(vm) == (False, None, False)
    assert not {"net.rules", "network.json"} & set(files(vm))


def test_filter_of_a_file_is_kept_as_it_is(vm, rules):
    silent(vm("set", "vm", "--net-filter", rules))
    assert rules_of(vm, "vm") == RULES and got(vm) == (True, None, False)
    rules.write_text("nonsense")
    assert rules_of(vm, "vm") == RULES, "it is a copy"


def test_filter_of_the_standard_input(vm):
    silent(vm("set", "vm", "--net-filter", "-", input=RULES.replace("\r", "")))
    assert rules_of(vm, "vm") == RULES.replace("\r", "")


def test_filter_of_a_pipe(vm, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = vm.start("set", "vm", "--net-filter", fifo)
    fifo.write_text("block any\n")
    assert child.wait(60) == 0 and rules_of(vm, "vm") == "block any\n"


def test_filter_off(vm, rules, tmp_path):
    vm("set", "vm", "--net-filter", rules, check=True)
    silent(vm("set", "vm", "--net-filter", "off"))
    assert got(vm) == (False, None, False) and "net.rules" not in files(vm)
    silent(vm("set", "vm", "--net-filter", "off"))
    (tmp_path / "off").write_text("block any")
    silent(vm("set", "vm", "--net-filter", "./off", cwd=tmp_path))
    assert rules_of(vm, "vm") == "block any"


def test_filter_of_nothing_is_one_without_rules(vm):
    silent(vm("set", "vm", "--net-filter", "-", input="# nothing\n"))
    assert got(vm) == (True, None, False)


MISTAKES = [
    ("blok any\n", "line 1, column 1: expected 'pass' or 'block', not 'blok'"),
    ("pass any\n  block sideways\n", "line 2, column 9: expected 'in', 'out', 'any', 'local', 'proto', 'from' or 'to'"),
    ("block in local", "line 1, column 10: expected 'proto', 'from', 'to' or the end of the line, not 'local'"),
    ("block local in", "line 1, column 13: expected the end of the line, not 'in'"),
    ("block proto sctp", "line 1, column 13: expected 'tcp', 'udp', 'tcp/udp', 'icmp' or a number from 1 to 255"),
    ("block proto tcp in", "line 1, column 17: expected 'from', 'to' or the end of the line, not 'in'"),
    ("block out to", "line 1, column 13: expected an address, a CIDR, 'any', 'all' or 'port', but the line ends"),
    ("block out to example.org", "line 1, column 14: expected an address, a CIDR, 'any', 'all' or 'port'"),
    ("block out to 1.1.1", "line 1, column 14: "),
    ("block in from 10.0.0.0/33", "line 1, column 15: "),
    ("block out to 2001:db8::1", "line 1, column 14: "),
    ("block out to 1.1.1.1 port 70000\n", "line 1, column 27: expected a port between 1 and 65535, not '70000'"),
    ("block out to port", "line 1, column 18: expected a port between 1 and 65535, but the line ends"),
    ("block out to port 9-8", "line 1, column 19: the range of ports ends before it begins"),
    ("block out proto icmp to port 22", "line 1, column 25: only tcp and udp have ports"),
    ("block out to 1.1.1.1 to 2.2.2.2", "line 1, column 22: expected 'port', 'from' or the end of the line, not 'to'"),
    ("\n# gr\u00fcn\nblock any", "line 2, column 5: "),
    ("pass any\nblock any\0", "line 2, column 10: "),
    ("block any\n" * 4097, "line 4097, column 1: more than 4096 rules"),
]


@pytest.mark.parametrize("text, where", MISTAKES, ids=[text[:24].strip() for text, _ in MISTAKES])
def test_a_mistake_in_a_filter_changes_nothing(vm, rules, text, where):
    """Of every kind that there is; it is told with line and column."""
    vm("set", "vm", "--net-filter", rules, "--ip", "10.0.0.7", check=True)
    before = files(vm)
    rules.write_text(text)
    one_line(vm("set", "vm", "--net-filter", rules, "--cpu", 2, "--no-local", "--ip", "auto"), f"{rules}: {where}")
    assert files(vm) == before
    one_line(vm("set", "vm", "--net-filter", "-", input=text), f"standard input: {where}")
    assert files(vm) == before


def test_a_filter_beyond_its_limit_changes_nothing(vm, rules):
    rules.write_text("#" * TEXT_MAX)
    silent(vm("set", "vm", "--net-filter", rules))
    before = files(vm)
    rules.write_text("#" * (TEXT_MAX + 1))
    for source in (rules, "/dev/zero"):
        one_line(vm("set", "vm", "--net-filter", source), str(source), str(TEXT_MAX))
    assert files(vm) == before


def test_a_filter_that_cannot_be_read(vm, tmp_path):
    before = files(vm)
    for source in (tmp_path / "missing", tmp_path):
        one_line(vm("set", "vm", "--net-filter", source), str(source))
    assert files(vm) == before


def test_an_address_and_auto(vm):
    silent(vm("set", "vm", "--ip", "10.77.3.0"))
    assert got(vm) == (False, "10.77.3.0", False)
    silent(vm("set", "vm", "--ip=auto"))
    assert got(vm) == (False, None, False) and "network.json" not in files(vm)


@pytest.mark.parametrize("address", ["", "x", "10.0.0", "10.0.0.1/24", "010.0.0.1", "::1", "0.0.0.0", "127.0.0.1",
                                     "169.254.7.7", "224.0.0.1", "255.255.255.255", "off"])
def test_an_address_that_no_vm_can_have(vm, address):
    vm("set", "vm", "--ip", "10.0.0.7", "--no-local", check=True)
    before = files(vm)
    one_line(vm("set", "vm", f"--ip={address}", "--local"), address)
    assert files(vm) == before


def test_no_local_and_local(vm):
    silent(vm("set", "vm", "--no-local"))
    assert got(vm) == (False, None, True)
    silent(vm("set", "vm", "--cpu", 2))
    silent(vm("set", "vm", "--ip", "10.0.0.7"))
    assert got(vm) == (False, "10.0.0.7", True), "each is set alone"
    silent(vm("set", "vm", "--local"))
    assert got(vm) == (False, "10.0.0.7", False)


def test_a_running_vm_is_set_for_its_next_start(vm, rules):
    child = subprocess.Popen([sys.executable, STAND_IN, vm.vm("vm")], stdout=subprocess.PIPE, text=True)
    vm.children.append(child)
    assert child.stdout.readline() == "ready\n"
    silent(vm("set", "vm", "--net-filter", rules, "--no-local", "--ip", "192.168.64.9"))
    assert got(vm) == (True, "192.168.64.9", True)


def test_get_in_text_has_the_same_columns(vm, rules):
    before = [vm("get", "vm", program=name, check=True).stdout.splitlines()[0] for name in ("tart", "linzer")]
    vm("set", "vm", "--net-filter", rules, "--no-local", check=True)
    assert [vm("get", "vm", program=name, check=True).stdout.splitlines()[0] for name in ("tart", "linzer")] == before


MALFORMED = {
    "network.json": ["", "[]", '{"noLocal":1}', '{"nolocal":true}', '{"ip":"127.0.0.1"}', "{" + " " * 65536 + "}"],
    "net.rules": ["blok any", "#" * (TEXT_MAX + 1), "pass any\0"],
}


@pytest.mark.parametrize("name, text", [(name, text) for name, texts in MALFORMED.items() for text in texts],
                         ids=lambda x: x[:20])
def test_what_is_malformed_is_told_and_goes_nowhere(vm, tmp_path, name, text):
    (vm.vm("vm") / name).write_text(text)
    for words in (["get", "vm"], ["clone", "vm", "copy"], ["export", "vm", tmp_path / "x.tvm"]):
        done = vm(*words)
        assert done.returncode == 1 and f'{name} of VM "vm"' in done.stderr and done.stderr.count("\n") == 1
    assert listed(vm) == ["vm"] and not (tmp_path / "x.tvm").exists()
    silent(vm("set", "vm", "--net-filter=off", "--ip=auto", "--no-local"))
    assert got(vm) == (False, None, True)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_file_is_told(vm, name, tmp_path):
    (tmp_path / "else").write_text("{}" if name == "network.json" else "block any")
    (vm.vm("vm") / name).symlink_to(tmp_path / "else")
    one_line(vm("get", "vm"), f'{name} of VM "vm"')
    (vm.vm("vm") / name).unlink()
    os.mkfifo(vm.vm("vm") / name)
    one_line(vm("get", "vm", timeout=20), f'{name} of VM "vm"')


# ------------------------------------------------------------------ clones and names

def test_a_clone_has_filter_and_no_local_but_no_address(fenced):
    (fenced.vm("vm") / "last-ip").write_text("192.168.64.77\n")
    silent(fenced("clone", "vm", "copy"))
    assert got(fenced, "copy") == (True, None, True) and rules_of(fenced, "copy") == RULES
    assert "last-ip" not in files(fenced, "copy")
    silent(fenced("set", "copy", "--net-filter", "off", "--local"))
    assert got(fenced, "vm") == (True, "192.168.64.77", True)


def test_a_renamed_vm_keeps_its_address(fenced):
    silent(fenced("rename", "vm", "renamed"))
    assert got(fenced, "renamed") == (True, "192.168.64.77", True)


def test_a_vm_that_takes_the_name_has_nothing_of_the_old_one(fenced):
    silent(fenced("create", "--linux", "--disk-size", 1, "vm"))
    assert got(fenced) == (False, None, False)


# ------------------------------------------------------------------ archives

def test_an_archive_has_filter_and_no_local_but_no_address(fenced, tmp_path):
    assert fenced("export", "vm", tmp_path / "x.tvm", check=True).stderr == ""
    fenced("import", tmp_path / "x.tvm", "copy", check=True)
    assert got(fenced, "copy") == (True, None, True) and rules_of(fenced, "copy") == RULES


def test_an_archive_of_a_vm_without_has_the_three_files_alone(oci, tmp_path):
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    oci("export", "vm", tmp_path / "x.tvm", check=True)
    oci("import", tmp_path / "x.tvm", "copy", check=True)
    assert got(oci, "copy") == (False, None, False)
    assert set(files(oci, "copy")) == {"config.json", "nvram.bin"}


def archive(linzer, path, **more):
    """By hand: the VM "vm" and `more` files, their dots as two underscores."""
    body = tvm.directory() + b"".join(tvm.file(name, (linzer.vm("vm") / name).read_bytes())
                                      for name in ("config.json", "nvram.bin"))
    body += tvm.file("disk.img", b"disk") + b"".join(tvm.file(name.replace("__", "."), data.encode())
                                                     for name, data in more.items())
    path.write_bytes(tvm.container(body))
    return path


def test_an_archives_address_is_not_taken(vm, tmp_path):
    path = archive(vm, tmp_path / "x", network__json='{"ip":"10.0.0.7","noLocal":true}', net__rules="block any")
    vm("import", path, "copy", check=True)
    assert got(vm, "copy") == (True, None, True) and rules_of(vm, "copy") == "block any"


@pytest.mark.parametrize("name, text", [(name, text) for name, texts in MALFORMED.items() for text in texts],
                         ids=lambda x: x[:20])
def test_a_malformed_filter_in_an_archive(vm, tmp_path, name, text):
    done = vm("import", archive(vm, tmp_path / "x", **{name.replace(".", "__"): text}), "copy")
    assert done.returncode == 1 and name in done.stderr and done.stderr.count("\n") == 1
    nothing_new(vm, ["vm"])


@pytest.mark.parametrize("name", MALFORMED)
def test_a_filter_that_is_no_file_in_an_archive(vm, tmp_path, name):
    path = archive(vm, tmp_path / "x")
    body = tvm.unpack(path.read_bytes())
    for more in (tvm.link(name, "/etc/passwd"), tvm.file(name, b"{}") * 2, tvm.directory(name)):
        path.write_bytes(tvm.container(body + more))
        assert vm("import", path, "copy").returncode == 1
    nothing_new(vm, ["vm"])


# ------------------------------------------------------------------ images

def image_config(registry, repository, tag="latest"):
    return json.loads(skopeo("inspect", "--tls-verify=false", "--config", "--raw",
                             f"docker://{registry.address}/{repository}:{tag}").stdout)


def test_an_image_carries_filter_and_no_local_as_labels(fenced, registry):
    name = f"{registry.address}/org/vm"
    fenced("push", "vm", name, "--insecure", "--label", "a=b", check=True)
    labels = image_config(registry, "org/vm")["config"]["Labels"]
    assert labels[FILTER] == RULES and labels[NO_LOCAL] == "true" and labels["a"] == "b"
    assert "192.168.64.77" not in json.dumps(labels)
    fenced("pull", name, "--insecure", check=True)
    fenced("clone", name, "copy", check=True)
    assert got(fenced, "copy") == (True, None, True) and rules_of(fenced, "copy") == RULES


def test_the_labels_are_not_in_the_manifest(oci, fake, rules):
    """Its layers, their order and all annotations are as without a filter."""
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    oci("push", "vm", fake.name("org/vm", "plain"), "--insecure", check=True)
    oci("set", "vm", "--net-filter", rules, "--no-local", check=True)
    oci("push", "vm", fake.name("org/vm", "fenced"), "--insecure", check=True)
    plain, fenced = [json.loads(fake.manifests["org/vm", tag][0]) for tag in ("plain", "fenced")]
    assert plain.pop("config")["digest"] != fenced.pop("config")["digest"]
    for manifest in (plain, fenced):
        assert manifest["annotations"].pop("org.cirruslabs.tart.upload-time")
    assert plain == fenced


def test_an_image_of_a_vm_without_has_no_label(oci, registry):
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    name = f"{registry.address}/org/vm"
    oci("push", "vm", name, "--insecure", check=True)
    assert not {FILTER, NO_LOCAL} & set(image_config(registry, "org/vm")["config"]["Labels"])
    oci("clone", name, "copy", "--insecure", check=True)
    assert got(oci, "copy") == (False, None, False)


def test_labels_go_through_other_hands(fenced, registry, tmp_path):
    """Copied by skopeo to another registry, named anew by push and by tag, kept in a folder."""
    first = f"{registry.address}/org/vm"
    fenced("push", "vm", first, "--insecure", check=True)
    with second_registry() as other:
        skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{first}:latest",
               f"docker://{other.address}/team/vm:1")
        fenced("pull", f"{other.address}/team/vm:1", "--insecure", check=True)
        fenced("push", f"{other.address}/team/vm:1", f"{other.address}/team/vm:2", "--insecure", check=True)
        fenced("tag", f"{other.address}/team/vm:2", f"{other.address}/team/vm:3", "--insecure", check=True)
        fenced("delete", f"{other.address}/team/vm:1", check=True)
        fenced("clone", f"{other.address}/team/vm:3", "copy", "--insecure", check=True)
        assert got(fenced, "copy") == (True, None, True)
    layout = f"oci:{tmp_path}/layout:vm"
    fenced("push", "vm", layout, check=True)
    fenced("clone", layout, "copy2", check=True)
    assert got(fenced, "copy2") == (True, None, True) and rules_of(fenced, "copy2") == RULES


def test_the_same_image_by_another_name_has_its_filter(fenced, registry):
    """Its files are those of the one that is cached already."""
    for tag in ("org/vm", "team/vm"):
        fenced("push", "vm", f"{registry.address}/{tag}", "--insecure", check=True)
    fenced("prune", "--space-budget=0", check=True)
    fenced("pull", f"{registry.address}/org/vm", "--insecure", check=True)
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{registry.address}/org/vm:latest",
           f"docker://{registry.address}/team/vm:latest")
    fenced("pull", f"{registry.address}/team/vm", "--insecure", check=True)
    assert len(images(fenced)) == 1
    fenced("clone", f"{registry.address}/team/vm", "copy", check=True)
    assert got(fenced, "copy") == (True, None, True)


def test_populate_cache_and_a_cached_images_archive(fenced, registry, tmp_path):
    name = f"{registry.address}/org/vm"
    fenced("push", "vm", name, "--insecure", "--populate-cache", check=True)
    directory, = images(fenced).values()
    assert json.loads((directory / "network.json").read_text()) == {"noLocal": True}
    fenced("clone", name, "copy", check=True)
    fenced("export", name, tmp_path / "x.tvm", check=True)
    fenced("import", tmp_path / "x.tvm", "copy2", check=True)
    for copy in ("copy", "copy2"):
        assert got(fenced, copy) == (True, None, True) and rules_of(fenced, copy) == RULES


def test_a_filter_too_large_for_an_image(oci, fake):
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    oci("set", "vm", "--net-filter", "-", input="#" * LABEL_MAX, check=True)
    oci("push", "vm", fake.name("org/vm"), "--insecure", check=True)
    oci("clone", fake.name("org/vm"), "copy", "--insecure", check=True)
    assert len(rules_of(oci, "copy")) == LABEL_MAX
    fake.forget()
    oci("set", "vm", "--net-filter", "-", input="#" * (LABEL_MAX + 1), check=True)
    one_line(oci("push", "vm", fake.name("org/vm"), "--insecure"), str(LABEL_MAX + 1), str(LABEL_MAX))
    assert fake.count() == 0


def test_a_filter_that_is_not_utf_8_does_not_travel(oci, fake):
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    (oci.vm("vm") / "net.rules").write_bytes(b"block any # \xff\n")
    one_line(oci("push", "vm", fake.name("org/vm"), "--insecure"))
    assert fake.count() == 0


@pytest.mark.parametrize("label", [FILTER, NO_LOCAL])
def test_a_label_of_ours_by_hand(oci, fake, label):
    new_vm(oci, "vm", mixed_disk(2, size=64 * KIB))
    one_line(oci("push", "vm", fake.name("org/vm"), "--insecure", "--label", f"{label}=true"), label)
    assert fake.count() == 0


def labelled(labels):
    """An image of somebody else's, with these labels."""
    image = Image(mixed_disk(2, size=64 * KIB))
    config = labels if isinstance(labels, bytes) else json.dumps({"config": {"Labels": labels}}).encode()
    image.document["config"] = image.blob(config, OCI_CONFIG)
    return image


@pytest.mark.parametrize("labels, says", [
    ({FILTER: "pass any\nblok any"}, "line 2, column 1"), ({FILTER: 7}, FILTER), ({FILTER: None}, FILTER),
    ({FILTER: "#" * (LABEL_MAX + 1)}, FILTER), ({FILTER: "pass any\n\0"}, ""), ({NO_LOCAL: "false"}, NO_LOCAL),
    ({NO_LOCAL: True}, NO_LOCAL), (f'{{"config":{{"Labels":{{"{NO_LOCAL}":"true"}}}}'.encode(), ""),
], ids=lambda x: str(x)[:40])
def test_a_malformed_label(oci, fake, labels, says):
    """It is not left out: the image is not to be had."""
    image = labelled(labels)
    name = fake.add(image, "org/vm")
    for words in (["pull", name, "--insecure"], ["clone", name, "vm", "--insecure"]):
        one_line(oci(*words), image.document["config"]["digest"], says)
        nothing_new(oci)
    assert fake.count("GET", image.slices[0]["digest"]) == 0, "before gigabytes are fetched"


@pytest.mark.parametrize("labels", [{}, None, [], b"nonsense", b"[]", {"a": "b", "c": 7}], ids=str)
def test_an_image_of_others_needs_no_label(oci, fake, labels):
    oci("clone", fake.add(labelled(labels), "org/vm"), "vm", "--insecure", check=True)
    assert got(oci) == (False, None, False)


def test_an_image_whose_config_is_lost(oci, fake):
    """Nobody can say what it was fenced in by."""
    image = labelled({FILTER: "block any"})
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.document["config"]["digest"], faulty.error(404))
    one_line(oci("pull", name, "--insecure"), image.document["config"]["digest"])
    nothing_new(oci)


def test_a_pull_that_is_resumed_has_its_filter(oci, fake):
    image = labelled({FILTER: "block any"})
    name = fake.add(image, "org/vm")
    fake.fault("GET", image.slices[0]["digest"], faulty.error(404), times=1)
    assert oci("pull", name, "--insecure").returncode == 1
    oci("clone", name, "vm", "--insecure", check=True)
    assert rules_of(oci, "vm") == "block any"


def test_a_filter_set_during_a_push_is_not_torn(fenced, fake, rules):
    """What is pushed and cached is one state of the VM: that of the push's beginning."""
    fake.fault("POST", "/blobs/uploads/", faulty.delayed(1), times=1)
    child = fenced.start("push", "vm", fake.name("org/vm"), "--insecure", "--populate-cache", stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not fake.count("POST"):
        assert time.monotonic() < until
        time.sleep(0.01)
    rules.write_text("pass any")
    silent(fenced("set", "vm", "--net-filter", rules, "--local"))
    assert child.wait(60) == 0
    fenced("clone", fake.name("org/vm"), "copy", check=True)
    assert got(fenced, "copy") == (True, None, True) and rules_of(fenced, "copy") == RULES
