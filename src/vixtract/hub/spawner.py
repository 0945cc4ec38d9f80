"""A person's JupyterLab server, with their OS account, groups and database role."""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Any as AnyTrait
from traitlets import Dict, Unicode

from vixtract.errors import VixtractError
from vixtract.hub import ENVIRONMENT
from vixtract.people import accounts
from vixtract.processes.limits import LAB, apply
from vixtract.processes.spawn import check_dropped

PREPARE_TIMEOUT_S = 15.0
ROLE_TIMEOUT_S = 6.0
LISTEN_PAUSE_S = 0.05
_SOCKET_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"


class ListenerError(VixtractError):
    """Another account listens where a person's server should."""


class PersonSpawner(LocalProcessSpawner):
    """Prepares account, groups and role before each start; the role may fail."""

    home_root = Unicode("/home", help="Directory of the homes.").tag(config=True)
    runtime_root = Unicode("/run/vixtract", help="Directory of sockets and connection files.").tag(
        config=True
    )
    person_environment = AnyTrait(help="Gives the variables of a name.").tag(config=True)
    ensure_role = AnyTrait(help="Makes the PostgreSQL role of a name; may block.").tag(config=True)
    limits = AnyTrait(LAB, help="What a person's processes may take.").tag(config=True)
    publish = AnyTrait(help="Writes the list of admins; may block.").tag(config=True)
    blocked = AnyTrait(help="Gives the names of people for whom nothing may run.").tag(config=True)
    admin_environment = Dict(help="Variables of administrators' servers.").tag(config=True)

    async def run_pre_spawn_hook(self) -> None:
        """Prepare, then run the operator's own hook, if there is one.

        Raises:
            AccountError: the person's account cannot be made; the spawn stops and says why.
        """
        await asyncio.wait_for(asyncio.to_thread(self._prepare_account), PREPARE_TIMEOUT_S)
        try:
            await asyncio.wait_for(asyncio.to_thread(self._prepare_services), ROLE_TIMEOUT_S)
        except Exception as error:
            # A notebook without a database is better than none; the provisioner goes on trying.
            self.log.warning(
                "No PostgreSQL role for %s yet: %s", self.user.name, error or "timeout"
            )
        result = super().run_pre_spawn_hook()
        if result is not None:
            await result

    async def start(self) -> Any:
        """Start the server; go on only when it is the person's own process that listens.

        Any account can open any port: another one could take the chosen port just before the
        server does, and would get the person's requests with their cookies. The Hub's own check
        would make the person wait for pauses of up to five seconds.

        Raises:
            ListenerError: another account listens there.
        """
        address = await super().start()
        own = accounts.ensure_account(self.user.name, Path(self.home_root)).pw_uid
        limit = time.monotonic() + self.http_timeout
        while time.monotonic() < limit and await self.poll() is None:
            found = find_listeners(self.port)
            if found - {own}:
                await self.stop(now=True)
                raise ListenerError(
                    f"Another account listens on port {self.port}, which was meant for "
                    f"{self.user.name}.",
                    "Start the server again; the log of jupyter shows which account it is.",
                )
            if found:
                break
            await asyncio.sleep(LISTEN_PAUSE_S)
        return address

    def get_env(self) -> dict[str, str]:
        """Return the server's environment; the operator's `c.Spawner.environment` wins."""
        env: dict[str, str] = super().get_env()
        home = Path(self.home_root) / self.user.name
        own = {
            "PATH": f"{home}/.local/bin:/usr/local/bin:/usr/bin:/bin",
            "JUPYTER_RUNTIME_DIR": str(self._runtime_directory()),
            "TMPDIR": str(self._runtime_directory() / "tmp"),
            **self.person_environment(self.user.name),
            **(self.admin_environment if self.user.admin else {}),
        }
        env.update({name: value for name, value in own.items() if name not in self.environment})
        return env

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Return what runs before the server: become the person, then make directories as them."""
        become = super().make_preexec_fn(name)
        limits = self.limits
        account = pwd.getpwnam(name)
        ids = account.pw_uid, account.pw_gid
        # What one admin installs, another must be able to upgrade.
        umask = 0o002 if self.user.admin else 0o022
        user_site = Path(self.home_root) / name / accounts.USER_SITE
        temporary = self._runtime_directory() / "tmp"

        def preexec() -> None:
            apply(limits)
            become()
            check_dropped(*ids)
            os.umask(umask)
            for directory in (user_site, temporary):
                try:
                    directory.mkdir(parents=True, exist_ok=True)
                except OSError:
                    continue  # the person has put something else there

        return preexec

    def _prepare_account(self) -> None:
        name, root = self.user.name, Path(self.home_root)
        if self.blocked and name in self.blocked():
            raise accounts.AccountError(f"{name} is disabled.", "An administrator can enable them.")
        account = accounts.ensure_account(name, root, create_home=True)
        accounts.set_admin(name, bool(self.user.admin))
        accounts.ensure_runs_link(name, root)
        directory = self._runtime_directory()
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, account.pw_uid, account.pw_gid)
        # The new server gets the present values from the Hub.
        (directory / ENVIRONMENT).unlink(missing_ok=True)

    def _prepare_services(self) -> None:
        self.publish()
        self.ensure_role(self.user.name)

    def _runtime_directory(self) -> Path:
        return Path(self.runtime_root, self.user.name)


def find_listeners(port: int, tables: tuple[Path, ...] = _SOCKET_TABLES) -> set[int]:
    """Return the uids of the accounts that listen on a TCP port.

    Source: https://www.kernel.org/doc/Documentation/networking/proc_net_tcp.txt
    """
    found = set()
    for table in tables:
        if not table.is_file():
            continue
        for line in table.read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(int(fields[7]))
    return found
