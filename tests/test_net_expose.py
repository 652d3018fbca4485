# SPDX-License-Identifier: Apache-2.0
"""Exposed ports: connections that come to the host and end in the guest, as linzer-net's talker carries them."""

import contextlib
import hashlib
import os
import pathlib
import select
import signal
import socket
import struct
import threading
import time

import pytest

from netlab import FAILED, PATIENCE, UPLINK, Lab, dns_query

PORT, INSIDE = 8022, 22
ONE = [(PORT, INSIDE)]
ANSWER_LIMIT = 10  # seconds that a guest has to answer (src/net/relay_expose.c)
TCP = (socket.AF_INET, socket.SOCK_STREAM)


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.end()


class Server(threading.Thread):
    """Listens in the guest; serve(connection) in a thread of its own for each."""

    def __init__(self, lab, serve, port=INSIDE):
        super().__init__(daemon=True)
        self.serve = serve
        self.sock = lab.socket("guest", *TCP, bind=("0.0.0.0", port), timeout=None)
        self.sock.listen(256)
        self.peers = []
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self.sock.accept()
                self.peers.append(peer[0])
                threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        with connection, contextlib.suppress(OSError):
            self.serve(connection)


def echo(connection):
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def exposing(lab, serve=echo, exposed=ONE):
    """A guest with a kernel, and a server on its port."""
    keeper = lab.up(exposed=exposed)
    keeper.guest.plug("guest")
    keeper.server = Server(lab, serve)
    return keeper


def dial(lab, namespace="world", address=UPLINK, port=PORT, timeout=PATIENCE):
    client = lab.socket(namespace, *TCP, timeout=timeout)
    client.connect((address, port))
    return client


def is_refused(lab):
    try:
        dial(lab).close()
    except ConnectionRefusedError:
        return True
    return False


def says(client, data=b"hello"):
    """Does the guest's echo answer?"""
    client.sendall(data)
    return read_exactly(client, len(data)) == data


def read_exactly(sock, size):
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def ends_by_reset(client):
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_from_the_world(lab):
    keeper = exposing(lab)
    assert says(dial(lab))
    assert keeper.server.peers == [keeper.gateway], "the guest sees the host"


@pytest.mark.parametrize("address", ["127.0.0.1", UPLINK, "127.7.7.7"])
def test_from_the_host_itself(lab, address):
    keeper = exposing(lab)
    assert says(dial(lab, "host", address))
    for interface in ("all", "lo", keeper.interface):
        assert lab.setting(f"ipv4/conf/{interface}/route_localnet") == "0"


def test_several_ports(lab):
    keeper = exposing(lab, exposed=[(PORT, INSIDE), (PORT + 1, 80)])
    Server(lab, lambda c: c.sendall(b"web"), port=80)
    assert says(dial(lab))
    assert read_all(dial(lab, port=PORT + 1)) == b"web"
    assert keeper.server.peers == [keeper.gateway]


def test_guest_is_reached_in_no_other_way(lab):
    keeper = exposing(lab)
    lab.ip("world", f"route add {keeper.address} via {UPLINK}")
    client = lab.socket("world", *TCP, timeout=0.5)
    with pytest.raises(OSError):
        client.connect((keeper.address, INSIDE))
    assert keeper.server.peers == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_dies_with_the_keeper(lab, how):
    keeper = exposing(lab)
    client = dial(lab)
    assert says(client)
    if how == "stop":
        keeper.close()
    else:
        keeper.process.send_signal(signal.SIGKILL)
    keeper.wait()
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    assert eventually(lambda: is_refused(lab))  # the talker has the port too, and hears of it


def test_port_is_free_when_the_keeper_has_ended(lab):
    """Though the talker, which has the port, does not leave by itself."""
    keeper = exposing(lab)
    os.kill(keeper.talker(), signal.SIGSTOP)
    keeper.close()
    assert keeper.wait() == 0
    assert is_refused(lab)


def test_taken_port_is_one_clear_error(lab):
    first = exposing(lab)
    second = lab.keeper(exposed=[(PORT + 1, 80), (PORT, INSIDE)])
    kind, fields, _ = second.ask()
    assert kind == FAILED and "\n" not in fields["text"]
    assert str(PORT) in fields["text"] and "in use" in fields["text"], fields["text"]
    second.close()
    second.wait()
    assert lab.taps() == [first.interface]
    with pytest.raises(ConnectionRefusedError):
        dial(lab, port=PORT + 1)
    assert says(dial(lab))


def test_port_of_one_that_is_ending_is_waited_for(lab):
    """As the talker's is, whose keeper was killed."""
    ending = lab.socket("host", *TCP, bind=("0.0.0.0", PORT))
    ending.listen()
    threading.Timer(0.2, ending.close).start()
    exposing(lab)
    assert says(dial(lab))


def test_port_is_free_again_at_once(lab):
    """Though a connection of the last VM is still in TIME_WAIT."""
    keeper = exposing(lab)
    assert says(dial(lab))
    keeper.stop()
    lab.ip("guest", "link del g0")
    lab.up(exposed=ONE)


def test_guest_that_refuses(lab):
    keeper = lab.up(exposed=ONE)
    keeper.guest.plug("guest")
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):  # at times before we hear that we are through
        dial(lab).recv(1)
    assert time.monotonic() - began < ANSWER_LIMIT, "as if it did not answer"


def test_guest_that_does_not_answer(lab):
    """It answers ARP, but nothing else: who connects is not kept for ever."""
    keeper = lab.up(exposed=ONE)
    began, heard = time.monotonic(), set()
    client = dial(lab)
    while not select.select([client], [], [], 0)[0] and time.monotonic() < began + 60:
        heard |= {(p.proto, p.dport) for p in keeper.guest.frames(0.2)}
    assert (6, INSIDE) in heard
    ends_by_reset(client)
    assert time.monotonic() - began >= ANSWER_LIMIT


def test_half_close(lab):
    """A guest that answers when all was said; a client that listens when all was heard."""
    def serve(connection):
        connection.sendall(hashlib.sha256(read_all(connection)).digest())

    exposing(lab, serve)
    client = dial(lab)
    data = os.urandom(300_000)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == hashlib.sha256(data).digest()


def test_half_close_by_the_guest(lab):
    got = []

    def serve(connection):
        connection.sendall(b"welcome")
        connection.shutdown(socket.SHUT_WR)
        got.append(read_all(connection))

    exposing(lab, serve)
    client = dial(lab)
    assert read_all(client) == b"welcome"
    client.sendall(b"later")
    client.close()
    assert eventually(lambda: got == [b"later"])


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_reset_by_the_guest_is_no_end(lab):
    """Who got only a part must not take it for the whole."""
    def serve(connection):
        connection.sendall(b"the first half")
        connection.recv(1)
        reset(connection)

    exposing(lab, serve)
    client = dial(lab)
    assert read_exactly(client, 14) == b"the first half"
    client.sendall(b"x")
    ends_by_reset(client)


def test_reset_by_the_client_reaches_the_guest(lab):
    seen, there = [], threading.Event()

    def serve(connection):
        try:
            connection.recv(1)
            there.set()
            seen.append(read_all(connection))
        except ConnectionResetError:
            seen.append("reset")

    exposing(lab, serve)
    client = dial(lab)
    client.sendall(b"x")
    assert there.wait(60)
    reset(client)
    assert eventually(lambda: seen == ["reset"])


def test_many_bytes_both_ways_at_once(lab):
    """50 MB each way, intact."""
    size, chunk = 50_000_000, os.urandom(1_000_000)
    heard = []

    def serve(connection):
        sender = threading.Thread(target=send_much, args=(connection,))
        sender.start()
        heard.append(digest(connection))
        sender.join()

    def send_much(sock):
        for i in range(size // len(chunk)):
            sock.sendall(struct.pack("!I", i) + chunk[4:])
        sock.shutdown(socket.SHUT_WR)

    def digest(sock):
        h = hashlib.sha256()
        while data := sock.recv(1 << 20):
            h.update(data)
        return h.hexdigest()

    exposing(lab, serve)
    client = dial(lab, timeout=60)
    sender = threading.Thread(target=send_much, args=(client,))
    start = time.monotonic()
    sender.start()
    got = digest(client)
    sender.join()
    want = hashlib.sha256(b"".join(struct.pack("!I", i) + chunk[4:] for i in range(50))).hexdigest()
    assert eventually(lambda: heard == [want]) and got == want
    print(f"{2 * size / (time.monotonic() - start) / 1e6:.0f} MB/s, through a guest of Python's")


def test_hundred_connections_at_once(lab):
    exposing(lab)
    clients = [dial(lab) for _ in range(100)]
    for i, client in enumerate(clients):
        client.sendall(b"%04d" % i)
    for i, client in enumerate(clients):
        assert read_exactly(client, 4) == b"%04d" % i
    for client in reversed(clients):
        assert says(client)


def test_more_than_the_bound_wait_for_their_turn(lab):
    exposing(lab)
    clients = [dial(lab) for _ in range(200)]
    for client in clients:
        client.sendall(b"now")
    assert eventually(lambda: len(readable(clients)) >= 100)
    time.sleep(1)  # in which too many would be served
    served = readable(clients)
    assert len(served) < 200
    for client in served:
        client.close()
    rest = [c for c in clients if c not in served]
    assert all(read_exactly(c, 3) == b"now" for c in rest)


def readable(clients):
    return select.select(clients, [], [], 0)[0]


def memory(keeper):
    total = 0
    for pid in (keeper.process.pid, keeper.talker()):
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(rollup.split("Pss:")[1].split()[0])
    return total


def fill(client):
    """Send until nothing more is taken. -> bytes"""
    client.setblocking(False)
    sent, quiet = 0, 0
    while quiet < 5:
        try:
            sent += client.send(b"x" * 65536)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.1)
    return sent


def test_sides_that_do_not_read_cost_no_memory(lab):
    gate = threading.Event()
    keeper = exposing(lab, lambda c: gate.wait(60))
    clients = [dial(lab) for _ in range(20)]
    with contextlib.suppress(BlockingIOError):
        for client in clients:
            client.setblocking(False)
            client.send(b"x" * (1 << 20))
    assert 0 < fill(clients[0]) < 64 << 20
    assert memory(keeper) < 4096
    assert cpu_of(keeper.talker(), 0.5) < 0.1, "it waits, it does not spin"
    gate.set()


def cpu_of(pid, seconds):
    def ticks():
        return sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    start = ticks()
    time.sleep(seconds)
    return (ticks() - start) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("state", ["idle", "client ended", "guest ended", "guest full, client gone"])
def test_waiting_connections_do_not_spin(lab, state):
    gate = threading.Event()

    def serve(connection):
        if state == "guest ended":
            connection.shutdown(socket.SHUT_WR)
        gate.wait(60)

    keeper = exposing(lab, serve)
    client = dial(lab)
    if state == "client ended":
        client.shutdown(socket.SHUT_WR)
    elif state == "guest full, client gone":
        fill(client)
        client.close()
    time.sleep(0.2)
    assert cpu_of(keeper.talker(), 1) < 0.1
    gate.set()


def test_flood_of_dns_starves_nobody(lab):
    keeper = exposing(lab)
    client, stop = dial(lab), threading.Event()
    flooder = lab.socket("guest", socket.AF_INET, socket.SOCK_DGRAM)
    flooder.connect((keeper.gateway, 53))
    sent = []

    # In bursts that the lab's own queue holds: what it drops of the guest's TCP no keeper can help.
    def flood():
        flooder.settimeout(0.005)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                for _ in range(64):
                    flooder.send(dns_query(f"n{len(sent)}.example.org"))
                    sent.append(1)
                for _ in range(64):
                    flooder.recv(512)

    client.settimeout(60)  # starved is who never gets his turn: a flood takes what the processor has
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        said = 0
        while said < 100 or len(sent) < 5000:
            assert says(client)
            said += 1
        late = dial(lab)
        late.settimeout(60)
        assert says(late)
    finally:
        stop.set()
        thread.join()


def test_busy_connection_starves_nobody(lab):
    exposing(lab)
    busy, stop = dial(lab), threading.Event()

    def load():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                busy.sendall(b"x" * 65536)

    def drain():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                busy.recv(1 << 20)

    threads = [threading.Thread(target=load, daemon=True), threading.Thread(target=drain, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        client = dial(lab)
        for _ in range(50):
            assert says(client)
    finally:
        stop.set()
        busy.close()


def test_descriptors_are_given_back(lab):
    keeper = exposing(lab)
    directory = pathlib.Path(f"/proc/{keeper.talker()}/fd")
    before = len(list(directory.iterdir()))
    for i in range(60):
        client = dial(lab)
        assert says(client)
        client.close() if i % 2 else reset(client)
    assert eventually(lambda: len(list(directory.iterdir())) == before)


def test_root_exposes_a_port_below_1024(lab):
    keeper = lab.up(exposed=((443, 8443),))
    probe = lab.socket("world", socket.AF_INET, socket.SOCK_STREAM)
    probe.connect((UPLINK, 443))
    assert keeper.guest.wait(lambda p: p.proto == 6 and p.dport == 8443)
