"""Pages of runs: list, one run with its log, abort."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from vixtract.portal.desk import Desk
from vixtract.portal.errors import NotFoundError
from vixtract.portal.models import Run
from vixtract.portal.web import ChangingDeskDep, DeskDep, get_pages, go_to, make_page

router = APIRouter(include_in_schema=False)
# A page shows the end of a log, where the error is; the whole of it is one link away.
LOG_SHOWN = 200_000
OffsetQuery = Annotated[int, Query(ge=0, le=10**9)]


@router.get("/runs", response_class=HTMLResponse)
async def show_runs(
    request: Request, desk: DeskDep, offset: OffsetQuery = 0, schedule: str = ""
) -> Response:
    """Show runs, newest first."""
    page = await run_in_threadpool(desk.list_runs, offset, schedule)
    found = await run_in_threadpool(desk.find_schedule, schedule) if schedule else None
    return make_page(request, "runs.html", desk.person, {"page": page, "schedule": found})


@router.get("/runs/{identifier}", response_class=HTMLResponse)
async def show_run(request: Request, desk: DeskDep, identifier: str) -> Response:
    """Show one run."""
    run = await run_in_threadpool(desk.find_run, identifier)
    log = await run_in_threadpool(desk.read_log, identifier)
    values = {
        "run": run,
        "log": log[-LOG_SHOWN:],
        "log_cut": len(log) > LOG_SHOWN,
        "schedule": await run_in_threadpool(_find_schedule, desk, run),
        "lab_link": make_lab_link(run, desk.person.name, get_pages(request).config.base_url),
    }
    return make_page(request, "run.html", desk.person, values)


@router.get("/runs/{identifier}/log.txt")
async def show_log(desk: DeskDep, identifier: str) -> Response:
    """Return the whole log as plain text, which no browser runs."""
    log = await run_in_threadpool(desk.read_log, identifier)
    return PlainTextResponse(log, headers={"Cache-Control": "no-store"})


@router.post("/runs/{identifier}/abort")
async def abort(desk: ChangingDeskDep, identifier: str) -> RedirectResponse:
    """Stop a run."""
    await run_in_threadpool(desk.abort_run, identifier)
    return go_to(f"/runs/{identifier}", notice="aborting")


def make_lab_link(run: Run, name: str, base: str) -> str:
    """Return the address of the executed notebook in the person's own Lab, or an empty text.

    It leads through the Hub's spawn page, which starts the person's server where it sleeps and
    goes on at once where it runs.

    Args:
        run: any run.
        name: who asks; only owners have the run's folder in their Lab.
        base: path of Jupyter, with a slash at the end.
    """
    if run.is_open or not run.output_name or run.owner != name:
        return ""
    path = f"{base}user/{quote(name, safe='')}/lab/tree/runs/{run.id}/{quote(run.output_name)}"
    return f"{base}hub/spawn?next={quote(path, safe='/')}"


def _find_schedule(desk: Desk, run: Run) -> object:
    try:
        return desk.find_schedule(run.schedule)
    except NotFoundError:
        return None
