"""Ask the public registry whether it can be reached; its answer also tells the time."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass

REGISTRY = "https://registry-1.docker.io/v2/"
ANSWER_S = 5.0


@dataclass(frozen=True)
class Answer:
    """The answer, or why there is none.

    Args:
        status: HTTP status; 0 without an answer.
        date: header Date of the answer.
        untrusted: whether this machine does not know who signed the certificate.
    """

    status: int = 0
    date: str = ""
    problem: str = ""
    untrusted: bool = False


def ask_registry() -> Answer:
    """Ask the public registry by the environment's proxies; it answers 401 without a login."""
    opener = urllib.request.build_opener()
    try:
        with opener.open(REGISTRY, timeout=ANSWER_S) as response:
            return Answer(response.status, response.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers.get("Date", ""))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        untrusted = isinstance(reason, ssl.SSLCertVerificationError)
        return Answer(problem=str(reason)[:120], untrusted=untrusted)
