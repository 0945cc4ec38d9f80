"""Where the value of a secret setting comes from: the environment, a file, or the secrets volume.

A value in a container's environment is shown by `docker inspect`; so each secret setting NAME may
also come as NAME_FILE, the path of a file, or lie as a file of its name in `DELIVERED`, where
`./vixtract up` puts it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vixtract.errors import SettingsError
from vixtract.settings_table import SETTINGS

#: In the volume `secrets`, 0700 root like all of it.
DELIVERED = Path("/srv/secrets/settings")
SECRET_NAMES = tuple(setting.name for setting in SETTINGS if setting.is_secret)
FILE_NAMES = tuple(f"{name}_FILE" for name in SECRET_NAMES)
_LONGEST = 4096

#: Shorter values are not masked: documented defaults such as `admin` are words that people write.
SHORTEST_MASKED = 8
MASK = "********"


def with_secrets(
    environment: Mapping[str, str], *, root: Path = Path("/"), delivered: Path | None = DELIVERED
) -> dict[str, str]:
    """Return an environment in which the secret settings have their values.

    Args:
        root: what relative paths of NAME_FILE are relative to.
        delivered: directory with a file per setting; None where there is none.
    Raises:
        SettingsError: a setting is given twice, or its file cannot be read; all are named.
    """
    values, problems = dict(environment), []
    for name in SECRET_NAMES:
        file = environment.get(f"{name}_FILE", "")
        try:
            if file and environment.get(name):
                problems.append(f"both {name} and {name}_FILE are set")
            elif file:
                values[name] = _read(root / file)
            elif delivered is not None and not environment.get(name):
                kept = delivered / name
                # Empty: the setting's default, as with an empty variable.
                values[name] = _read(kept) if kept.is_file() else ""
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            problems.append(f"{name}_FILE={file or kept}: {why}")
    if problems:
        raise SettingsError(
            "Wrong settings: " + "; ".join(problems),
            "A file of a secret holds the value alone; set either the value or the file.",
        )
    return values


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    text = content.decode("utf-8").strip("\r\n")
    if not text or len(content) > _LONGEST or "\n" in text or "\0" in text:
        raise ValueError("is empty or not one line")
    return text


def _list_forms(values: list[str]) -> list[bytes]:
    """Return each secret as it is, as in a URL, as in JSON, and in base64, longest first."""
    forms = set()
    for value in values:
        if len(value) >= SHORTEST_MASKED:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            encoded = base64.b64encode(value.encode()).decode().rstrip("=")
            forms |= {value, quote(value, safe=""), escaped, encoded}
    return sorted((form.encode() for form in forms), key=lambda form: (-len(form), form))


class Masker:
    """Replaces secrets in a stream of bytes, also those that two pieces of it share.

    Args:
        values: secrets; those under `SHORTEST_MASKED` characters are left alone.
    """

    def __init__(self, values: list[str]) -> None:
        self._forms = _list_forms(values)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return masked text of which no secret can be a part any more."""
        text = self.mask(self._held + data)
        keep = self._undecided(text)
        self._held = text[len(text) - keep :] if keep else b""
        return text[: len(text) - keep]

    def flush(self) -> bytes:
        """Return what was held back: the stream has ended, or has been silent for a while."""
        held, self._held = self._held, b""
        return held

    def mask(self, data: bytes) -> bytes:
        """Mask a whole text."""
        for form in self._forms:
            data = data.replace(form, MASK.encode())
        return data

    def mask_text(self, text: str) -> str:
        """Mask a whole text."""
        return self.mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def mask_json(self, value: Any) -> Any:
        """Mask every text in a JSON value, but no key."""
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, dict):
            return {key: self.mask_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.mask_json(item) for item in value]
        return value

    @property
    def holds(self) -> bool:
        """Whether a part of the stream is held back."""
        return bool(self._held)

    def _undecided(self, text: bytes) -> int:
        """Return the length of the longest end of the text that may begin a secret."""
        longest = max((len(form) for form in self._forms), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(form.startswith(end) for form in self._forms):
                return length
        return 0


def known_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets in the environment of a person's process, to be masked in its output.

    `VIXTRACT_MASKED` may name more variables, separated by blanks.
    """
    names = ("PGPASSWORD", "JUPYTERHUB_API_TOKEN", *environment.get("VIXTRACT_MASKED", "").split())
    return [environment[name] for name in names if environment.get(name)]
