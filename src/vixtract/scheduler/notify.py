"""Mail and web hooks about runs that have ended, as an event's fields ask for.

`notify_success` and `notify_fail` are mail addresses, `web_hook` is an address that gets the run as
JSON (with `web_hook_error` on failures alone): Cronicle's fields and rules, so an abort by hand
sends no mail. Each message is tried for about an hour, with a deadline each time.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import urlsplit

from vixtract import addresses
from vixtract.errors import VixtractError
from vixtract.ledger import notices, runs
from vixtract.ledger.database import Database
from vixtract.ledger.notices import Notice
from vixtract.ledger.slots import ABORTED
from vixtract.settings import Settings

logger = logging.getLogger(__name__)

TIMEOUT_S = 15.0
LOOK_S = 1.0
# Seconds before the second, third … try; then the message is given up.
DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1800.0)
MAX_TEXT = 4000


class NotifyError(VixtractError):
    """A message was not accepted; the text says by which server and why."""


@dataclass(frozen=True)
class NotifyConfig:
    """How messages are sent.

    Args:
        host: mail server; empty where no mail is sent.
        sender: From address.
        user: login at the mail server; empty for none.
        security: `off`, `starttls` or `tls`.
        public_url: address of the appliance for links, without a slash at the end; may be empty.
    """

    host: str = ""
    port: int = 25
    sender: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    security: str = "off"
    public_url: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> NotifyConfig:
        """Read the settings that begin with SMTP_, and PUBLIC_URL."""
        return cls(
            settings["SMTP_HOST"],
            settings.integer("SMTP_PORT"),
            settings["SMTP_FROM"],
            settings["SMTP_USER"],
            settings["SMTP_PASSWORD"],
            settings["SMTP_SECURITY"],
            settings["PUBLIC_URL"].rstrip("/"),
        )


def find_targets(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the notices about a run that has ended: pairs of `mail` or `web_hook`, and target."""
    job, found = run["job"], []
    by_hand = run["outcome"] == ABORTED and "Manually" in run["description"]
    mail = job.get("notify_success" if run["code"] == 0 else "notify_fail") or ""
    if mail.strip() and not by_hand:
        found.append(("mail", mail.strip()))
    is_error = run["code"] % 255 != 0
    if job.get("web_hook") and (is_error or not job.get("web_hook_error")):
        found.append(("web_hook", job["web_hook"]))
    return found


def describe_run(run: Mapping[str, Any], config: NotifyConfig) -> dict[str, Any]:
    """Build the object that web hooks get; `text` and `content` are what chat servers show."""
    job, code = run["job"], run["code"]
    chain = (run["result"] or {}).get("chain_data") or {}
    word = "completed" if code == 0 else "completed with a warning" if code == 255 else "failed"
    if run["outcome"] == ABORTED:
        word = "was stopped"
    detail = f": {run['description'][:MAX_TEXT]}" if code and run["description"] else ""
    link = f"{config.public_url}/portal/runs/{run['id']}" if config.public_url else ""
    text = f"{job['title']} {word}{detail}" + (f" {link}" if link else "")
    return {
        "action": "job_complete",
        "id": run["id"],
        "event": run["event"],
        "event_title": job["title"],
        "username": run["username"],
        "source": run["source"],
        "code": code,
        "outcome": run["outcome"],
        "description": run["description"][:MAX_TEXT],
        "error": chain.get("error") or {},
        "time_start": run["time_start"],
        "time_end": run["time_end"],
        "elapsed": round(max(0.0, (run["time_end"] or 0) - (run["time_start"] or 0)), 3),
        "job_details_url": link,
        "text": text,
        "content": text,
    }


def build_mail(run: Mapping[str, Any], to: str, config: NotifyConfig) -> EmailMessage:
    """Write the mail about a run; `to` has addresses with commas between."""
    facts = describe_run(run, config)
    word = {0: "Succeeded", 255: "Warning"}.get(facts["code"], "Failed")
    lines = [facts["text"], ""]
    error = facts["error"]
    if error:
        lines += [f"Cell {error.get('cell')}: {error.get('name')}: {error.get('message')}", ""]
    lines += [
        f"Schedule: {facts['event_title']}",
        f"Run: {facts['id']}, as asked for by {facts['username']}",
        f"Took: {facts['elapsed']:.0f} s",
    ]
    message = EmailMessage()
    # A title is one printable line; a line break would begin a header of its own.
    title = re.sub(r"\s+", " ", str(facts["event_title"]))
    message["Subject"] = f"{word}: {title}"
    message["From"] = config.sender
    message["To"] = ", ".join(split_addresses(to))
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=config.sender.rpartition("@")[2] or "vixtract")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines))
    return message


def split_addresses(text: str) -> list[str]:
    """Return the addresses of a field, which commas or blanks separate."""
    return [part for part in re.split(r"[,\s]+", text) if part]


def send_mail(message: EmailMessage, config: NotifyConfig) -> None:
    """Hand a mail to the mail server; NotifyError when it does not accept it."""
    if not config.host:
        raise NotifyError("No mail server is set.", "Set SMTP_HOST.")
    context = ssl.create_default_context()
    try:
        if config.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                config.host, config.port, timeout=TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S)
        with server:
            if config.security == "starttls":
                server.starttls(context=context)
            if config.user:
                server.login(config.user, config.password)
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise NotifyError(f"{config.host}:{config.port}: {error}") from error


def find_address(host: str, port: int) -> str:
    """Return the first address of a web hook's host, or raise NotifyError for a refused one.

    Private networks are allowed, for that is where a company's chat server stands. The address
    that was checked is the one that is used, so a name cannot change its meaning in between.
    """
    try:
        found = addresses.resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise NotifyError(f"{host} cannot be found: {error}") from error
    own = addresses.own_addresses((*addresses.SERVICES, addresses.OWN_DATABASE))
    for address in found:
        if addresses.is_refused(address, own):
            raise NotifyError(f"{host} is {address}, which web hooks may not reach.")
    return found[0]


def call_web_hook(url: str, content: Mapping[str, Any]) -> None:
    """POST an object as JSON to an http or https address; redirects are not followed.

    Raises:
        NotifyError: the server cannot be reached or does not answer with a status of 200 to 299.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    address = find_address(host, port)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = json.dumps(content, ensure_ascii=False, default=str).encode()
    try:
        with socket.create_connection((address, port), TIMEOUT_S) as plain:
            sock = plain
            if is_tls:
                sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            # The socket's own limit is for each read; a server that answers byte by byte ends here.
            watchdog = threading.Timer(TIMEOUT_S, _cut, (sock,))
            watchdog.start()
            try:
                connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
                connection.sock = sock
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                status = connection.getresponse().status
                connection.close()
            finally:
                watchdog.cancel()
    except (OSError, http.client.HTTPException) as error:
        raise NotifyError(f"{host}:{port}: {error}") from error
    if not 200 <= status < 300:
        raise NotifyError(f"{host}:{port} answered with HTTP {status}")


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Notifier:
    """Sends notices, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        config: NotifyConfig,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._config = config
        self._now = wall_clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin."""
        notices.open_notices(self._database)
        self._thread.start()

    def stop(self) -> None:
        """End; what was not sent is sent after the next start."""
        self._stopping.set()
        self._thread.join(2.0)

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                while notices.collect_notices(self._database, find_targets) == notices.BLOCK:
                    continue
                for notice in notices.due_notices(self._database, self._now()):
                    if self._stopping.is_set():
                        return
                    self._deliver(notice)
            except Exception:
                logger.exception("the notifier failed; it tries again")

    def _deliver(self, notice: Notice) -> None:
        run = runs.get_run(self._database, notice.run)
        try:
            if run is not None:
                self._send(notice, run)
        except NotifyError as error:
            # A web hook's address may hold its secret: the log names the host alone.
            if notice.tries >= len(DELAYS_S):
                logger.error("%s about %s given up: %s", notice.kind, notice.run, error.message)
                notices.drop_notice(self._database, notice.id)
                return
            delay = DELAYS_S[notice.tries]
            logger.warning(
                "%s about %s: %s; again in %.0f s", notice.kind, notice.run, error.message, delay
            )
            notices.delay_notice(self._database, notice.id, self._now() + delay)
            return
        notices.drop_notice(self._database, notice.id)

    def _send(self, notice: Notice, run: Mapping[str, Any]) -> None:
        if notice.kind == "mail":
            send_mail(build_mail(run, notice.target, self._config), self._config)
        else:
            call_web_hook(notice.target, describe_run(run, self._config))
