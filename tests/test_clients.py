# SPDX-License-Identifier: Apache-2.0
"""Programs that drive VMs by a command line, replayed argument for argument and with the same handling of processes
(companions.md D): GitLab executor, Cirrus CLI, Buildkite plugin, Packer plugin, Orchard's worker, a person's script.

docs/clients.md says which test shows which line of the contract's checklist.
"""

import http.server
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

import registry
import rfb
import scratch
from netlan import HOST, STATIC, Lan
from run_net import Runner
from test_life import BOOT, alive, eventually, runtime, ssh_once
from test_partitions import NAME as RECOVERY
from test_partitions import SFDISK

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the clients dial the guest, by the host's bridge")
SSH = """sshpass -p admin ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
-o PubkeyAuthentication=no -o ConnectTimeout=20""".replace("\n", " ")
QUIET = ("ip", "get", "list", "fqn")  # their output is parsed with what is on the standard error
GB = 10 ** 9
OWNER = 61920  # of folders; no account
SLOW = 3 * BOOT  # seconds for a guest's first signs on a machine that has other things to do
PATIENCE = 60  # seconds until the pipes of what was killed are at their ends


class Client:
    """Calls the program as one written in Go does: nothing to read, each output a pipe that is read to its end."""

    def __init__(self, linzer, name, **environment):
        self.linzer, self.name = linzer, name
        self.environment = {k: v for k, v in linzer.environment(**environment).items() if v is not None}

    def start(self, *words, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        child = subprocess.Popen([self.linzer.program(self.name), *map(str, words)], stdin=subprocess.DEVNULL,
                                 env=self.environment, text=True, **options)
        self.linzer.children.append(child)
        return child

    def __call__(self, *words, check=True):
        """What it printed, trimmed; (status, the line that is shown to a person) where it may fail."""
        child = self.start(*words)
        out, err = child.communicate(timeout=SLOW)
        if not check:
            return child.returncode, next((line for line in (err + out).splitlines() if line.strip()), "")
        assert child.returncode == 0, (words, child.returncode, out, err)
        if words[0] in QUIET:
            assert err == "", (words, err)
        return out.strip()

    def json(self, *words):
        return json.loads(self(*words))

    def ip(self, *words):
        """As often as a slow machine needs it."""
        end = time.monotonic() + SLOW
        while True:
            status, line = self("ip", *words, check=False)
            if status == 0:
                return str(ipaddress.IPv4Address(line))
            assert status == 1 and line.startswith("no IP address found") and time.monotonic() < end, (status, line)

    def state(self, name):
        """Of a local VM as `list` says it; None: there is none."""
        rows = self.json("list", "--format", "json")
        assert all(isinstance(row[key], kind) for row in rows for key, kind in
                   {"Name": str, "Source": str, "Running": bool, "State": str, "Disk": int, "Size": int}.items())
        return next((row["State"] for row in rows if row["Name"] == name and row["Source"] == "local"), None)


class Output:
    """A pipe whose lines are read as they come."""

    def __init__(self, pipe):
        self.lines, self.ended = [], threading.Event()
        self.pipe = pipe
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.pipe:
            self.lines.append(line.rstrip("\n"))
        self.ended.set()

    def find(self, pattern, seconds):
        """The first line that has it."""
        found = []
        eventually(lambda: found.extend(filter(None, (re.search(pattern, line) for line in list(self.lines)))) or found,
                   seconds, lambda: str(self.lines))
        return found[0]


def kill(child):
    """As Go cancels: the direct child alone, and then its pipes are read to their ends."""
    child.kill()
    return child.communicate(timeout=PATIENCE)


def dial(address, *command, **options):
    """By SSH, as a user would. Whoever makes the connection tries again as long as there is none."""
    end = time.monotonic() + SLOW
    while True:
        done = ssh_once(address, *command, **options)
        if done.returncode != 255 or time.monotonic() > end:
            return done
        time.sleep(1)


def in_shell(address, script, *environment):
    """A login shell that reads it."""
    lines = ["set -e", *(f'export {key}="{value}"' for key, value in environment), script, "exit"]
    done = dial(address, input="\n".join(lines) + "\n")
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def job(address, script):
    """A shell that reads it, as runners have their jobs done. Return: what it printed."""
    done = dial(address, "sh", "-seu", input=script)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def fetch_from_the_host(address, seconds=60):
    """From number 1 of the subnet that an interface of the host's has and the guest is in. -> HTTP's status there"""
    addresses = [ipaddress.ip_interface(f"{a['local']}/{a['prefixlen']}") for link in
                 json.loads(subprocess.check_output(["ip", "-4", "-j", "address"])) for a in link["addr_info"]]
    networks = [a.network for a in addresses if ipaddress.ip_address(address) in a.network]
    assert networks, addresses
    with http.server.ThreadingHTTPServer((str(networks[0][1]), 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = dial(address, f"curl -sS -m {seconds} -o /dev/null -w '%{{http_code}}' http://{networks[0][1]}:{server.server_port}/")
        server.shutdown()
    return done.stdout


@pytest.fixture(scope="module")
def image(guests):
    """The guest image in a registry, and in the cache."""
    with registry.registry() as server:
        name = f"{server.address}/ci/debian:latest"
        guests("push", "debian", name, "--insecure", "--populate-cache", check=True, timeout=600)
        yield name


@pytest.fixture
def folder():
    """Makes folders of an ordinary user's: nobody writes to one of root's from a guest."""
    with scratch.directory() as place:
        place.chmod(0o755)

        def make(name, **files):
            path = place / name
            path.mkdir()
            for file, text in files.items():
                (path / file).write_text(text)
            for entry in (path, *path.iterdir()):
                os.chown(entry, OWNER, OWNER)
            return path
        yield make


@pytest.fixture(autouse=True)
def nothing_left(guests):
    """No VM but the image's, whatever failed."""
    yield
    for name in guests("list", "--quiet", "--source", "local").stdout.split():
        if name != "debian":
            guests("stop", name, "--timeout", 0)
            eventually(lambda: guests("delete", name).returncode == 0, PATIENCE)


def test_orchard_worker(guests, image):
    """The Linux worker, unchanged: it knows the name vetu, and runs a VM without any flag."""
    vetu = Client(guests, "vetu", VETU_HOME=str(guests.home), TART_HOME="/nowhere")
    name = f"orchard-web-{uuid.uuid4()}-0"
    assert vetu.state(name) is None
    vetu("clone", image, name)
    assert re.fullmatch(re.escape(image.rsplit(":", 1)[0]) + "@sha256:[0-9a-f]{64}", vetu("fqn", image))
    vetu("set", "--memory", 2048, name)
    vetu("set", "--cpu", 2, name)
    vetu("set", "--disk-size", 21, name)
    run = vetu.start("run", name)
    address = vetu.ip("--wait", 60, name)
    assert vetu.state(name) == "running"
    # Debian's clears the screen, which fails without one and, after set -e, makes the shell's status 1
    assert dial(address, "rm -f .bash_logout").returncode == 0
    assert in_shell(address, 'echo "$GREETING"; nproc; sudo blockdev --getsize64 /dev/vda',
                    ("GREETING", "it's on")).split("\n")[-4:] == ["it's on", "2", str(21 * GB), ""]
    assert run.poll() is None, run.communicate()
    vetu("stop", "--timeout", 5, name)
    out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode in (0, -signal.SIGKILL) and err == "", out  # 5 s are not enough on a busy machine
    vetu("delete", name)
    assert vetu.state(name) is None


def test_orchard_worker_of_a_mac(guests, image, folder):
    """Its other runtime (C.7), which suspends and goes on: the same command line again."""
    tart = Client(guests, "tart")
    name, shared = f"orchard-mac-{uuid.uuid4()}-0", folder("shared", hello="of the host\n")
    tart("clone", image, name)
    for words in (["--memory", 2048], ["--cpu", 2], ["--random-mac"], ["--random-serial"]):
        tart("set", *words, name)
    run = ["run", "--net-softnet-allow", "10.0.0.0/8,@host", "--net-softnet-block", "10.1.0.0/16,198.51.100.0/24", "--no-graphics",
           "--nested", "--suspendable", f"--dir=shared:{shared}:ro", name]
    first = tart.start(*run)
    address = tart.ip("--wait", 5, "--resolver", "agent", name)
    assert job(address, "cat /mnt/shared/shared/hello; cat /proc/sys/kernel/random/boot_id >/dev/shm/boot") == "of the host\n"
    assert "10.1.0.0/16" in guests("net", "show", name, check=True).stdout
    tart("suspend", name)
    out, err = first.communicate(timeout=SLOW)
    assert (first.returncode, err) == (0, ""), out
    assert tart.state(name) == "suspended"
    second = tart.start(*run)
    assert tart.ip("--wait", 60, "--resolver", "agent", name) == address
    assert job(address, "cmp /dev/shm/boot /proc/sys/kernel/random/boot_id && echo the same boot") == "the same boot\n"
    assert tart.state(name) == "running" and second.poll() is None
    tart("stop", "--timeout", 5, name)
    out, err = second.communicate(timeout=PATIENCE)
    assert second.returncode in (0, -signal.SIGKILL) and err == "", out  # 5 s are not enough on a busy machine
    assert tart.state(name) == "stopped"
    tart("delete", name)
    assert tart.state(name) is None


def test_orchard_cancels_and_cleans_up(guests, image):
    """What the worker meets when it starts anew: VMs that it does not know, errors of which it shows the first line."""
    vetu = Client(guests, "vetu", VETU_HOME=str(guests.home), TART_HOME="/nowhere")
    vetu("clone", image, "orchard-a")
    run = vetu.start("run", "orchard-a")
    eventually(lambda: (guests.vm("orchard-a") / "run.json").exists(), PATIENCE)
    engine = runtime(guests, "orchard-a")["qemuPid"]
    assert kill(run) == ("", "") and run.returncode == -signal.SIGKILL
    eventually(lambda: not alive(engine), PATIENCE)
    assert vetu.state("orchard-a") == "stopped"
    assert vetu("stop", "orchard-a", check=False) == (2, 'VM "orchard-a" is not running')
    vetu("delete", "orchard-a")
    status, line = vetu("clone", image.replace("ci/", "missing/"), "orchard-b", check=False)
    assert status == 1 and line
    assert vetu("run", "orchard-b", check=False)[0] != 0


def test_gitlab_executor(guests, image, folder, tmp_path):
    """Its stages config, prepare, run, cleanup; each is a process of its own that ends, but for the VM."""
    tart = Client(guests, "tart", TART_NO_AUTO_PRUNE="true")
    name, log = "gitlab-1234", tmp_path / "vm.log"
    builds, cache = folder("builds"), folder("cache dir", kept="from the job before\n")
    tart("pull", image, "--insecure", "--concurrency", 4)
    tart("clone", image, name, "--insecure", "--concurrency", 4)
    for words in (["--cpu", 2], ["--memory", 2048], ["--random-mac"], ["--display", "1024x768"]):
        tart("set", *words, name)
    detached(tart, log, "run", "--net-softnet", "--root-disk-opts", "sync=none", "--no-graphics",
             "--dir", f"{builds}:tag=tart.virtiofs.buildsdir.1234", "--dir", f"{cache}:tag=tart.virtiofs.cachedir.1234",
             name)
    address = tart.ip("--wait", 60, "--resolver", "dhcp", name)
    assert tart.json("get", "--format", "json", name)["OS"] == "linux"
    for tag in ("buildsdir", "cachedir"):
        done = dial(address, f"sudo mkdir -p /ci/{tag} && sudo mount -t virtiofs tart.virtiofs.{tag}.1234 /ci/{tag}")
        assert done.returncode == 0, done
    assert job(address, "cat /ci/cachedir/kept; uname -s > /ci/buildsdir/result; mkdir /ci/cachedir/made") == \
        "from the job before\n"
    assert (builds / "result").read_text() == "Linux\n" and (cache / "made").is_dir()
    assert fetch_from_the_host(address, seconds=5) == "000"  # that is what --net-softnet is for
    pid = runtime(guests, name)["pid"]
    assert os.getsid(pid) == pid, "it is not of a session of its own"
    tart("stop", name)
    tart("delete", name)
    eventually(lambda: not alive(pid), PATIENCE)
    assert "guest has stopped the virtual machine" in log.read_text() or "Stopping VM..." in log.read_text()


def test_gitlab_executor_bridged(guests, tmp_path):
    """It asks for the address by ARP, then. The firmware finds nothing to boot: this test is the guest on its card."""
    tart = Client(guests, "tart", TART_NO_AUTO_PRUNE="true")
    name, log, lab = "gitlab-1235", tmp_path / "vm.log", Lan(tmp_path, bridge=True)
    runner = Runner(lab, guests)
    try:
        with lab.inside("host"):
            tart("create", "--linux", "--disk-size", 1, "empty")
            tart("clone", "empty", name, "--insecure", "--concurrency", 4)
            detached(tart, log, "run", "--root-disk-opts", "sync=none", "--net-bridged", lab.interface, "--no-graphics", name)
            eventually((guests.vm(name) / "run.json").exists, PATIENCE)
            asked = tart.start("ip", "--wait", 60, "--resolver", "arp", name)
            guest = runner.guest(name, address=STATIC)
            eventually(lambda: guest.resolve(HOST, 1), PATIENCE)
            assert asked.communicate(timeout=PATIENCE) == (f"{STATIC}\n", "") and asked.returncode == 0
    finally:
        runner.end()
        lab.end()


def detached(client, log, *words):
    """In a session of its own, its output a file, and then its parent ends."""
    code = "import os, subprocess, sys; subprocess.Popen(sys.argv[2:], start_new_session=True, stdin=subprocess.DEVNULL, " \
           "stdout=open(sys.argv[1], 'w'), stderr=subprocess.STDOUT); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, log, client.linzer.program(client.name), *map(str, words)],
                   env=client.environment, check=True, timeout=60)


def test_cirrus_cli(guests, image, folder):
    """set has the name first; folders by name; at the end it is killed."""
    trace = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    tart = Client(guests, "tart", **trace)
    name = f"cirrus-cli-task-{uuid.uuid4()}"
    source, cache = folder("source", task="echo done by the task\n"), folder("cache")
    assert name not in tart("list", "--quiet").split()
    tart("pull", image, check=False)  # the registry has no TLS; a failure is ignored
    Client(guests, "tart", TART_NO_AUTO_PRUNE="", **trace)("clone", image, name)
    for words in (["--random-mac"], ["--cpu", 2], ["--memory", 2048], ["--disk-size", 21], ["--display", "1280x720"]):
        tart("set", name, *words)
    run = tart.start("run", "--no-graphics", "--no-clipboard", "--no-audio", "--root-disk-opts", "sync=none",
                     "--net-softnet", "--net-softnet-allow", "10.0.0.0/8,@host", "--dir", f"working-dir:{source}:ro", "--dir", f"cache:{cache}", name)
    address = tart.ip("--wait", 30, name)
    found = tart.json("get", "--format", "json", name)
    assert (found["OS"], found["CPU"], found["Memory"], found["Display"], found["Running"], found["State"]) == \
        ("linux", 2, 2048, "1280x720", True, "running")
    printed = job(address, "sh /mnt/shared/working-dir/task; echo kept > /mnt/shared/cache/file;"
                           "touch /mnt/shared/working-dir/file 2>/dev/null || echo read-only")
    assert printed == "done by the task\nread-only\n" and (cache / "file").read_text() == "kept\n"
    assert fetch_from_the_host(address) == "200"  # it is allowed to
    assert {row["Name"]: row["State"] for row in tart.json("list", "--format=json")}[name] == "running"
    engine = runtime(guests, name)["qemuPid"]
    kill(run)
    eventually(lambda: not alive(engine), PATIENCE)
    assert tart("stop", "--timeout", 5, name, check=False)[0] == 2
    tart("delete", name)
    assert name not in tart("list", "--quiet").split()


# $1: image, $2: VM, $3: folder; a hook of the agent's is a shell that ends
BUILDKITE = {
    "pre-command": """tart pull "$1" --insecure; tart clone "$1" "$2"
nohup tart run --dir "$3" --no-graphics "$2" >"$3/vm.log" 2>&1 &""",
    "command": f"""address=$(tart ip --wait 60 "$2") || exit 75
{SSH} "admin@$address" 'cd /mnt/shared && cat checkout && hostname > from-guest'""",
    "pre-exit": """tart stop "$2"; tart delete "$2" """,
}


def shell(guests, script, *words, **options):
    """A script that finds tart in PATH."""
    guests.program("tart")
    path = f"{guests.names}:{os.environ['PATH']}"
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script, "hook", *map(str, words)], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, env=guests.environment(PATH=path), timeout=2 * SLOW,
                          **options)


def test_buildkite_plugin(guests, image, folder):
    """The shell that starts the VM ends, and the VM is there for the next hook."""
    tart = Client(guests, "tart")
    checkout = folder("checkout", checkout="the checkout\n")
    done = {}
    for hook, script in BUILDKITE.items():
        while True:
            done[hook] = shell(guests, script, image, "buildkite", checkout)
            if done[hook].returncode not in (75, 255):  # no address, or no sshd yet: as a job that is retried
                break
            assert tart.state("buildkite") == "running", (checkout / "vm.log").read_text()
        assert done[hook].returncode == 0, done[hook]
    assert done["command"].stdout == "the checkout\n"
    assert (checkout / "from-guest").read_text().strip()
    assert tart.state("buildkite") is None


# $1: VM, $2: what shall be run in it
DOTFILES = f"""
base=debian vm=$1
tart clone "$base" "$vm"
trap 'tart stop "$vm" --timeout 10 || true; wait "$run" || true; tart delete "$vm"' EXIT
tart run --no-graphics "$vm" & run=$!
until address=$(tart ip --wait 60 "$vm"); do kill -0 "$run"; done
until {SSH} "admin@$address" true; do kill -0 "$run"; sleep 1; done
{SSH} "admin@$address" bash -s <"$2"
{SSH} "admin@$address" cat .profile.d/marker
"""


def test_dotfiles_script(guests, tmp_path):
    """Clone a base, run it headless, wait for its address, run a bootstrap over SSH, stop, delete."""
    (tmp_path / "bootstrap").write_text("set -eu\nmkdir ~/.profile.d\necho \"$USER was here\" > ~/.profile.d/marker\n")
    done = shell(guests, DOTFILES, "dotfiles", tmp_path / "bootstrap")
    assert done.returncode == 0 and "admin was here\n" in done.stdout, done
    assert Client(guests, "tart").state("dotfiles") is None


class TestPacker:
    VNC = r"vnc://.*:(.*)@(.*):([0-9]{1,5})"

    def test_a_build(self, guests, image):
        tart = Client(guests, "tart", CI="true")
        name = "packer"
        tart("clone", image, name, "--insecure", "--concurrency", 2)
        tart("set", name, "--cpu", 2, "--memory", 2048, "--display", "1280x800")
        tart("set", "--disk-size", 20, name)  # what it has
        tart("set", "--flatten", name)
        disk = guests.vm(name) / "disk.img"
        before = self.partitions(disk)
        assert disk.stat().st_size == 20 * GB
        tart("set", "--disk-size", 21, name)
        self.disk_step(disk)
        run = tart.start("run", name, "--no-graphics", "--vnc-experimental")
        out = Output(run.stdout)
        self.log_in(out)
        address = self.address(tart, name)
        assert fetch_from_the_host(address) == "200"
        assert out.pipe and not out.ended.is_set(), (out.lines, run.stderr.read())
        assert job(address, "sudo blockdev --getsize64 /dev/vda; ls -d /sys/block/vda/vda*; touch ~/kept; sync").split() == \
            [str(21 * GB), *(f"/sys/block/vda/vda{number + 1}" for number in range(len(before)))]
        done = ssh_once(address, "echo admin | sudo -S -p '' shutdown -h now")
        assert done.returncode in (0, 255), done
        assert run.wait(BOOT) == 0 and out.ended.wait(PATIENCE)
        assert "guest has stopped the virtual machine" in out.lines and "Stopping VM..." not in out.lines
        assert {"config.json", "disk.img", "nvram.bin"} <= {path.name for path in guests.vm(name).iterdir()}
        subprocess.run(["rm", "-r", guests.vm(name)], check=True)  # how it destroys an artifact
        assert tart.state(name) is None

    def partitions(self, path):
        """Of a raw disk, with a GPT, where they are looked for."""
        with open(path, "rb") as disk:
            assert disk.read(520)[512:] == b"EFI PART"
        done = subprocess.run([SFDISK, "--json", path], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)["partitiontable"]
        assert found["label"] == "gpt"
        return found["partitions"]

    def disk_step(self, path):
        """The table is rewritten, and its copy at the disk's new end: the last partition, which is the recovery's, goes."""
        subprocess.run([SFDISK, "-q", "--append", path], input=f"size=200MiB,name={RECOVERY}\n", text=True, check=True)
        before = self.partitions(path)
        assert before[-1]["name"] == RECOVERY
        subprocess.run([SFDISK, "-q", "--delete", path, str(len(before))], check=True)
        assert self.partitions(path) == before[:-1]
        done = subprocess.run([SFDISK, "--verify", path], capture_output=True, text=True)
        assert done.returncode == 0 and "No errors detected" in done.stdout, done

    def log_in(self, out):
        """It waits for the line for 30 s."""
        password, host, port = out.find(self.VNC, 30).groups()
        assert host == "127.0.0.1" and len(password) == 8
        with rfb.Client(int(port), password) as vnc:
            vnc.screen()
        with pytest.raises(rfb.Refused):
            rfb.Client(int(port), "wrong" + password[:3])

    def address(self, tart, name):
        """All its ways to ask, in turn, and one that waits."""
        found = []
        for words in (["--wait", 1], ["--resolver", "agent"], ["--resolver", "arp"], ["--wait", 120]):
            found.append(tart.ip(*words[:2], name))
        assert len(set(found)) == 1, found
        return found[0]

    def test_from_an_iso_and_cancelled(self, guests, tmp_path):
        """create and set to the same size; flags that have a meaning on macOS only; a stop that is not the guest's."""
        tart = Client(guests, "tart", CI="true")
        (tmp_path / "cd.iso").write_bytes(bytes(1 << 20))
        tart("create", "--linux", "--disk-size", 1, "packer")
        tart("set", "--disk-size", 1, "packer")
        status, line = tart("set", "--disk-size", 0, "packer", check=False)
        assert status == 1 and "should be larger than the current disk size" in line
        run = tart.start("run", "packer", "--graphics", "--vnc-experimental", "--recovery", "--rosetta=tag",
                         f"--disk={tmp_path / 'cd.iso'}:ro", "--no-audio")
        out = Output(run.stdout)
        out.find(self.VNC, 30)
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE) == 0 and out.ended.wait(PATIENCE)
        assert out.lines[-1] == "Stopping VM..." and "guest has stopped" not in "\n".join(out.lines)
        tart("delete", "packer")


def test_many_runners_on_one_host(guests, image):
    """clone and pull of one image at once by several clients, and list that stays right meanwhile."""
    tart = Client(guests, "tart")
    children = [tart.start("clone", image, f"many-{i}") for i in range(4)]
    children += [tart.start("pull", image, "--insecure") for _ in range(3)]
    while any(child.poll() is None for child in children):
        names = {row["Name"] for row in tart.json("list", "--format", "json")}
        assert "debian" in names and image in names
    for child in children:
        out, err = child.communicate()
        assert child.returncode == 0, (out, err)
    assert {f"many-{i}" for i in range(4)} <= set(tart("list", "-q").split())
