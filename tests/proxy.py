# SPDX-License-Identifier: Apache-2.0
"""A small HTTP proxy (forwarding and CONNECT), and a relay that counts the bytes of connections."""

import http.client
import http.server
import select
import socket
import socketserver
import threading
import urllib.parse


def _pump(one, other, count=lambda way, n: None):
    """Bytes both ways until either end closes."""
    ways = {one: (other, 0), other: (one, 1)}
    while True:
        for source in select.select(list(ways), [], [])[0]:
            target, way = ways[source]
            try:
                data = source.recv(1 << 18)
                if not data:
                    return
                count(way, len(data))  # who has them finds them counted
                target.sendall(data)
            except OSError:
                return


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def target(self, host):
        """Where a host:port really is."""
        return self.server.proxy.hosts.get(host, host)

    def allowed(self):
        proxy = self.server.proxy
        proxy.records.append((self.command, self.path, self.headers))
        if proxy.authorization and self.headers.get("Proxy-Authorization") != proxy.authorization:
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        return True

    def do_CONNECT(self):
        if not self.allowed():
            return
        host, port = self.target(self.path).rsplit(":", 1)
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200, "Connection established")
            self.end_headers()
            _pump(self.connection, there)
        self.close_connection = True

    def forward(self):
        if not self.allowed():
            return
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        there = http.client.HTTPConnection(self.target(url.netloc), timeout=60)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        there.request(self.command, url.path + (f"?{url.query}" if url.query else ""), body or None, headers)
        answer = there.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        self.wfile.write(data)
        there.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward


class Proxy:
    """hosts: {"name:port": "address:port"}: names that only the proxy knows. records: what it was asked."""

    def __init__(self, hosts=None, authorization=None):
        self.hosts, self.authorization, self.records = hosts or {}, authorization, []
        self.server = _Server(("127.0.0.1", 0), _ProxyHandler)
        self.server.proxy = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Relay:
    """Connections to `address` go on to `target`; `up` and `down` are the bytes that went each way."""

    def __init__(self, target):
        self.target, self.up, self.down = target, 0, 0
        self.lock = threading.Lock()
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                host, port = relay.target.rsplit(":", 1)
                with socket.create_connection((host, int(port))) as there:
                    _pump(self.request, there, relay.count)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def count(self, way, n):
        with self.lock:
            if way == 0:
                self.up += n
            else:
                self.down += n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
