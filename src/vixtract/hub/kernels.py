"""Kernels of a person's server: why one was stopped, and the current database password."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from vixtract.hub import ENVIRONMENT

#: Seconds between the stop and the server's noticing that the kernel is gone.
RECENT_S = 60.0
_TAIL = 65536


class NoticeConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to a kernel that shows why the kernel was stopped, where known."""

    _running: dict[str, Any] | None = None

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Note which cell was sent last, and go on as the server does."""
        head = incoming_msg[:4096]
        if (b"execute_request" if isinstance(head, bytes) else "execute_request") in head:
            self._running = self._header(incoming_msg)
        super().handle_incoming_message(incoming_msg)

    def on_kernel_restarted(self) -> None:
        """Write the reason below the cell, before the page forgets that it runs."""
        self._tell()
        super().on_kernel_restarted()

    def on_restart_failed(self) -> None:
        """Write the reason where the kernel does not start again."""
        self._tell()
        super().on_restart_failed()

    def _tell(self) -> None:
        note = find_notice(runtime_directory(), self.kernel_id, time.time())
        if note:
            self.write_stderr(f"[ViXtract] {note}", self._running or {})

    def _header(self, message: Any) -> dict[str, Any] | None:
        try:
            if self.subprotocol == "v1.kernel.websocket.jupyter.org":
                _, parts = deserialize_msg_from_ws_v1(message)
                header: dict[str, Any] = self.get_part("header", None, parts)
                return header
            return dict(json.loads(message)["header"])
        except (ValueError, KeyError, TypeError, IndexError):
            return None


class FreshKernelManager(ServerKernelManager):
    """Starts a kernel with the variables that changed since the server started."""

    async def _async_pre_start_kernel(self, **options: Any) -> Any:
        fresh = read_environment(runtime_directory())
        if fresh:
            # Terminals take the server's own environment.
            os.environ.update(fresh)
            options["env"] = {**(options.get("env") or os.environ), **fresh}
        return await super()._async_pre_start_kernel(**options)


def read_environment(folder: Path) -> dict[str, str]:
    """Return the variables that a rotation of the secrets changed; empty without a rotation."""
    try:
        content = json.loads((folder / ENVIRONMENT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}


def runtime_directory() -> Path:
    """Return the person's own directory below /run."""
    return Path(os.environ.get("JUPYTER_RUNTIME_DIR", "/nonexistent"))


def find_notice(folder: Path, kernel: str, now: float) -> str:
    """Return the newest notice about a kernel of the last minute, or an empty text."""
    try:
        with (folder / "notices").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            notice = json.loads(line)
            if kernel in notice["kernels"] and now - notice["at"] < RECENT_S:
                return str(notice["text"])
        except (ValueError, KeyError, TypeError):
            continue
    return ""
