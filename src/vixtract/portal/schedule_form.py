"""The page with a schedule's form: new, copy, edit; built from the notebook's own parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from vixtract.language import Language
from vixtract.portal.errors import FormError
from vixtract.portal.form import Typed, build_event, read_event, read_typed
from vixtract.portal.library import Inspection, Library, LibraryError, Listing, explain
from vixtract.portal.models import Schedule
from vixtract.portal.parameters import KIND, keep_typed, make_widgets, read_widgets
from vixtract.portal.schedule_fields import FIELDS, ScheduleForm, list_group
from vixtract.portal.schedule_rows import BARS_SHOWN, make_row
from vixtract.portal.scheduler_access import SchedulerAccess
from vixtract.portal.timing_choice import KINDS, describe_timing
from vixtract.portal.web import (
    AccessDep,
    ChangingAccessDep,
    FormDep,
    get_language,
    get_pages,
    go_to,
    make_page,
    now,
)
from vixtract.scheduler.timing import TimingError, next_due

router = APIRouter(include_in_schema=False)
NEXT_TIMES = 5


@lru_cache(maxsize=1)
def list_zones() -> list[str]:
    """Return the names of all time zones; finding them reads hundreds of files."""
    return sorted(available_timezones())


def get_library(request: Request) -> Library:
    """Return the client for people's notebooks."""
    return Library(get_pages(request).config.homes)


LibraryDep = Annotated[Library, Depends(get_library)]


@dataclass
class ScheduleDraft:
    """A form that is being filled in.

    Args:
        typed: all fields of the request; empty for a form that is shown first.
        problems: field to the message about it.
        schedule: that is being changed, if any.
        values: parameters that the schedule sets.
    """

    form: ScheduleForm
    typed: Typed = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    schedule: Schedule | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@router.get("/schedules/new", response_class=HTMLResponse)
def show_new(
    request: Request, access: AccessDep, library: LibraryDep, notebook: str = ""
) -> Response:
    """Show the empty form; Lab names the notebook in the address."""
    name = access.person.name
    path = notebook[:1024].strip().removeprefix("~/").removeprefix(f"/home/{name}/")
    title = access.propose_title(PurePosixPath(path).stem[:150])
    form = ScheduleForm(notebook=path, title=title, owner=name, timezone=access.timezone)
    return _show_form(request, access, library, ScheduleDraft(form))


@router.get("/schedules/{identifier}/copy", response_class=HTMLResponse)
def show_copy(
    request: Request, access: AccessDep, library: LibraryDep, identifier: str
) -> Response:
    """Show the form of a new schedule that begins as a copy of another."""
    schedule = access.find_schedule(identifier)
    form = replace(_read(access, schedule), title=access.propose_title(schedule.title))
    return _show_form(request, access, library, ScheduleDraft(form, values=form.values))


@router.get("/schedules/{identifier}", response_class=HTMLResponse)
def show_schedule(
    request: Request, access: AccessDep, library: LibraryDep, identifier: str
) -> Response:
    """Show one schedule: its form and when it runs next."""
    schedule = access.find_schedule(identifier)
    form = read_event(schedule.event, access.timezone)
    draft = ScheduleDraft(form, schedule=schedule, values=form.values)
    return _show_form(request, access, library, draft)


@router.post("/schedules/new", response_class=HTMLResponse)
def create(
    request: Request, access: ChangingAccessDep, library: LibraryDep, typed: FormDep
) -> Response:
    """Store a new schedule, or show the form with its problems."""
    before = ScheduleForm(owner=access.person.name)
    return _take(request, access, library, ScheduleDraft(before, typed))


@router.post("/schedules/{identifier}", response_class=HTMLResponse)
def update(
    request: Request,
    access: ChangingAccessDep,
    library: LibraryDep,
    identifier: str,
    typed: FormDep,
) -> Response:
    """Change a schedule, or show the form with its problems."""
    schedule = access.find_schedule(identifier)
    draft = ScheduleDraft(_read(access, schedule), typed, schedule=schedule)
    return _take(request, access, library, draft)


def _read(access: SchedulerAccess, schedule: Schedule) -> ScheduleForm:
    """Return the form of a schedule as the person would save it."""
    form = read_event(schedule.event, access.timezone)
    # A changed schedule runs with the rights of the person who changed it, in their home.
    return form if access.person.admin else replace(form, owner=access.person.name)


def _take(
    request: Request, access: SchedulerAccess, library: Library, draft: ScheduleDraft
) -> Response:
    """Store what was typed, or show the form again: to correct it, or to look before saving."""
    language = get_language(request)
    draft.form = read_typed(draft.typed, draft.form, access.person.admin)
    values, problems = read_widgets(draft.typed, language)
    draft.values = {**draft.form.values, **values}
    before = draft.schedule.notebook if draft.schedule else draft.form.notebook
    if draft.form.version == "keep" and draft.form.notebook_path != before:
        # The pinned copy belongs to another notebook.
        draft.form = replace(draft.form, version="now")
    if "look" in draft.typed:
        return _show_form(request, access, library, draft)
    try:
        event = _build(draft, language, problems)
        if "params" in event:
            event["params"]["parameters"] = {**event["params"]["parameters"], **values}
            if draft.form.version == "now":
                notebook = event["params"]["notebook"]
                event["params"]["pinned"] = library.pin(draft.form.owner, notebook)
        if draft.schedule is None:
            identifier = access.create_schedule(event)
        else:
            identifier = draft.schedule.id
            access.update_schedule(identifier, event)
    except LibraryError as error:
        draft.problems = {"version": explain(error, language)}
        return _show_form(request, access, library, draft)
    except FormError as error:
        draft.problems = error.problems
        return _show_form(request, access, library, draft)
    if "run" in draft.typed:
        started = access.run_schedule(identifier)
        return go_to(f"/runs/{started.run}" if started.run else "/runs", notice="started")
    return go_to(f"/schedules/{identifier}", notice="saved")


def _build(draft: ScheduleDraft, language: Language, problems: Mapping[str, str]) -> dict[str, Any]:
    """Return the event of a draft; FormError has these problems and those of all other fields."""
    found = dict(problems)
    event: dict[str, Any] = {}
    try:
        event = build_event(draft.form, language)
    except FormError as error:
        found.update(error.problems)
    if found:
        raise FormError(found)
    return event


def _show_form(
    request: Request, access: SchedulerAccess, library: Library, draft: ScheduleDraft
) -> HTMLResponse:
    language = get_language(request)
    inspection, listing = Inspection(), Listing()
    if access.person.admin or draft.form.owner == access.person.name:
        inspection, listing = _look(library, draft.form, language)
    widgets = make_widgets(inspection.parameters, draft.values)
    shown = {widget.name for widget in widgets}
    if inspection.found:
        # Fields of the notebook that was chosen before this one.
        shown |= {key[len(KIND) :] for key in draft.typed if key.startswith(KIND)}
    rest = {name: value for name, value in draft.values.items() if name not in shown}
    broken = draft.form.parameters if "parameters" in draft.problems else ""
    form = replace(
        draft.form,
        parameters=broken or (json.dumps(rest, ensure_ascii=False, indent=2) if rest else ""),
    )
    row = None
    if draft.schedule is not None:
        recent = access.list_recent([draft.schedule.id], BARS_SHOWN)
        row = make_row(draft.schedule, recent.get(draft.schedule.id, []), access.timezone)
    values = {
        "form": form,
        "problems": draft.problems,
        "schedule": draft.schedule,
        "row": row,
        "fields": FIELDS,
        "groups": {each.group: list_group(each.group) for each in FIELDS.values()},
        "opened": _list_opened(form, draft.problems),
        "choices": _list_choices(form, inspection, listing, language),
        "zones": list_zones(),
        "widgets": keep_typed(widgets, draft.typed),
        "inspection": inspection,
        "notebooks": listing.notebooks,
        "preview": preview(form, language, access.timezone),
    }
    status = 422 if draft.problems else 200
    return make_page(request, "schedule.html", access.person, values, status)


def _list_opened(form: ScheduleForm, problems: Mapping[str, str]) -> set[str]:
    """Return the groups of fields to show open: those with a problem, or a changed value."""
    return {
        each.group
        for name, each in FIELDS.items()
        if name in problems
        # The delay counts only where there are retries.
        or (name != "retry_delay_minutes" and getattr(form, name) != each.default)
    }


def _list_choices(
    form: ScheduleForm, inspection: Inspection, listing: Listing, language: Language
) -> dict[str, list[tuple[str, str]]]:
    """Return the values and labels of each select field, also a typed kernel that is in no list."""
    own = listing.kernels.get(inspection.kernel, inspection.kernel)
    kernels = {"": f"{language.say('the notebook’s own')}{f' ({own})' if own else ''}"}
    kernels |= listing.kernels
    kernels.setdefault(form.kernel, form.kernel)
    kinds = [
        (kind, language.say(label))
        for kind, label in KINDS.items()
        if kind != "custom" or form.kind == "custom"
    ]
    return {"kind": kinds, "kernel": list(kernels.items())}


def _look(library: Library, form: ScheduleForm, language: Language) -> tuple[Inspection, Listing]:
    """Return what is in the notebook, and the owner's notebooks and kernels."""
    if form.plugin != "notebook":
        return Inspection(), Listing()
    listing = library.list(form.owner)
    if not form.notebook.strip():
        return Inspection(), listing
    try:
        return library.inspect(form.owner, form.notebook_path), listing
    except LibraryError as error:
        return Inspection(problem=explain(error, language), found=False), listing


@dataclass(frozen=True)
class Preview:
    """When a form's timing would run.

    Args:
        times: the next ones, aware, in the zone that was chosen.
        problems: field to the message about it.
    """

    words: str = ""
    times: Sequence[datetime] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def preview(form: ScheduleForm, language: Language, timezone: str) -> Preview:
    """Return when a form's timing would run, in this time zone if it names none."""
    probe = replace(
        ScheduleForm(notebook="x.ipynb", title="x", owner="x"),
        **{name: getattr(form, name) for name in list_group("when")}
        | {"timezone": form.timezone or timezone},
    )
    try:
        event = build_event(probe, language)
        times = next_due(event["timing"], event["timezone"], now(), NEXT_TIMES)
    except FormError as error:
        return Preview(problems=error.problems)
    except TimingError as error:
        return Preview(problems={"timezone": error.message})
    return Preview(describe_timing(event["timing"], language), times)
