"""The same as the pages, as JSON for programs: `/portal/api`, described by its OpenAPI document.

Programs send a token of the Hub (`Authorization: token …`). The portal's own pages may use their
cookie, and then need the form token in the header `X-Form-Token` for changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.desk import Desk
from vixtract.portal.form import ScheduleForm, build_event, read_event
from vixtract.portal.language import Language
from vixtract.portal.models import STATES, Run, Schedule
from vixtract.portal.runs import OffsetQuery
from vixtract.portal.schedules import list_next
from vixtract.portal.web import (
    ChangingDeskDep,
    DeskDep,
    LanguageDep,
    PersonDep,
    get_pages,
)
from vixtract.portal.when import describe_timing


class Problem(BaseModel):
    """What went wrong."""

    error: str
    hint: str = ""
    problems: dict[str, str] = Field(default={}, description="Field to what is wrong with it")


router = APIRouter(
    prefix="/api",
    responses={
        401: {"model": Problem, "description": "Nobody is signed in"},
        403: {"model": Problem, "description": "Not from a page of the portal, or not allowed"},
        503: {"model": Problem, "description": "The scheduler or the Hub does not answer"},
    },
)
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is none, or it is another person's"}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The scheduler refuses, the text says why"}
}
INVALID: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A field is wrong; `problems` says which"}
}


class RunOut(BaseModel):
    """A run."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    schedule: str = Field(description="Id of its schedule, which may be gone")
    title: str
    state: str = Field(description="One of " + ", ".join(STATES))
    owner: str
    author: str
    source: str
    start: datetime | None
    elapsed: float | None = Field(description="Seconds")
    progress: float | None = Field(description="0 to 1")
    memo: str
    code: int
    description: str
    output: str = Field(description="Path of the executed notebook")
    folder: str
    error: dict[str, Any] = Field(description="cell, name and message of what a cell raised")
    hint: str


class RunsOut(BaseModel):
    """A page of runs, newest first."""

    active: list[RunOut] = Field(description="Not ended; on the first page only")
    runs: list[RunOut]
    next_offset: int | None


class ConsoleOut(BaseModel):
    """A part of a log."""

    run: RunOut
    data: str
    next: int = Field(description="Offset to ask for next")
    done: bool = Field(description="Whether the run has ended: the whole log is at log.txt")


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


class StartedOut(BaseModel):
    """A started run."""

    run: str = Field(description="Job id; empty where it waits and has none yet")
    waiting: int = Field(description="Place in the queue; 0 when it runs")


class PersonOut(BaseModel):
    """Who is signed in."""

    name: str
    admin: bool


@router.get("/me")
async def me(person: PersonDep) -> PersonOut:
    """Say who is signed in."""
    return PersonOut(name=person.name, admin=person.admin)


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
    event = build_event(_fill(blank, values, desk), language)
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
    event = build_event(_fill(before, values, desk), language)
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


@router.get("/runs", responses={**MISSING})
async def list_runs(desk: DeskDep, offset: OffsetQuery = 0, schedule: str = "") -> RunsOut:
    """List runs, newest first."""
    page = await run_in_threadpool(desk.list_runs, offset, schedule)
    return RunsOut(
        active=[_show_run(run) for run in page.active],
        runs=[_show_run(run) for run in page.runs],
        next_offset=page.next_offset,
    )


@router.get("/runs/{identifier}", responses={**MISSING})
async def show_run(desk: DeskDep, identifier: str) -> RunOut:
    """Return one run."""
    return _show_run(await run_in_threadpool(desk.find_run, identifier))


@router.get("/runs/{identifier}/console", responses={**MISSING})
async def show_console(
    desk: DeskDep, identifier: str, offset: Annotated[int, Query(ge=0, le=10**12)] = 0
) -> ConsoleOut:
    """Return the log of a run that has not ended, from an offset on."""
    part = await run_in_threadpool(desk.read_console, identifier, offset)
    run = _show_run(part["run"])
    return ConsoleOut(run=run, data=part["data"], next=part["next"], done=not part["run"].is_open)


@router.get("/runs/{identifier}/log", response_class=PlainTextResponse, responses={**MISSING})
async def show_log(desk: DeskDep, identifier: str) -> PlainTextResponse:
    """Return the whole log of a run that has ended."""
    return PlainTextResponse(await run_in_threadpool(desk.read_log, identifier))


@router.post("/runs/{identifier}/abort", status_code=204, responses={**MISSING, **REFUSED})
async def abort_run(desk: ChangingDeskDep, identifier: str) -> None:
    """Stop a run."""
    await run_in_threadpool(desk.abort_run, identifier)


def _fill(form: ScheduleForm, values: ScheduleIn, desk: Desk) -> ScheduleForm:
    """Lay given fields over a form, which then checks them as it checks what people type."""
    changes: dict[str, Any] = {}
    for name, value in values.model_dump(exclude_none=True).items():
        changes[name] = value if isinstance(value, (bool, str)) else json.dumps(value)
    if values.timing is not None:
        changes["kind"] = "manual" if isinstance(values.timing, bool) else "custom"
        changes["timing"] = json.dumps(values.timing)
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
        last=_show_run(schedule.last) if schedule.last else None,
    )


def _show_run(run: Run) -> RunOut:
    return RunOut.model_validate(run)
