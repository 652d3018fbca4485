# SPDX-License-Identifier: Apache-2.0
"""A running VM's policy is changed: by `linzer net set`, and over --net-softnet-control-fd."""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import time

import pytest

import mini_guest
from netlab import PATIENCE, WORLD
from run_net import Runner, laboratory
from test_freeze import make, stop
from test_life import BOOT, alive, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
GATEWAY = "10.77.0.1"
QUIET = 0.5  # seconds in which what is closed does not answer
MIB = 1 << 20


@pytest.fixture
def runner(linzer, tmp_path):
    linzer("create", "--linux", "--disk-size", 1, "vm", check=True)
    with laboratory(tmp_path / "lab") as lab:
        runner = Runner(lab, linzer)
        try:
            yield runner
        finally:
            runner.end()


def changes(runner, *options, **how):
    done = runner("net", "set", "vm", *options, check=True, **how)
    assert (done.stdout, done.stderr) == ("", "")


def fails(runner, *words, **how):
    """-> exit status and the only line."""
    done = runner("net", *words, **how)
    assert done.stdout == ""
    return done.returncode, done.stderr.rstrip("\n")


class TestShow:
    def test_text(self, runner):
        runner.linzer("set", "vm", "--net-filter", "-", input="block out to 192.0.2.1 # green\n", check=True)
        runner.run("vm", "--net-softnet-allow", "@host,10.1.0.0/16", "--net-softnet-expose", "2222:22")
        state = runner.state("vm")
        lines = [line.split() for line in runner("net", "show", "vm", check=True).stdout.splitlines()]
        assert lines == [
            ["Mode", "softnet"], ["MAC", state["mac"]], ["Address", state["address"], "(not", "used", "yet)"],
            ["Interface", state["interface"]], "Dropped gate 0, out 0, in 0".split(), ["Exposed", "2222:22"],
            ["Allow", "@host"], ["10.1.0.0/16"], ["Block", "-"], ["NoLocal", "no"], ["Filter"],
            ["block", "out", "to", "192.0.2.1", "#", "green"]]

    def test_drops_are_counted(self, runner):
        runner.run("vm", "--net-softnet")
        guest = runner.guest("vm")
        before = runner.show("vm")["Cards"][0]["Drops"]
        assert not guest.pings(GATEWAY, QUIET)
        guest.send_frame(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\0" + bytes(46))  # a foreign MAC
        after = runner.show("vm")["Cards"][0]["Drops"]
        assert {key: after[key] - before[key] for key in after} == {"Gate": 1, "Out": 1, "In": 0}

    def test_get_says_it_too(self, runner):
        runner.linzer("set", "vm", "--net-filter", "-", input="block out to 192.0.2.1\n", check=True)
        runner.run("vm", "--net-softnet-allow", "@host")
        guest = runner.guest("vm")
        assert not guest.pings(WORLD, QUIET)
        got = json.loads(runner("get", "vm", "--format", "json", check=True).stdout)
        assert got["Net"] == runner.show("vm") and got["Net"]["Cards"][0]["Drops"]["Out"] == 1
        table, shown = runner("get", "vm", check=True).stdout.split("\n\n")
        assert len(table.splitlines()) == 2 and shown == runner("net", "show", "vm", check=True).stdout
        assert len(runner.linzer("get", "vm", program="tart", check=True).stdout.splitlines()) == 2

    def test_get_of_a_stopped_vm_says_what_is_set(self, runner):
        def get(*words):
            return runner.linzer("get", "vm", *words, check=True).stdout
        assert "Net" not in json.loads(get("--format", "json")) and len(get().splitlines()) == 2
        runner.linzer("set", "vm", "--no-local", "--ip", "10.77.0.9", "--net-filter", "-", input="pass any\n", check=True)
        assert json.loads(get("--format", "json"))["Net"] == {"IP": "10.77.0.9", "NoLocal": True, "Filter": "pass any\n"}
        assert [line.split() for line in get().splitlines()[3:]] == \
            [["IP", "10.77.0.9"], ["NoLocal", "yes"], ["Filter"], ["pass", "any"]]

    def test_not_running(self, runner):
        for words in (["show", "vm"], ["set", "vm", "--filter", "off"]):
            assert fails(runner, *words) == (2, 'VM "vm" is not running')
        assert fails(runner, "show", "none") == (2, 'the specified VM "none" does not exist')

    @pytest.mark.parametrize("words, message", [
        (["shout", "vm"], "The value 'shout' is invalid for '<action>'. Please provide one of 'show' or 'set'."),
        (["list"], "The value 'list' is invalid for '<action>'. Please provide one of 'show' or 'set'."),
        (["show"], "Missing expected argument '<name>'"),
        (["set", "vm", "--block", "@gateway"],
         "block: invalid --block target \"@gateway\": neither a CIDR nor '@host' nor a name"),
        (["set", "vm"], "set wants --allow, --block or --filter"),
        (["show", "vm", "--filter", "off"], "--allow, --block and --filter are for set"),
        (["show", "vm", "--format", "xml"],
         "The value 'xml' is invalid for '--format <format>'. Please provide one of 'text' or 'json'."),
    ])
    def test_command_line(self, runner, words, message):
        done = runner("net", *words)
        assert done.returncode == 64 and done.stderr.splitlines()[0] == f"Error: {message}"


class TestSet:
    def test_lists(self, runner):
        runner.run("vm", "--net-softnet-allow", "@host")
        guest = runner.guest("vm")
        assert guest.pings(GATEWAY) and not guest.pings(WORLD, QUIET)
        changes(runner, "--allow", "198.51.100.0/24")  # the list is replaced, not added to
        assert not guest.pings(GATEWAY, QUIET) and guest.pings(WORLD)
        changes(runner, "--block", "@host", "--allow", "@host", "--allow", "0.0.0.0/0")
        assert not guest.pings(GATEWAY, QUIET) and guest.pings(WORLD)
        shown = runner.show("vm")
        assert (shown["Allow"], shown["Block"]) == (["@host", "0.0.0.0/0"], ["@host"])
        changes(runner, "--allow", "")
        assert not guest.pings(WORLD, QUIET) and runner.show("vm")["Allow"] == []

    def test_after_a_resume_the_policy_is_that_of_its_new_run(self, runner):
        runner.run("vm", "--net-softnet-allow", "@host")
        changes(runner, "--allow", WORLD)
        runner("suspend", "vm", check=True)
        eventually(lambda: json.loads(runner("get", "vm", "--format", "json").stdout)["State"] == "suspended", 60)
        runner.run("vm", "--net-softnet-allow", "@host")
        guest = runner.guest("vm")
        assert runner.show("vm")["Allow"] == ["@host"]
        assert guest.pings(GATEWAY) and not guest.pings(WORLD, QUIET)
        changes(runner, "--allow", WORLD)
        assert not guest.pings(GATEWAY, QUIET) and guest.pings(WORLD)

    def test_filter(self, runner, tmp_path):
        rules = tmp_path / "rules"
        rules.write_text(f"block out to {WORLD}\n")
        runner.run("vm")
        guest = runner.guest("vm")
        assert guest.pings(GATEWAY) and guest.pings(WORLD)
        changes(runner, "--filter", rules)
        assert guest.pings(GATEWAY) and not guest.pings(WORLD, QUIET)
        changes(runner, "--filter", "-", input="block any")
        assert not guest.pings(GATEWAY, QUIET) and not guest.pings(WORLD, QUIET)
        changes(runner, "--filter", "off")
        assert guest.pings(GATEWAY) and guest.pings(WORLD) and runner.show("vm")["Filter"] == ""
        assert not (runner.linzer.vm("vm") / "net.rules").exists()  # for this run only

    def test_what_is_not_given_stays(self, runner):
        runner.run("vm", "--net-softnet-allow", "@host,198.51.100.0/24")
        guest = runner.guest("vm")
        changes(runner, "--filter", "-", input=f"block out to {WORLD}\n")
        assert guest.pings(GATEWAY) and not guest.pings(WORLD, QUIET)
        changes(runner, "--allow", "198.51.100.0/24")
        assert not guest.pings(GATEWAY, QUIET) and not guest.pings(WORLD, QUIET)

    def test_mistakes_leave_the_old_policy(self, runner, tmp_path):
        runner.run("vm", "--net-softnet-allow", "@host")
        guest = runner.guest("vm")
        before = runner.show("vm")
        done = runner("net", "set", "vm", "--allow", "10.0.0.0/40")
        assert done.returncode == 64 and done.stderr.startswith("Error: allow: ")
        status, line = fails(runner, "set", "vm", "--filter", "-", input="block any\npass maybe\n")
        assert status == 1 and line.startswith("standard input: line 2, column 6: ")
        assert fails(runner, "set", "vm", "--filter", "/nonexistent")[0] == 1
        latin = tmp_path / "latin"
        latin.write_bytes(b"# gr\xfcn\n")
        status, line = fails(runner, "set", "vm", "--filter", latin)
        assert status == 1 and line.startswith(f"{latin}: line 1, column ")
        after = runner.show("vm")
        assert guest.pings(GATEWAY)
        assert {**before, "Cards": 0} == {**after, "Cards": 0}

    def test_lists_are_for_softnet(self, runner):
        runner.run("vm")
        for option in ("--allow", "--block"):
            status, line = fails(runner, "set", "vm", option, "")
            assert status == 1 and line == "the VM runs in shared mode: lists are for --net-softnet, which is " \
                "chosen when it starts"

    def test_as_much_as_there_may_be(self, runner):
        """4,096 targets, and 1 MiB of text, in one request."""
        runner.run("vm", "--net-softnet")
        guest = runner.guest("vm")
        targets = [f"10.{n // 256}.{n % 256}.0/24" for n in range(4094)]
        allow, block = ["198.51.100.0/24", *targets[:2000]], ["203.0.113.0/24", *targets[2000:]]
        text = "# comment\n" * ((MIB - 100) // 10)
        changes(runner, f"--allow={','.join(allow)}", f"--block={','.join(block)}", "--filter", "-", input=text)
        shown = runner.show("vm")
        assert (shown["Allow"], shown["Block"], shown["Filter"]) == (allow, block, text)
        assert guest.pings(WORLD)
        status, line = fails(runner, "set", "vm", "--filter", "-", input=text + "#" * 200)
        assert status == 1 and "at most 1048576 bytes" in line

    def test_four_thousand_rules(self, runner):
        runner.run("vm")
        guest = runner.guest("vm")
        text = "".join(f"block out to 10.{n // 256}.{n % 256}.0/24 port {n + 1}\n" for n in range(4095))
        changes(runner, "--filter", "-", input=text + f"block out to {WORLD}\n")
        assert guest.pings(GATEWAY) and not guest.pings(WORLD, QUIET)

    def test_at_once_from_everywhere(self, runner):
        """Each change is one that somebody asked for, whole."""
        runner.run("vm", "--net-softnet")
        runner.guest("vm")

        def change(n):
            changes(runner, f"--allow=10.0.{n}.0/24", f"--block=10.1.{n}.0/24")
            shown = runner.show("vm")
            return [t.split(".")[2] for t in (*shown["Allow"], *shown["Block"])]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for allowed, blocked in pool.map(change, range(40)):
                assert allowed == blocked

    def test_a_cut_flow_and_one_that_stays(self, runner):
        """Open flows that the new policy would not open are cut, others go on."""
        runner.run("vm", "--net-softnet-allow", "198.51.100.0/24,@host")
        guest = runner.guest("vm")
        guest.plug("inside")
        servers = {address: runner.lab.socket(where, socket.AF_INET, socket.SOCK_STREAM, bind=(address, 7777),
                                              listen=True)
                   for where, address in (("world", WORLD), ("host", GATEWAY))}
        flows = {}
        for address, server in servers.items():
            client = runner.lab.socket("inside", socket.AF_INET, socket.SOCK_STREAM)
            client.connect((address, 7777))
            flows[address] = client, server.accept()[0]

        def passes(address, seconds=PATIENCE):
            client, peer = flows[address]
            peer.settimeout(seconds)
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                return peer.recv(1) == b"x"
            return False

        assert passes(WORLD) and passes(GATEWAY)
        changes(runner, "--allow", "198.51.100.0/24")
        assert passes(WORLD) and not passes(GATEWAY, QUIET)

    def test_every_card_has_the_policy(self, runner):
        for words in ("link add br0 type bridge", "link add br1 type bridge", "link set br0 up", "link set br1 up",
                      "addr add 172.20.0.1/24 dev br0", "addr add 172.21.0.1/24 dev br1"):
            runner.lab.ip("host", words)
        runner.run("vm", "--net-bridged=br0", "--net-bridged=br1")
        guests = [runner.guest("vm", n, address=f"172.{20 + n}.0.9") for n in (0, 1)]
        for guest in guests:
            eventually(lambda guest=guest: guest.resolve(guest.gateway, 1), 60)
        assert all(guest.pings(guest.gateway) for guest in guests)
        changes(runner, "--filter", "-", input="block out proto icmp\n")
        assert not any(guest.pings(guest.gateway, QUIET) for guest in guests)
        changes(runner, "--filter", "off")
        assert all(guest.pings(guest.gateway) for guest in guests)
        assert [card["Parent"] for card in runner.show("vm")["Cards"]] == ["br0", "br1"]


class TestManageSocket:
    """Clients of manage.sock that are not ours: `run` waits for none of them."""

    def connect(self, runner):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(runner.linzer.vm("vm"), os.O_RDONLY)
        client.connect(f"/proc/self/fd/{directory}/manage.sock")
        os.close(directory)
        client.settimeout(60)
        return client

    def ask(self, runner, request):
        with self.connect(runner) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(request)
            return client.makefile("rb").read()

    @pytest.mark.parametrize("request_", [
        b"nonsense\n", b"{}\n", b"{\n", b'{"net":7}\n', b'{"net":"shout"}\n', b'{"net":"set","allow":1}\n',
        b'{"net":"set","block":[1]}\n', b'{"net":"set","filter":[]}\n', b'{"net":"set","filter":"\xff"}\n',
        b'{"net":' + b"[" * 1000 + b"\n", b'{"net":"set","allow":["10.0.0.0/99"]}\n', b"freeze\n", b"\n",
        b'{"net":"set","allow":[' + b'"@host",' * 4096 + b'"@host"]}\n',
    ], ids=lambda request: request[:40].decode(errors="replace"))
    def test_nonsense_is_an_error(self, runner, request_):
        runner.run("vm", "--net-softnet")
        answer = self.ask(runner, request_)
        assert answer.startswith(b"error ") and answer.endswith(b"\n") and answer.count(b"\n") == 1
        assert runner.show("vm")["Mode"] == "softnet"

    def test_a_line_without_end(self, runner):
        runner.run("vm", "--net-softnet")
        with self.connect(runner) as client, pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(b"x" * 4 * MIB)
        assert runner.show("vm")["Mode"] == "softnet"

    def test_nobody_is_waited_for(self, runner):
        """Slow, silent and vanishing clients, and one that does not read."""
        runner.run("vm", "--net-softnet")
        slow = [self.connect(runner) for _ in range(20)]
        for client in slow[:10]:
            client.sendall(b'{"net":"sh')
        for _ in range(20):
            with self.connect(runner) as client:
                client.sendall(b'{"net":"show"}\n')  # and gone
        deaf = self.connect(runner)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b'{"net":"show"}\n')
        assert runner.show("vm")["Mode"] == "softnet"
        for client in (*slow, deaf):
            client.close()

    def test_too_many_clients_wait_their_turn(self, runner):
        runner.run("vm", "--net-softnet")
        crowd = [self.connect(runner) for _ in range(40)]
        last = self.connect(runner)
        last.sendall(b'{"net":"show"}\n')
        last.settimeout(1)
        with pytest.raises(TimeoutError):
            last.recv(1)
        for client in crowd:
            client.close()
        last.settimeout(60)
        assert last.recv(1) == b"{"

    def test_whoever_says_nothing_is_let_go(self, runner):
        runner.run("vm", "--net-softnet")
        with self.connect(runner) as client:
            client.sendall(b"fre")
            assert client.recv(100) == b""


class Control:
    """The other end of --net-softnet-control-fd."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(60)
        self.lines = sock.makefile("rb")
        self.ids = itertools.count(1)

    def send(self, method, params=None, **members):
        request = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, **members}
        if params is not None:
            request["params"] = params
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        return request["id"]

    def receive(self):
        return json.loads(self.lines.readline())

    def call(self, method, params=None, **members):
        number = self.send(method, params, **members)
        answer = self.receive()
        assert answer["jsonrpc"] == "2.0" and answer["id"] == number
        return answer

    def get(self):
        return self.call("softnet.policy.get")["result"]

    def set(self, allow, block, **params):
        return self.call("softnet.policy.set", {"allow": allow, "block": block, **params})

    def code(self, *words, **how):
        return self.set(*words, **how)["error"]["code"]


def with_control(runner, *options):
    """The VM "vm" with a control channel; `run` has the only descriptor of its end."""
    ours, theirs = socket.socketpair()
    runner.run("vm", "--net-softnet-control-fd", theirs.fileno(), *options, pass_fds=[theirs.fileno()])
    theirs.close()
    return Control(ours)


class TestControl:
    def test_get(self, runner):
        control = with_control(runner, "--net-softnet-allow", "@host,10.0.0.0/8", "--net-softnet-block", "10.0.0.0/8")
        assert control.get() == {"allow": ["@host", "10.0.0.0/8"], "block": ["10.0.0.0/8"], "desiredRevision": None,
                                 "ruleCount": 2, "bridgeIsolation": True}
        assert runner.state("vm")["mode"] == "softnet"

    def test_set(self, runner):
        control = with_control(runner)
        guest = runner.guest("vm")
        assert not guest.pings(GATEWAY, QUIET)
        result = control.set(["@host"], [], desiredRevision=7)["result"]
        assert result == control.get() == {"allow": ["@host"], "block": [], "desiredRevision": 7, "ruleCount": 1,
                                           "bridgeIsolation": True}
        assert guest.pings(GATEWAY)  # in force when it is answered
        assert control.set([], [])["result"]["desiredRevision"] == 7
        assert not guest.pings(GATEWAY, QUIET)

    def test_conflicts(self, runner):
        control = with_control(runner)
        control.set(["@host"], [], desiredRevision=7)
        assert control.code([], [], desiredRevision=7) == control.code([], [], desiredRevision=6) == -32001
        assert control.code(["0.0.0.0/0"], []) == -32002
        assert control.code(["10.0.0.0/33"], []) == control.code(["a,b.c"], []) == -32602
        assert control.call("softnet.policy.set", {"allow": []})["error"]["code"] == -32602
        assert control.call("softnet.policy.undo")["error"]["code"] == -32601
        assert control.get()["allow"] == ["@host"] and control.get()["desiredRevision"] == 7

    def test_isolation_that_is_off_stays_off(self, runner):
        control = with_control(runner, "--net-softnet-allow", "0.0.0.0/0")
        assert control.get()["bridgeIsolation"] is False
        assert control.code([], []) == -32002
        assert control.set(["0.0.0.0/0"], ["10.0.0.0/8"])["result"]["bridgeIsolation"] is False

    @pytest.mark.parametrize("line, code", [
        (b"{", -32700), (b"\xff\xfe", -32700), (b"", -32700), (b"[" * 5000, -32700), (b"[]", -32600), (b"{}", -32600),
        (b'{"jsonrpc":"2.0","method":"softnet.policy.get"}', -32600),
        (b'{"jsonrpc":"2.0","method":"softnet.policy.get","id":"' + b"i" * 500000 + b'"}', -32600),
        (b" " * (MIB + 1), -32700),
    ], ids=lambda value: value[:30].decode(errors="replace") if isinstance(value, bytes) else str(value))
    def test_frames_that_are_no_requests(self, runner, line, code):
        control = with_control(runner)
        control.sock.sendall(line + b"\n")
        answer = control.receive()
        assert (answer["id"], answer["error"]["code"]) == (None, code)
        assert control.get()["allow"] == []

    def test_ids(self, runner):
        control = with_control(runner)
        for number in ("", "a\u00e9\"", "i" * 256, 0, -5, 2**63 - 1):
            control.send("softnet.policy.get", id=number)
            assert control.receive()["id"] == number

    def test_in_order(self, runner):
        """Sent all at once, answered one after the other, each when it is in force."""
        control = with_control(runner)
        for n in range(1, 31):
            control.send("softnet.policy.set", {"allow": [f"10.0.{n}.0/24"], "block": [], "desiredRevision": n})
            control.send("softnet.policy.get")
        for n in range(1, 31):
            answers = [control.receive(), control.receive()]
            assert [a["id"] for a in answers] == [2 * n - 1, 2 * n]
            assert answers[0]["result"] == answers[1]["result"]
            assert answers[0]["result"]["allow"] == [f"10.0.{n}.0/24"]

    def test_thousands_of_targets(self, runner):
        control = with_control(runner)
        targets = [f"10.{n // 256}.{n % 256}.0/24" for n in range(4096)]
        assert control.set(targets, [])["result"]["ruleCount"] == 4096
        assert control.code(targets, ["@host"]) == -32602
        assert len(control.get()["allow"]) == 4096

    def test_closing_keeps_the_policy(self, runner):
        control = with_control(runner)
        guest = runner.guest("vm")
        control.set(["@host"], [])
        control.lines.close()
        control.sock.close()
        time.sleep(QUIET)
        assert guest.pings(GATEWAY) and runner.show("vm")["Allow"] == ["@host"]

    def test_half_closed_is_answered(self, runner):
        control = with_control(runner)
        control.send("softnet.policy.set", {"allow": ["@host"], "block": []})
        control.send("softnet.policy.get")
        control.sock.shutdown(socket.SHUT_WR)
        assert [json.loads(line)["id"] for line in control.lines] == [1, 2]  # and the end of file
        assert runner.show("vm")["Allow"] == ["@host"]

    def test_deaf_and_endless(self, runner):
        """A peer that never reads, and a line without end: `run` neither waits nor grows."""
        control = with_control(runner, "--net-softnet-allow",
                               ",".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(4096)))
        pid = runner.state("vm")["pid"]
        before = resident(pid)
        control.sock.setblocking(False)
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "softnet.policy.get"}).encode() + b"\n"
        send_all_that_fits(control.sock, request * 1000)
        send_all_that_fits(control.sock, b"x" * MIB)
        assert runner.show("vm")["Mode"] == "softnet"
        assert resident(pid) - before < 24 * MIB
        control.lines.close()
        control.sock.close()
        eventually(lambda: runner.show("vm")["Mode"] == "softnet", 60)

    def test_net_set_and_control_see_each_other(self, runner):
        control = with_control(runner)
        changes(runner, "--allow", "@host")
        assert control.get()["allow"] == ["@host"]
        control.set([], ["10.0.0.0/8"])
        assert (runner.show("vm")["Allow"], runner.show("vm")["Block"]) == ([], ["10.0.0.0/8"])

    def test_only_a_connected_unix_stream(self, runner):
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        alone = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with open("/dev/null") as file:
            for bad in (pair[0], alone, file):
                done = runner("run", "--net-softnet-control-fd", bad.fileno(), "vm", pass_fds=[bad.fileno()])
                assert done.returncode == 64
                assert "is not a connected Unix stream socket" in done.stderr.splitlines()[0]
        for end in (*pair, alone):
            end.close()

    def test_nobody_else_gets_it(self, runner):
        """Neither QEMU nor the keeper: who waits for its end of file hears of `run`'s end."""
        control = with_control(runner)
        os.kill(runner.state("vm")["pid"], signal.SIGKILL)
        assert control.lines.read() == b""


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def send_all_that_fits(sock, data):
    """Until nothing was taken for a second."""
    last = time.monotonic()
    while time.monotonic() - last < 1:
        with contextlib.suppress(BlockingIOError):
            sock.send(data)
            last = time.monotonic() if random.random() < 0.9 else last
        time.sleep(0.001)


class TestRealGuest:
    """The mini guest runs on, and its policy changes under it."""

    def test_control_of_a_guest_that_runs(self, linzer, image_home, tmp_path):
        make(linzer, mini_guest.image(image_home), "vm")
        with laboratory(tmp_path / "lab") as lab:
            runner = Runner(lab, linzer)
            ours, theirs = socket.socketpair()
            try:
                runner("run", "--wait-ready", "--net-softnet-control-fd", theirs.fileno(), "vm", check=True,
                       pass_fds=[theirs.fileno()], timeout=BOOT)
                theirs.close()
                control = Control(ours)
                for n in range(1, 101):
                    assert control.set([f"10.0.{n}.0/24"], [], desiredRevision=n)["result"]["desiredRevision"] == n
                assert "10.0.100.0/24" in lab.ruleset() and "10.0.99.0/24" not in lab.ruleset()
                assert linzer("exec", "vm", "/init", "read").returncode == 0
                assert alive(runner.state("vm")["pid"])
                stop(linzer, "vm")
                assert control.lines.read() == b""
                assert lab.leftovers() == ([], "", [])
            finally:
                runner.end()
