# SPDX-License-Identifier: Apache-2.0
"""A registry in memory that serves and accepts images rightly until it is told otherwise.

    with FakeRegistry() as registry:
        name = registry.add(image, "org/vm")
        registry.fault("GET", "/blobs/" + digest, truncated(1000), times=1)
        ...
        assert registry.count("GET", "/blobs/") == 5

A fault is a function of the request's handler; it answers as it likes, or returns GO_ON and the
request is then served rightly. Every request is recorded: its headers, and the bytes each way.
"""

import base64
import contextlib
import email.utils
import hashlib
import http.server
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import threading
import time
import urllib.parse
import uuid

from oci_image import MANIFEST, digest

GO_ON = object()


class Record:
    """One request. sent: bytes of our body that the client took; received: of its body."""

    def __init__(self, method, path, headers):
        self.method, self.path, self.headers = method, path, headers
        self.at, self.ended = time.monotonic(), None
        self.sent = self.received = self.status = 0

    def __repr__(self):
        return f"{self.method} {self.path} -> {self.status} ({self.sent} out, {self.received} in)"

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))


class Fault:
    def __init__(self, method, pattern, act, times, skip):
        self.method, self.pattern, self.act, self.times, self.skip = method, re.compile(pattern), act, times, skip
        self.used = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    # ------------------------------------------------------------ answers

    def log_message(self, *_):
        pass

    @property
    def registry(self):
        return self.server.registry

    def body(self):
        """What the client sends, plain or chunked; b"" if it sends nothing."""
        if not hasattr(self, "_body"):
            self._body = b""
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                self._body = b"".join(parts)
            else:
                left, parts = int(self.headers.get("Content-Length", 0)), []
                while left:
                    part = self.rfile.read(min(left, 65536))
                    if not part:
                        raise ConnectionResetError
                    left -= len(part)
                    parts.append(part)
                    self.record.received += len(part)
                self._body = b"".join(parts)
            self.record.received = len(self._body)
        return self._body

    def head(self, status, headers=None):
        self.record.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def write(self, data):
        """Counts what went out."""
        for at in range(0, len(data), 65536):
            piece = data[at:at + 65536]
            self.record.sent += len(piece)  # before it is: whoever has it may be done, and asked for
            try:
                self.wfile.write(piece)
            except OSError:
                self.record.sent -= len(piece)
                raise

    def reply(self, status, data=b"", headers=None):
        """A whole answer; of HEAD the head alone."""
        self.body()
        self.head(status, {"Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.write(data)

    def error(self, status, code="UNKNOWN", message="made to fail", headers=None):
        text = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.reply(status, text, {"Content-Type": "application/json", **(headers or {})})

    def reset(self):
        """The connection goes with a RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    # ------------------------------------------------------------ requests

    def any(self):
        if hasattr(self, "_body"):
            del self._body
        self.record = Record(self.command, self.path, self.headers)
        self.record.secure = isinstance(self.connection, ssl.SSLSocket)
        self.registry.records.append(self.record)
        with self.registry.flying():
            try:
                act = self.registry.fault_of(self.command, self.path)
                if act is None or act(self) is GO_ON:
                    self.serve()
            except (ConnectionError, TimeoutError, ssl.SSLError):
                self.close_connection = True
            finally:
                self.record.ended = time.monotonic()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any

    def serve(self):
        parts = urllib.parse.urlsplit(self.path)
        registry = self.registry
        if parts.path == "/token" and registry.auth:
            return registry.auth.serve_token(self)
        if registry.auth and not registry.auth.allows(self):
            return registry.auth.challenge(self)
        if parts.path in ("/v2", "/v2/"):
            return self.reply(200, b"{}", {"Content-Type": "application/json"})
        for pattern, serve in (("/v2/(.+)/manifests/([^/]+)", self.manifest),
                               ("/v2/(.+)/blobs/uploads/([^/]*)", self.upload),
                               ("/v2/(.+)/blobs/([^/]+)", self.blob)):
            if found := re.fullmatch(pattern, parts.path):
                return serve(*map(urllib.parse.unquote, found.groups()))
        return self.error(404, "NOT_FOUND", "no such address")

    def manifest(self, repository, reference):
        registry = self.registry
        if self.command == "PUT":
            data = self.body()
            for layer in [json.loads(data)["config"], *json.loads(data)["layers"]]:
                if layer["digest"] not in registry.blobs.get(repository, {}):
                    return self.error(400, "MANIFEST_BLOB_UNKNOWN", layer["digest"])
            registry.put_manifest(repository, reference, data, self.headers.get("Content-Type"))
            return self.reply(201, headers={"Docker-Content-Digest": digest(data),
                                            "Location": f"/v2/{repository}/manifests/{digest(data)}"})
        found = registry.manifests.get((repository, reference))
        if not found:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return self.reply(200, found[0], {"Content-Type": found[1], "Docker-Content-Digest": digest(found[0])})

    def blob(self, repository, name):
        data = self.registry.blobs.get(repository, {}).get(name)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown")
        return self.serve_bytes(data)

    def serve_bytes(self, data):
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self.reply(200, data, headers)
        first = int(wanted[1])
        last = min(int(wanted[2]), len(data) - 1) if wanted[2] else len(data) - 1
        if first > last:
            return self.error(416, headers={"Content-Range": f"bytes */{len(data)}"})
        return self.reply(206, data[first:last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def upload(self, repository, ident):
        registry, query = self.registry, self.record.query
        if self.command == "POST":
            if "mount" in query and registry.mount != "ignored":
                if registry.mount == "405":
                    return self.error(405, "UNSUPPORTED", "no mounting here")
                data = registry.blobs.get(query.get("from"), {}).get(query["mount"])
                if data is not None:
                    registry.blobs.setdefault(repository, {})[query["mount"]] = data
                    return self.reply(201, headers={"Location": f"/v2/{repository}/blobs/{query['mount']}"})
            ident = uuid.uuid4().hex
            registry.uploads[ident] = b""
            return self.reply(202, headers=self.place(repository, ident))
        if ident not in registry.uploads:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        if registry.location == "query" and query.get("_state") != ident:
            return self.error(400, "BLOB_UPLOAD_INVALID", "the state is missing from the address")
        registry.uploads[ident] += self.body()
        if self.command == "PATCH":
            return self.reply(registry.patch_status, headers={
                **self.place(repository, ident), "Range": f"0-{len(registry.uploads[ident]) - 1}"})
        data = registry.uploads.pop(ident)
        if digest(data) != query.get("digest"):
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        registry.blobs.setdefault(repository, {})[query["digest"]] = data
        return self.reply(registry.put_status, headers={"Location": f"/v2/{repository}/blobs/{query['digest']}"})

    def place(self, repository, ident):
        registry = self.registry
        path = f"/v2/{repository}/blobs/uploads/{ident}"
        base = registry.elsewhere.url if registry.elsewhere else registry.url
        return {"Location": {"relative": path, "absolute": base + path,
                             "query": f"{base}{path}?_state={ident}"}[registry.location]}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class FakeRegistry:
    """One server; `address` is its host:port, `records` what was asked of it."""

    def __init__(self, host="127.0.0.1", tls=None, auth=None, shown=None):
        """tls: (certificate, key), or a whole context. auth: Basic or Bearer. shown: the host in names and addresses."""
        self.records, self.faults = [], []
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.location = "query"  # of uploads: relative, absolute, query
        self.elsewhere = None  # a FakeRegistry that uploads go to (give it the same .uploads, .blobs)
        self.patch_status, self.put_status = 202, 201
        self.mount = "works"  # or "405", "ignored"
        self.lock, self.in_flight, self.most_in_flight = threading.Lock(), 0, 0
        self.server = Server((host, 0), Handler)
        self.server.registry = self
        self.scheme = "https" if tls else "http"
        if tls:
            context = tls
            if not isinstance(tls, ssl.SSLContext):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*tls)
            # a handshake of its own per connection, not in the thread that accepts
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.address = f"{shown or host}:{self.server.server_address[1]}"
        self.url = f"{self.scheme}://{self.address}"
        self.auth = auth
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def auth(self):
        return self._auth

    @auth.setter
    def auth(self, auth):
        self._auth = auth
        if auth:
            auth.registry = self

    # ------------------------------------------------------------ what it holds

    def put_manifest(self, repository, reference, data, media_type=MANIFEST):
        with self.lock:
            self.manifests[repository, reference] = self.manifests[repository, digest(data)] = (data, media_type)

    def add(self, image, repository, tag="latest", media_type=MANIFEST):
        """Serve the image; gives its name."""
        self.blobs.setdefault(repository, {}).update(image.blobs)
        self.put_manifest(repository, tag, image.manifest, media_type)
        return self.name(repository, tag)

    def name(self, repository, tag="latest"):
        return f"{self.address}/{repository}{'@' if ':' in tag else ':'}{tag}"

    # ------------------------------------------------------------ faults and records

    def fault(self, method, pattern, act, times=None, skip=0):
        """From its `skip`th match on, `times` requests are dealt with by act(handler)."""
        with self.lock:
            self.faults.append(Fault(method, pattern, act, times, skip))

    def fault_of(self, method, path):
        with self.lock:
            for fault in self.faults:
                if fault.method not in (method, "*") or not fault.pattern.search(urllib.parse.unquote(path)):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.times is None or fault.used < fault.times:
                    fault.used += 1
                    return fault.act
        return None

    def forget(self):
        """Faults and records."""
        with self.lock:
            self.faults, self.records, self.most_in_flight = [], [], 0

    @contextlib.contextmanager
    def flying(self):
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def asked(self, method="*", pattern=""):
        return [r for r in list(self.records)
                if method in (r.method, "*") and re.search(pattern, urllib.parse.unquote(r.path))]

    def count(self, method="*", pattern=""):
        return len(self.asked(method, pattern))

    def sent(self, pattern="/blobs/sha256:"):
        """Bytes of bodies that clients fetched."""
        return sum(r.sent for r in self.asked("GET", pattern))

    def received(self, pattern="/blobs/uploads/"):
        """Bytes of bodies that clients uploaded."""
        return sum(r.received for r in self.asked("*", pattern))

    def uploaded(self):
        """Digests of the blobs whose upload was finished, in order."""
        return [r.query["digest"] for r in self.asked("PUT", "/blobs/uploads/") if r.status == self.put_status]


# ---------------------------------------------------------------- who may

class Basic:
    def __init__(self, user="someone", password="se:cret", header='Basic realm="tests"'):
        self.user, self.password, self.header = user, password, header
        self.registry = None

    def right(self, handler):
        said = handler.headers.get("Authorization", "")
        return said == "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def allows(self, handler):
        return self.right(handler)

    def challenge(self, handler):
        headers = {"WWW-Authenticate": self.header} if self.header is not None else {}
        handler.error(401, "UNAUTHORIZED", "authentication required", headers)


class Bearer(Basic):
    """Tokens from /token of `server` (default: the registry itself), for `uses` requests or `seconds` each."""

    def __init__(self, user=None, password=None, uses=None, seconds=None, answer=None, key="token", server=None,
                 header=None):
        super().__init__(user, password, header)
        self.uses, self.seconds, self.answer, self.key, self.server = uses, seconds, answer, key, server
        self.tokens, self.served = {}, []  # served: (query, Authorization) of each token asked for

    def serve_token(self, handler):
        self.served.append((urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query),
                            handler.headers.get("Authorization")))
        if self.user is not None and not self.right(handler):
            return handler.error(401, "UNAUTHORIZED", "wrong user or password")
        if callable(self.answer):
            return self.answer(handler)
        token = uuid.uuid4().hex
        self.tokens[token] = self.uses
        if self.seconds is not None:
            threading.Timer(self.seconds, self.tokens.pop, (token, None)).start()
        text = json.dumps({self.key: token, **(self.answer or {})}).encode()
        return handler.reply(200, text, {"Content-Type": "application/json"})

    def allows(self, handler):
        with self.registry.lock:
            token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
            left = self.tokens.get(token, 0)
            if left is not None and left <= 0:
                return False
            if left is not None:
                self.tokens[token] = left - 1
            return True

    def challenge(self, handler):
        found = re.match(r"/v2/(.+?)/(?:manifests|blobs)/", handler.path)
        action = "pull" if handler.command in ("GET", "HEAD") else "pull,push"
        header = self.header or 'Bearer realm="{realm}",service="fake service",scope="{scope}"'
        realm = (self.server or self.registry).url + "/token"
        scope = f"repository:{found[1]}:{action}" if found else ""
        handler.error(401, "UNAUTHORIZED", "authentication required",
                      {"WWW-Authenticate": header.replace("{realm}", realm).replace("{scope}", scope)})


# ---------------------------------------------------------------- ways to misbehave

def content(handler):
    """The blob or manifest that is asked for."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
    _, repository, kind, reference = re.fullmatch("/(v2)/(.+)/(blobs|manifests)/([^/]+)", path).groups()
    if kind == "blobs":
        return handler.registry.blobs[repository][reference], "application/octet-stream"
    return handler.registry.manifests[repository, reference]


def status(code, data=b"", **headers):
    """That status; headers with _ for -."""
    def act(handler):
        handler.reply(code, data, {name.replace("_", "-"): value for name, value in headers.items()})
    return act


def error(code, name="UNKNOWN", message="made to fail", **headers):
    def act(handler):
        handler.error(code, name, message, {key.replace("_", "-"): value for key, value in headers.items()})
    return act


def retry_date(code, seconds):
    """Retry-After as a date."""
    def act(handler):
        handler.error(code, headers={"Retry-After": email.utils.formatdate(time.time() + seconds, usegmt=True)})
    return act


def replaced(data, media_type="application/octet-stream"):
    """Other bytes than those that were asked for, with their own right length."""
    def act(handler):
        handler.reply(200, data, {"Content-Type": media_type})
    return act


def flipped(at=100):
    """The right bytes but one."""
    def act(handler):
        data, media_type = content(handler)
        data = bytearray(data)
        data[at % len(data)] ^= 1
        handler.reply(200, bytes(data), {"Content-Type": media_type})
    return act


def truncated(count, reset=False):
    """The whole length is promised, `count` bytes come (after the start of a Range), then the connection ends."""
    def act(handler):
        data, media_type = content(handler)
        first = int((re.match(r"bytes=(\d+)-", handler.headers.get("Range", "")) or [0, 0])[1])
        headers = {"Content-Type": media_type, "Content-Length": str(len(data) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        handler.head(206 if first else 200, headers)
        handler.write(data[first:first + count])
        handler.close_connection = True
        if reset:
            handler.wfile.flush()
            time.sleep(0.05)  # what was written arrives before the RST
            handler.reset()
    return act


def cut_short(count):
    """Fewer bytes with their own right length."""
    def act(handler):
        data, media_type = content(handler)
        handler.reply(200, data[:len(data) - count], {"Content-Type": media_type})
    return act


def oversized(extra, chunked=False):
    """The right bytes and `extra` more."""
    def act(handler):
        data, media_type = content(handler)
        data += b"x" * extra
        if not chunked:
            return handler.reply(200, data, {"Content-Type": media_type})
        handler.head(200, {"Content-Type": media_type, "Transfer-Encoding": "chunked"})
        for at in range(0, len(data), 65536):
            piece = data[at:at + 65536]
            handler.wfile.write(b"%x\r\n" % len(piece))
            handler.write(piece)
            handler.wfile.write(b"\r\n")
        return handler.wfile.write(b"0\r\n\r\n")
    return act


def endless(seconds=60, first=b""):
    """A body that never ends, as fast as it is taken."""
    def act(handler):
        handler.head(200, {"Content-Type": "application/octet-stream", "Connection": "close"})
        handler.close_connection = True
        handler.write(first)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.write(bytes(65536))
    return act


def endless_headers(seconds=60):
    def act(handler):
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
    return act


def dripping(interval=0.2, seconds=120):
    """A byte at a time."""
    def act(handler):
        data, media_type = content(handler)
        handler.head(200, {"Content-Type": media_type, "Content-Length": str(len(data))})
        handler.close_connection = True
        until = time.monotonic() + seconds
        for at in range(len(data)):
            if time.monotonic() > until:
                return
            handler.write(data[at:at + 1])
            time.sleep(interval)
    return act


def silence(seconds=120, after=None):
    """No answer at all, or none after `after` bytes of the body."""
    def act(handler):
        handler.close_connection = True
        if after is not None:
            data, media_type = content(handler)
            handler.head(200, {"Content-Type": media_type, "Content-Length": str(len(data))})
            handler.write(data[:after])
        until = time.monotonic() + seconds
        handler.connection.settimeout(0.1)
        while time.monotonic() < until:
            try:
                if not handler.connection.recv(65536):
                    return  # the client has gone
            except TimeoutError:
                pass
    return act


def reset():
    """No answer but a RST."""
    def act(handler):
        handler.reset()
    return act


def not_http(data=b"SSH-2.0-OpenSSH_9.2\r\n"):
    def act(handler):
        handler.wfile.write(data)
        handler.close_connection = True
    return act


def redirect(url, code=307):
    """To `url`, in which {path} stands for what was asked for."""
    def act(handler):
        handler.reply(code, headers={"Location": url.replace("{path}", handler.path)})
    return act


def delayed(seconds):
    def act(_):
        time.sleep(seconds)
        return GO_ON
    return act


def together(count, least=0):
    """Held until `count` requests are under way at once, and for a moment more, in which one too many would come.
    `least`: bytes of a request's body, else it is not held."""
    def act(handler):
        registry, until = handler.registry, time.monotonic() + 60
        if int(handler.headers.get("Content-Length", 0)) < least:
            return GO_ON
        while registry.most_in_flight < count and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        return GO_ON
    return act


def throttled(rate):
    """Right, at `rate` bytes a second."""
    def act(handler):
        data, media_type = content(handler)
        first = int((re.match(r"bytes=(\d+)-", handler.headers.get("Range", "")) or [0, 0])[1])
        headers = {"Content-Type": media_type, "Content-Length": str(len(data) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        handler.head(206 if first else 200, headers)
        for at in range(first, len(data), 16384):
            piece = data[at:at + 16384]
            handler.write(piece)
            time.sleep(len(piece) / rate)
    return act


def without_range():
    """200 and the whole, whatever Range was asked for."""
    def act(handler):
        data, media_type = content(handler)
        handler.reply(200, data, {"Content-Type": media_type})
    return act


def wrong_range(shift=7):
    """206 from another place than was asked for, and it says so."""
    def act(handler):
        data, media_type = content(handler)
        first = int((re.match(r"bytes=(\d+)-", handler.headers.get("Range", "")) or [0, 0])[1]) + shift
        handler.reply(206, data[first:], {"Content-Type": media_type,
                                          "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"})
    return act


def lying_head(length):
    """Of HEAD: there, but of another size."""
    def act(handler):
        handler.body()
        handler.head(200, {"Content-Length": str(length)})
    return act


def swallowing(code=201):
    """Accepts and keeps nothing."""
    def act(handler):
        handler.reply(code, headers={"Location": "/v2/nowhere/blobs/sha256:" + hashlib.sha256(b"").hexdigest()})
    return act
