"""Runs as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.api import MISSING, REFUSED, router
from vixtract.portal.models import STATES, Run
from vixtract.portal.runs import OffsetQuery
from vixtract.portal.web import ChangingDeskDep, DeskDep

__all__ = ["router"]


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
    error: dict[str, Any] = Field(description="cell, name and message of what a cell raised")
    hint: str


class RunsOut(BaseModel):
    """A page of runs, newest first."""

    active: list[RunOut] = Field(description="Not ended; on the first page only")
    runs: list[RunOut]
    next_offset: int | None


class ConsoleOut(BaseModel):
    """A part of a log."""

    run: RunOut
    data: str
    next: int = Field(description="Offset to ask for next")
    done: bool = Field(description="Whether the run has ended: the whole log is at log.txt")


@router.get("/runs", responses={**MISSING})
async def list_runs(desk: DeskDep, offset: OffsetQuery = 0, schedule: str = "") -> RunsOut:
    """List runs, newest first."""
    page = await run_in_threadpool(desk.list_runs, offset, schedule)
    return RunsOut(
        active=[show_run_model(run) for run in page.active],
        runs=[show_run_model(run) for run in page.runs],
        next_offset=page.next_offset,
    )


@router.get("/runs/{identifier}", responses={**MISSING})
async def show_run(desk: DeskDep, identifier: str) -> RunOut:
    """Return one run."""
    return show_run_model(await run_in_threadpool(desk.find_run, identifier))


@router.get("/runs/{identifier}/console", responses={**MISSING})
async def show_console(
    desk: DeskDep, identifier: str, offset: Annotated[int, Query(ge=0, le=10**12)] = 0
) -> ConsoleOut:
    """Return the log of a run that has not ended, from an offset on."""
    part = await run_in_threadpool(desk.read_console, identifier, offset)
    run = show_run_model(part["run"])
    return ConsoleOut(run=run, data=part["data"], next=part["next"], done=not part["run"].is_open)


@router.get("/runs/{identifier}/log", response_class=PlainTextResponse, responses={**MISSING})
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
