# SPDX-License-Identifier: Apache-2.0
"""linzer-net as an ordinary user with neither root nor capabilities: a namespace of the user's behind pasta."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

import scratch
from netlab import (ACK, CHANGED, FAILED, HOST_ONLY, LEASED, NET, OUT, PATIENCE, REQUEST, BRIDGED, SOFTNET, STARTED, TO_GUESTS,
                    TO_HOST, TO_WORLD, UPLINK, WORLD, Dhcp, Keeper, Lab, Resolver, arp, dns_query, policy, random_mac,
                    rule, sh, tcp, udp)
from test_life import eventually

PORT = 2222
HOST_TOO = "203.0.113.9"  # another address of the host's
# as udev makes it
TUN_FOR_ALL = 'mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'
EVERYTHING = policy([])
PASTA = "passt"  # the name of its process: passt or passt.avx2
starting = threading.Lock()


class User:
    """An unused uid with a runtime directory of its own."""

    def __init__(self, lab):
        self.lab, self.uid = lab, 61000 + lab.number
        eventually(lambda: self.processes() == [], 60, lambda: f"{self.processes()} are this user's")
        self.directories = contextlib.ExitStack()
        lab.cleanups.append(self.end)
        self.run = self.directory()

    def directory(self):
        """A new one, with a short path that the user reaches."""
        path = self.directories.enter_context(scratch.directory())
        os.chown(path, self.uid, self.uid)
        return path

    def words(self, *environment, mounts=TUN_FOR_ALL):
        environment = environment or (f"XDG_RUNTIME_DIR={self.run}",)
        return ("sh", "-c", mounts, "sh", "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
                "env", "-u", "XDG_RUNTIME_DIR", *environment)

    def keeper(self, words=None, **options):
        keeper = UserKeeper(self, words or self.words(), **options)
        self.lab.keepers.append(keeper)
        return keeper

    def up(self, **options):
        keeper = self.keeper(**options)
        keeper.start()
        assert keeper.isolated == 1
        return keeper

    def processes(self, name=""):
        """Process numbers of the user's, of all or of those whose name begins so."""
        found = []
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                if lines["Uid"].split()[0] == str(self.uid) and not lines["State"].startswith("Z") and \
                        lines["Name"].startswith(name):
                    found.append(int(status.parent.name))
        return found

    def holder(self):
        holder, = self.processes("linzer-holder")
        return holder

    def inside(self, *words, check=True):
        """Root's view of the user's namespace."""
        return sh("nsenter", "-t", str(self.holder()), "-n", *words, check=check)

    def closed(self):
        """The addresses of the host's that its namespace keeps for itself."""
        return {line.split()[1] for line in self.inside("ip", "route", "show", "table", "local").splitlines()}

    def left(self):
        return self.processes(), sorted(p.name for p in self.run.iterdir())

    def ended(self, seconds=60):
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.02)
        return self.processes() == []

    def gone(self, seconds=60):
        """Is all of it gone within the time?"""
        end = time.monotonic() + seconds
        while self.left() != ([], []) and time.monotonic() < end:
            time.sleep(0.02)
        return self.left() == ([], [])

    def end(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.directories.close()


class UserKeeper(Keeper):
    def __init__(self, user, words, **options):
        self.user = user
        with starting:  # seteuid() is of the whole process
            super().__init__(user.lab, before=words, **options)

    def make_pair(self):
        """SO_PEERCRED tells who made it."""
        os.seteuid(self.user.uid)
        try:
            return super().make_pair()
        finally:
            os.seteuid(0)


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.setting("ipv4/ping_group_range", "0 2147483647")
    lab.ip("host", f"addr add {HOST_TOO}/32 dev lo")
    yield lab
    lab.end()


@pytest.fixture
def user(lab):
    return User(lab)


def udp_server(lab, namespace, address, port=7777):
    return lab.socket(namespace, socket.AF_INET, socket.SOCK_DGRAM, bind=(address, port), timeout=0.4)


def arrives(server, send):
    """Does what send() sends reach the UDP server? -> the sender or None"""
    send()
    try:
        return server.recvfrom(2000)[1]
    except TimeoutError:
        return None


def receives(server, send):
    """It does, when pasta gets to carry it. -> the sender"""
    server.settimeout(PATIENCE)
    send()
    return server.recvfrom(2000)[1]


def exchange(client, server):
    """Connected sockets: bytes go both ways."""
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


# What works

def test_guest_reaches_the_world(lab, user):
    keeper = user.up()
    guest = keeper.guest
    assert guest.address.startswith("192.168.64.") and guest.pings(guest.gateway) and guest.pings(WORLD)
    server = udp_server(lab, "world", WORLD)
    sender = receives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"hello")))
    assert sender[0] == UPLINK
    server.sendto(b"answer", sender)
    assert guest.wait(lambda p: p.proto == 17 and p.payload[8:] == b"answer").source == WORLD
    assert lab.taps() == [] and "linzer" not in lab.ruleset(), "nothing of it is in the host's namespace"
    assert keeper.stop() == 0, keeper.process.stderr.read()
    assert user.gone(), user.left()


def test_guest_stack_carries_tcp_to_the_world(lab, user):
    user.up().guest.plug("guest")
    server = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM, bind=(WORLD, 8080), listen=True)
    client = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM)
    client.connect((WORLD, 8080))
    connection, peer = server.accept()
    assert peer[0] == UPLINK
    data, received = random_mac() * 100000, b""
    sender = threading.Thread(target=lambda: (client.sendall(data), client.close()))
    sender.start()
    with connection:
        while more := connection.recv(65536):
            received += more
    sender.join()
    assert received == data


def test_dhcp_and_names_by_the_relay(lab, user):
    """The resolver listens on the host's 127.0.0.53, where no namespace reaches it."""
    resolver = Resolver(lab)
    keeper = user.up()
    guest = keeper.guest
    assert Dhcp(guest).ask(REQUEST, [(50, socket.inet_aton(guest.address))])[0] == ACK
    assert keeper.receive()[0] == LEASED
    assert socket.inet_aton("192.0.2.7") in guest.ask_udp(guest.gateway, 53, dns_query("example.org"))
    # another resolver from now on, on another address
    lab.resolv.write_text("nameserver 127.0.0.54\n")
    other = Resolver(lab, "127.0.0.54")
    assert guest.ask_udp(guest.gateway, 53, dns_query("example.net"))
    guest.plug("guest")
    with lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect((guest.gateway, 53))
        query = dns_query("example.com")
        client.sendall(len(query).to_bytes(2, "big") + query)
        assert socket.inet_aton("192.0.2.7") in client.recv(1000)
    assert [q[12:20] for q, _ in resolver.seen] == [b"\7example"]
    assert [q[20:25] for q, _ in other.seen] == [b"\3net\0", b"\3com\0"]


def test_expose_from_the_host_and_from_the_world(lab, user):
    keeper = user.up(exposed=[(PORT, 22)])
    keeper.guest.plug("guest")
    guest = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", 22), listen=True)
    for namespace, address in (("host", "127.0.0.1"), ("host", UPLINK), ("world", UPLINK)):
        with lab.socket(namespace, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect((address, PORT))
            connection, peer = guest.accept()
            with connection:
                assert peer[0] == keeper.gateway
                exchange(client, connection)
    second = user.keeper(exposed=[(PORT, 22)])
    kind, fields, _ = second.ask()
    assert kind == FAILED and str(PORT) in fields["text"]
    assert keeper.stop() == 0
    with lab.socket("host", socket.AF_INET, socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", PORT))


def test_exposed_port_is_free_when_the_keeper_has_ended(lab, user):
    """Though the talker, which has the port, does not leave by itself."""
    keeper = user.up(exposed=[(PORT, 22)])
    talker, = user.processes("linzer-talker")
    os.kill(talker, signal.SIGSTOP)
    keeper.close()
    assert keeper.wait() == 0
    with lab.socket("host", socket.AF_INET, socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", PORT))


def test_the_host_cannot_dial_the_guest(lab, user):
    keeper = user.up()
    keeper.guest.router_mac()
    host = lab.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
    host.sendto(b"hello", (keeper.address, 7777))
    assert keeper.guest.wait(lambda p: p.proto == 17, 0.4) is None


def test_without_a_way_out_it_starts_and_the_lan_is_there(lab, user):
    lab.ip("host", "route del default")
    guest = user.up().guest
    assert guest.pings(WORLD)
    guest.send(udp(guest.address, 5555, "192.0.2.1", 7777, b"x"))
    assert guest.pings(WORLD)


# What must not

def test_loopback_of_the_host_is_out_of_reach(lab, user):
    """Least of all by the gateway's address, where pasta would have put it (tried.md 4)."""
    guest = user.up().guest
    for name in ("127.0.0.1", "0.0.0.0"):
        server = udp_server(lab, "host", name)
        for address in (guest.gateway, "192.0.0.1", "192.0.0.2", "127.0.0.1", "0.0.0.0"):
            assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, address, 7777, b"x"))), address
        server.close()


@pytest.mark.parametrize("rules", [policy([rule(0, OUT, TO_HOST)]), EVERYTHING], ids=["closed", "open"])
def test_no_address_of_the_host_is_taken_for_the_world(lab, user, rules):
    """pasta opens connections on the host, to which all of its addresses are its own: every one of them is closed."""
    guest = user.up(policy=rules).guest
    server = udp_server(lab, "host", "0.0.0.0")
    lab.ip("host", "addr add 203.0.113.10/32 dev lo")
    lab.ip("host", "route add local 203.0.113.64/28 dev lo")
    eventually(lambda: {"203.0.113.10", "203.0.113.64/28"} <= user.closed(), 60, lambda: str(user.closed()))
    for address in (UPLINK, HOST_TOO, "203.0.113.10", "203.0.113.65"):
        assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, address, 7777, b"x"))), address
    # an address that is no more the host's is one of the world's again
    lab.ip("host", "addr del 203.0.113.10/32 dev lo")
    lab.ip("world", "addr add 203.0.113.10/32 dev lo")
    eventually(lambda: "203.0.113.10" not in user.closed(), 60, lambda: str(user.closed()))
    world = udp_server(lab, "world", "0.0.0.0")
    assert receives(world, lambda: guest.send(udp(guest.address, 5556, "203.0.113.10", 7777, b"x")))


def test_vms_of_others_in_the_pool_are_out_of_reach(lab, user):
    """Root's VM has an address that is nobody's in the user's namespace."""
    root = lab.up(policy=EVERYTHING)
    guest = user.up(policy=EVERYTHING, mac=root.mac).guest
    other = user.up(policy=EVERYTHING)
    assert guest.address == root.address, "each has the whole pool"
    while other.address == root.address:
        other = user.up(policy=EVERYTHING)
    assert not other.guest.pings("192.168.64.77", 0.3)
    second = lab.up(policy=EVERYTHING, wanted="192.168.64.77")
    assert second.address == "192.168.64.77"
    other.guest.send(udp(other.address, 5555, second.address, 7777, b"x"))
    assert second.guest.wait(lambda p: p.proto == 17, 0.5) is None


def test_two_vms_share_a_namespace_and_do_not_reach_each_other(lab, user):
    one, two = user.up(), user.up()
    assert one.address != two.address and len(user.processes("linzer-holder")) == 1
    assert len([line for line in user.inside("ip", "-o", "link").splitlines() if ": lz" in line]) == 2
    one.guest.send(udp(one.address, 5555, two.address, 7777, b"x"))
    one.guest.send(tcp(one.address, 5555, two.address, 22))
    assert two.guest.wait(lambda p: p.type == 0x0800, 0.5) is None
    assert one.stop() == 0
    assert two.guest.pings(WORLD), "the other one goes on"
    assert two.stop() == 0 and user.gone(), user.left()


def test_two_vms_reach_each_other_where_both_policies_allow(lab, user):
    one, two = user.up(policy=EVERYTHING), user.up(policy=EVERYTHING)
    two.guest.router_mac()
    one.guest.send(udp(one.address, 5555, two.address, 7777, b"x"))
    assert two.guest.wait(lambda p: p.proto == 17 and p.source == one.address)


def test_policy_of_a_running_vm_changes(lab, user):
    keeper = user.up()
    assert keeper.guest.pings(WORLD)
    assert keeper.set_policy(policy([rule(0, OUT, TO_WORLD)]))[0] == CHANGED
    assert not keeper.guest.pings(WORLD, 0.5)
    assert keeper.count()[1] > 0


def test_spoofed_frames_are_dropped(lab, user):
    guest = user.up().guest
    guest.router_mac()
    server = udp_server(lab, "world", WORLD)
    other = "192.168.64.200"
    assert not arrives(server, lambda: guest.send(udp(other, 5555, WORLD, 7777, b"x")))
    assert not arrives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"x"), mac=random_mac()))
    guest.send(arp(1, guest.mac, other, guest.gateway), type=0x0806, to=b"\xff" * 6)
    assert guest.wait(lambda p: p.type == 0x0806 and p.body[6:8] == b"\0\2", 0.3) is None
    assert receives(server, lambda: guest.send(udp(guest.address, 5555, WORLD, 7777, b"x")))


def test_host_only(lab, user):
    keeper = user.up(mode=HOST_ONLY, policy=policy([rule(0, remotes=TO_WORLD | TO_GUESTS)]), exposed=[(PORT, 22)])
    assert keeper.address.startswith("192.168.128.")
    assert keeper.guest.pings(keeper.gateway) and not keeper.guest.pings(WORLD, 0.4)
    keeper.guest.plug("guest")
    guest = lab.socket("guest", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", 22), listen=True)
    with lab.socket("host", socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(("127.0.0.1", PORT))
        with guest.accept()[0] as connection:
            exchange(client, connection)


def test_rules_and_settings_of_root_hold(lab, user):
    (lab.etc / "linzer" / "net.conf").write_text("subnet = 10.99.0.0/28\n")
    (lab.etc / "linzer" / "net.rules").write_text(f"block out to {WORLD}\n")
    keeper = user.up(policy=EVERYTHING)
    assert keeper.address.startswith("10.99.0.") and not keeper.guest.pings(WORLD, 0.4)
    assert keeper.set_policy(policy([rule(1)]))[0] == CHANGED
    assert not keeper.guest.pings(WORLD, 0.4), "also after a change"
    (lab.etc / "linzer" / "net.conf").write_text("subnet = 10.98.0.0/28\n")
    kind, fields, _ = user.keeper().ask()
    assert kind == FAILED and "stop all of them first" in fields["text"]
    assert keeper.stop() == 0 and user.gone(), user.left()
    assert user.up().address.startswith("10.98.0.")


# Who lives how long

def test_talker_has_nothing(lab, user):
    user.up()
    pid, = user.processes("linzer-talker")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "CapEff:\t0000000000000000\n" in status and "CapPrm:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status and "Seccomp:\t2\n" in status


def test_twelve_at_once_make_one_holder(lab, user):
    keepers = [user.keeper() for _ in range(12)]
    for keeper in keepers:
        keeper.send_start()
    for keeper in keepers:
        keeper.started(keeper.receive())
    assert len({k.address for k in keepers}) == 12
    assert len(user.processes("linzer-holder")) == 1 and len(user.processes(PASTA)) == 1
    spaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in user.processes("linzer-net")}
    assert len(spaces) == 1 and spaces != {os.readlink("/proc/self/ns/net")}
    for keeper in keepers:
        keeper.close()
    assert [k.wait() for k in keepers] == [0] * 12
    assert user.gone(), user.left()


def test_come_and_go_without_a_pause(lab, user):
    """The last one leaves as the next one comes, again and again, from three sides."""
    failed = []

    def churn():
        for _ in range(8):
            keeper = UserKeeper(user, user.words())
            kind, fields, fds = keeper.ask()
            for fd in fds:
                os.close(fd)
            if kind != STARTED:
                failed.append(fields["text"])
            keeper.close()
            if keeper.wait(60) != 0:
                failed.append(keeper.process.stderr.read())
            keeper.process.stderr.close()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert user.gone(), user.left()


@pytest.mark.parametrize("victim", [PASTA, "linzer-holder", "linzer-outside", "linzer-talker", "linzer-net"])
def test_killing_any_part_ends_the_rest_and_leaves_nothing(lab, user, victim):
    keeper = user.up()
    pid, = user.processes(victim)
    os.kill(pid, signal.SIGKILL)
    assert keeper.receive() is None, "run hears of it"
    keeper.wait()
    keeper.close_tap()
    assert user.gone(), user.left()
    assert user.up().guest.pings(WORLD), "the next one starts from nothing"


@pytest.mark.parametrize("victims", [(PASTA, "linzer-net"), ("linzer-holder", "linzer-net"),
                                     (PASTA, "linzer-holder", "linzer-net")])
def test_killing_several_parts_at_once(lab, user, victims):
    keepers = [user.up(), user.up()]
    pids = [pid for victim in victims for pid in user.processes(victim)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for keeper in keepers:
        keeper.wait()
        keeper.close_tap()
    assert user.ended()
    again = user.up()  # a socket that nobody listens at is no obstacle
    assert again.guest.pings(WORLD)
    assert again.stop() == 0 and user.gone(), user.left()


def test_one_keeper_killed_does_not_hurt_the_other(lab, user):
    one, two = user.up(), user.up()
    one.process.send_signal(signal.SIGKILL)
    one.wait()
    one.close_tap()
    assert two.guest.pings(WORLD)
    assert two.stop() == 0 and user.gone(), user.left()


def test_whoever_started_the_holder_may_go_first(lab, user):
    one, two = user.up(), user.up()
    one.process.send_signal(signal.SIGKILL)
    one.wait()
    third = user.up()
    assert len(user.processes("linzer-holder")) == 1
    assert third.guest.pings(WORLD) and two.guest.pings(WORLD)


# Clear words

def fails(keeper):
    kind, fields, _ = keeper.ask()
    assert kind == FAILED
    return fields["text"]


def test_without_pasta_one_line_names_the_package(lab, user):
    text = fails(user.keeper(user.words(f"XDG_RUNTIME_DIR={user.run}", "PATH=/nowhere")))
    assert "package 'passt'" in text
    assert user.gone(), user.left()


def test_tun_that_only_root_may_open(lab, user):
    text = fails(user.keeper(user.words(mounts=TUN_FOR_ALL.replace("666", "600"))))
    assert "/dev/net/tun" in text and "chmod 0666" in text
    assert user.gone(), user.left()


@pytest.mark.parametrize("restricted", [True, False])
def test_pasta_that_fails_is_quoted(lab, user, restricted):
    """With a hint where the host's settings forbid what it wanted."""
    programs = user.directory()
    zero = programs / "zero"
    zero.write_text("0\n")
    (programs / "pasta").write_text("#!/bin/sh\necho 'Failed to send 9 bytes to syslog' >&2\n"
                                    "echo 'No user namespace for you' >&2; exit 1\n")
    (programs / "pasta").chmod(0o755)
    mounts = f"mount --bind {zero} /proc/sys/user/max_user_namespaces && {TUN_FOR_ALL}" if restricted else TUN_FOR_ALL
    text = fails(user.keeper(user.words(f"XDG_RUNTIME_DIR={user.run}", f"PATH={programs}:{os.environ['PATH']}",
                                        mounts=mounts)))
    assert text.endswith("pasta failed: No user namespace for you")
    assert ("sysctl -w user.max_user_namespaces=" in text) == restricted
    assert user.gone(), user.left()


def test_holder_that_does_not_answer_is_an_error(lab, user):
    """A stopped holder: within the time that run waits (20 s)."""
    user.up()
    os.kill(user.holder(), signal.SIGSTOP)
    late = user.keeper()
    late.sock.settimeout(20)
    assert "does not answer" in fails(late)


def test_bridged_needs_more(lab, user):
    text = fails(user.keeper(mode=BRIDGED, interface=b"up0", policy=EVERYTHING))
    assert "make install-caps" in text or "bridge" in text
    assert user.gone(), user.left()


@pytest.mark.parametrize("make", ["symlink", "others", "open"])
def test_directory_that_is_not_the_users_alone(lab, user, make):
    home = user.run / "linzer-net"
    if make == "symlink":
        (user.run / "elsewhere").mkdir(mode=0o700)
        os.chown(user.run / "elsewhere", user.uid, user.uid)
        home.symlink_to("elsewhere")
    else:
        home.mkdir()
        home.chmod(0o700 if make == "others" else 0o755)
        os.chown(home, 0 if make == "others" else user.uid, user.uid)
    assert "only you can enter" in fails(user.keeper())
    assert user.ended()


def test_without_a_runtime_directory_it_is_in_tmp(lab, user):
    """Neither XDG_RUNTIME_DIR nor /run/user/UID: a directory in /tmp of the user's alone."""
    keeper = user.up(words=user.words("HOME=/"))
    home = pathlib.Path(f"/tmp/linzer-net-{user.uid}")
    assert home.stat().st_uid == user.uid and home.stat().st_mode & 0o777 == 0o700
    assert keeper.stop() == 0 and user.gone()
    assert not home.exists()


def test_hold_by_hand_does_nothing(lab, user):
    done = subprocess.run([NET, "--hold", str(user.run), "192.168.64.0/24"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "the holder of linzer-net is started by pasta\n"


def test_another_user_gets_nothing_from_the_holder(lab, user):
    """Whoever gets at the socket although the directory is closed is sent no namespace."""
    user.up()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(60)
        s.connect(str(user.run / "linzer-net" / "holder"))
        assert s.recv(1000) == b""
