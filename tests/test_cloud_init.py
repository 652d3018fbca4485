# SPDX-License-Identifier: Apache-2.0
"""`run --cloud-init`, `--cloud-init-network` and `--ssh-key`: a guest with Debian's own cloud-init, and our image, which has none."""

import json
import subprocess

import pytest

import scratch
from conftest import FORM, Linzer, descriptors
from test_life import BOOT, PORTS, end, eventually, runtime

MARK = "written-by-user-data-5f1c"  # found nowhere else
USER_DATA = f"""#cloud-config
write_files:
- path: /etc/written
  content: {MARK}
runcmd:
- [sh, -c, 'cat /var/lib/cloud/data/instance-id >>/var/lib/ran']
"""
NETWORK = """version: 2
ethernets:
  lan:
    match: {name: "e*"}
    dhcp4: true
    nameservers: {search: [seed.example], addresses: [192.0.2.53]}
"""


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, stdin=subprocess.DEVNULL)
    return path


def run(linzer, name, *options, **how):
    """Start it; where the host cannot dial a guest by its address, with a port that leads to sshd."""
    if FORM == "none":
        options = (f"--net-softnet-expose={next(PORTS)}:22", *options)
    linzer("run", "--wait-ready", *options, name, check=True, timeout=BOOT, **how)


def login(linzer, name, user, key):
    """Does sshd take the key? In the end or never."""
    where = ["-p", str(runtime(linzer, name)["exposed"][0]["host"]), f"{user}@127.0.0.1"] if FORM == "none" else \
        [f"{user}@" + linzer("ip", "--wait", 60, name, check=True).stdout.strip()]
    ssh = ["ssh", "-F", "none", "-i", key, *("-o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o ConnectTimeout=20 "
                               "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR").split(), *where, "id", "-un"]
    done = None

    def answered():
        nonlocal done
        done = subprocess.run(ssh, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        return done.returncode == 0
    eventually(answered, explain=lambda: done)
    return done.stdout.strip()


def settled(linzer, name):
    """Until cloud-init is done with this boot; what it says."""
    return linzer("exec", name, "sudo", "cloud-init", "status", "--wait", timeout=BOOT).stdout.strip().split()[-1]


def shell(linzer, name, script):
    return linzer("exec", name, "sh", "-c", script, check=True).stdout


def instance(linzer, name):
    return shell(linzer, name, "cat /var/lib/cloud/data/instance-id").strip()


@pytest.fixture(scope="module")
def place():
    with scratch.directory() as path:
        (path / "user-data").write_text(USER_DATA)
        (path / "network").write_text(NETWORK)
        make_key(path / "key")
        make_key(path / "other")
        yield path


@pytest.fixture(scope="module")
def clouds(image_home, tmp_path_factory):
    """A home with the image that has cloud-init as the VM "cloud", made of the kind of file that distributions publish."""
    assert (image_home / "vms/cloud/disk.img").exists(), "no image with cloud-init: run scripts/check"
    with scratch.directory() as path:
        home, image = path / "home", path / "cloud.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", "-c", image_home / "vms/cloud/disk.img", image], check=True)
        program = Linzer(home, tmp_path_factory.mktemp("names"))
        program("create", "--from-image", image, "cloud", check=True, timeout=600)
        program("set", "cloud", "--cpu", 2, "--memory", 1024, check=True)  # as much as the other guests have
        image.unlink()
        yield program
        for name in program("list", "--quiet").stdout.split():
            program("stop", name, "--timeout", 1)
        program.end()


@pytest.fixture(scope="module")
def first(clouds, place):
    """A VM in its first run."""
    clouds("clone", "cloud", "Web_1", check=True)
    run(clouds, "Web_1", "--cloud-init", place / "user-data", "--ssh-key", place / "key.pub")
    assert settled(clouds, "Web_1") == "done"
    yield "Web_1"


@pytest.fixture(scope="module")
def second(clouds, place, first):
    """After that: the same VM again, its user-data from standard input, and a clone that has only a key, another."""
    clouds("stop", first, check=True)
    clouds("clone", first, "copy", check=True)
    run(clouds, "copy", "--cloud-init-network", place / "network", "--ssh-key", place / "other.pub")
    run(clouds, first, "--cloud-init=-", "--ssh-key", place / "key.pub", input=USER_DATA)
    assert settled(clouds, "copy") == settled(clouds, first) == "done"
    yield "copy"


class TestFirstRun:
    def test_user_data_was_applied(self, clouds, first):
        assert shell(clouds, first, "cat /etc/written") == MARK
        assert shell(clouds, first, "cat /var/lib/ran").strip() == instance(clouds, first)

    def test_by_a_seed_on_a_disk(self, clouds, first):
        assert "DataSourceNoCloud" in shell(clouds, first, "cat /run/cloud-init/result.json")

    def test_the_host_name_is_the_vms(self, clouds, first):
        assert shell(clouds, first, "hostname").strip() == "Web-1"

    def test_the_key_opens_the_default_users_account(self, clouds, place, first):
        assert login(clouds, first, "debian", place / "key") == "debian"

    def test_the_seed_is_the_last_disk_and_read_only(self, clouds, first):
        assert shell(clouds, first, "lsblk -dno NAME,RO,FSTYPE /dev/vd?").split() == ["vda", "0", "vdb", "1", "iso9660"]
        assert shell(clouds, first, "sudo mount -o ro /dev/vdb /mnt && ls /mnt && sudo umount /mnt").split() == \
            ["authorized_keys", "meta-data", "user-data"]

    def test_nothing_of_it_is_on_the_host(self, clouds, first):
        """Not even while the VM runs, but for what the guest wrote to its disk."""
        files = [path for path in clouds.home.rglob("*") if path.is_file() and path.stat().st_size < 64 << 20]
        files = [path for path in files if not path.name.startswith("disk")]
        assert clouds.vm(first) / "run.json" in files
        assert not [path for path in files if MARK.encode() in path.read_bytes()]
        assert list((clouds.home / "tmp").iterdir()) == []
        assert "/memfd:cidata (deleted)" in descriptors(runtime(clouds, first)["qemuPid"]).values()


@pytest.mark.soak  # two boots more; TestSeed has what a guest is given then
class TestSecondRun:
    """What cloud-init makes of it."""

    def test_the_same_seed_does_nothing_twice(self, clouds, first, second):
        ran = shell(clouds, first, "cat /var/lib/ran").split()
        assert ran == [instance(clouds, first)] == [(clouds.vm(first) / "instance-id").read_text()]

    def test_a_clone_is_another_instance(self, clouds, first, second):
        assert instance(clouds, second) != instance(clouds, first)
        assert shell(clouds, second, "hostname").strip() == "copy"

    def test_a_key_alone(self, clouds, place, second):
        assert login(clouds, second, "debian", place / "other") == "debian"

    def test_network_config_was_applied(self, clouds, second):
        assert "seed.example" in shell(clouds, second, "cat /etc/systemd/network/*cloud-init*")

    def test_what_is_deleted_was_all(self, clouds, first, second):
        for name in (second, first):
            end(clouds, name)
        assert list((clouds.home / "tmp").iterdir()) == []


class TestSeed:
    """Of VMs without a system, as QEMU has it."""

    @staticmethod
    def run(linzer, name, *options):
        """What it holds: user-data's text and so on; None without one."""
        linzer("run", "--detach", "--net-none", *options, name, check=True)
        fds = descriptors(runtime(linzer, name)["qemuPid"])
        found = {fd.read_bytes() for fd, what in fds.items() if what == "/memfd:cidata (deleted)"}
        linzer.switch_off(name)
        assert len(found) <= 1
        return found.pop() if found else None

    def meta_data(self, linzer, name, *options):
        seed = self.run(linzer, name, *options)
        return json.loads(seed[seed.index(b'{"instance-id"'):].split(b"\0")[0])

    def test_the_instance_is_the_vm_for_its_life_and_no_clone(self, linzer, place):
        linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
        first = self.meta_data(linzer, "vm", "--cloud-init", place / "user-data")
        linzer("clone", "vm", "copy", check=True)
        linzer("rename", "vm", "new.name", check=True)
        again = self.meta_data(linzer, "new.name", "--ssh-key", place / "key.pub")
        copy = self.meta_data(linzer, "copy", "--cloud-init", place / "user-data")
        assert first["instance-id"] == again["instance-id"] != copy["instance-id"]
        assert [data["local-hostname"] for data in (first, again, copy)] == ["vm", "new-name", "copy"]
        assert again["public-keys"] == [(place / "key.pub").read_text().strip()] and first["public-keys"] == []

    def test_documents_are_on_it_as_they_were_given(self, linzer, place):
        linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
        both = self.run(linzer, "vm", "--cloud-init", place / "user-data", "--cloud-init-network", place / "network")
        assert USER_DATA.encode() in both and NETWORK.encode() in both
        key = self.run(linzer, "vm", "--ssh-key", place / "other.pub")
        assert b"#cloud-config\n{}\n" in key and (place / "other.pub").read_bytes() in key and NETWORK.encode() not in key
        assert self.run(linzer, "vm") is None
        assert list((linzer.home / "tmp").iterdir()) == []


def test_our_image_takes_the_key_too(guests, place):
    """Which has no cloud-init. With user-data for nobody, and beside other disks."""
    disk = place / "disk"
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    guests("clone", "debian", "keyed", check=True)
    run(guests, "keyed", "--ssh-key", place / "key.pub", "--cloud-init", place / "user-data", "--disk", disk)
    assert login(guests, "keyed", "admin", place / "key") == "admin"
    key = (place / "key.pub").read_text()
    assert shell(guests, "keyed", "cat .ssh/authorized_keys; stat -c '%U %a' .ssh .ssh/authorized_keys") == \
        f"{key}admin 700\nadmin 600\n"
    assert shell(guests, "keyed", "lsblk -dnbo NAME,SIZE /dev/vdb").split() == ["vdb", str(1 << 20)]
    end(guests, "keyed")


LIMIT = 1 << 20  # CLOUD_INIT_FILE_MAX
BAD = {
    "absent": (["--cloud-init", "{}/absent"], "--cloud-init: cannot open '{}/absent': No such file or directory"),
    "directory": (["--cloud-init", "{}"], "--cloud-init: {}: cannot read: Is a directory"),
    "empty": (["--cloud-init", "{}/empty"], "--cloud-init: {}/empty: it is empty"),
    "empty-input": (["--cloud-init", "-"], "--cloud-init: standard input: it is empty"),
    "large": (["--cloud-init", "{}/large"], f"--cloud-init: {{}}/large: more than {LIMIT} bytes"),
    "endless": (["--cloud-init", "/dev/zero"], f"--cloud-init: /dev/zero: more than {LIMIT} bytes"),
    "network-empty": (["--cloud-init-network", "{}/empty"], "--cloud-init-network: {}/empty: it is empty"),
    "two-inputs": (["--cloud-init", "-", "--ssh-key", "-"], "only one file can be '-', which is the standard input"),
    "private": (["--ssh-key", "{}/key"], "--ssh-key: {}/key: this is a private key: name the public one, in a file that ends with .pub"),
    "no-key": (["--ssh-key", "{}/user-data"], "--ssh-key: {}/user-data: line 2 is no public key"),
    "key-absent": (["--ssh-key", "{}/absent.pub"], "--ssh-key: cannot open '{}/absent.pub': No such file or directory"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_no_vm_runs(linzer, place, case):
    (place / "empty").touch()
    (place / "large").write_bytes(b"x" * (LIMIT + 1))
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    options, message = BAD[case]
    done = linzer("run", "--detach", *(word.format(place) for word in options), "vm")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message.format(place) + "\n")
    assert json.loads(linzer("get", "--format", "json", "vm", check=True).stdout)["State"] == "stopped"


def test_a_seed_that_cannot_be_made_is_one_line(linzer, place):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    done = linzer("run", "--detach", "--cloud-init", place / "user-data", "vm", env={"LINZER_ARCHIVE": "/nonexistent/program"})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "/nonexistent/program" in done.stderr
    assert list((linzer.home / "tmp").iterdir()) == []
