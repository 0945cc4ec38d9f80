"""Disabling, enabling and removing a person in every part of the appliance.

Each step reports one line, does what is left to do, and may run again: a part that is away is
reported as a problem, and the next try finishes it. The Hub's own part (login, tokens, servers) is
in `vixtract.hub.people_calls`.
"""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.hub.provisioner import DatabaseServer
from vixtract.hub.state import PeopleState, Plan
from vixtract.people import accounts, archive, retire, teams
from vixtract.people.names import FIRST_UID
from vixtract.scheduler import handover as schedules
from vixtract.scheduler.client import SchedulerClient
from vixtract.vault import owners

log = logging.getLogger(__name__)


@dataclass
class Report:
    """The results of steps: a line for each that was done, a problem for each that failed."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def step(self, what: str, act: Callable[[], str]) -> bool:
        """Do one step, note how it went, and return whether it succeeded.

        Args:
            what: part of the appliance, for the beginning of the line.
            act: returns the rest of the line, or an empty text for no line.
        """
        try:
            text = act()
        except VixtractError as error:
            self.problems.append(f"{what}: {error.message} {error.hint}".strip())
            return False
        except Exception as error:
            # The other steps must be done all the same.
            log.exception("%s", what)
            self.problems.append(f"{what}: unexpected {type(error).__name__}: {error}")
            return False
        if text:
            self.lines.append(f"{what}: {text}")
        return True


@dataclass
class Lifecycle:
    """What is kept of people outside the Hub's own tables. All methods block.

    `publish` writes who is an administrator and who is blocked.
    """

    state: PeopleState
    server: DatabaseServer
    scheduler: SchedulerClient
    publish: Callable[[], None]
    packer: archive.Packer
    home_root: Path = Path("/home")
    runtime_root: Path = Path("/run/vixtract")
    secrets: Path = Path("/srv/secrets")

    def provision(self, name: str) -> Report:
        """Make a person's PostgreSQL role now, and report account and role."""
        report = Report()
        report.step("account", lambda: self._describe_account(name))
        done = f"role and schema {name} in database etl"
        report.step("PostgreSQL", lambda: self._ensure_role(name, done))
        return report

    def disable(self, name: str) -> Report:
        """Lock a person out of every part; nothing that they own is changed."""
        self.state.set_disabled(name, True)
        report = Report()
        report.step("administrators' list", self._publish)
        self._pause(report, name)
        report.step("PostgreSQL", lambda: self._lock_role(name))
        report.step("processes", lambda: self._end_processes(name))
        return report

    def enable(self, name: str) -> Report:
        """Let a disabled person in again, with the schedules that were on."""
        self.state.set_disabled(name, False)
        report = Report()
        report.step("administrators' list", self._publish)

        def resume() -> str:
            paused = self.state.paused(name)
            events = schedules.resume(self.scheduler, name, paused).events if paused else ()
            self.state.forget_paused(name)
            return f"{len(events)} switched on again"

        done = f"role {name} may log in"
        report.step("PostgreSQL", lambda: self._ensure_role(name, done))
        report.step("schedules", resume)
        return report

    def leave(self, name: str, plan: Plan) -> Report:
        """Remove a person: hand over or archive what they own. May run again until all is done.

        A removal that has begun goes on by the plan that it began with.
        """
        plan = self.state.plan(name) or plan
        self.state.set_plan(name, plan)
        now = datetime.datetime.now(datetime.timezone.utc)
        report = Report()
        report.step("administrators' list", self._publish)
        paused = self._pause(report, name)
        report.step("processes", lambda: self._end_processes(name))
        report.step("PostgreSQL", lambda: self._retire_role(name, plan, now))
        report.step("teams", lambda: self._leave_teams(name))
        report.step("connections", lambda: self._give_connections(name, plan))
        moved = report.step("home", lambda: self._move_home(name, plan))
        if paused and moved:
            report.step("schedules", lambda: self._give_schedules(name, now))
        report.step("account", lambda: self._remove_account(name))
        return report

    # Steps.

    def _describe_account(self, name: str) -> str:
        account = accounts.ensure_account(name, self.home_root)
        return f"{name} (uid {account.pw_uid}), home {account.pw_dir}"

    def _ensure_role(self, name: str, done: str) -> str:
        self.server.ensure_role(name)
        return done

    def _publish(self) -> str:
        self.publish()
        return ""

    def _pause(self, report: Report, name: str) -> bool:
        def pause() -> str:
            done = schedules.pause(self.scheduler, name)
            self.state.add_paused(name, done.events)
            return f"{len(done.events)} switched off, {done.jobs} runs ended"

        return report.step("schedules", pause)

    def _lock_role(self, name: str) -> str:
        found = retire.lock_role(self.server.conninfo, name)
        return f"role {name} may not log in, its sessions are ended" if found else "no role"

    def _end_processes(self, name: str) -> str:
        try:
            uid = (self.home_root / name).lstat().st_uid
        except FileNotFoundError:
            return ""
        count = accounts.end_processes(lambda owner: owner == uid) if uid >= FIRST_UID else 0
        return f"{count} ended" if count else "none is left"

    def _retire_role(self, name: str, plan: Plan, now: datetime.datetime) -> str:
        conninfo, to = self.server.conninfo, plan.hand_over_to
        if to:
            self.server.ensure_role(to)
            done = retire.hand_over_role(conninfo, name, to, now)
            return f"schema {name} and all tables belong to {to}" if done else ""
        archived = retire.archive_role(conninfo, name, now)
        return f"schema {name} stays for readers, as {archived}, who cannot log in" * bool(archived)

    def _leave_teams(self, name: str) -> str:
        left = teams.teams_of(name, self.home_root)
        for team in left:
            teams.set_member(team.name, name, self.home_root, is_member=False)
        return f"left {', '.join(team.name for team in left)}" if left else ""

    def _give_connections(self, name: str, plan: Plan) -> str:
        to, place = plan.hand_over_to, self.secrets
        if to:
            moved = owners.hand_over("person", name, "person", to, who="operator", directory=place)
            return f"{len(moved)} belong to {to}" if moved else ""
        deleted = owners.forget_owner("person", name, who="operator", directory=place)
        return f"{len(deleted)} deleted: {', '.join(deleted)}" if deleted else ""

    def _move_home(self, name: str, plan: Plan) -> str:
        if not plan.hand_over_to:
            folder = "kept" if plan.keep_home else "archive"
            target = archive.take_home(name, self.home_root, folder)
            self.packer.wake()
            packed = "" if plan.keep_home else ".tar.gz once it is packed"
            return f"{target}{packed}, for root alone" if target else ""
        folder = plan.folder
        if not folder:
            folder = archive.choose_folder(name, plan.hand_over_to, self.home_root)
            self.state.set_plan(name, replace(plan, folder=folder))
        target = archive.hand_over_home(name, plan.hand_over_to, folder, self.home_root)
        return str(target) if target else ""

    def _give_schedules(self, name: str, now: datetime.datetime) -> str:
        plan = self.state.plan(name) or Plan()
        keys = schedules.delete_keys(self.scheduler, name)
        deleted = f", {keys} keys of the scheduler deleted" if keys else ""
        if not plan.hand_over_to:
            done = schedules.archive(self.scheduler, name, now)
            return f"{len(done.events)} stay switched off, for administrators{deleted}"
        enabled = self.state.paused(name)
        done = schedules.hand_over(self.scheduler, name, plan.hand_over_to, plan.folder, enabled)
        return f"{len(done.events)} belong to {plan.hand_over_to}{deleted}"

    def _remove_account(self, name: str) -> str:
        uids = [uid for left, uid in archive.list_left(self.home_root) if left == name]
        removed = [uid for uid in uids if accounts.remove_account(name, uid)]
        directory = self.runtime_root / name
        if directory.is_dir() and not directory.is_symlink():
            shutil.rmtree(directory, ignore_errors=True)
        return f"{name} (uid {removed[0]}) is removed; the uid is not used again" if removed else ""
