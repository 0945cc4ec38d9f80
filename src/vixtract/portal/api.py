"""What the pages offer, as JSON for programs: `/portal/api`, described by its OpenAPI document.

Programs send a token of the Hub (`Authorization: token …`). The portal's own pages may use their
cookie, and then need the form token in the header `X-Form-Token` for changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
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
    TimeOut,
    TimingIn,
)
from vixtract.portal.archive import RunFile
from vixtract.portal.compare import Comparison
from vixtract.portal.errors import FormError
from vixtract.portal.form import build_event, read_event
from vixtract.portal.library import Inspection, Library, LibraryError, Listing, explain
from vixtract.portal.models import Run, RunPage, Schedule
from vixtract.portal.overview import Overview, make_overview
from vixtract.portal.runs import ArchiveDep, QueryDep, make_comparison
from vixtract.portal.schedule_fields import STORED, ScheduleForm
from vixtract.portal.schedule_form import LibraryDep, preview
from vixtract.portal.scheduler_access import SchedulerAccess, StartedRun
from vixtract.portal.timing_choice import describe_timing
from vixtract.portal.web import AccessDep, ChangingAccessDep, LanguageDep, PersonDep, now
from vixtract.scheduler.timing import get_zone, next_due

router = APIRouter(
    prefix="/api",
    responses={
        401: {"model": ErrorOut, "description": "Not signed in"},
        403: {"model": ErrorOut, "description": "Not from a page of the portal, or not allowed"},
        503: {"model": ErrorOut, "description": "The scheduler or the Hub does not answer"},
    },
)
Responses = dict[int | str, dict[str, Any]]
MISSING: Responses = {
    404: {"model": ErrorOut, "description": "There is none, or it is another person's"}
}
REFUSED: Responses = {
    409: {"model": ErrorOut, "description": "The scheduler refuses, the text says why"}
}
INVALID: Responses = {
    422: {"model": ErrorOut, "description": "A field is wrong; `problems` says which"}
}
LOG: Responses = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The log"}
}


@router.get("/me")
def me(person: PersonDep) -> PersonOut:
    """Return who is signed in."""
    return PersonOut(name=person.name, admin=person.admin)


@router.get("/schedules")
def list_schedules(access: AccessDep, language: LanguageDep) -> list[ScheduleOut]:
    """List the person's schedules; all schedules for an administrator."""
    return [_show(access, schedule, language) for schedule in access.list_schedules()]


@router.post("/schedules", status_code=201, responses=INVALID)
def create_schedule(
    access: ChangingAccessDep, library: LibraryDep, language: LanguageDep, values: ScheduleIn
) -> ScheduleOut:
    """Store a new schedule."""
    blank = ScheduleForm(owner=access.person.name, kind="manual", timezone=access.timezone)
    event = _build(library, _fill(blank, values, access), language)
    return _show(access, access.find_schedule(access.create_schedule(event)), language)


@router.get("/schedules/{identifier}", responses=MISSING)
def show_schedule(access: AccessDep, language: LanguageDep, identifier: str) -> ScheduleOut:
    """Return one schedule."""
    return _show(access, access.find_schedule(identifier), language)


@router.patch("/schedules/{identifier}", responses={**MISSING, **INVALID})
def update_schedule(
    access: ChangingAccessDep,
    library: LibraryDep,
    language: LanguageDep,
    identifier: str,
    values: ScheduleIn,
) -> ScheduleOut:
    """Change fields of a schedule."""
    before = read_event(access.find_schedule(identifier).event, access.timezone)
    access.update_schedule(identifier, _build(library, _fill(before, values, access), language))
    return _show(access, access.find_schedule(identifier), language)


@router.delete("/schedules/{identifier}", status_code=204, responses={**MISSING, **REFUSED})
def delete_schedule(access: ChangingAccessDep, identifier: str) -> None:
    """Delete a schedule; its runs stay."""
    access.delete_schedule(identifier)


@router.post("/schedules/{identifier}/run", responses={**MISSING, **REFUSED})
def run_schedule(access: ChangingAccessDep, identifier: str) -> StartedRun:
    """Start a schedule now."""
    return access.run_schedule(identifier)


@router.get("/next")
def show_next(
    access: AccessDep, language: LanguageDep, choice: Annotated[TimingIn, Query()]
) -> NextOut:
    """Return when the form's timing would run, before it is saved."""
    form = ScheduleForm(**{**choice.model_dump(), "weekdays": tuple(choice.weekdays[:7])})
    found = preview(form, language, access.timezone)
    return NextOut(
        when=found.words,
        next=[TimeOut(at=time, text=language.moment(time)) for time in found.times],
        problems=dict(found.problems),
    )


@router.get("/notebooks")
def list_notebooks(library: LibraryDep, person: PersonDep) -> Listing:
    """List the person's notebooks, newest first, and the kernels that can run them."""
    return library.list(person.name)


@router.get("/notebooks/parameters", responses=INVALID)
def show_parameters(
    library: LibraryDep,
    person: PersonDep,
    language: LanguageDep,
    notebook: Annotated[str, Query(max_length=1024)],
) -> Inspection:
    """Return the parameters of one of the person's notebooks."""
    form = ScheduleForm(notebook=notebook, owner=person.name)
    try:
        return library.inspect(person.name, form.notebook_path)
    except LibraryError as error:
        raise FormError({"notebook": explain(error, language)}) from error


@router.get("/overview", response_model=OverviewOut)
def get_overview(access: AccessDep) -> Overview:
    """Return the overview: what failed or is late, what runs, what comes next."""
    return make_overview(access)


def _build(library: Library, form: ScheduleForm, language: Language) -> dict[str, Any]:
    event = build_event(form, language)
    if form.version == "now" and "params" in event:
        try:
            event["params"]["pinned"] = library.pin(form.owner, event["params"]["notebook"])
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


def _show(access: SchedulerAccess, schedule: Schedule, language: Language) -> ScheduleOut:
    form = read_event(schedule.event, access.timezone)
    timing, zone = schedule.timing, schedule.timezone or access.timezone
    values = {name: each.value(form) for name, each in STORED.items()}
    values |= {
        "id": schedule.id,
        "plugin": schedule.plugin,
        "owner": schedule.owner,
        "author": schedule.author,
        "timing": {k: list(v) for k, v in timing.items()} if isinstance(timing, Mapping) else False,
        "when": describe_timing(timing, language),
        "next": next_due(timing, zone, now(), 5) if schedule.enabled else [],
        "pinned": form.pinned,
        "last": schedule.last,
    }
    return ScheduleOut(**values)


@router.get("/runs", response_model=RunsOut, responses={**MISSING, **INVALID})
def list_runs(access: AccessDep, query: QueryDep) -> RunPage:
    """List runs, newest first; days are the appliance's own."""
    return access.list_runs(query.offset, query.to_filter(get_zone(access.timezone)))


@router.get("/runs/{identifier}", response_model=RunOut, responses=MISSING)
def show_run(access: AccessDep, identifier: str) -> Run:
    """Return one run."""
    return access.find_run(identifier)


@router.get("/runs/{identifier}/files", responses=MISSING)
def list_files(access: AccessDep, archive: ArchiveDep, identifier: str) -> list[RunFile]:
    """List the files that a run wrote."""
    return archive.list_files(access.find_run(identifier))


@router.get("/runs/{identifier}/compare", response_model=ComparisonOut, responses=MISSING)
def compare(access: AccessDep, archive: ArchiveDep, identifier: str) -> Comparison:
    """Compare a run with the previous one of its schedule."""
    return make_comparison(access, archive, identifier)


@router.post("/runs/{identifier}/again", responses={**MISSING, **REFUSED, **INVALID})
def run_again(access: ChangingAccessDep, identifier: str, how: AgainIn) -> AgainOut:
    """Start a run's schedule again, with its parameters or with others."""
    return AgainOut(run=access.run_again(identifier, how.parameters))


@router.get(
    "/runs/{identifier}/console", response_model=ConsoleOut, responses={**MISSING, **INVALID}
)
def show_console(
    access: AccessDep, identifier: str, offset: Annotated[int, Query(ge=0, le=10**12)] = 0
) -> dict[str, Any]:
    """Return the log of an open run from an offset on."""
    part = access.read_console(identifier, offset)
    return {**part, "done": not part["run"].is_open}


@router.get("/runs/{identifier}/log", response_model=None, responses={**MISSING, **LOG})
def show_log(access: AccessDep, identifier: str) -> PlainTextResponse:
    """Return the whole log of a run that has ended."""
    return PlainTextResponse(access.read_log(identifier))


@router.post("/runs/{identifier}/abort", status_code=204, responses={**MISSING, **REFUSED})
def abort_run(access: ChangingAccessDep, identifier: str) -> None:
    """Stop a run."""
    access.abort_run(identifier)
