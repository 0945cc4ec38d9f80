"""Asks the public registry whether it is there; its answer also tells the time."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

REGISTRY = "https://registry-1.docker.io/v2/"
ANSWER_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What asking led to.

    Args:
        status: HTTP status; 0 where nobody answered.
        date: the answer's Date.
        problem: why nobody answered.
        untrusted: whether the certificate was not signed by anybody known here.
    """

    status: int = 0
    date: str = ""
    problem: str = ""
    untrusted: bool = False


def ask_registry(environment: Mapping[str, str]) -> Answer:
    """Ask the public registry for nothing in particular; it answers 401 to strangers.

    Args:
        environment: variables, of which the proxies count.
    """
    proxies = {}
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        value = environment.get(name) or environment.get(name.upper())
        if value:
            proxies[scheme] = value
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(REGISTRY, timeout=ANSWER_S) as response:
            return Answer(response.status, response.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers.get("Date", ""))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        untrusted = isinstance(reason, ssl.SSLCertVerificationError)
        return Answer(problem=str(reason)[:120], untrusted=untrusted)
