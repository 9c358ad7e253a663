"""A real S3 server on this machine, moto's, and a way to it that can be cut."""

from __future__ import annotations

import os
import select
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
        connections: open ones, of a client and to the server.
        passed: bytes that went to the server.
        cut_after: bytes after which it cuts itself.
    """

    port: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
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
            self.connections.append((client, server))
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self.passed += len(data)
                if self.passed >= self.cut_after:
                    self.cut()
                    return
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)  # it still does and answers what it has been asked

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with suppress(OSError):  # of a client that is gone
                    client.sendall(data)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with suppress(ValueError):  # it was cut
            self.connections.remove((client, server))

    def settle(self) -> None:
        """Wait until clients that are gone are answered: what a killed run asked for last may be done after it."""
        while any(_gone(client) for client, _ in list(self.connections)):
            time.sleep(0.005)

    def cut(self) -> None:
        """Close all connections, and every new one."""
        self.cut_after = min(self.cut_after, self.passed)
        for pair in list(self.connections):
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def mend(self) -> None:
        self.cut_after = float("inf")


def _gone(client: socket.socket) -> bool:
    """True if the other side has closed a connection. What it sent before may still be unread."""
    try:
        poll = select.poll()
        poll.register(client, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))
    except (OSError, ValueError):  # closed here, a moment ago
        return False


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
