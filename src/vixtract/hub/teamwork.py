"""Teams in every part of the appliance: OS group, folder, PostgreSQL role and schema."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.hub.lifecycle import Report
from vixtract.hub.provisioner import DatabaseServer
from vixtract.people import retire, sharing, teams
from vixtract.people.archive import Packer
from vixtract.vault import owners


@dataclass(frozen=True)
class Teamwork:
    """Changes of teams. All methods block, and may run again."""

    server: DatabaseServer
    home_root: Path
    packer: Packer | None = None
    secrets: Path = Path("/srv/secrets")

    def list_teams(self) -> list[dict[str, Any]]:
        """Return all teams by name, with members and folder."""
        found = teams.read_teams(self.home_root)
        return [
            {
                "name": name,
                "members": list(team.members),
                "folder": str(self.home_root / teams.FOLDERS / name),
                "published": not team.is_private,
                "database": name if team.has_database else "etl",
            }
            for name, team in sorted(found.items())
        ]

    def members(self, name: str) -> list[str]:
        """Return a team's members."""
        return list(teams.find_team(name, self.home_root).members)

    def add(self, name: str, *, is_private: bool, has_database: bool) -> Report:
        """Make a team, or change what an existing one has.

        Raises:
            InvalidNameError: the name is malformed, reserved or a person's.
        """
        team = teams.add_team(
            name, self.home_root, is_private=is_private, has_database=has_database
        )
        report = Report()
        folder = self.home_root / teams.FOLDERS / name
        report.lines.append(f"folder: {folder}, for members alone (group {team.gid})")
        report.step("PostgreSQL", lambda: self.ensure_role(team))
        return report

    def ensure_role(self, team: teams.Team) -> str:
        """Make a team's role, schema and memberships in PostgreSQL; return the line to report."""
        conninfo, name = self.server.conninfo, team.name
        sharing.ensure_team_role(conninfo, name, is_private=team.is_private)
        if team.has_database:
            sharing.ensure_team_database(conninfo, name, is_private=team.is_private)
        for person in team.members:
            sharing.set_member(conninfo, name, person, is_member_wanted=True)
        seen = "not seen by BI" if team.is_private else "read by BI"
        more = f", and database {name}" if team.has_database else ""
        return f"group role {name} and schema {name} in database etl{more}, {seen}"

    def change(self, name: str, person: str, *, is_member: bool) -> Report:
        """Put a person into a team, or take them out.

        Raises:
            TeamError: the team does not exist.
        """
        teams.set_member(name, person, self.home_root, is_member=is_member)
        report = Report()
        text = f"{person} is in {name}, in Lab from the next start of their server, folder"
        report.lines.append(
            f"folder: {text} team-{name}" if is_member else f"folder: {person} left {name}"
        )

        def change() -> str:
            conninfo = self.server.conninfo
            sharing.set_member(conninfo, name, person, is_member_wanted=is_member)
            return f"{person} {'owns' if is_member else 'does not own'} the tables of {name} too"

        report.step("PostgreSQL", change)
        return report

    def remove(self, name: str) -> Report:
        """Remove a team: its folder is archived, its tables stay for those who read them.

        Raises:
            TeamError: the team does not exist.
        """
        teams.find_team(name, self.home_root)
        now = datetime.datetime.now(datetime.timezone.utc)
        report = Report()

        def archive() -> str:
            group = sharing.TEAMS_GROUP
            archived = retire.archive_role(self.server.conninfo, name, now, group)
            return f"schema {name} stays for readers, as {archived}" if archived else ""

        def forget() -> str:
            deleted = owners.forget_owner("team", name, who="operator", directory=self.secrets)
            return f"{len(deleted)} deleted: {', '.join(deleted)}" if deleted else ""

        # Last: without its entry in the list of teams a removal could not be finished.
        done = report.step("PostgreSQL", archive)
        if report.step("connections", forget) and done:
            report.step("folder", lambda: self._archive_folder(name))
        return report

    def _archive_folder(self, name: str) -> str:
        target = teams.remove_team(name, self.home_root)
        if self.packer:
            self.packer.wake()
        return f"{target}.tar.gz once it is packed, for root alone" if target else ""

    def ensure_all(self) -> None:
        """Make all parts of all teams again: a volume may have been replaced."""
        teams.ensure_teams(self.home_root)
        for team in teams.read_teams(self.home_root).values():
            self.ensure_role(team)
