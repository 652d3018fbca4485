# SPDX-License-Identifier: Apache-2.0
"""`linzer doctor`: one thing is taken away at a time, and its finding says so, as `run` does; the others stay as they were.

What is taken away is so in a mount namespace of the one call. All calls are on a host of a laboratory's (people.py).
"""

import json
import os
import pathlib
import shutil

import pytest

from conftest import BUILD
from netlab import sh
from people import Person, host
from test_life import eventually
from test_life_as_user import NOTHING

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and users need root")
FIRST_UID = 62000
CHECKS = ["accelerator", "user", "engine", "engine of foreign guests", "window", "registries", "privileges",
          "folders", "home", "free space", "disk images"]
# a /dev with what is needed, and nothing that is a matter of this machine's
DEV = """mkdir -p {here} && mount -t tmpfs -o mode=755 none {here} && cd {here} && mkdir net shm &&
for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 ${{n%:*}} c 1 ${{n#*:}}; done && mknod -m 666 net/tun c 10 200 &&
{more} mount --move {here} /dev && cd / && """


def hide(*paths):
    """Shell words after which none of the files is there to be read or run (what is not there is no file of this host's)."""
    return "".join(f"mount --bind /dev/null {os.path.realpath(path)} && " for path in paths if os.path.exists(path))


class Patient(Person):
    """Who asks the doctor."""

    def without(self, script, *args, **options):
        """Call linzer after the shell words `script`, run as root."""
        before = self.before
        words = len(self.host.words)
        self.before = [*before[:words], "unshare", "-m", "--propagation", "private", "sh", "-c", script + 'exec "$@"',
                       "sh", *before[words:]]
        try:
            return self(*args, **options)
        finally:
            self.before = before

    def doctor(self, script="", **env):
        """Check -> (status, message, advice), and the exit status."""
        done = self.without(script, "doctor", "--format", "json", env=env)
        assert done.stderr == ""
        findings = {f["Check"]: (f["Status"], f["Message"], f["Advice"]) for f in json.loads(done.stdout)}
        assert done.returncode == ("fail" in {f[0] for f in findings.values()})
        return findings, done.returncode


@pytest.fixture(scope="module", params=["root", "caps", "none"])
def patient(request, tmp_path_factory):
    with host(tmp_path_factory.mktemp("lab")) as there:
        shutil.copy(BUILD / "linzer-oci", there.place)
        uid = there.add_caller("mia", request.param, FIRST_UID)
        patient = Patient(there, "mia", uid)
        patient.form = request.param
        patient("create", "--linux", "--disk-size", 1, "one", check=True)
        yield patient
        patient.end()


@pytest.fixture(scope="module")
def healthy(patient):
    """What is found when nothing was taken away."""
    findings, status = patient.doctor()
    assert status == 0 and list(findings) == CHECKS
    return findings


def only(patient, healthy, script, *checks, **env):
    """The findings of `checks`; all others are as on the healthy host (but free space, which others use, too)."""
    found, _ = patient.doctor(script, **env)
    for check in set(CHECKS) - {*checks, "free space", "accelerator"}:
        assert found[check] == healthy[check]
    return [found[check] for check in checks]


def test_a_healthy_host(patient, healthy):
    for check in set(CHECKS) - {"accelerator", "free space"}:
        assert healthy[check][0] == "ok", healthy[check]
    assert healthy["privileges"][1].startswith({"root": "root: ", "caps": "linzer-net has its capabilities and you may ",
                                                "none": "none: guests are in a namespace of yours (pasta)"}[patient.form])
    assert (healthy["privileges"][2] is None) == (patient.form != "none")
    assert ("user id of its own" in healthy["user"][1]) == (patient.form == "root")
    assert healthy["engine"][1].startswith("QEMU ") and "/usr/bin/qemu-system-" in healthy["engine"][1]


def test_it_leaves_nothing(patient, healthy):
    eventually(lambda: patient.left() == NOTHING, 60, lambda: str(patient.left()))
    assert list((patient.home / "tmp").iterdir()) == [] and [p.name for p in patient.vm("one").parent.iterdir()] == ["one"]


def test_the_text_says_the_same(patient, healthy):
    done = patient("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[6:].split(":")[0] for line in lines if line[0] != " "] == CHECKS
    for check, (status, message, advice) in healthy.items():
        if check != "free space":
            at = lines.index(f"{status:4}  {check}: {message}")
            assert advice is None or lines[at + 1] == f"      -> {advice}"


def machine():
    return {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64"}[os.uname().machine]


@pytest.mark.parametrize("paths, what", [
    ([f"/usr/bin/{machine()}"], "is not installed: install the package 'qemu-system-"),
    (["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_CODE.fd"],
     "the UEFI firmware is not installed: install the package '")])
def test_without_the_engine_no_vm_runs(patient, healthy, paths, what):
    found, status = patient.doctor(hide(*paths))
    assert status == 1 and found["engine"][0] == "fail" and what in found["engine"][1]
    done = patient.without(hide(*paths), "run", "one")
    assert (done.returncode, done.stderr) == (1, found["engine"][1] + "\n")


def test_an_engine_that_does_not_start(patient, healthy):
    script = f"mount --bind /bin/false {os.path.realpath('/usr/bin/' + machine())} && "
    [(status, message, advice)] = only(patient, healthy, script, "engine")
    assert status == "fail" and f"/usr/bin/{machine()}' does not start: " in message and advice


def test_a_desktop_needs_a_qemu_that_opens_a_window(patient, healthy):
    assert "not set" in healthy["window"][1]
    [(status, message, _advice)] = only(patient, healthy, "", "window", DISPLAY=":0")
    assert (status, message) == ("ok", "GTK's")
    modules = [str(path) for kind in ("gtk", "sdl") for path in pathlib.Path("/usr/lib").glob(f"*/qemu/ui-{kind}.so")]
    [(status, message, advice)] = only(patient, healthy, hide(*modules), "window", DISPLAY=":0")
    assert status == "warn" and "without" in message and "'qemu-system-gui'" in advice
    wayland = only(patient, healthy, hide(*modules), "window", WAYLAND_DISPLAY="wayland-0")
    # root's QEMU is another user, whom Wayland does not let in
    assert wayland == ([healthy["window"]] if patient.form == "root" else [(status, message, advice)])


@pytest.mark.parametrize("more, words", [
    ("", "No such file or directory"), ("mknod -m 600 kvm c 10 232 && ", "Permission denied"),
    ("touch kvm && chmod 666 kvm && ", "KVM does not work on this host")])
def test_without_kvm_guests_are_emulated(patient, healthy, more, words):
    script = DEV.format(here=patient.host.place / "dev", more=more)
    [(status, message, advice)] = only(patient, healthy, script, "accelerator")
    if "600" in more and patient.form == "root":  # no mode keeps root out: this machine's KVM decides
        assert words not in message
        return
    assert status == "warn" and words in message and advice
    assert ("adduser USER kvm" in advice) == ("Permission" in words)


def test_without_qemu_img_foreign_images_stay_foreign(patient, healthy):
    [(status, message, _)] = only(patient, healthy, hide("/usr/bin/qemu-img"), "disk images")
    assert status == "warn" and message.startswith("no foreign image becomes a disk: ")


def test_without_virtiofsd_no_folder_is_shared(patient, healthy):
    script = hide("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
    [(status, message, advice)] = only(patient, healthy, script, "folders")
    assert (status, advice) == ("warn", None)
    assert "virtiofsd is not installed: install the package " in message


def test_a_virtiofsd_that_ends_at_once(patient, healthy):
    [(status, message, _)] = only(patient, healthy, "", "folders", LINZER_VIRTIOFSD="/bin/false")
    assert (status, message) == ("warn", "no folder can be shared: --dir: virtiofsd failed")


def test_without_linzer_oci_neither_pull_nor_push(patient, healthy):
    [(status, message, advice)] = only(patient, healthy, "", "registries", LINZER_OCI="/nonexistent/linzer-oci")
    assert (status, advice) == ("warn", "install Linzer anew") and message.startswith("neither pull nor push works: ")
    [(status, message, _)] = only(patient, healthy, "", "registries", LINZER_OCI="/bin/true")
    assert (status, message) == ("warn", "'/bin/true' is not of this version of Linzer")


def test_without_the_networks_tools_no_vm_runs(patient, healthy):
    """What makes the guest's network: nft, or pasta for who has no privilege."""
    script = hide("/usr/bin/pasta", "/usr/bin/passt") if patient.form == "none" else hide("/usr/sbin/nft")
    [(status, message, advice)] = only(patient, healthy, script, "privileges")
    assert status == "fail" and "--net-none" in advice
    done = patient.without(script, "run", "one")
    assert (done.returncode, done.stderr) == (1, message + "\n")


@pytest.mark.parametrize("patient", ["caps"], indirect=True)  # root may, and without capabilities everybody may
def test_who_may_not_run_linzer_net_is_told_of_the_group(patient, healthy):
    plain = patient.host.place / "linzer-net-plain"
    script = f"mount --bind /dev/null {plain} && "
    before = patient.before
    try:
        patient.before = [word.replace("--init-groups", "--clear-groups") for word in before]
        [(status, message, _)] = only(patient, healthy, script, "privileges")
    finally:
        patient.before = before
    assert status == "fail" and "join the group 'linzer' ('adduser USER linzer', then log in again)" in message


def test_a_full_home(patient, healthy):
    script = (f"mount -t tmpfs -o size=1m,mode=777 none {patient.home} && mkdir -m 777 {patient.home}/vms {patient.home}/tmp "
              f"{patient.home}/cache && head -c 2m /dev/zero >{patient.home}/full 2>/dev/null; ")
    found, status = patient.doctor(script)
    assert status == 1 and found["home"][0] == "fail" and "No space left on device" in found["home"][1]
    assert "linzer prune" in found["home"][2] and found["free space"][:2] == ("warn", "0 bytes")
    assert found["engine"] == healthy["engine"] and found["privileges"] == healthy["privileges"]


def test_a_home_with_little_room(patient, healthy):
    script = f"mount -t tmpfs -o size=64m,mode=777 none {patient.home} && "
    found, status = patient.doctor(script)
    assert status == 0 and found["free space"][0] == "warn" and found["free space"][1].endswith(" MB")
    assert found["home"][0] == "ok"  # as far as a tmpfs can: hard links and holes


def test_a_home_that_cannot_be_written(patient, healthy):
    script = f"mount --bind {patient.home} {patient.home} && mount -o remount,bind,ro {patient.home} && "
    found, status = patient.doctor(script)
    assert status == 1 and found["home"][0] == "fail" and "Read-only file system" in found["home"][1]
    assert "TART_HOME" in found["home"][2]


def test_a_home_that_cannot_be_made(patient, healthy):
    found, status = patient.doctor(TART_HOME="/proc/none/here")
    assert status == 1 and list(found) == CHECKS[:CHECKS.index("home") + 1]
    assert found["home"][1].startswith("TART_HOME is invalid: /proc/none/here/cache does not exist, yet we can't create it: ")


@pytest.mark.parametrize("patient", ["root"], indirect=True)  # it is the file system's, whoever asks
def test_a_home_that_shares_blocks(patient, healthy):
    """btrfs and its like: asked by doing it."""
    image = patient.host.place / "image"
    with open(image, "wb") as file:
        file.truncate(256 << 20)
    sh("mkfs.btrfs", "-q", str(image))
    found, _ = patient.doctor(f"mount -o loop {image} {patient.home} && ")
    assert found["home"][:2] == ("ok", f"'{patient.home}': clones share blocks (reflink)")
