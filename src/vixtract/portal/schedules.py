"""The list of schedules, and its buttons; the form is in `schedule_form`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from vixtract.portal.schedule_rows import BARS_SHOWN, make_rows
from vixtract.portal.web import AccessDep, ChangingAccessDep, go_to, make_page

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.get("/", response_class=HTMLResponse)
def show_schedules(
    request: Request,
    access: AccessDep,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
    words: Annotated[str, Query(alias="q", max_length=200)] = "",
) -> Response:
    """Show the person's schedules, a page at a time."""
    found = access.list_plain(words)
    values = {
        "rows": make_rows(access, found[offset : offset + PAGE], BARS_SHOWN),
        "search": words,
        "total": len(found),
        "offset": offset,
        "size": PAGE,
    }
    return make_page(request, "schedules.html", access.person, values)


@router.post("/schedules/{identifier}/run")
def run_now(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Start a schedule now and show the run."""
    started = access.run_schedule(identifier)
    if not started.run:
        return go_to("/runs", notice="queued")
    return go_to(f"/runs/{started.run}", notice="queued" if started.waiting else "started")


@router.post("/schedules/{identifier}/enable")
def enable(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Switch a schedule on."""
    access.set_enabled(identifier, True)
    return go_to("/", notice="enabled")


@router.post("/schedules/{identifier}/disable")
def disable(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Switch a schedule off."""
    access.set_enabled(identifier, False)
    return go_to("/", notice="disabled")


@router.get("/schedules/{identifier}/delete", response_class=HTMLResponse)
def ask_delete(request: Request, access: AccessDep, identifier: str) -> Response:
    """Ask whether to delete a schedule."""
    schedule = access.find_schedule(identifier)
    return make_page(request, "delete.html", access.person, {"schedule": schedule})


@router.post("/schedules/{identifier}/delete")
def delete(access: ChangingAccessDep, identifier: str) -> RedirectResponse:
    """Delete a schedule."""
    access.delete_schedule(identifier)
    return go_to("/", notice="deleted")
