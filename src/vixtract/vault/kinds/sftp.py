"""SFTP servers, by paramiko."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from vixtract.vault.connection import CONNECT_S, Connection
from vixtract.vault.errors import VaultError
from vixtract.vault.fields import HOST, PASSWORD, USER, Field, make_port, mark
from vixtract.vault.kind import Kind
from vixtract.vault.probe_results import ProbeResult, find_meaning
from vixtract.vault.remote_files import RemoteFile


class HostKeyError(VaultError):
    """The server's key is not the one in the connection, or the connection has none."""

    def __init__(self, fingerprint: str, expected: str) -> None:
        if expected:
            super().__init__(
                f"The server's key is {fingerprint}, not {expected}.",
                "It may be another server: ask its operator before you change the connection.",
            )
        else:
            super().__init__(
                f"The server's key is not known yet: it is {fingerprint}.",
                "Compare it with what the server's operator says, and enter it in the connection.",
            )
        self.fingerprint, self.expected = fingerprint, expected

    def __reduce__(self) -> tuple[type[HostKeyError], tuple[str, str]]:
        """Pickle with both keys."""
        return type(self), (self.fingerprint, self.expected)


class Sftp(Connection):
    """An SFTP server, whose key must be the one in the connection."""

    kind: ClassVar[str] = "sftp"

    @property
    def url(self) -> str:
        """The server's address, without the password."""
        return f"sftp://{self.user}@{self.host}:{self.port}/{self.folder.lstrip('/')}"

    def client(self, *, timeout_s: float = CONNECT_S) -> Any:
        """Return a paramiko client that starts in `folder`; closing it ends the connection.

        Args:
            timeout_s: for each step of the login.
        Raises:
            HostKeyError: the server's key is not the one in the connection.
            paramiko.AuthenticationException: the server does not take the login.
        """
        import paramiko

        class Client(paramiko.SFTPClient):
            """A client that ends its connection too."""

            def close(self) -> None:
                """Close the channel and the connection below it."""
                super().close()
                transport.close()

        server = socket.create_connection((self.host, self.port_number), timeout_s)
        transport = paramiko.Transport(server)
        try:
            transport.banner_timeout = transport.auth_timeout = timeout_s
            transport.start_client(timeout=timeout_s)
            self._check_key(transport.get_remote_server_key().asbytes())
            if self.private_key:
                key = read_private_key(self.private_key, self.passphrase)
                transport.auth_publickey(self.user, key)
            else:
                transport.auth_password(self.user, self.password)
            client = Client.from_transport(transport)
            if client is None:
                raise VaultError("The server gives no SFTP.")
            if self.folder:
                client.chdir(self.folder)
        except BaseException:
            transport.close()
            raise
        return client

    def file(self, path: str) -> RemoteFile:
        """Return a file for petl; its path begins at `folder`."""
        return RemoteFile(self._open, path)

    @contextmanager
    def _open(self, path: str, mode: str) -> Iterator[Any]:
        with self.client() as client, client.open(path, mode) as file:
            if mode == "rb":
                file.prefetch()
            yield file

    def _check_key(self, key: bytes) -> None:
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        found, expected = f"SHA256:{digest}", self.host_key.rstrip("=")
        if not hmac.compare_digest(found, expected):
            raise HostKeyError(found, expected)


def read_private_key(text: str, passphrase: str = "") -> Any:
    """Read a private key of any type that paramiko knows, in PEM or OpenSSH's own form.

    Raises:
        VaultError: the text is not such a key, or the passphrase is wrong.
    """
    import paramiko

    for make in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return make.from_private_key(io.StringIO(text), passphrase or None)
        except paramiko.PasswordRequiredException:
            raise VaultError("The private key needs its passphrase.") from None
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise VaultError(
        "The private key cannot be read with this passphrase.",
        "It must be RSA, ECDSA or Ed25519, in OpenSSH's or PEM form.",
    )


class SftpKind(Kind):
    """The kind for SFTP servers."""

    title = "SFTP"
    connection = Sftp
    fields = (
        HOST,
        make_port("22"),
        USER,
        PASSWORD,
        Field(
            "private_key",
            mark("Private key"),
            mark("The whole text of the file. Leave the password empty then."),
            rule="key",
            secret=True,
            longest=20000,
        ),
        Field("passphrase", mark("Passphrase of the key"), secret=True),
        Field(
            "host_key",
            mark("Fingerprint of the server’s key"),
            mark("Begins with SHA256:. Leave it empty and press “Test” to see it."),
            rule="fingerprint",
            destination=True,
            longest=60,
        ),
        Field(
            "folder",
            mark("Folder"),
            mark("The start folder; if empty, the server chooses."),
            longest=1000,
        ),
    )
    meanings: ClassVar[Mapping[str, str]] = {
        r"AuthenticationException|BadAuthenticationType": "wrong_login",
        r"FileNotFoundError|No such file": "no_folder",
        r"PermissionError|Permission denied": "no_right",
        r"timed out|TimeoutError": "late",
    }
    results: ClassVar[Mapping[str, str]] = {
        "no_folder": mark("The login is correct, but the folder does not exist."),
        "new_host_key": mark(
            "The connection has no fingerprint of the server’s key yet. If the server’s operator"
            " confirms this one, enter it below."
        ),
        "other_host_key": mark(
            "The server’s key is not the one in this connection. It may be another server: ask its"
            " operator."
        ),
        "bad_key": mark("The private key cannot be read, or its passphrase is wrong."),
    }

    def find_missing(self, values: Mapping[str, str], kept: Collection[str]) -> Collection[str]:
        """Return the password, if there is no private key either."""
        logins = ("password", "private_key")
        return [] if any(values.get(name) or name in kept for name in logins) else ["password"]

    def test(self, connection: Any) -> None:
        """Begin to list the folder."""
        with connection.client(timeout_s=8.0) as client:
            # An empty folder has no first entry.
            next(client.listdir_iter(".", read_aheads=1), None)

    def explain(self, error: BaseException) -> ProbeResult:
        """Return what an error means; a wrong server's key comes with its fingerprint."""
        if isinstance(error, HostKeyError):
            code = "other_host_key" if error.expected else "new_host_key"
            return ProbeResult(code, error.fingerprint)
        if isinstance(error, VaultError):
            return ProbeResult("bad_key", str(error))
        return find_meaning(error, self.meanings)


KIND = SftpKind()
