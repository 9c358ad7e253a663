"""A real S3 server on this machine, moto's, and a way to it that can be cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Way:
    """Forwards connections to the server, until it is cut.

    Attributes:
        connections: open ones, of both sides.
        passed: bytes that went to the server.
        cut_after: bytes after which it cuts itself.
    """

    port: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: list[socket.socket] = field(default_factory=list)
    passed: int = 0
    cut_after: float = float("inf")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.passed >= self.cut_after:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.port))
            self.connections += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self.passed += len(data)
                if self.passed >= self.cut_after:
                    self.cut()
                    return
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if counted:
            source.close()
            target.close()

    def cut(self) -> None:
        """Close all connections, and every new one."""
        self.cut_after = min(self.cut_after, self.passed)
        for each in self.connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def mend(self) -> None:
        self.cut_after = float("inf")


@contextmanager
def s3_server() -> Iterator[Way]:
    """Run the server; yields the way to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while True:
                assert process.poll() is None, "moto's server did not start"
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                    break
                time.sleep(0.05)
            way = Way(port)
            threading.Thread(target=way.serve, daemon=True).start()
            yield way
            way.listener.close()
        finally:
            process.kill()
