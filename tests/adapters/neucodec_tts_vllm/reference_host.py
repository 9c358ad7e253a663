"""A host on this machine that recordings are fetched from by https, with a certificate of its own."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def make_certificate(folder: Path) -> Path:
    """Write a certificate for localhost and 127.0.0.1 with its key, to be trusted for itself; returns its file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class ReferenceHost(ThreadingHTTPServer):
    """Serves one recording at ``/voice.flac``, and other things that are none.

    Attributes:
        recording: its bytes.
        asked: paths that were asked for.
    """

    daemon_threads = True

    def __init__(self, recording: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.recording = recording
        self.asked: list[str] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.server_address[1]}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients hang up here, which is what the tests are about


class _Handler(BaseHTTPRequestHandler):
    server: ReferenceHost

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/voice.flac?of=dave":
            self._send(200, self.server.recording)
        elif self.path == "/moved":
            self._send(302, b"", location="/voice.flac?of=dave")
        elif self.path == "/page":
            self._send(200, b"<html>no recording</html>")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(65536))
        else:
            self._send(404, b"")

    def _send(self, status: int, data: bytes, location: str | None = None) -> None:
        self.send_response(status)
        if location is not None:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def reference_host(certificate: Path, recording: bytes) -> Iterator[ReferenceHost]:
    """Serve until the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    host = ReferenceHost(recording)
    # In each connection's own thread, so that one that fails holds up no other.
    host.socket = context.wrap_socket(host.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        thread.join()
        host.server_close()
