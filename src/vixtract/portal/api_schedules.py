"""Schedules as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.api import INVALID, MISSING, REFUSED, router
from vixtract.portal.api_runs import RunOut, show_run_model
from vixtract.portal.board import Card
from vixtract.portal.desk import Desk
from vixtract.portal.errors import FormError
from vixtract.portal.form import ScheduleForm, build_event, read_event
from vixtract.portal.language import Language
from vixtract.portal.library import LibraryError, explain
from vixtract.portal.models import Schedule
from vixtract.portal.overview import make_overview
from vixtract.portal.schedule_form import clean_path, get_library, preview
from vixtract.portal.schedules import list_next
from vixtract.portal.web import ChangingDeskDep, DeskDep, LanguageDep, PersonDep, get_pages
from vixtract.portal.when import describe_timing

__all__ = ["router"]


class ScheduleOut(BaseModel):
    """A schedule."""

    id: str
    title: str
    plugin: str
    owner: str
    author: str
    notebook: str
    timing: dict[str, list[int]] | bool
    when: str = Field(description="The timing in words, in the language asked for")
    timezone: str
    enabled: bool
    next: list[datetime]
    parameters: dict[str, Any]
    kernel: str
    timeout_minutes: int
    memory_mb: int
    retries: int
    retry_delay_minutes: int
    catch_up: bool
    pinned: str = Field(description="SHA-256 of the pinned copy that runs; empty for the newest")
    notify_fail: str
    notify_success: str
    web_hook: str
    web_hook_error: bool = Field(description="Whether the web hook gets failures alone")
    last: RunOut | None


class ScheduleIn(BaseModel):
    """A schedule to store; fields left out keep their value, or get the default."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(default=None, max_length=200)
    notebook: str | None = Field(default=None, description="Path below the owner's home")
    owner: str | None = Field(default=None, description="Admins only: whose notebook it is")
    timing: dict[str, list[int]] | bool | None = Field(
        default=None,
        description="Lists of minutes, hours, days, weekdays (0 is Sunday), months, years; "
        "false for only by hand",
    )
    timezone: str | None = None
    parameters: dict[str, Any] | None = None
    kernel: str | None = None
    timeout_minutes: int | None = None
    memory_mb: int | None = None
    retries: int | None = None
    retry_delay_minutes: int | None = None
    catch_up: bool | None = None
    enabled: bool | None = None
    cron: str | None = Field(
        default=None, max_length=200, description="Five fields, in place of `timing`"
    )
    pin: bool | None = Field(
        default=None, description="true pins the notebook as it is now; false runs the newest"
    )
    notify_fail: str | None = Field(default=None, description="Mail addresses, with commas")
    notify_success: str | None = None
    web_hook: str | None = None
    web_hook_error: bool | None = None


class Choice(BaseModel):
    """The form's fields that say when."""

    kind: str = "daily"
    minute: str = "0"
    time: str = "06:00"
    weekdays: list[str] = []
    day: str = "1"
    date: str = ""
    cron: str = ""
    timing: str = ""
    timezone: str = ""


class TimeOut(BaseModel):
    """A time at which something would run."""

    at: datetime
    text: str = Field(description="In the zone that was chosen and the language asked for")


class NextOut(BaseModel):
    """When a choice would run."""

    when: str
    next: list[TimeOut]
    problems: dict[str, str] = Field(description="Field to what is wrong with it")


class NotebooksOut(BaseModel):
    """What can be scheduled."""

    notebooks: list[str]
    kernels: dict[str, str] = Field(description="Name to title")


class ParameterOut(BaseModel):
    """One variable of a notebook's parameters cell."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: str
    default: Any
    help: str
    choices: list[Any]
    required: bool


class InspectionOut(BaseModel):
    """What a notebook says about itself."""

    model_config = ConfigDict(from_attributes=True)

    parameters: list[ParameterOut]
    kernel: str
    problem: str


class CardOut(BaseModel):
    """A schedule in the overview."""

    id: str
    title: str
    last: RunOut | None = Field(description="The last run that has ended")
    next: datetime | None
    late: datetime | None = Field(description="Since when a run is missing")


class DiskOut(BaseModel):
    """A volume, in bytes."""

    name: str
    free: int
    total: int


class OverviewOut(BaseModel):
    """What needs a look first."""

    bad: list[CardOut]
    bad_total: int
    running: list[RunOut]
    upcoming: list[CardOut]
    services: dict[str, str]
    disks: list[DiskOut]
    schedules: int


class StartedOut(BaseModel):
    """A started run."""

    run: str = Field(description="Job id; empty where it waits and has none yet")
    waiting: int = Field(description="Place in the queue; 0 when it runs")


@router.get("/schedules")
async def list_schedules(
    request: Request, desk: DeskDep, language: LanguageDep
) -> list[ScheduleOut]:
    """List one's own schedules; an admin's list has everybody's."""
    schedules = await run_in_threadpool(desk.list_schedules)
    return [_show(request, schedule, language) for schedule in schedules]


@router.post("/schedules", status_code=201, responses={**INVALID})
async def create_schedule(
    request: Request, desk: ChangingDeskDep, language: LanguageDep, values: ScheduleIn
) -> ScheduleOut:
    """Store a new schedule."""
    zone = get_pages(request).config.timezone
    blank = ScheduleForm(owner=desk.person.name, kind="manual", timezone=zone)
    event = await _build(request, _fill(blank, values, desk), language)
    identifier = await run_in_threadpool(desk.create_schedule, event)
    return _show(request, await run_in_threadpool(desk.find_schedule, identifier), language)


@router.get("/schedules/{identifier}", responses={**MISSING})
async def show_schedule(
    request: Request, desk: DeskDep, language: LanguageDep, identifier: str
) -> ScheduleOut:
    """Return one schedule."""
    return _show(request, await run_in_threadpool(desk.find_schedule, identifier), language)


@router.patch("/schedules/{identifier}", responses={**MISSING, **INVALID})
async def update_schedule(
    request: Request,
    desk: ChangingDeskDep,
    language: LanguageDep,
    identifier: str,
    values: ScheduleIn,
) -> ScheduleOut:
    """Change fields of a schedule."""
    schedule = await run_in_threadpool(desk.find_schedule, identifier)
    before = read_event(schedule.event, get_pages(request).config.timezone)
    event = await _build(request, _fill(before, values, desk), language)
    await run_in_threadpool(desk.update_schedule, identifier, event)
    return _show(request, await run_in_threadpool(desk.find_schedule, identifier), language)


@router.delete("/schedules/{identifier}", status_code=204, responses={**MISSING, **REFUSED})
async def delete_schedule(desk: ChangingDeskDep, identifier: str) -> None:
    """Delete a schedule; its runs stay."""
    await run_in_threadpool(desk.delete_schedule, identifier)


@router.post("/schedules/{identifier}/run", responses={**MISSING, **REFUSED})
async def run_schedule(desk: ChangingDeskDep, identifier: str) -> StartedOut:
    """Start a schedule now."""
    started = await run_in_threadpool(desk.run_schedule, identifier)
    return StartedOut(run=started.run, waiting=started.waiting)


@router.get("/next")
async def show_next(
    request: Request, person: PersonDep, language: LanguageDep, choice: Annotated[Choice, Query()]
) -> NextOut:
    """Say when a choice of the form would run, before it is saved."""
    form = ScheduleForm(**{**choice.model_dump(), "weekdays": tuple(choice.weekdays[:7])})
    found = preview(form, language, get_pages(request).config.timezone)
    return NextOut(
        when=found.words,
        next=[TimeOut(at=time, text=language.moment(time)) for time in found.times],
        problems=dict(found.problems),
    )


@router.get("/notebooks")
async def list_notebooks(request: Request, person: PersonDep) -> NotebooksOut:
    """Name one's own notebooks, newest first, and the kernels that can run them."""
    listing = await run_in_threadpool(get_library(request).list, person.name)
    return NotebooksOut(notebooks=list(listing.notebooks), kernels=dict(listing.kernels))


@router.get("/notebooks/parameters", responses={**INVALID})
async def show_parameters(
    request: Request,
    person: PersonDep,
    language: LanguageDep,
    notebook: Annotated[str, Query(max_length=1024)],
) -> InspectionOut:
    """Return the parameters of one of one's own notebooks."""
    form = ScheduleForm(notebook=notebook, owner=person.name)
    try:
        found = await run_in_threadpool(get_library(request).inspect, person.name, clean_path(form))
    except LibraryError as error:
        raise FormError({"notebook": explain(error, language)}) from error
    return InspectionOut.model_validate(found)


@router.get("/overview")
async def get_overview(request: Request, desk: DeskDep) -> OverviewOut:
    """Return the overview: what failed or is late, what runs, what comes next."""
    overview = await run_in_threadpool(make_overview, desk, get_pages(request).config.timezone)
    return OverviewOut(
        bad=[_show_card(card) for card in overview.bad],
        bad_total=overview.bad_total,
        running=[show_run_model(run) for run in overview.running],
        upcoming=[_show_card(card) for card in overview.upcoming],
        services=dict(overview.services),
        disks=[DiskOut(name=d.name, free=d.free, total=d.total) for d in overview.disks],
        schedules=overview.schedules,
    )


def _show_card(card: Card) -> CardOut:
    last = card.bars[-1].run if card.bars else None
    return CardOut(
        id=card.schedule.id,
        title=card.schedule.title,
        last=show_run_model(last) if last else None,
        next=card.next,
        late=card.late,
    )


async def _build(request: Request, form: ScheduleForm, language: Language) -> dict[str, Any]:
    event = build_event(form, language)
    if form.version == "now" and "params" in event:
        try:
            event["params"]["pinned"] = await run_in_threadpool(
                get_library(request).pin, form.owner, event["params"]["notebook"]
            )
        except LibraryError as error:
            raise FormError({"pin": explain(error, language)}) from error
    return event


def _fill(form: ScheduleForm, values: ScheduleIn, desk: Desk) -> ScheduleForm:
    """Lay given fields over a form, which then checks them as it checks what people type."""
    changes: dict[str, Any] = {}
    for name, value in values.model_dump(exclude_none=True, exclude={"pin"}).items():
        changes[name] = value if isinstance(value, (bool, str)) else json.dumps(value)
    if values.timing is not None:
        changes["kind"] = "manual" if isinstance(values.timing, bool) else "custom"
        changes["timing"] = json.dumps(values.timing)
    if values.cron is not None:
        changes["kind"] = "cron"
    if values.pin is not None:
        changes["version"] = "now" if values.pin else "latest"
    if not desk.person.admin:
        changes["owner"] = desk.person.name
    return replace(form, **changes)


def _show(request: Request, schedule: Schedule, language: Language) -> ScheduleOut:
    zone = get_pages(request).config.timezone
    form = read_event(schedule.event, zone)
    timing = schedule.timing
    return ScheduleOut(
        id=schedule.id,
        title=schedule.title,
        plugin=schedule.plugin,
        owner=schedule.owner,
        author=schedule.author,
        notebook=schedule.notebook,
        timing={k: list(v) for k, v in timing.items()} if isinstance(timing, Mapping) else False,
        when=describe_timing(timing, language),
        timezone=form.timezone,
        enabled=schedule.enabled,
        next=list_next(schedule, zone, 5),
        parameters=json.loads(form.parameters or "{}"),
        kernel=form.kernel,
        timeout_minutes=int(form.timeout_minutes),
        memory_mb=int(form.memory_mb),
        retries=int(form.retries),
        retry_delay_minutes=int(form.retry_delay_minutes),
        catch_up=form.catch_up,
        pinned=form.pinned,
        notify_fail=form.notify_fail,
        notify_success=form.notify_success,
        web_hook=form.web_hook,
        web_hook_error=form.web_hook_error,
        last=show_run_model(schedule.last) if schedule.last else None,
    )
