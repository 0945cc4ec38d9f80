"""The list of schedules, and its buttons; the form is in `schedule_form`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from vixtract.portal.models import Schedule
from vixtract.portal.schedule_rows import BARS_SHOWN, make_row
from vixtract.portal.scheduler_access import SchedulerAccess
from vixtract.portal.web import AccessDep, ChangingAccessDep, get_pages, go_to, make_page, now
from vixtract.scheduler.timing import next_due

router = APIRouter(include_in_schema=False)
PAGE = 50


def list_next(schedule: Schedule, timezone: str, count: int) -> list[Any]:
    """Return when a schedule runs next, as aware times in its own zone.

    Args:
        schedule: a disabled one never runs.
        timezone: zone of schedules that name none.
        count: how many at most.
    """
    if not schedule.enabled:
        return []
    return next_due(schedule.timing, schedule.timezone or timezone, now(), count)


@router.get("/", response_class=HTMLResponse)
async def show_schedules(
    request: Request,
    access: AccessDep,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
    words: Annotated[str, Query(alias="q", max_length=200)] = "",
) -> Response:
    """Show the person's schedules, a page at a time."""
    values = await run_in_threadpool(
        _list, access, get_pages(request).config.timezone, offset, words
    )
    return make_page(request, "schedules.html", access.person, values)


def _list(access: SchedulerAccess, timezone: str, offset: int, words: str) -> dict[str, Any]:
    found = access.list_plain(words)
    page = found[offset : offset + PAGE]
    recent = access.list_recent([schedule.id for schedule in page], BARS_SHOWN)
    moment = now()
    rows = [
        make_row(schedule, recent.get(schedule.id, []), timezone, moment)
        for schedule in access.add_last(page, recent)
    ]
    return {
        "rows": rows,
        "search": words,
        "total": len(found),
        "offset": offset,
        "size": PAGE,
    }


@router.post("/schedules/{identifier}/run")
async def run_now(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Start a schedule now and show the run."""
    started = await run_in_threadpool(access.run_schedule, identifier)
    if not started.run:
        return go_to("/runs", notice="queued")
    return go_to(f"/runs/{started.run}", notice="queued" if started.waiting else "started")


@router.post("/schedules/{identifier}/enable")
async def enable(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Switch a schedule on."""
    await run_in_threadpool(access.set_enabled, identifier, True)
    return go_to("/", notice="enabled")


@router.post("/schedules/{identifier}/disable")
async def disable(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Switch a schedule off."""
    await run_in_threadpool(access.set_enabled, identifier, False)
    return go_to("/", notice="disabled")


@router.get("/schedules/{identifier}/delete", response_class=HTMLResponse)
async def ask_delete(request: Request, access: AccessDep, identifier: str) -> Response:
    """Ask whether to delete a schedule."""
    schedule = await run_in_threadpool(access.find_schedule, identifier)
    return make_page(request, "delete.html", access.person, {"schedule": schedule})


@router.post("/schedules/{identifier}/delete")
async def delete(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Delete a schedule."""
    await run_in_threadpool(access.delete_schedule, identifier)
    return go_to("/", notice="deleted")
