"""Pages of runs: list, one run with its log, comparison, repetition, abort."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from pydantic import BaseModel, Field, StringConstraints

from vixtract.language import Language
from vixtract.portal.archive import Archive
from vixtract.portal.compare import Comparison, compare_runs
from vixtract.portal.errors import AwayError, FormError, NotFoundError
from vixtract.portal.models import RUN_FIELDS, Run, Schedule
from vixtract.portal.schedule_fields import read_json
from vixtract.portal.scheduler_access import ENDED_STATES, RunFilter, SchedulerAccess
from vixtract.portal.web import (
    AccessDep,
    ChangingAccessDep,
    FormDep,
    get_language,
    get_pages,
    get_viewer_zone,
    go_to,
    make_page,
)

router = APIRouter(include_in_schema=False)
# A page shows the end of a log, where the error is, and links to the whole log.
LOG_SHOWN = 200_000
FACTS = [each for each in RUN_FIELDS.values() if each.is_fact]


Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]


class RunQuery(BaseModel):
    """The filters of a list of runs, as in the address; days are such as `2026-11-21`."""

    schedule: str = Field("", max_length=64)
    state: str = Field("", max_length=20)
    owner: Stripped = Field("", max_length=64)
    since: str = Field("", max_length=20)
    until: str = Field("", max_length=20)
    word: Stripped = Field("", max_length=200)
    offset: int = Field(0, ge=0, le=10**9)

    def to_filter(self, zone: ZoneInfo) -> RunFilter:
        """Read the days in a time zone; values that are not valid filter nothing."""
        state = self.state if self.state in (*ENDED_STATES, "open") else ""
        since, until = read_day(self.since, zone), read_day(self.until, zone, 1)
        return RunFilter(self.schedule, state, self.owner, since, until, self.word)

    def to_query(self, **more: object) -> str:
        """Return them as the query of an address, without empty ones."""
        values = {**self.model_dump(exclude={"offset"}), **more}
        return urlencode({name: value for name, value in values.items() if value})


QueryDep = Annotated[RunQuery, Query()]


def read_day(text: str, zone: ZoneInfo, days_later: int = 0) -> datetime | None:
    """Return the moment at which a day begins, or None if the text is not a day."""
    try:
        return datetime.combine(
            date.fromisoformat(text) + timedelta(days=days_later), time(), tzinfo=zone
        )
    except (ValueError, OverflowError):
        return None


def get_archive(request: Request) -> Archive:
    """Return the client for the files of runs."""
    return Archive(get_pages(request).config.homes)


ArchiveDep = Annotated[Archive, Depends(get_archive)]


@router.get("/runs", response_class=HTMLResponse)
def show_runs(request: Request, access: AccessDep, query: QueryDep) -> Response:
    """Show runs, newest first."""
    values = {
        "page": access.list_runs(query.offset, query.to_filter(get_viewer_zone(request))),
        "schedule": access.find_schedule(query.schedule) if query.schedule else None,
        "query": query,
        "states": ("open", *ENDED_STATES),
        "columns": [
            each
            for each in RUN_FIELDS.values()
            if each.is_column and (access.person.admin or not each.for_admins)
        ],
    }
    return make_page(request, "runs.html", access.person, values)


@router.get("/runs/{identifier}", response_class=HTMLResponse)
def show_run(request: Request, access: AccessDep, archive: ArchiveDep, identifier: str) -> Response:
    """Show one run."""
    return _show_run(request, access, archive, identifier)


def _show_run(
    request: Request,
    access: SchedulerAccess,
    archive: Archive,
    identifier: str,
    typed: str = "",
    problems: Mapping[str, str] | None = None,
) -> Response:
    run, log = access.find_run(identifier), access.read_log(identifier)
    cells = archive.list_cells(run) if run.error else []
    failed = next((cell for cell in cells if cell.failed), None)
    files = None
    if not run.is_open:
        # Without the homes server the page says so; all else of the run can be shown.
        with suppress(AwayError):
            files = archive.list_files(run)
    name, base = access.person.name, get_pages(request).config.base_url
    values = {
        "run": run,
        "facts": FACTS,
        "log": log[-LOG_SHOWN:],
        "log_cut": len(log) > LOG_SHOWN,
        "schedule": _find_schedule(access, run),
        "files": files,
        "failed": failed,
        "previous": access.find_previous(run),
        "lab_link": _make_lab_link(run, name, base),
        "cell_link": _make_cell_link(run, name, base, failed.id if failed else ""),
        "parameters": typed or json.dumps(dict(run.parameters), ensure_ascii=False, indent=1),
        "problems": problems or {},
    }
    return make_page(request, "run.html", access.person, values, 422 if problems else 200)


@router.get("/runs/{identifier}/log.txt")
def show_log(access: AccessDep, identifier: str) -> Response:
    """Return the whole log as plain text, which no browser runs."""
    return PlainTextResponse(access.read_log(identifier), headers={"Cache-Control": "no-store"})


@router.get("/runs/{identifier}/compare", response_class=HTMLResponse)
def show_comparison(
    request: Request, access: AccessDep, archive: ArchiveDep, identifier: str
) -> Response:
    """Compare a run with the previous one of its schedule."""
    found = make_comparison(access, archive, identifier)
    values = {"run": found.run, "comparison": found, "facts": FACTS}
    return make_page(request, "run_compare.html", access.person, values)


def make_comparison(access: SchedulerAccess, archive: Archive, identifier: str) -> Comparison:
    """Compare a run with the previous one; blocks.

    Raises:
        NotFoundError: the run does not exist, or is the first one.
    """
    run = access.find_run(identifier)
    previous = access.find_previous(run)
    if previous is None:
        raise NotFoundError("The schedule has no earlier run.")
    previous = access.find_run(previous.id)  # a history's row has no parameters
    return compare_runs(
        run,
        previous,
        (archive.list_cells(run), archive.list_cells(previous)),
        (archive.list_files(run), archive.list_files(previous)),
    )


@router.post("/runs/{identifier}/again", response_class=HTMLResponse)
def run_again(
    request: Request,
    access: ChangingAccessDep,
    archive: ArchiveDep,
    identifier: str,
    fields: FormDep,
) -> Response:
    """Start the run's schedule again, with its parameters or with others."""
    typed = fields.get("parameters", [""])[0]
    try:
        parameters = _read_parameters(typed, get_language(request))
    except FormError as error:
        return _show_run(request, access, archive, identifier, typed, error.problems)
    run = access.run_again(identifier, parameters)
    return go_to(f"/runs/{run}" if run else "/runs", notice="started" if run else "queued")


def _read_parameters(text: str, language: Language) -> dict[str, Any] | None:
    """Return typed parameters, None where nothing was typed; FormError for no JSON object."""
    if not text.strip():
        return None
    values = read_json(text)
    if not isinstance(values, dict):
        problem = language.say(
            "Enter a JSON object, such as %(example)s.", example='{"year": 2026}'
        )
        raise FormError({"parameters": problem})
    return values


@router.post("/runs/{identifier}/abort")
def abort(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Stop a run."""
    access.abort_run(identifier)
    return go_to(f"/runs/{identifier}", notice="aborting")


def _make_lab_link(run: Run, name: str, base: str) -> str:
    """Return the address of the executed notebook in its owner's Lab, or an empty text."""
    if run.is_open or not run.output_name or run.owner != name:
        return ""
    folder = run.folder.rpartition("/")[2] or run.id
    return _link(f"runs/{folder}/{run.output_name}", name, base)


def _make_cell_link(run: Run, name: str, base: str, cell: str) -> str:
    """Return the address of the notebook in its owner's Lab, at a cell if one is named, or ""."""
    home = f"/home/{name}/"
    if run.owner != name or not run.notebook.startswith(home):
        return ""
    # Lab scrolls to a cell by this fragment, since version 4.
    return _link(run.notebook.removeprefix(home), name, base, f"#cell-id={cell}" if cell else "")


def _link(path: str, name: str, base: str, fragment: str = "") -> str:
    """Return an address of the Hub's spawn page, which starts the person's server if need be."""
    target = f"{base}user/{quote(name, safe='')}/lab/tree/{quote(path)}{fragment}"
    return f"{base}hub/spawn?next={quote(target, safe='/')}"


def _find_schedule(access: SchedulerAccess, run: Run) -> Schedule | None:
    try:
        return access.find_schedule(run.schedule)
    except NotFoundError:
        return None
