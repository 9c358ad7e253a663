"""Recordings by URL: from hosts that the server's owner has named, and from nowhere else."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from neucodec_tts.errors import AudioError

_TIMEOUT_SECONDS = 10.0  # without any news
_DOWNLOAD_SECONDS = 60.0  # in all


def fetch(url: str, hosts: Sequence[str], max_bytes: int) -> bytes:
    """Download a recording.

    Only by https, only from `hosts`, only from public addresses, and without following redirects. The address that is
    connected to is the one that was checked. A private address is fetched from only where `hosts` has that very
    address: what a name leads to may change, and not by the will of who wrote the name down.

    Raises:
        AudioError: it is refused, or cannot be had.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:  # such as half an IPv6 address
        raise AudioError("ref_audio is no URL that can be read") from error
    if parts.scheme != "https" or not host:
        raise AudioError(
            "ref_audio must be a data URL (data:audio/wav;base64,...), or https from an allowed host"
        )
    if host not in hosts:
        raise AudioError(
            f"ref_audio may not be fetched from {host!r:.100}; send it as a data URL, or let the owner of this server "
            "allow the host (NEUCODEC_TTS_REF_AUDIO_HOSTS)"
        )
    try:
        port = parts.port or 443
        address = _checked_address(host, port)
        connection = _Pinned(host, port, address)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Accept": "audio/*", "User-Agent": "neucodec-tts"})
            response = connection.getresponse()
            if response.status != 200:
                raise AudioError(f"{host} answered {response.status}; redirects are not followed")
            data = _read(response, max_bytes + 1)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"ref_audio could not be fetched from {host}: {type(error).__name__}") from error
    if len(data) > max_bytes:
        raise AudioError(f"ref_audio is larger than the {max_bytes:,} bytes that this server takes")
    return data


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    """Up to so many bytes, within the time that there is."""
    deadline = time.monotonic() + _DOWNLOAD_SECONDS
    data = bytearray()
    while len(data) < most and (part := response.read1(min(65536, most - len(data)))):
        data += part
        if time.monotonic() > deadline:
            raise TimeoutError(f"it took longer than {_DOWNLOAD_SECONDS:g} s")
    return bytes(data)


def _checked_address(host: str, port: int) -> str:
    with contextlib.suppress(ValueError):
        return str(
            ipaddress.ip_address(host)
        )  # no name: the owner of this server has allowed this very address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not ipaddress.ip_address(address.split("%")[0]).is_global:
            raise AudioError(f"{host} has a private address, from which nothing is fetched")
    return addresses[0]


class _Pinned(http.client.HTTPSConnection):
    """A connection to one address, for the name that its certificate must bear."""

    def __init__(self, host: str, port: int, address: str) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=_TIMEOUT_SECONDS, context=self._tls)
        self._address = address

    def connect(self) -> None:
        """Connect to the address."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
