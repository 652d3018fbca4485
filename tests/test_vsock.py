# SPDX-License-Identifier: Apache-2.0
"""`run --vsock`: what it is refused with, and a guest's agent behind a real vsock.

The latter needs a host with /dev/vhost-vsock, which containers and most CI machines lack: there these tests are SKIPPED,
and nothing else goes through a vhost-vsock device. What they would show is otherwise shown in parts: QEMU's arguments
(qemu.test.c, golden/vsock.args), the choice of a CID (vsock.test.c), the relay before a gRPC server (test_stock_agent.py).
"""

import os

import pytest

from test_life import BOOT

DEVICE = "/dev/vhost-vsock"
on_vsock = pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK),
                              reason=f"NOTHING was tested over a real vsock: {DEVICE} cannot be opened (modprobe vhost_vsock)")
EXCLUSIVE = "Error: --vsock lets the guest reach services of the host past --net-softnet, --net-host and --net-none: " \
    "they are mutually exclusive"


@pytest.fixture
def vm(linzer):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    yield "vm"
    linzer("stop", "vm", "--timeout", 1)


@pytest.mark.parametrize("options", [["--net-softnet"], ["--net-softnet-allow=@host"], ["--net-softnet-block=0.0.0.0/0"],
                                     ["--net-softnet-expose=18080:80"], ["--net-host"], ["--net-none"]], ids=" ".join)
def test_not_with_a_network_that_isolates(linzer, vm, options):
    done = linzer("run", "--vsock", *options, vm)
    assert done.returncode == 64
    assert done.stderr.splitlines()[0] == EXCLUSIVE


@pytest.mark.parametrize("rules", [["--no-local"], ["--net-filter=-"]], ids=" ".join)
def test_not_with_rules(linzer, vm, rules):
    linzer("set", vm, *rules, input="block out to 10.0.0.0/8\n", check=True)
    done = linzer("run", "--vsock", vm)
    assert (done.returncode, done.stdout) == (64, "")
    assert "--vsock leads past the rules" in done.stderr
    assert not (linzer.vm(vm) / "run.json").exists()


@pytest.mark.skipif(os.path.exists(DEVICE), reason=f"this host has {DEVICE}")
def test_a_host_without_the_device_says_what_to_do(linzer, vm):
    done = linzer("run", "--vsock", vm)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"--vsock needs '{DEVICE}': No such file or directory: as root, 'modprobe vhost_vsock' makes it\n"
    assert not (linzer.vm(vm) / "run.json").exists()


# ---- over a real vsock ----

# from its next boot on ours knows vsock only, as the stock agent does
BECOME_STOCK = """sudo sh -ec '
systemctl --quiet disable linzer-agent
rm /etc/systemd/system/linzer-agent.service /etc/udev/rules.d/60-linzer-agent.rules
cat > /etc/systemd/system/stock.service <<EOF
[Service]
ExecStart=/usr/libexec/linzer-agent --device /run/none
Restart=always
[Install]
WantedBy=multi-user.target
EOF
systemctl --quiet enable stock'"""


@pytest.fixture(scope="module")
def guest(guests):
    """A running VM that answers on its vsock alone."""
    guests("run", "--no-graphics", "--wait-ready", "debian", check=True, timeout=BOOT)
    guests("exec", "debian", "sh", "-c", BECOME_STOCK, check=True, timeout=BOOT)
    guests("stop", "debian", check=True, timeout=BOOT)
    guests("run", "--vsock", "--no-graphics", "--wait-ready", "debian", check=True, timeout=BOOT)
    yield "debian"
    guests("stop", "debian", timeout=BOOT)


@on_vsock
class TestOnVsock:
    def test_exec(self, guests, guest):
        done = guests("exec", guest, "sh", "-c", "echo out; echo err >&2; exit 42")
        assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
        content = os.urandom(1 << 20)
        assert guests("exec", "-i", guest, "cat", input=content, text=False).stdout == content

    def test_address(self, guests, guest):
        assert guests("ip", "--resolver", "agent", guest, check=True).stdout == guests("ip", guest, check=True).stdout

    def test_cp(self, guests, guest, tmp_path):
        (tmp_path / "file").write_bytes(os.urandom(300_000))
        guests("cp", tmp_path / "file", f"{guest}:file", check=True)
        guests("cp", f"{guest}:file", tmp_path / "back", check=True)
        assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()

    def test_no_rule_is_taken_that_would_not_hold(self, guests, guest):
        done = guests("net", "set", guest, "--filter=-", input="block out to 10.0.0.0/8\n")
        assert done.returncode == 1
        assert "--vsock" in done.stderr

    def test_another_guest_has_another_number(self, guests, guest):
        guests("clone", guest, "other", check=True)
        guests("set", "other", "--random-mac", check=True)
        guests("run", "--vsock", "--no-graphics", "--wait-ready", "other", check=True, timeout=BOOT)
        done = guests("exec", "other", "echo", "other", check=True)
        assert done.stdout == "other\n"
        guests("stop", "other", check=True, timeout=BOOT)

    def test_a_suspended_guest_goes_on_with_another_number(self, guests, guest):
        guests("suspend", guest, check=True, timeout=BOOT)
        done = guests("run", "--no-graphics", guest)
        assert done.returncode == 1
        assert "not as it was when it was suspended: --vsock" in done.stderr
        guests("run", "--vsock", "--no-graphics", "--wait-ready", guest, check=True, timeout=BOOT)
        assert guests("exec", guest, "sudo", "systemctl", "is-active", "stock", check=True).stdout == "active\n"
