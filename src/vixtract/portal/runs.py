"""Pages of runs: list, one run with its log, comparison, repetition, abort."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from vixtract.language import Language
from vixtract.portal.archive import Archive, Cell
from vixtract.portal.compare import Comparison, compare_runs
from vixtract.portal.errors import AwayError, FormError, NotFoundError
from vixtract.portal.models import RUN_FIELDS, Run, Schedule
from vixtract.portal.scheduler_access import ENDED_STATES, RunFilter, SchedulerAccess
from vixtract.portal.web import (
    AccessDep,
    ChangingAccessDep,
    get_language,
    get_pages,
    get_viewer_zone,
    go_to,
    make_page,
    read_form,
)

router = APIRouter(include_in_schema=False)
# A page shows the end of a log, where the error is, and links to the whole log.
LOG_SHOWN = 200_000
FACTS = [each for each in RUN_FIELDS.values() if each.is_fact]
OffsetQuery = Annotated[int, Query(ge=0, le=10**9)]


@dataclass(frozen=True)
class RunQuery:
    """The filters of a list of runs, as in the address.

    Args:
        schedule: id.
        state: as in `RunFilter`.
        owner: name.
        since: first day, `2026-11-21`.
        until: last day, in full.
        word: part of a title.
    """

    schedule: str
    state: str
    owner: str
    since: str
    until: str
    word: str

    def to_filter(self, zone: ZoneInfo) -> RunFilter:
        """Read the days in a time zone; values that are not valid filter nothing."""
        state = self.state if self.state in (*ENDED_STATES, "open") else ""
        since, until = read_day(self.since, zone), read_day(self.until, zone, 1)
        return RunFilter(self.schedule, state, self.owner, since, until, self.word)

    def to_query(self, **more: object) -> str:
        """Return them as the query of an address, without empty ones."""
        values = {**vars(self), **more}
        return urlencode({name: value for name, value in values.items() if value})


def read_query(
    schedule: Annotated[str, Query(max_length=64)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    owner: Annotated[str, Query(max_length=64)] = "",
    since: Annotated[str, Query(max_length=20)] = "",
    until: Annotated[str, Query(max_length=20)] = "",
    word: Annotated[str, Query(max_length=200)] = "",
) -> RunQuery:
    """Return the filters of an address."""
    return RunQuery(schedule, state, owner.strip(), since, until, word.strip())


QueryDep = Annotated[RunQuery, Depends(read_query)]


def read_day(text: str, zone: ZoneInfo, days_later: int = 0) -> datetime | None:
    """Return the moment at which a day begins, or None if the text is not a day.

    Args:
        text: `2026-11-21`, or anything.
        zone: whose midnight is meant.
        days_later: the day this many days after it.
    """
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
async def show_runs(
    request: Request, access: AccessDep, query: QueryDep, offset: OffsetQuery = 0
) -> Response:
    """Show runs, newest first."""
    filters = query.to_filter(get_viewer_zone(request))
    page = await run_in_threadpool(access.list_runs, offset, filters)
    found = (
        await run_in_threadpool(access.find_schedule, query.schedule) if query.schedule else None
    )
    values = {
        "page": page,
        "schedule": found,
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
async def show_run(
    request: Request, access: AccessDep, archive: ArchiveDep, identifier: str
) -> Response:
    """Show one run."""
    return await _show_run(request, access, archive, identifier)


async def _show_run(
    request: Request,
    access: SchedulerAccess,
    archive: Archive,
    identifier: str,
    typed: str = "",
    problems: Mapping[str, str] | None = None,
) -> Response:
    base = get_pages(request).config.base_url
    run, values = await run_in_threadpool(_read_run, access, archive, identifier, base)
    parameters = json.dumps(dict(run.parameters), ensure_ascii=False, indent=1)
    values |= {"parameters": typed or parameters, "problems": problems or {}}
    return make_page(request, "run.html", access.person, values, 422 if problems else 200)


def _read_run(
    access: SchedulerAccess, archive: Archive, identifier: str, base: str
) -> tuple[Run, dict[str, Any]]:
    run = access.find_run(identifier)
    log = access.read_log(identifier)
    failed = find_failed(archive.list_cells(run)) if run.error else None
    files = None
    if not run.is_open:
        try:
            files = archive.list_files(run)
        except AwayError:
            files = None  # the page says so; all else of the run can be shown
    return run, {
        "run": run,
        "facts": FACTS,
        "log": log[-LOG_SHOWN:],
        "log_cut": len(log) > LOG_SHOWN,
        "schedule": _find_schedule(access, run),
        "files": files,
        "failed": failed,
        "previous": access.find_previous(run),
        "lab_link": make_lab_link(run, access.person.name, base),
        "cell_link": make_cell_link(run, access.person.name, base, failed.id if failed else ""),
    }


@router.get("/runs/{identifier}/log.txt")
async def show_log(access: AccessDep, identifier: str) -> Response:
    """Return the whole log as plain text, which no browser runs."""
    log = await run_in_threadpool(access.read_log, identifier)
    return PlainTextResponse(log, headers={"Cache-Control": "no-store"})


@router.get("/runs/{identifier}/compare", response_class=HTMLResponse)
async def show_comparison(
    request: Request, access: AccessDep, archive: ArchiveDep, identifier: str
) -> Response:
    """Compare a run with the previous one of its schedule."""
    comparison = await run_in_threadpool(make_comparison, access, archive, identifier)
    values = {"run": comparison.run, "comparison": comparison, "facts": FACTS}
    return make_page(request, "run_compare.html", access.person, values)


def make_comparison(access: SchedulerAccess, archive: Archive, identifier: str) -> Comparison:
    """Compare a run with the previous one; blocks.

    Args:
        access: of who asks.
        archive: the runs' files.
        identifier: of the later run.
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
async def run_again(
    request: Request, access: ChangingAccessDep, archive: ArchiveDep, identifier: str
) -> Response:
    """Start the run's schedule again, with its parameters or with others."""
    typed = (await read_form(request)).get("parameters", [""])[0]
    try:
        parameters = read_parameters(typed, get_language(request))
    except FormError as error:
        return await _show_run(request, access, archive, identifier, typed, error.problems)
    run = await run_in_threadpool(access.run_again, identifier, parameters)
    return go_to(f"/runs/{run}" if run else "/runs", notice="started" if run else "queued")


def read_parameters(text: str, language: Language) -> dict[str, Any] | None:
    """Read typed parameters; None where nothing was typed.

    Args:
        text: a JSON object.
        language: of the message.
    Raises:
        FormError: it is not a JSON object.
    """
    if not text.strip():
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        problem = language.say(
            "Enter a JSON object, such as %(example)s.", example='{"year": 2026}'
        )
        raise FormError({"parameters": problem})
    return values


@router.post("/runs/{identifier}/abort")
async def abort(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Stop a run."""
    await run_in_threadpool(access.abort_run, identifier)
    return go_to(f"/runs/{identifier}", notice="aborting")


def make_lab_link(run: Run, name: str, base: str) -> str:
    """Return the address of the executed notebook in the person's own Lab, or an empty text.

    It leads through the Hub's spawn page, which starts the person's server if it is not running.

    Args:
        run: any run.
        name: who asks; only owners have the run's folder in their Lab.
        base: path of Jupyter, with a slash at the end.
    """
    if run.is_open or not run.output_name or run.owner != name:
        return ""
    folder = run.folder.rpartition("/")[2] or run.id
    return _link(f"runs/{folder}/{run.output_name}", name, base)


def make_cell_link(run: Run, name: str, base: str, cell: str) -> str:
    """Return the address of the notebook that failed, in Lab, at the cell; or an empty text.

    Args:
        run: any run.
        name: who asks; only owners have the notebook in their Lab.
        base: path of Jupyter, with a slash at the end.
        cell: id of the cell; empty opens the notebook at its start.
    """
    home = f"/home/{name}/"
    if run.owner != name or not run.notebook.startswith(home):
        return ""
    # Lab scrolls to a cell by this fragment, since version 4.
    return _link(run.notebook.removeprefix(home), name, base, f"#cell-id={cell}" if cell else "")


def _link(path: str, name: str, base: str, fragment: str = "") -> str:
    target = f"{base}user/{quote(name, safe='')}/lab/tree/{quote(path)}{fragment}"
    return f"{base}hub/spawn?next={quote(target, safe='/')}"


def find_failed(cells: list[Cell]) -> Cell | None:
    """Return the first cell that raised an error, or None."""
    return next((cell for cell in cells if cell.failed), None)


def _find_schedule(access: SchedulerAccess, run: Run) -> Schedule | None:
    try:
        return access.find_schedule(run.schedule)
    except NotFoundError:
        return None
