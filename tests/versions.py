"""Oldest versions that may face strangers' bytes, each with the reason.

pip-audit says "no known vulnerabilities" behind a mirror that has no advisories, so what matters is
written down here. Reviewed 2026-11.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Every environment that ends in an image.
LOCKS = ("docker/base", "jupyter", "cronicle")

PYTHON = {
    "aiohttp": ("3.12.14", "CVE-2025-53643: request smuggling in chunked trailers"),
    "bleach": ("3.3.0", "CVE-2021-23980: mutation XSS; nbconvert cleans rendered notebooks with it"),
    "certifi": ("2024.7.4", "CVE-2024-39689: a distrusted authority"),
    "cryptography": ("44.0.1", "CVE-2024-12797: OpenSSL in the wheel accepts a wrong peer"),
    "fastapi": ("0.121.0", "takes starlette 0.49 and newer; older ones are bound to what CVE-2025-62727 hits"),
    "h11": ("0.16.0", "CVE-2025-43859: smuggling by malformed chunks; the portal and the engine"),
    "idna": ("3.7", "CVE-2024-3651: quadratic time for a long name"),
    "jinja2": ("3.1.6", "CVE-2025-27516: a template's way out; every page"),
    "jupyter-core": ("4.11.2", "CVE-2022-39286: runs configuration of the working directory"),
    "jupyter-server": ("2.14.1", "CVE-2024-35178 and CVE-2023-49080: paths and traces to strangers"),
    "jupyterhub": ("5.4.5", "CVE-2026-33709: open redirect; CVE-2024-41942: rights of admins"),
    "jupyterlab": ("4.4.8", "CVE-2025-59842, CVE-2024-43805: XSS by links and HTML in notebooks"),
    "lxml": ("4.9.1", "CVE-2022-2309: crash by a crafted document"),
    "mistune": ("2.0.3", "CVE-2022-34749: endless time for crafted Markdown"),
    "nbconvert": ("6.5.1", "CVE-2021-32862: XSS in rendered notebooks"),
    "oauthlib": ("3.2.1", "CVE-2022-36087: crash by a redirect address"),
    "pillow": ("11.3.0", "CVE-2025-48379: overflow when writing a picture"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: runs code of a file that is read"),
    "requests": ("2.32.4", "CVE-2024-47081: sends credentials to another host"),
    "starlette": ("0.49.1", "CVE-2025-62727: quadratic time by Range; CVE-2024-47874: forms without end"),
    "tornado": ("6.5.0", "CVE-2025-47287, CVE-2024-52804: a request stops the Hub"),
    "urllib3": ("2.6.0", "CVE-2025-66418, CVE-2025-66471: bombs of compression"),
}
NODE = {
    "configurable-http-proxy": ("5.0.0", "left the unmaintained http-proxy for http-proxy-3"),
    "follow-redirects": ("1.15.6", "CVE-2024-28849: sends credentials to another host"),
}
# Not kept up any more; nothing may bring them back.
GONE = ("http-proxy",)
# Service to Debian package to version; Debian carries fixes in its own revisions.
DEBIAN = {
    "nginx": {
        "nginx": ("1.26.3-3", "CVE-2025-23419: a session of TLS counts for another server"),
        "libssl3t64": ("3.5.1-1+deb13u1", "CVE-2025-9230: out of bounds"),
    },
    "jupyter": {
        "sudo": ("1.9.16p2-3", "CVE-2025-32463: --chroot gives root to everybody"),
        "nodejs": ("20.19.2", "CVE-2025-23166: a request stops the proxy"),
        "git": ("1:2.47.3", "CVE-2025-48384: runs code of a repository that is cloned"),
        "libssl3t64": ("3.5.1-1+deb13u1", "CVE-2025-9230: out of bounds"),
    },
    "cronicle": {"libssl3t64": ("3.5.1-1+deb13u1", "CVE-2025-9230: out of bounds")},
}
POSTGRESQL = ("17.6", "CVE-2025-8714, CVE-2025-8715: a dump runs code; CVE-2025-1094: quoting")


def number(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])


def read_lock(folder: str) -> dict[str, str]:
    """Return name to version of a lock file of Python packages."""
    text = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE))
