"""Pages of schedules: list, form, delete, and the buttons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from vixtract.portal.errors import FormError
from vixtract.portal.form import TEXT_FIELDS, ScheduleForm, build_event, read_event
from vixtract.portal.models import Schedule
from vixtract.portal.web import (
    ChangingDeskDep,
    DeskDep,
    LanguageDep,
    get_pages,
    go_to,
    make_page,
    now,
    read_form,
)
from vixtract.portal.when import KINDS
from vixtract.scheduler.timing import next_due

router = APIRouter(include_in_schema=False)
NEXT_TIMES = 5


@lru_cache(maxsize=1)
def list_zones() -> list[str]:
    """Name all time zones; looking for them reads some hundred files."""
    return sorted(available_timezones())


def list_next(schedule: Schedule, timezone: str, count: int) -> list[Any]:
    """Return when a schedule runs next, as aware times in its own zone.

    Args:
        schedule: a disabled one runs never.
        timezone: zone of schedules that name none.
        count: how many at most.
    """
    if not schedule.enabled:
        return []
    return next_due(schedule.timing, schedule.timezone or timezone, now(), count)


@router.get("/", response_class=HTMLResponse)
async def show_schedules(request: Request, desk: DeskDep) -> Response:
    """Show the person's schedules."""
    schedules = await run_in_threadpool(desk.list_schedules)
    timezone = get_pages(request).config.timezone
    rows = [
        (schedule, next(iter(list_next(schedule, timezone, 1)), None)) for schedule in schedules
    ]
    return make_page(request, "schedules.html", desk.person, {"rows": rows})


@router.get("/schedules/new", response_class=HTMLResponse)
async def show_new(request: Request, desk: DeskDep, notebook: str = "") -> Response:
    """Show the empty form; Lab names the notebook in the address."""
    path = notebook[:1024].strip().removeprefix("~/").removeprefix(f"/home/{desk.person.name}/")
    form = ScheduleForm(
        notebook=path,
        title=PurePosixPath(path).stem[:200],
        owner=desk.person.name,
        timezone=get_pages(request).config.timezone,
    )
    return _make_form(request, desk, form, {})


@router.post("/schedules/new", response_class=HTMLResponse)
async def create(request: Request, desk: ChangingDeskDep, language: LanguageDep) -> Response:
    """Store a new schedule, or show what is wrong with it."""
    form = read_typed(
        await read_form(request), ScheduleForm(owner=desk.person.name), desk.person.admin
    )
    try:
        event = build_event(form, language)
        identifier = await run_in_threadpool(desk.create_schedule, event)
    except FormError as error:
        return _make_form(request, desk, form, error.problems)
    return go_to(f"/schedules/{identifier}", notice="saved")


@router.get("/schedules/{identifier}", response_class=HTMLResponse)
async def show_schedule(request: Request, desk: DeskDep, identifier: str) -> Response:
    """Show one schedule: its form and when it runs next."""
    schedule = await run_in_threadpool(desk.find_schedule, identifier)
    form = read_event(schedule.event, get_pages(request).config.timezone)
    return _make_form(request, desk, form, {}, schedule)


@router.post("/schedules/{identifier}", response_class=HTMLResponse)
async def update(
    request: Request, desk: ChangingDeskDep, language: LanguageDep, identifier: str
) -> Response:
    """Change a schedule, or show what is wrong with the change."""
    schedule = await run_in_threadpool(desk.find_schedule, identifier)
    before = read_event(schedule.event, get_pages(request).config.timezone)
    if not desk.person.admin:
        # What somebody changes runs with their rights, in their home.
        before = replace(before, owner=desk.person.name)
    form = read_typed(await read_form(request), before, desk.person.admin)
    try:
        event = build_event(form, language)
        await run_in_threadpool(desk.update_schedule, identifier, event)
    except FormError as error:
        return _make_form(request, desk, form, error.problems, schedule)
    return go_to(f"/schedules/{identifier}", notice="saved")


@router.post("/schedules/{identifier}/run")
async def run_now(desk: ChangingDeskDep, identifier: str) -> RedirectResponse:
    """Start a schedule now and show the run."""
    started = await run_in_threadpool(desk.run_schedule, identifier)
    if not started.run:
        return go_to("/runs", notice="queued")
    return go_to(f"/runs/{started.run}", notice="queued" if started.waiting else "started")


@router.post("/schedules/{identifier}/enable")
async def enable(desk: ChangingDeskDep, identifier: str) -> RedirectResponse:
    """Let a schedule run by itself."""
    await run_in_threadpool(desk.set_enabled, identifier, True)
    return go_to("/", notice="enabled")


@router.post("/schedules/{identifier}/disable")
async def disable(desk: ChangingDeskDep, identifier: str) -> RedirectResponse:
    """Let a schedule run no more by itself."""
    await run_in_threadpool(desk.set_enabled, identifier, False)
    return go_to("/", notice="disabled")


@router.get("/schedules/{identifier}/delete", response_class=HTMLResponse)
async def ask_delete(request: Request, desk: DeskDep, identifier: str) -> Response:
    """Ask whether a schedule is really to go."""
    schedule = await run_in_threadpool(desk.find_schedule, identifier)
    return make_page(request, "delete.html", desk.person, {"schedule": schedule})


@router.post("/schedules/{identifier}/delete")
async def delete(desk: ChangingDeskDep, identifier: str) -> RedirectResponse:
    """Delete a schedule."""
    await run_in_threadpool(desk.delete_schedule, identifier)
    return go_to("/", notice="deleted")


def read_typed(typed: Mapping[str, list[str]], before: ScheduleForm, admin: bool) -> ScheduleForm:
    """Lay what was typed over the form as it was; absent boxes are unticked.

    Args:
        typed: fields of the request.
        before: the form as it was; its plugin stays, and its owner where the person is no admin.
        admin: whether the person may name an owner.
    """
    texts = {name: typed[name][0][:100_000] for name in TEXT_FIELDS if typed.get(name)}
    if not admin or not texts.get("owner", "").strip():
        texts.pop("owner", None)
    return replace(
        before,
        **texts,
        weekdays=tuple(typed.get("weekdays", [])[:7]),
        catch_up="catch_up" in typed,
        enabled="enabled" in typed,
    )


def _make_form(
    request: Request,
    desk: DeskDep,
    form: ScheduleForm,
    problems: Mapping[str, str],
    schedule: Schedule | None = None,
) -> HTMLResponse:
    timezone = get_pages(request).config.timezone
    values = {
        "form": form,
        "problems": problems,
        "schedule": schedule,
        "kinds": KINDS,
        "zones": list_zones(),
        "next_times": list_next(schedule, timezone, NEXT_TIMES) if schedule else [],
    }
    return make_page(request, "schedule.html", desk.person, values, 422 if problems else 200)
