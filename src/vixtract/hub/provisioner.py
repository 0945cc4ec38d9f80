"""Databases and roles, made in the background: PostgreSQL may start later, or empty."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people import roles
from vixtract.people.archive import generation
from vixtract.people.database_tls import DatabaseTls

log = logging.getLogger(__name__)

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 30.0
FULL_PASS_S = 600.0
"""Seconds between passes over all people: PostgreSQL's volume may have been replaced."""


@dataclass(frozen=True)
class DatabaseServer:
    """PostgreSQL as the superuser sees it.

    Args:
        role_key: secret that the passwords of people are made from.
        tls: what its certificate is made from; None leaves its TLS alone.
        is_public: whether others can reach the appliance: no documented password then.
    """

    conninfo: str
    bi_password: str
    role_key: str
    host: str = "postgresql"
    port: int = 5432
    home_root: Path = Path("/home")
    tls: DatabaseTls | None = None
    is_public: bool = False

    def __repr__(self) -> str:
        return f"DatabaseServer({self.host}:{self.port})"

    def ensure_databases(self) -> None:
        """Make databases, groups and service logins, and switch TLS on.

        Raises:
            CertificateError: there is no certificate to hand over.
            RoleError: PostgreSQL is away or refuses.
        """
        roles.ensure_databases(self.conninfo, key=self.role_key, bi_password=self.bi_password)
        # A volume made with the documented password, on an appliance that was opened since.
        if self.is_public and roles.void_documented_password(self.conninfo):
            log.warning("PostgreSQL's superuser had the documented password; it has none now.")
        if self.tls is not None:
            self.tls.ensure_served(self.conninfo)

    def ensure_role(self, name: str) -> None:
        """Make a person's role and schema; errors as `roles.ensure_role`."""
        roles.ensure_role(
            self.conninfo, name, key=self.role_key, generation=generation(name, self.home_root)
        )

    def person_environment(self, name: str) -> dict[str, str]:
        """Return the variables with which a person's programs connect."""
        password = roles.role_password(self.role_key, name, generation(name, self.home_root))
        return roles.login_environment(name, password, host=self.host, port=self.port)


class Provisioner:
    """One daemon thread that keeps PostgreSQL in step with the Hub's users.

    `list_names` and `ensure_more` are called in the thread at each full pass.
    """

    def __init__(
        self,
        server: DatabaseServer,
        list_names: Callable[[], Iterable[str]],
        ensure_more: Callable[[], None] | None = None,
    ) -> None:
        self._server = server
        self._list_names = list_names
        self._ensure_more = ensure_more
        self._wake = threading.Event()
        self._stop = False
        self._lock = threading.Lock()
        self._added: set[str] = set()
        self._last_problem = ""
        self._thread = threading.Thread(target=self._run, name="provisioner", daemon=True)

    def start(self) -> None:
        """Start the thread; the first full pass begins at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """End the thread after the statement that it is at."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout_s)

    def add(self, name: str) -> None:
        """Ask for a person's role; returns at once."""
        with self._lock:
            self._added.add(name)
        self._wake.set()

    def _run(self) -> None:
        everything = True
        delay = FIRST_RETRY_S
        while not self._stop:
            self._wake.clear()
            if self._pass(everything):
                everything, delay, wait = False, FIRST_RETRY_S, FULL_PASS_S
            else:
                everything, wait, delay = True, delay, min(delay * 2, LONGEST_RETRY_S)
            if not self._wake.wait(wait):
                everything = True

    def _pass(self, everything: bool) -> bool:
        """Do what is asked for; return whether all of it is done."""
        with self._lock:
            names = set(self._added)
        try:
            if everything:
                self._server.ensure_databases()
                names |= set(self._list_names())
            problems = self._provision(names)
            if everything and self._ensure_more:
                self._ensure_more()
        except VixtractError as error:
            problems = [error.message]
        except Exception:
            # The thread must live as long as the Hub: whatever it was, the next pass tries again.
            log.exception("Provisioning failed")
            problems = ["unexpected error"]
        self._report(problems)
        return not problems

    def _provision(self, names: Iterable[str]) -> list[str]:
        problems = []
        for name in sorted(names):
            try:
                self._server.ensure_role(name)
            except VixtractError as error:
                problems.append(f"{name}: {error.message}")
            else:
                with self._lock:
                    self._added.discard(name)
        return problems

    def _report(self, problems: list[str]) -> None:
        """Log a problem once, not with every pass."""
        problem = "; ".join(problems)
        if problem and problem != self._last_problem:
            log.warning("PostgreSQL is not provisioned yet: %s", problem)
        if not problem and self._last_problem:
            log.info("PostgreSQL is provisioned.")
        self._last_problem = problem
