"""Runs as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.api import INVALID, MISSING, REFUSED, router
from vixtract.portal.models import STATES, Run
from vixtract.portal.runs import ArchiveDep, OffsetQuery, QueryDep, make_comparison
from vixtract.portal.web import ChangingDeskDep, DeskDep, find_zone, get_pages

__all__ = ["router"]


LOG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The log"}
}


class RunOut(BaseModel):
    """A run."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    schedule: str = Field(description="Id of its schedule, which may be gone")
    title: str
    state: str = Field(description="One of " + ", ".join(STATES))
    owner: str
    author: str
    source: str
    start: datetime | None
    elapsed: float | None = Field(description="Seconds")
    progress: float | None = Field(description="0 to 1")
    memo: str
    code: int
    description: str
    output: str = Field(description="Path of the executed notebook")
    folder: str
    notebook: str
    parameters: dict[str, Any] = Field(description="What it ran with; empty in lists")
    why: str = Field(description="schedule, catch-up, retry or hand")
    attempts: int
    end: datetime | None
    peak_mb: float | None = Field(description="Most memory at once, MiB")
    figures: dict[str, float] = Field(
        description="Seconds of the cells tagged extract, transform and load"
    )
    loads: list[dict[str, Any]] = Field(
        description="table, mode, rows, bytes and seconds of each load into PostgreSQL"
    )
    error: dict[str, Any] = Field(description="cell, name and message of what a cell raised")
    hint: str


class RunsOut(BaseModel):
    """A page of runs, newest first."""

    active: list[RunOut] = Field(description="Not ended; on the first page only")
    runs: list[RunOut]
    next_offset: int | None
    total: int | None = Field(description="How many match in all, where the engine knows")


class FileOut(BaseModel):
    """A file that a run wrote."""

    model_config = ConfigDict(from_attributes=True)

    path: str = Field(description="Below the run's folder; fetch it at /portal/runs/ID/files/PATH")
    size: int
    changed: datetime


class ChangeOut(BaseModel):
    """One value in two runs."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    before: str | int | None
    now: str | int | None


class CellChangeOut(BaseModel):
    """A cell that put out something else."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    source: str
    before: str
    now: str
    edited: bool


class ComparisonOut(BaseModel):
    """A run beside the one before it."""

    model_config = ConfigDict(from_attributes=True)

    run: RunOut
    previous: RunOut
    tables: list[ChangeOut] = Field(description="Rows loaded")
    files: list[ChangeOut] = Field(description="Sizes of files that differ")
    parameters: list[ChangeOut]
    cells: list[CellChangeOut]
    same_cells: int


class AgainIn(BaseModel):
    """How a run is repeated."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] | None = Field(
        default=None, description="What it runs with; left out for the same as before"
    )


class AgainOut(BaseModel):
    """The new run."""

    run: str = Field(description="Job id; empty where it waits and has none yet")


class ConsoleOut(BaseModel):
    """A part of a log."""

    run: RunOut
    data: str
    next: int = Field(description="Offset to ask for next")
    done: bool = Field(description="Whether the run has ended: the whole log is at log.txt")


@router.get("/runs", responses={**MISSING, **INVALID})
async def list_runs(
    request: Request, desk: DeskDep, query: QueryDep, offset: OffsetQuery = 0
) -> RunsOut:
    """List runs, newest first; days are the appliance's own."""
    zone = find_zone("", get_pages(request).config.timezone)
    page = await run_in_threadpool(desk.list_runs, offset, query.to_filter(zone))
    return RunsOut(
        active=[show_run_model(run) for run in page.active],
        runs=[show_run_model(run) for run in page.runs],
        next_offset=page.next_offset,
        total=page.total,
    )


@router.get("/runs/{identifier}", responses={**MISSING})
async def show_run(desk: DeskDep, identifier: str) -> RunOut:
    """Return one run."""
    return show_run_model(await run_in_threadpool(desk.find_run, identifier))


@router.get("/runs/{identifier}/files", responses={**MISSING})
async def list_files(desk: DeskDep, archive: ArchiveDep, identifier: str) -> list[FileOut]:
    """List the files that a run wrote."""
    run = await run_in_threadpool(desk.find_run, identifier)
    files = await run_in_threadpool(archive.list_files, run)
    return [FileOut.model_validate(file) for file in files]


@router.get("/runs/{identifier}/compare", responses={**MISSING})
async def compare(desk: DeskDep, archive: ArchiveDep, identifier: str) -> ComparisonOut:
    """Put a run beside the one before it."""
    comparison = await run_in_threadpool(make_comparison, desk, archive, identifier)
    return ComparisonOut.model_validate(comparison)


@router.post("/runs/{identifier}/again", responses={**MISSING, **REFUSED, **INVALID})
async def run_again(desk: ChangingDeskDep, identifier: str, how: AgainIn) -> AgainOut:
    """Start a run's schedule again, with its parameters or with others."""
    return AgainOut(run=await run_in_threadpool(desk.run_again, identifier, how.parameters))


@router.get("/runs/{identifier}/console", responses={**MISSING, **INVALID})
async def show_console(
    desk: DeskDep, identifier: str, offset: Annotated[int, Query(ge=0, le=10**12)] = 0
) -> ConsoleOut:
    """Return the log of a run that has not ended, from an offset on."""
    part = await run_in_threadpool(desk.read_console, identifier, offset)
    run = show_run_model(part["run"])
    return ConsoleOut(run=run, data=part["data"], next=part["next"], done=not part["run"].is_open)


@router.get("/runs/{identifier}/log", response_model=None, responses={**MISSING, **LOG})
async def show_log(desk: DeskDep, identifier: str) -> PlainTextResponse:
    """Return the whole log of a run that has ended."""
    return PlainTextResponse(await run_in_threadpool(desk.read_log, identifier))


@router.post("/runs/{identifier}/abort", status_code=204, responses={**MISSING, **REFUSED})
async def abort_run(desk: ChangingDeskDep, identifier: str) -> None:
    """Stop a run."""
    await run_in_threadpool(desk.abort_run, identifier)


def show_run_model(run: Run) -> RunOut:
    """Turn a run into what the API answers."""
    return RunOut.model_validate(run)
