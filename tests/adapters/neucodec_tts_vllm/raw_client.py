"""Clients as they should not be: sockets whose every byte is in a test's hands."""

from __future__ import annotations

import json
import re
import socket
import struct
from typing import Any
from urllib.parse import urlsplit


def request(server, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    """A request with its head, as it goes over the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\nContent-Length: {len(body)}\r\n"
    )
    head += f"Content-Type: {kind}\r\nAuthorization: {server.headers['Authorization']}\r\n\r\n"
    return head.encode() + body


def post(server, path: str, values: dict[str, Any]) -> bytes:
    """A request with a JSON body."""
    return request(server, "POST", path, json.dumps(values).encode())


def connect(server, *, receive_buffer: int | None = None) -> socket.socket:
    """A connection; with a small receive buffer its peer soon notices that nobody reads."""
    address = urlsplit(server.url)
    connection = socket.socket()
    connection.settimeout(120)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((address.hostname, address.port))
    return connection


def hang_up(connection: socket.socket, *, rudely: bool = False) -> None:
    """Close it; rudely, so that the peer gets a reset instead of an end."""
    if rudely:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_until(connection: socket.socket, wanted: bytes, data: bytes = b"") -> bytes:
    """Read until something has come; returns all that was read.

    Raises:
        ConnectionError: the connection ended before.
    """
    while wanted not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"ended after {data[-300:]!r}")
        data += part
    return data


def read_answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of so many answers with a length, one after the other on one connection."""
    answers, data = [], b""
    for _ in range(count):
        data = read_until(connection, b"\r\n\r\n", data)
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"])
        while len(data) < length:
            part = connection.recv(65536)
            if not part:
                raise ConnectionError(f"ended after {data[-300:]!r}")
            data += part
        code = re.fullmatch(r"HTTP/1\.1 (\d+) .*", status)
        assert code is not None
        answers.append((int(code[1]), headers, data[:length]))
        data = data[length:]
    return answers
