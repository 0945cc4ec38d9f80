"""The operator's calls about people, teams and readers: POST to `/hub/vixtract/people/<action>`.

Only administrators and the service `operator` may call. Blocking work runs in threads. An answer is
{"lines": […], "problems": […]}, with further fields of some actions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from vixtract.errors import VixtractError
from vixtract.hub import teamwork
from vixtract.hub.lifecycle import Lifecycle, Report
from vixtract.hub.sessions import end_sessions, stop_servers
from vixtract.hub.state import Plan
from vixtract.people import readers
from vixtract.people.teams import read_teams, teams_of

Answer = dict[str, Any]


class PeopleCall(APIHandler):
    """The handler of all actions; the address names the action."""

    @property
    def lifecycle(self) -> Lifecycle:
        """The parts of the appliance outside the Hub."""
        life: Lifecycle = self.authenticator.get_lifecycle()
        return life

    @needs_scope("admin:users")
    async def post(self, action: str) -> None:
        """Run the action."""
        body = self.get_json_body() or {}
        method = _ACTIONS.get(action)
        if method is None or not isinstance(body, dict):
            raise web.HTTPError(404, "There is no such action.")
        caller = self.current_user
        if getattr(caller, "kind", "user") == "user" and not getattr(caller, "admin", False):
            raise web.HTTPError(403, "Only administrators may do this.")
        try:
            answer = await method(self, body)
        except VixtractError as error:
            raise web.HTTPError(400, f"{error.message} {error.hint}".strip()) from error
        self.log.info("%s: %s %s", caller.name, action, body.get("name", ""))
        self.set_header("Content-Type", "application/json")
        self.write(answer)

    def find_person(self, body: Mapping[str, Any], field: str = "name") -> Any:
        """Return the Hub's user that a call names.

        Raises:
            HTTPError: 404 where there is none.
        """
        name = body.get(field)
        user = self.find_user(name) if isinstance(name, str) and name else None
        if user is None:
            raise web.HTTPError(404, f"There is no person {str(name)[:40]!r}.")
        return user

    def find_staying(self, body: Mapping[str, Any]) -> Any:
        """Return the user that a call names.

        Raises:
            HTTPError: 404 where there is none, 400 where their removal has begun.
        """
        user = self.find_person(body)
        if self.lifecycle.state.plan(user.name):
            raise web.HTTPError(
                400, f"{user.name} is being removed. Finish it: ./vixtract user remove {user.name}"
            )
        return user

    def protect(self, user: Any) -> None:
        """Refuse to lock out the last administrator who can log in."""
        blocked = self.lifecycle.state.blocked()
        admins = {row.name for row in self.db.query(orm.User).filter(orm.User.admin)}
        if user.admin and not admins - blocked - {user.name}:
            raise web.HTTPError(
                400, f"{user.name} is the only administrator. Make another person one first."
            )

    async def lock_out(self, user: Any, report: Report) -> None:
        """End logins and servers of a person who is blocked already."""
        tokens = end_sessions(self.db, user)
        servers = await stop_servers(self, user)
        # The server's own token was made anew if it was just starting.
        end_sessions(self.db, user)
        report.lines.append(
            f"Hub: login is closed, {tokens} tokens and all cookies are void, "
            f"{servers} server{'' if servers == 1 else 's'} stopped"
        )


async def _list(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    state, store = call.lifecycle.state, call.authenticator.store
    local, initial = store.names(), store.first_names()
    states = (("leaving", state.leaving()), ("disabled", state.disabled()))
    people = []
    for row in call.db.query(orm.User).order_by(orm.User.name):
        name, active = row.name, row.last_activity
        password = "first" if name in initial else "set" if name in local else "none"
        people.append(
            {
                "name": name,
                "admin": bool(row.admin),
                "state": next((word for word, names in states if name in names), "active"),
                "password": password,
                "teams": [team.name for team in teams_of(name, call.lifecycle.home_root)],
                "last_activity": active and active.isoformat(timespec="seconds"),
            }
        )
    return {"people": people}


async def _provision(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    user = call.find_staying(body)
    return _show(await asyncio.to_thread(call.lifecycle.provision, user.name))


async def _disable(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    user = call.find_staying(body)
    call.protect(user)
    # First of all: from here on no login succeeds.
    call.lifecycle.state.set_disabled(user.name, True)
    report = Report()
    await call.lock_out(user, report)
    return _show(report, await asyncio.to_thread(call.lifecycle.disable, user.name))


async def _enable(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    user = call.find_staying(body)
    return _show(await asyncio.to_thread(call.lifecycle.enable, user.name))


async def _leave(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    """Remove a person everywhere but in the Hub's own table; its DELETE follows."""
    user = call.find_person(body)
    call.protect(user)
    to = str(body.get("hand_over_to") or "")
    keep = bool(body.get("keep_home"))
    if to and keep:
        raise web.HTTPError(400, "Files can be kept or handed over, not both.")
    if to:
        receiver = call.find_person(body, "hand_over_to")
        if receiver.name == user.name or receiver.name in call.lifecycle.state.blocked():
            raise web.HTTPError(400, f"{to} cannot get what {user.name} owns.")
    plan = call.lifecycle.state.plan(user.name) or Plan(keep, to)
    call.lifecycle.state.set_plan(user.name, plan)
    report = Report()
    await call.lock_out(user, report)
    return _show(report, await asyncio.to_thread(call.lifecycle.leave, user.name, plan))


async def _end(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    """End a person's logins and servers, as after a reset of the password."""
    report = Report()
    await call.lock_out(call.find_person(body), report)
    return _show(report)


async def _team(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    action, name = str(body.get("action")), str(body.get("name") or "")
    work = teamwork.Teamwork(call.lifecycle.server, call.lifecycle.home_root, call.lifecycle.packer)
    if action == "list":
        return {"teams": await asyncio.to_thread(work.list_teams)}
    if action == "add":
        people = {row.name for row in call.db.query(orm.User)}
        if name in people:
            raise web.HTTPError(400, f"{name!r} is a person's name.")
        options = {"is_private": bool(body.get("private"))}
        options["has_database"] = bool(body.get("database"))
        return _show(await asyncio.to_thread(work.add, name, **options))
    if action == "remove":
        members = await asyncio.to_thread(work.members, name)
        report = await asyncio.to_thread(work.remove, name)
        await _stop_members(call, members, report)
        return _show(report)
    if action not in ("join", "leave"):
        raise web.HTTPError(404, "There is no such action.")
    user = call.find_person(body, "person")
    report = await asyncio.to_thread(work.change, name, user.name, is_member=action == "join")
    if action == "leave":
        await _stop_members(call, [user.name], report)
    return _show(report)


async def _stop_members(call: PeopleCall, names: list[str], report: Report) -> None:
    """Stop the servers of people who left a team: a process keeps the groups that it began with."""
    for name in names:
        user = call.find_user(name)
        stopped = await stop_servers(call, user) if user is not None else 0
        if stopped:
            report.lines.append(f"Lab: the server of {name} was stopped: it could read on")


async def _reader(call: PeopleCall, body: Mapping[str, Any]) -> Answer:
    action, name = str(body.get("action")), str(body.get("name") or "")
    conninfo = call.lifecycle.server.conninfo
    if action == "list":
        return {"readers": await asyncio.to_thread(readers.list_readers, conninfo)}
    if action == "add":
        if call.find_user(name) is not None or name in read_teams(call.lifecycle.home_root):
            raise web.HTTPError(400, f"{name!r} is the name of a person or team.")
        wanted = readers.Reader(
            name, tuple(str(item) for item in body.get("schemas") or ()), bool(body.get("all"))
        )
        return await asyncio.to_thread(readers.add_reader, conninfo, wanted)
    if action == "passwd":
        password = await asyncio.to_thread(readers.reset_password, conninfo, name)
        return {"lines": [f"PostgreSQL: {name} has a new password"], "password": password}
    if action == "remove":
        await asyncio.to_thread(readers.remove_reader, conninfo, name)
        return {"lines": [f"PostgreSQL: {name} is removed, its sessions are ended"]}
    raise web.HTTPError(404, "There is no such action.")


def _show(*reports: Report) -> Answer:
    return {
        "lines": [line for report in reports for line in report.lines],
        "problems": [problem for report in reports for problem in report.problems],
    }


_ACTIONS: Mapping[str, Callable[..., Any]] = {
    "list": _list,
    "provision": _provision,
    "disable": _disable,
    "enable": _enable,
    "leave": _leave,
    "end": _end,
    "team": _team,
    "reader": _reader,
}

HANDLERS = [("/vixtract/people/([a-z]+)", PeopleCall)]
