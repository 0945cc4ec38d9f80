"""Encryption of stored values: Fernet (AES-128-CBC with HMAC-SHA256), with a key file of root's.

The file `connection_key` has one key a line, the newest first. Values are encrypted with the first
key and decrypted with any, so that a change of keys may be interrupted at any point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vixtract.files import ensure_secret, write_whole
from vixtract.vault.errors import VaultError

KEY_FILE = "connection_key"


class Cipher:
    """Encrypts and decrypts the values of one store.

    Args:
        directory: usually /srv/secrets; a missing key is made there.
    Raises:
        VaultError: the key file has no valid key.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fernet = _load(directory)

    def encrypt(self, row: Sequence[str], values: Mapping[str, str]) -> bytes:
        """Encrypt the values of a connection, which only the same row can decrypt."""
        return self._fernet.encrypt(json.dumps({"row": list(row), "values": dict(values)}).encode())

    def decrypt(self, row: Sequence[str], token: bytes) -> dict[str, str]:
        """Return the values of a connection.

        Raises:
            VaultError: the key or the connection is another one, or the text was changed.
        """
        try:
            content = self._open(token)
        except InvalidToken:
            raise VaultError(
                "The connection cannot be decrypted.",
                f"Put the file {KEY_FILE} back from the backup that this store belongs to.",
            ) from None
        if content["row"] != list(row):
            raise VaultError("The stored connection belongs to another name.", "Type it again.")
        return {str(name): str(value) for name, value in content["values"].items()}

    def _open(self, token: bytes) -> dict[str, Any]:
        try:
            text = self._fernet.decrypt(token)
        except InvalidToken:
            # The keys may have been changed since this process read them.
            self._fernet = _load(self._directory)
            text = self._fernet.decrypt(token)
        content: dict[str, Any] = json.loads(text)
        return content


def add_key(directory: Path) -> None:
    """Put a new key before the present ones, which can still decrypt."""
    keys = _read(directory)
    write_whole(directory / KEY_FILE, "\n".join([Fernet.generate_key().decode(), *keys]) + "\n")


def drop_old_keys(directory: Path) -> None:
    """Delete all keys but the newest; call it when all values are encrypted with that one."""
    write_whole(directory / KEY_FILE, _read(directory)[0] + "\n")


def _read(directory: Path) -> list[str]:
    return ensure_secret(directory, KEY_FILE).split()


def _load(directory: Path) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in _read(directory)])
    except ValueError:
        raise VaultError(
            f"{directory / KEY_FILE} holds no key.", "Put it back from a backup."
        ) from None
