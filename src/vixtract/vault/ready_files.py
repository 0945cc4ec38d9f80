"""Files elsewhere: S3 by pyarrow, SFTP by paramiko."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from vixtract.vault.errors import VaultError
from vixtract.vault.ready import AUTHORITIES, CONNECT_S, Ready


class HostKeyError(VaultError):
    """The server's key is not the one that was noted, or none was.

    Args:
        fingerprint: of the key that the server has.
        expected: the noted one, or empty.
    """

    def __init__(self, fingerprint: str, expected: str) -> None:
        if expected:
            super().__init__(
                f"The server's key is {fingerprint}, not {expected}.",
                "It may be another server: ask its operator before you change the connection.",
            )
        else:
            super().__init__(
                f"The server's key is not known yet: it is {fingerprint}.",
                "Compare it with what the server's operator says, and note it in the connection.",
            )
        self.fingerprint, self.expected = fingerprint, expected

    def __reduce__(self) -> tuple[type[HostKeyError], tuple[str, str]]:
        """Pickle with both keys."""
        return type(self), (self.fingerprint, self.expected)


@dataclass(frozen=True)
class RemoteFile:
    """A file as petl takes it: `petl.fromcsv(crm.file("in/sales.csv"))`.

    Args:
        place: the connection.
        path: of the file.
    """

    place: Ready
    path: str

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[Any]:
        """Open the file.

        Args:
            mode: `rb` or `wb`.
        """
        if mode not in {"rb", "wb"}:
            raise VaultError(f"A remote file cannot be opened as {mode!r}.", "Use 'rb' or 'wb'.")
        with self.place._open(self.path, mode) as file:  # type: ignore[operator]
            yield file


class S3(Ready):
    """An S3 store, of Amazon or another."""

    kind: ClassVar[str] = "s3"

    @property
    def url(self) -> str:
        """`s3://bucket`, or nothing where the connection names no bucket."""
        return f"s3://{self.bucket}" if self.bucket else ""

    @property
    def storage_options(self) -> dict[str, str]:
        """What polars takes: `polars.read_parquet("s3://…", storage_options=…)`."""
        options = {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_region": self.region,
        }
        if self.address:
            options["aws_endpoint_url"] = self.address
            options["aws_allow_http"] = str(self.address.startswith("http://")).lower()
        return options

    def client(self, **options: Any) -> Any:
        """Return a file system of pyarrow, which pandas takes as `filesystem=`.

        Args:
            options: of `pyarrow.fs.S3FileSystem`.
        """
        from pyarrow.fs import S3FileSystem

        own: dict[str, Any] = {
            "access_key": self.access_key, "secret_key": self.secret_key, "region": self.region,
            "connect_timeout": CONNECT_S, "request_timeout": 60.0, "tls_ca_file_path": AUTHORITIES,
        }  # fmt: skip
        if self.address:
            parts = urlsplit(self.address)
            own["endpoint_override"] = parts.netloc + parts.path.rstrip("/")
            own["scheme"] = parts.scheme
        return S3FileSystem(**{**own, **options})

    def file(self, path: str) -> RemoteFile:
        """Return a file for petl.

        Args:
            path: below the connection's bucket, or `bucket/path` where it names none.
        """
        return RemoteFile(self, path)

    def _open(self, path: str, mode: str) -> Any:
        full = f"{self.bucket}/{path}" if self.bucket else path
        # A small file then goes in one request.
        system = self.client(allow_delayed_open=True)
        if mode == "rb":
            return io.BufferedReader(system.open_input_file(full))
        return system.open_output_stream(full)


class Sftp(Ready):
    """A server with SFTP, whose key must be the noted one."""

    kind: ClassVar[str] = "sftp"

    @property
    def url(self) -> str:
        """The server's address, without the password."""
        return f"sftp://{self.user}@{self.host}:{self.port}/{self.folder.lstrip('/')}"

    def client(self, *, timeout_s: float = CONNECT_S) -> Any:
        """Return a client of paramiko; closing it ends the connection. It starts in `folder`.

        Args:
            timeout_s: for each step of the login.
        Raises:
            HostKeyError: the server's key is not the noted one.
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
        """Return a file for petl.

        Args:
            path: of the file, from `folder` on.
        """
        return RemoteFile(self, path)

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
    """Read a private key of any make that paramiko knows.

    Args:
        text: PEM, or OpenSSH's own.
        passphrase: empty where the key has none.
    Raises:
        VaultError: it is no such key, or the passphrase is wrong.
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
