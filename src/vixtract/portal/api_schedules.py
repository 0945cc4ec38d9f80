"""Schedules as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.api import INVALID, MISSING, REFUSED, router
from vixtract.portal.api_runs import RunOut, show_run_model
from vixtract.portal.desk import Desk
from vixtract.portal.form import ScheduleForm, build_event, read_event
from vixtract.portal.language import Language
from vixtract.portal.models import Schedule
from vixtract.portal.schedules import list_next
from vixtract.portal.web import ChangingDeskDep, DeskDep, LanguageDep, get_pages
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
        last=show_run_model(schedule.last) if schedule.last else None,
    )
