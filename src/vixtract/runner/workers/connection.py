"""The connection from the appliance to a worker: TLS with a key that both ends have.

The key proves each end to the other and encrypts what goes between; no certificates. Only cipher
suites with that key and a fresh exchange are offered: a server without the key is never talked to,
and a key that leaks later does not decrypt recorded connections.
"""

from __future__ import annotations

import select
import socket
import ssl

PORT = 3013
IDENTITY = "vixtract"
KEY_NAME = "worker_key"
CONNECT_S = 5.0
_CIPHERS = "ECDHE-PSK-CHACHA20-POLY1305"
_CHUNK = 65536
_HIGH_WATER = 1024 * 1024
_TICK_S = 0.5
# A machine that has gone away is noticed after idle + interval * count seconds.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))
_UNANSWERED_MS = 30_000


def make_context(side: int, key: str) -> ssl.SSLContext:
    """Make the TLS settings of one side: PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER of `ssl`."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Python supports shared keys well in TLS 1.2 only.
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    secret = key.encode()
    if side == ssl.PROTOCOL_TLS_CLIENT:
        context.set_psk_client_callback(lambda _: (IDENTITY, secret))
    else:
        # An empty key refuses the connection.
        context.set_psk_server_callback(lambda name: secret if name == IDENTITY else b"")
    return context


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel notice when the other machine has gone away."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)


def connect(address: tuple[str, int], key: str) -> ssl.SSLSocket:
    """Return a connection to a worker whose ends have proved the secret `worker_key` to each other.

    Raises:
        OSError: it cannot be reached, or has another key.
    """
    plain = socket.create_connection(address, CONNECT_S)
    try:
        keep_alive(plain)
        return make_context(ssl.PROTOCOL_TLS_CLIENT, key).wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def read_line(connection: socket.socket, limit: int = 4096) -> bytes:
    """Return one line without its end, or what came before the connection closed."""
    line = bytearray()
    while len(line) < limit:
        byte = connection.recv(1)
        if byte in (b"", b"\n"):
            break
        line += byte
    return bytes(line)


class Pump:
    """Copies bytes in both directions until one end closes; `outer` leads to the other machine."""

    def __init__(self, inner: socket.socket, outer: ssl.SSLSocket) -> None:
        self._ends = (inner, outer)
        self._waiting = {inner: bytearray(), outer: bytearray()}

    def put(self, data: bytes) -> None:
        """Queue bytes for the other machine."""
        self._waiting[self._ends[1]] += data

    def run(self) -> None:
        """Copy until one end has closed and everything it sent has been passed on."""
        inner, outer = self._ends
        inner.setblocking(False)
        outer.setblocking(False)
        while True:
            readers = [e for e in self._ends if len(self._waiting[self._other(e)]) < _HIGH_WATER]
            writers = [e for e in self._ends if self._waiting[e]]
            pending = outer in readers and outer.pending()
            ready, free, _ = select.select(readers, writers, [], 0 if pending else _TICK_S)
            if pending and outer not in ready:
                ready.append(outer)
            for end in free:
                if not self._send(end):
                    return
            for end in ready:
                if not self._receive(end):
                    self._finish(self._other(end))
                    return

    def _other(self, end: socket.socket) -> socket.socket:
        return self._ends[1] if end is self._ends[0] else self._ends[0]

    def _receive(self, end: socket.socket) -> bool:
        try:
            data = end.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        self._waiting[self._other(end)] += data
        return bool(data)

    def _send(self, end: socket.socket) -> bool:
        waiting = self._waiting[end]
        try:
            sent = end.send(bytes(waiting[:_CHUNK]))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        del waiting[:sent]
        return True

    def _finish(self, end: socket.socket) -> None:
        """Send what is left, within a time limit."""
        end.settimeout(5.0)
        try:
            end.sendall(bytes(self._waiting[end]))
        except OSError:
            return
