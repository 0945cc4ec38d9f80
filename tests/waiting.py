"""The one polling helper and the one port picker of the tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    look: Callable[[], T], what: str, timeout_s: float = 120.0, interval_s: float = 0.5
) -> T:
    """Return the first true value of a look, or fail with what was last seen.

    Args:
        look: called until it returns something true; an exception counts as "not yet".
        what: what is awaited, for the message.
        timeout_s: seconds until the wait is given up: long, for busy machines are slow; shorter
            where what is awaited would come by itself, and must not be waited for.
        interval_s: seconds between looks.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            last: object = look()
        except Exception as error:
            last = error
        if last and not isinstance(last, Exception):
            return last  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last seen: {last!r}")
        time.sleep(interval_s)


def free_port() -> int:
    """Return a TCP port that is free on loopback at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
