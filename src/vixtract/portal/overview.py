"""The overview: failed and late schedules, open runs, the next ones, services and disks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from vixtract.portal.errors import AwayError, LoginError
from vixtract.portal.models import Run
from vixtract.portal.schedule_rows import ScheduleRow, make_rows
from vixtract.portal.scheduler_access import SchedulerAccess
from vixtract.portal.web import AccessDep, get_access, get_person, make_page

router = APIRouter(include_in_schema=False)
LISTED = 8
UPCOMING = 6
# Volumes that can fill up, as this container sees them.
DISKS = (("home", "/home"), ("runs", "/runs"))
LITTLE = 0.1


@dataclass(frozen=True)
class Disk:
    """How full the volume `home` or `runs` is, in bytes; people can use what is free."""

    name: str
    free: int
    total: int

    @property
    def is_little(self) -> bool:
        """Whether it is nearly full."""
        return self.free < LITTLE * self.total


@dataclass(frozen=True)
class Overview:
    """What the page shows.

    Args:
        bad: schedules whose last run went wrong, or that are late; worst first.
        bad_total: how many there are in all.
        upcoming: schedules by their next time.
        services: name to `up` or `down`.
        disks: one for each file system.
        schedules: how many schedules the person has.
    """

    bad: Sequence[ScheduleRow]
    bad_total: int
    running: Sequence[Run]
    upcoming: Sequence[ScheduleRow]
    services: Mapping[str, str]
    disks: Sequence[Disk]
    schedules: int


@router.get("/overview", response_class=HTMLResponse)
def show_overview(request: Request, access: AccessDep) -> Response:
    """Show the overview as a page of its own."""
    return make_page(request, "overview.html", access.person, {"overview": make_overview(access)})


@router.get("/overview/fragment", response_class=HTMLResponse)
async def show_fragment(request: Request) -> Response:
    """Show it for the home page; empty (204) where no one is signed in."""
    try:
        person = await get_person(request)
        overview = await run_in_threadpool(make_overview, get_access(request, person))
    except (LoginError, AwayError):
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return make_page(request, "overview_part.html", person, {"overview": overview})


def make_overview(access: SchedulerAccess) -> Overview:
    """Collect the overview of what the person may see; blocks."""
    rows = make_rows(access, access.list_plain(), 1)
    bad = [row for row in rows if row.late or (row.schedule.enabled and row.has_failed)]
    upcoming = sorted((row.next, number) for number, row in enumerate(rows) if row.next)
    return Overview(
        sorted(bad, key=_newest_first)[:LISTED],
        len(bad),
        access.active_runs()[:LISTED],
        [rows[number] for _, number in upcoming[:UPCOMING]],
        find_services(access),
        find_disks(),
        len(rows),
    )


def _newest_first(row: ScheduleRow) -> tuple[bool, float]:
    """Return a key that sorts failed ones before late ones, the newest first."""
    start = row.ended.start.timestamp() if row.ended and row.ended.start else 0.0
    return (row.late is not None and not row.has_failed, -start)


def find_services(access: SchedulerAccess) -> dict[str, str]:
    """Return each service's state; the Hub is up, because the person has just been let in."""
    try:
        status = access.call("status")
    except AwayError:
        return {"jupyter": "up", "scheduler": "down"}
    found = {"jupyter": "up", "scheduler": "up"}
    for name in ("runner", "postgresql"):
        # Cronicle does not know these two.
        if status.get(name) in ("up", "down"):
            found[name] = str(status[name])
    return found


def find_disks() -> list[Disk]:
    """Return the size of each volume; two on one file system count once."""
    found: dict[tuple[int, int, int], Disk] = {}
    for name, path in DISKS:
        try:
            status = os.statvfs(path)
        except OSError:
            continue
        key = (status.f_fsid, status.f_blocks, status.f_bavail)
        size = status.f_frsize
        found.setdefault(key, Disk(name, status.f_bavail * size, status.f_blocks * size))
    return list(found.values())
