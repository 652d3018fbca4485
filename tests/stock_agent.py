# SPDX-License-Identifier: Apache-2.0
"""The stock agent, played: service Agent without a package, by Google's gRPC and protobuf, which know nothing of ours.

    stock_agent.py ADDRESS

ADDRESS: where gRPC listens (unix:PATH). Commands run as who started it, in this machine. Prints "ready".
"""

import concurrent.futures
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ADDRESS = "10.11.12.13"  # what it resolves
CHUNK = 16384

# as the stock agent's service is described; an older one: Command has no detach, env and workdir
MESSAGES = {
    "IOChunk": [("data", 1, "bytes")],
    "TerminalSize": [("rows", 1, "uint32"), ("cols", 2, "uint32")],
    "Command": [("name", 1, "string"), ("args", 2, "string*"), ("interactive", 3, "bool"), ("tty", 4, "bool"),
                ("terminal_size", 5, "TerminalSize")],
    "ExecRequest": [("command", 1, "Command"), ("standard_input", 2, "IOChunk"), ("terminal_resize", 3, "TerminalSize")],
    "Exit": [("code", 1, "int32")],
    "ExecResponse": [("exit", 1, "Exit"), ("standard_output", 2, "IOChunk"), ("standard_error", 3, "IOChunk")],
    "ResolveIPRequest": [],
    "ResolveIPResponse": [("ip", 1, "string")],
}
ONE_OF = ("ExecRequest", "ExecResponse")


def describe():
    file = descriptor_pb2.FileDescriptorProto(name="agent.proto", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in ONE_OF:
            message.oneof_decl.add(name="type")
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, kind
            else:
                field.type = getattr(field, "TYPE_" + kind.upper())
            if name in ONE_OF:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(name)) for name in MESSAGES}


Message = describe()


def set_size(fd, size):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))


class Job:
    """One command, its input fed by a thread of its own."""

    def __init__(self, command):
        words = [command.name, *command.args]
        self.tty = command.tty
        if command.tty:
            self.terminal, slave = pty.openpty()
            set_size(self.terminal, command.terminal_size)
            self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            os.close(slave)
            self.outputs = {"standard_output": self.terminal}
        else:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE if command.interactive else subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
            self.outputs = {"standard_output": self.process.stdout.fileno(),
                            "standard_error": self.process.stderr.fileno()}

    def feed(self, requests):
        try:
            for request in requests:
                self.take(request)
        except (grpc.RpcError, BrokenPipeError, ValueError):
            pass

    def take(self, request):
        data = request.standard_input.data
        if request.HasField("terminal_resize"):
            set_size(self.terminal, request.terminal_resize)
        elif self.tty:
            os.write(self.terminal, data or b"\x04")
        elif data:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        else:
            self.process.stdin.close()

    def read(self, fd):
        try:
            return os.read(fd, CHUNK)
        except OSError:  # a terminal that nobody has open any more
            return b""

    def answer(self):
        """Output as it comes: one after the other here, which the tests' small errors bear."""
        for name, fd in self.outputs.items():
            while data := self.read(fd):
                yield Message["ExecResponse"](**{name: Message["IOChunk"](data=data)})
        code = self.process.wait()
        yield Message["ExecResponse"](exit=Message["Exit"](code=code if code >= 0 else 128 - code))


def run(requests, context):
    job = Job(next(requests).command)
    context.add_callback(lambda: job.process.poll() is None and job.process.kill())
    threading.Thread(target=job.feed, args=(requests,), daemon=True).start()
    yield from job.answer()


def resolve(_request, _context):
    return Message["ResolveIPResponse"](ip=ADDRESS)


def serve(address):
    handlers = {
        "Exec": grpc.stream_stream_rpc_method_handler(run, Message["ExecRequest"].FromString,
                                                      Message["ExecResponse"].SerializeToString),
        "ResolveIP": grpc.unary_unary_rpc_method_handler(resolve, Message["ResolveIPRequest"].FromString,
                                                         Message["ResolveIPResponse"].SerializeToString),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Agent", handlers),))
    server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1])
