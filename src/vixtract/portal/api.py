"""What the pages offer, as JSON for programs: `/portal/api`, described by its OpenAPI document.

Programs send a token of the Hub (`Authorization: token …`). The portal's own pages may use their
cookie, and then need the form token in the header `X-Form-Token` for changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from vixtract.language import Language
from vixtract.portal.api_models import (
    AgainIn,
    AgainOut,
    ComparisonOut,
    ConsoleOut,
    ErrorOut,
    NextOut,
    OverviewOut,
    PersonOut,
    RunOut,
    RunsOut,
    ScheduleIn,
    ScheduleOut,
    ScheduleRowOut,
    TimeOut,
    TimingIn,
)
from vixtract.portal.archive import RunFile
from vixtract.portal.errors import FormError
from vixtract.portal.form import build_event, read_event
from vixtract.portal.library import Inspection, LibraryError, Listing, explain
from vixtract.portal.models import Run, Schedule
from vixtract.portal.overview import make_overview
from vixtract.portal.runs import ArchiveDep, OffsetQuery, QueryDep, make_comparison
from vixtract.portal.schedule_fields import STORED, ScheduleForm
from vixtract.portal.schedule_form import get_library, preview
from vixtract.portal.schedule_rows import ScheduleRow
from vixtract.portal.scheduler_access import SchedulerAccess, StartedRun
from vixtract.portal.schedules import list_next
from vixtract.portal.timing_choice import describe_timing
from vixtract.portal.web import (
    AccessDep,
    ChangingAccessDep,
    LanguageDep,
    PersonDep,
    find_zone,
    get_pages,
)

router = APIRouter(
    prefix="/api",
    responses={
        401: {"model": ErrorOut, "description": "Not signed in"},
        403: {"model": ErrorOut, "description": "Not from a page of the portal, or not allowed"},
        503: {"model": ErrorOut, "description": "The scheduler or the Hub does not answer"},
    },
)
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorOut, "description": "There is none, or it is another person's"}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorOut, "description": "The scheduler refuses, the text says why"}
}
INVALID: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorOut, "description": "A field is wrong; `problems` says which"}
}
LOG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The log"}
}


@router.get("/me")
async def me(person: PersonDep) -> PersonOut:
    """Return who is signed in."""
    return PersonOut(name=person.name, admin=person.admin)


@router.get("/schedules")
async def list_schedules(
    request: Request, access: AccessDep, language: LanguageDep
) -> list[ScheduleOut]:
    """List the person's schedules; all schedules for an administrator."""
    schedules = await run_in_threadpool(access.list_schedules)
    return [_show(request, schedule, language) for schedule in schedules]


@router.post("/schedules", status_code=201, responses={**INVALID})
async def create_schedule(
    request: Request, access: ChangingAccessDep, language: LanguageDep, values: ScheduleIn
) -> ScheduleOut:
    """Store a new schedule."""
    zone = get_pages(request).config.timezone
    blank = ScheduleForm(owner=access.person.name, kind="manual", timezone=zone)
    event = await _build(request, _fill(blank, values, access), language)
    identifier = await run_in_threadpool(access.create_schedule, event)
    return _show(request, await run_in_threadpool(access.find_schedule, identifier), language)


@router.get("/schedules/{identifier}", responses={**MISSING})
async def show_schedule(
    request: Request, access: AccessDep, language: LanguageDep, identifier: str
) -> ScheduleOut:
    """Return one schedule."""
    return _show(request, await run_in_threadpool(access.find_schedule, identifier), language)


@router.patch("/schedules/{identifier}", responses={**MISSING, **INVALID})
async def update_schedule(
    request: Request,
    access: ChangingAccessDep,
    language: LanguageDep,
    identifier: str,
    values: ScheduleIn,
) -> ScheduleOut:
    """Change fields of a schedule."""
    schedule = await run_in_threadpool(access.find_schedule, identifier)
    before = read_event(schedule.event, get_pages(request).config.timezone)
    event = await _build(request, _fill(before, values, access), language)
    await run_in_threadpool(access.update_schedule, identifier, event)
    return _show(request, await run_in_threadpool(access.find_schedule, identifier), language)


@router.delete("/schedules/{identifier}", status_code=204, responses={**MISSING, **REFUSED})
async def delete_schedule(access: ChangingAccessDep, identifier: str) -> None:
    """Delete a schedule; its runs stay."""
    await run_in_threadpool(access.delete_schedule, identifier)


@router.post("/schedules/{identifier}/run", responses={**MISSING, **REFUSED})
async def run_schedule(access: ChangingAccessDep, identifier: str) -> StartedRun:
    """Start a schedule now."""
    return await run_in_threadpool(access.run_schedule, identifier)


@router.get("/next")
async def show_next(
    request: Request, person: PersonDep, language: LanguageDep, choice: Annotated[TimingIn, Query()]
) -> NextOut:
    """Return when the form's timing would run, before it is saved."""
    form = ScheduleForm(**{**choice.model_dump(), "weekdays": tuple(choice.weekdays[:7])})
    found = preview(form, language, get_pages(request).config.timezone)
    return NextOut(
        when=found.words,
        next=[TimeOut(at=time, text=language.moment(time)) for time in found.times],
        problems=dict(found.problems),
    )


@router.get("/notebooks")
async def list_notebooks(request: Request, person: PersonDep) -> Listing:
    """List the person's notebooks, newest first, and the kernels that can run them."""
    return await run_in_threadpool(get_library(request).list, person.name)


@router.get("/notebooks/parameters", responses={**INVALID})
async def show_parameters(
    request: Request,
    person: PersonDep,
    language: LanguageDep,
    notebook: Annotated[str, Query(max_length=1024)],
) -> Inspection:
    """Return the parameters of one of the person's notebooks."""
    form = ScheduleForm(notebook=notebook, owner=person.name)
    try:
        return await run_in_threadpool(
            get_library(request).inspect, person.name, form.notebook_path
        )
    except LibraryError as error:
        raise FormError({"notebook": explain(error, language)}) from error


@router.get("/overview")
async def get_overview(request: Request, access: AccessDep) -> OverviewOut:
    """Return the overview: what failed or is late, what runs, what comes next."""
    overview = await run_in_threadpool(make_overview, access, get_pages(request).config.timezone)
    return OverviewOut(
        bad=[_show_row(row) for row in overview.bad],
        bad_total=overview.bad_total,
        running=[show_run_model(run) for run in overview.running],
        upcoming=[_show_row(row) for row in overview.upcoming],
        services=dict(overview.services),
        disks=list(overview.disks),
        schedules=overview.schedules,
    )


def _show_row(row: ScheduleRow) -> ScheduleRowOut:
    last = row.bars[-1].run if row.bars else None
    return ScheduleRowOut(
        id=row.schedule.id,
        title=row.schedule.title,
        last=show_run_model(last) if last else None,
        next=row.next,
        late=row.late,
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


def _fill(form: ScheduleForm, values: ScheduleIn, access: SchedulerAccess) -> ScheduleForm:
    """Return a form with the given fields in it; it checks them as it checks typed ones."""
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
    if not access.person.admin:
        changes["owner"] = access.person.name
    return replace(form, **changes)


def _show(request: Request, schedule: Schedule, language: Language) -> ScheduleOut:
    zone = get_pages(request).config.timezone
    form = read_event(schedule.event, zone)
    timing = schedule.timing
    values = {name: each.value(form) for name, each in STORED.items()}
    values |= {
        "id": schedule.id,
        "plugin": schedule.plugin,
        "owner": schedule.owner,
        "author": schedule.author,
        "timing": {k: list(v) for k, v in timing.items()} if isinstance(timing, Mapping) else False,
        "when": describe_timing(timing, language),
        "next": list_next(schedule, zone, 5),
        "pinned": form.pinned,
        "last": show_run_model(schedule.last) if schedule.last else None,
    }
    return ScheduleOut(**values)


@router.get("/runs", responses={**MISSING, **INVALID})
async def list_runs(
    request: Request, access: AccessDep, query: QueryDep, offset: OffsetQuery = 0
) -> RunsOut:
    """List runs, newest first; days are the appliance's own."""
    zone = find_zone("", get_pages(request).config.timezone)
    page = await run_in_threadpool(access.list_runs, offset, query.to_filter(zone))
    return RunsOut(
        active=[show_run_model(run) for run in page.active],
        runs=[show_run_model(run) for run in page.runs],
        next_offset=page.next_offset,
        total=page.total,
    )


@router.get("/runs/{identifier}", responses={**MISSING})
async def show_run(access: AccessDep, identifier: str) -> RunOut:
    """Return one run."""
    return show_run_model(await run_in_threadpool(access.find_run, identifier))


@router.get("/runs/{identifier}/files", responses={**MISSING})
async def list_files(access: AccessDep, archive: ArchiveDep, identifier: str) -> list[RunFile]:
    """List the files that a run wrote."""
    run = await run_in_threadpool(access.find_run, identifier)
    return await run_in_threadpool(archive.list_files, run)


@router.get("/runs/{identifier}/compare", responses={**MISSING})
async def compare(access: AccessDep, archive: ArchiveDep, identifier: str) -> ComparisonOut:
    """Compare a run with the previous one of its schedule."""
    comparison = await run_in_threadpool(make_comparison, access, archive, identifier)
    return ComparisonOut.model_validate(comparison)


@router.post("/runs/{identifier}/again", responses={**MISSING, **REFUSED, **INVALID})
async def run_again(access: ChangingAccessDep, identifier: str, how: AgainIn) -> AgainOut:
    """Start a run's schedule again, with its parameters or with others."""
    return AgainOut(run=await run_in_threadpool(access.run_again, identifier, how.parameters))


@router.get("/runs/{identifier}/console", responses={**MISSING, **INVALID})
async def show_console(
    access: AccessDep, identifier: str, offset: Annotated[int, Query(ge=0, le=10**12)] = 0
) -> ConsoleOut:
    """Return the log of an open run from an offset on."""
    part = await run_in_threadpool(access.read_console, identifier, offset)
    run = show_run_model(part["run"])
    return ConsoleOut(run=run, data=part["data"], next=part["next"], done=not part["run"].is_open)


@router.get("/runs/{identifier}/log", response_model=None, responses={**MISSING, **LOG})
async def show_log(access: AccessDep, identifier: str) -> PlainTextResponse:
    """Return the whole log of a run that has ended."""
    return PlainTextResponse(await run_in_threadpool(access.read_log, identifier))


@router.post("/runs/{identifier}/abort", status_code=204, responses={**MISSING, **REFUSED})
async def abort_run(access: ChangingAccessDep, identifier: str) -> None:
    """Stop a run."""
    await run_in_threadpool(access.abort_run, identifier)


def show_run_model(run: Run) -> RunOut:
    """Turn a run into what the API answers."""
    model: RunOut = RunOut.model_validate(run)
    return model
