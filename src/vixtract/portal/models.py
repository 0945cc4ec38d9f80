"""Schedules and runs as the pages show them, read from what the scheduler answers.

The scheduler's objects come from two engines and from older versions, so every field may be
missing or of another type; a page shows what there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any

from vixtract.language import mark
from vixtract.scheduler.events import find_owner
from vixtract.scheduler.timing import TimingInput, check_timing

ABORTED_CODE = 130
WARNING_CODE = 255
STATES = ("queued", "running", "waiting", "succeeded", "warning", "failed", "aborted")
OPEN_STATES = ("queued", "running", "waiting")
# A run that starts this long after its minute was missed while the appliance was down, or waited.
LATE = timedelta(minutes=3)


@dataclass(frozen=True)
class RunField:
    """One field of a run: where the record has it, what programs are told, how pages show it.

    Args:
        record: its key in the scheduler's job, `chain_data.KEY` for what the runner has reported,
            `params.KEY` for what the plugin was given; empty where it is computed from several.
        kind: `text`, `number`, `object`, `moment`, `seconds` or `mb` (MiB).
        help: for programs; empty where the name says it.
        label: of a column or a fact, in English, marked for translation.
        is_column: whether the list of runs shows it.
        is_fact: whether the page of the run shows it, where the record has it.
        for_admins: whether the list shows it to administrators alone.
        hidden: whether programs do not get it.
        name: the field's name; known in RUN_FIELDS.
    """

    record: str = ""
    kind: str = "text"
    help: str = ""
    label: str = ""
    is_column: bool = False
    is_fact: bool = False
    for_admins: bool = False
    hidden: bool = False
    name: str = ""

    def declare(self, default: Any = "") -> Any:
        """Return a field of a dataclass with a default value and this description."""
        if isinstance(default, dict):
            return field(default_factory=dict, metadata={"field": self})
        return field(default=default, metadata={"field": self})

    def load(self, job: Mapping[str, Any]) -> Any:
        """Return the field's value from a job, where it may be missing or of another type."""
        outer, _, inner = self.record.rpartition(".")
        value = (_object(job.get(outer)) if outer else job).get(inner)
        read = {"text": _text, "object": _object, "moment": read_moment}.get(self.kind, _number)
        return read(value)


@dataclass(frozen=True)
class Run:
    """One run of a schedule."""

    id: str = RunField("id").declare()
    schedule: str = RunField("event", help="Id of its schedule, which may be gone").declare()
    title: str = RunField("event_title", help="Title of the schedule when it ran").declare()
    state: str = RunField(help="One of " + ", ".join(STATES)).declare("failed")
    start: datetime | None = RunField(  # noqa: RUF009  it is dataclasses.field
        kind="moment", help="Empty while it waits", label=mark("Started"), is_column=True
    ).declare(None)
    elapsed: float | None = RunField(
        kind="seconds", help="Seconds, so far or in all", label=mark("Duration"), is_column=True
    ).declare(None)
    owner: str = RunField(
        help="Whose account it ran under; empty where the record does not say",
        label=mark("Owner"),
        is_column=True,
        for_admins=True,
    ).declare()
    author: str = RunField("username", help="Who scheduled it").declare()
    source: str = RunField(
        "source", help="Who or what started it: `Scheduler`, or the title of a key"
    ).declare()
    progress: float | None = RunField("progress", "number", help="0 to 1").declare(None)
    memo: str = RunField(help="What it is doing, one line").declare()
    code: int = RunField(kind="number", help="Exit code; 0 is success").declare(0)
    description: str = RunField("description", help="The error in plain words").declare()
    output: str = RunField("chain_data.output", help="Path of the executed notebook").declare()
    html: str = RunField("chain_data.html", hidden=True).declare()
    folder: str = RunField("chain_data.run_dir", help="The run's folder").declare()
    error: Mapping[str, Any] = RunField(
        "chain_data.error", "object", help="cell, name and message of what a cell raised"
    ).declare({})
    hint: str = RunField("chain_data.hint", help="What to do about the error").declare()
    notebook: str = RunField(help="Path that ran").declare()
    parameters: Mapping[str, Any] = RunField(
        "params.parameters", "object", help="What it ran with; empty in lists"
    ).declare({})
    due: datetime | None = RunField(  # noqa: RUF009
        "due_at", "moment", hidden=True
    ).declare(None)
    attempts: int = RunField(kind="number", help="How often it was tried").declare(1)
    loads: Sequence[Mapping[str, Any]] = RunField(
        kind="object", help="table, mode, rows, bytes and seconds of each load into PostgreSQL"
    ).declare(())
    peak_mb: float | None = RunField(
        "chain_data.peak_mb",
        "mb",
        help="Most memory at once, MiB",
        label=mark("Most memory"),
        is_fact=True,
    ).declare(None)
    end: datetime | None = RunField(kind="moment").declare(None)  # noqa: RUF009
    figures: Mapping[str, float] = RunField(
        kind="object", help="Seconds of the cells tagged extract, transform and load"
    ).declare({})

    @property
    def why(self) -> str:
        """What started the run: `schedule`, `retry`, `catch-up` or `hand`."""
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


RUN_FIELDS: Mapping[str, RunField] = {
    each.name: replace(each.metadata["field"], name=each.name) for each in fields(Run)
}


@dataclass(frozen=True)
class RunPage:
    """Runs that have ended, newest first, and those that have not.

    Args:
        active: only on the first page.
        next_offset: where older ones begin, or None at the end.
        previous_offset: where newer ones begin, or None at the start.
        total: how many match in all, or None where that is not known.
        first: number of the first of them, from 1.
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
    """Return the schedule of an event, as the scheduler returned it."""
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
    """Return the run of the scheduler's job: running or ended, whole or a row of a history."""
    params = _object(job.get("params"))
    recorded = {name: each.load(job) for name, each in RUN_FIELDS.items() if each.record}
    reported = _object(job.get("chain_data"))
    start, state = _number(job.get("time_start")), _read_state(job)
    return Run(
        **recorded
        | {
            "state": state,
            "owner": _text(reported.get("owner"))
            or _text(job.get("owner"))
            or find_owner(params, recorded["author"]),
            "start": read_moment(start) if state != "queued" else None,
            "elapsed": _elapsed(job, start, state),
            "memo": _text(job.get("memo"))[:300],
            "code": int(_number(job.get("code")) or 0),
            "notebook": _text(reported.get("notebook")) or _text(params.get("notebook")),
            "attempts": int(_number(job.get("attempt")) or 1),
            "loads": [each for each in _list(reported.get("loads")) if isinstance(each, Mapping)],
            "end": read_moment(job.get("time_end")) or read_moment(job.get("epoch")),
            "figures": _read_figures(_object(job.get("perf"))),
        }
    )


def _read_figures(perf: Mapping[str, Any]) -> dict[str, float]:
    found = {name: _number(perf.get(name)) for name in ("extract", "transform", "load")}
    return {name: value for name, value in found.items() if value is not None}


def _read_state(job: Mapping[str, Any]) -> str:
    if not job.get("complete") and job.get("action") != "job_complete":
        # Cronicle has no state: what it lists as active is running.
        state = _text(job.get("state")) or "running"
        return state if state in OPEN_STATES else "running"
    code = int(_number(job.get("code")) or 0)
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


def read_moment(value: object) -> datetime | None:
    """Return the aware moment of an epoch time; None where it is missing or not a number."""
    number = _number(value)
    return datetime.fromtimestamp(number, timezone.utc) if number else None


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
