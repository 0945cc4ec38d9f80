"""Schedules and runs as the pages show them, read from what the scheduler answers.

The scheduler's objects come from two engines and from older versions, so every field may be
missing or of another type; a page must show what there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any

from vixtract.scheduler.handover import find_owner
from vixtract.scheduler.timing import TimingInput, check_timing

ABORTED_CODE = 130
WARNING_CODE = 255
STATES = ("queued", "running", "waiting", "succeeded", "warning", "failed", "aborted")
OPEN_STATES = ("queued", "running", "waiting")
# A run that begins this long after its minute makes up for a downtime, or waited for another.
LATE = timedelta(minutes=3)


@dataclass(frozen=True)
class Run:
    """One run of a schedule.

    Args:
        id: job id.
        schedule: id of its event, which may be gone.
        title: title of the schedule when it ran.
        state: one of STATES.
        owner: whose account it ran under; empty where the record does not say.
        author: who scheduled it.
        source: who or what started it: `Scheduler`, or the title of a key.
        start: when it began; None while it waits.
        elapsed: seconds, so far or in all.
        progress: 0 to 1, or None.
        memo: what it is doing, one line.
        code: exit code; 0 is success.
        description: the error in plain words.
        output: path of the executed notebook, or empty.
        html: path of the notebook's HTML, or empty.
        folder: the run's folder, or empty.
        error: cell, name and message of what a cell raised; empty if none did.
        hint: what to do about the error, or empty.
        notebook: path that ran, or empty.
        parameters: what it ran with.
        due: the slot it ran for; None where somebody started it.
        attempts: how often it was tried.
        loads: what it loaded into PostgreSQL: table, mode, rows, bytes, seconds of each.
        peak_mb: most memory it had at once, MiB; None where the record does not say.
        end: when it ended, or None.
        figures: seconds of the cells tagged extract, transform and load, those that there are.
    """

    id: str
    schedule: str = ""
    title: str = ""
    state: str = "failed"
    owner: str = ""
    author: str = ""
    source: str = ""
    start: datetime | None = None
    elapsed: float | None = None
    progress: float | None = None
    memo: str = ""
    code: int = 0
    description: str = ""
    output: str = ""
    html: str = ""
    folder: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""
    notebook: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    due: datetime | None = None
    attempts: int = 1
    loads: Sequence[Mapping[str, Any]] = ()
    peak_mb: float | None = None
    end: datetime | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """What started it: schedule, retry, catch-up or hand."""
        if self.attempts > 1:
            return "retry"
        if self.source != "Scheduler":
            return "hand"
        late = self.start - self.due if self.start and self.due else timedelta(0)
        return "catch-up" if late > LATE else "schedule"

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in OPEN_STATES

    @property
    def output_name(self) -> str:
        """File name of the executed notebook, or empty."""
        return PurePosixPath(self.output).name if self.output else ""


@dataclass(frozen=True)
class RunPage:
    """Runs that have ended, newest first, and those that have not.

    Args:
        active: waiting or running; only on the first page.
        runs: ended.
        next_offset: where older ones begin, or None at the end.
        previous_offset: where newer ones begin, or None at the start.
        total: how many match in all, or None where that is not known.
        first: place of the first of them, from 1.
    """

    active: list[Run]
    runs: list[Run]
    next_offset: int | None = None
    previous_offset: int | None = None
    total: int | None = None
    first: int = 1


@dataclass(frozen=True)
class Schedule:
    """One event of the scheduler.

    Args:
        id: event id.
        title: unique name.
        plugin: `notebook` or `shellplug`.
        owner: whose account it runs under.
        author: whose rights decide what it may run.
        notebook: path as it was given, or empty.
        timing: the scheduler's timing object, or False.
        timezone: IANA name; empty is the appliance's.
        enabled: whether it runs by itself.
        event: the whole object, as it came.
        last: its newest run, if that is known.
    """

    id: str
    title: str
    plugin: str
    owner: str
    author: str
    notebook: str
    timing: TimingInput
    timezone: str
    enabled: bool
    event: Mapping[str, Any] = field(repr=False)
    last: Run | None = None


def read_schedule(event: Mapping[str, Any], last: Run | None = None) -> Schedule:
    """Read an event.

    Args:
        event: as the scheduler returned it.
        last: its newest run.
    """
    params = _object(event.get("params"))
    author = _text(event.get("username"))
    timing = event.get("timing", False)
    return Schedule(
        id=_text(event.get("id")),
        title=_text(event.get("title")),
        plugin=_text(event.get("plugin")),
        owner=find_owner(params, author),
        author=author,
        notebook=_text(params.get("notebook")),
        timing=timing if not check_timing(timing) else False,
        timezone=_text(event.get("timezone")),
        enabled=bool(event.get("enabled")),
        event=event,
        last=last,
    )


def read_run(job: Mapping[str, Any]) -> Run:
    """Read a job, running or ended, whole or a row of a history.

    Args:
        job: as the scheduler returned it.
    """
    params = _object(job.get("params"))
    chain = _object(job.get("chain_data"))
    author = _text(job.get("username"))
    start = _number(job.get("time_start"))
    state = _read_state(job)
    parameters = params.get("parameters")
    return Run(
        id=_text(job.get("id")),
        schedule=_text(job.get("event")),
        title=_text(job.get("event_title")),
        state=state,
        owner=_text(chain.get("owner")) or _text(job.get("owner")) or find_owner(params, author),
        author=author,
        source=_text(job.get("source")),
        start=datetime.fromtimestamp(start, timezone.utc) if start and state != "queued" else None,
        elapsed=_elapsed(job, start, state),
        progress=_number(job.get("progress")),
        memo=_text(job.get("memo"))[:300],
        code=int(_number(job.get("code")) or 0),
        description=_text(job.get("description")),
        output=_text(chain.get("output")),
        html=_text(chain.get("html")),
        folder=_text(chain.get("run_dir")),
        error=_object(chain.get("error")),
        hint=_text(chain.get("hint")),
        notebook=_text(chain.get("notebook")) or _text(params.get("notebook")),
        parameters=_object(parameters),
        due=_moment(job.get("due_at")),
        attempts=int(_number(job.get("attempt")) or 1),
        loads=[load for load in _list(chain.get("loads")) if isinstance(load, Mapping)],
        peak_mb=_number(chain.get("peak_mb")),
        end=_moment(job.get("time_end")) or _moment(job.get("epoch")),
        figures=_read_figures(_object(job.get("perf"))),
    )


def _read_figures(perf: Mapping[str, Any]) -> dict[str, float]:
    found = {name: _number(perf.get(name)) for name in ("extract", "transform", "load")}
    return {name: value for name, value in found.items() if value is not None}


def _read_state(job: Mapping[str, Any]) -> str:
    code = int(_number(job.get("code")) or 0)
    if not job.get("complete") and job.get("action") != "job_complete":
        # Cronicle tells no state: what it lists as active runs.
        state = _text(job.get("state")) or "running"
        return state if state in OPEN_STATES else "running"
    if code == 0:
        return "succeeded"
    if code == WARNING_CODE:
        return "warning"
    # A whole record has code 1 where its history has 130.
    aborted = code == ABORTED_CODE or job.get("abort_reason") or job.get("outcome") == "aborted"
    return "aborted" if aborted else "failed"


def _elapsed(job: Mapping[str, Any], start: float | None, state: str) -> float | None:
    known = _number(job.get("elapsed"))
    if known is None and start and state == "running":
        return max(0.0, datetime.now(timezone.utc).timestamp() - start)
    return known if state != "queued" else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _moment(value: object) -> datetime | None:
    number = _number(value)
    return datetime.fromtimestamp(number, timezone.utc) if number else None


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
