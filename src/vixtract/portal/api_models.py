"""What the calls of `/portal/api` take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_type_hints

from pydantic import AliasPath, BaseModel, ConfigDict, Field, create_model

from vixtract.portal.compare import CellChange, Difference
from vixtract.portal.models import RUN_FIELDS, Run
from vixtract.portal.overview import Disk
from vixtract.portal.schedule_fields import FIELDS, STORED, FormField, list_group


class ErrorOut(BaseModel):
    """What went wrong."""

    error: str
    hint: str = ""
    problems: dict[str, str] = Field(default={}, description="Field to the message about it")


class PersonOut(BaseModel):
    """Who is signed in."""

    name: str
    admin: bool


_TYPES = get_type_hints(Run)
_PUBLIC: dict[str, Any] = {
    name: (_TYPES[name], Field(description=each.help or None))
    for name, each in RUN_FIELDS.items()
    if not each.hidden
}
_Run: Any = create_model("_Run", **_PUBLIC)


class RunOut(_Run):  # type: ignore[misc]  # made of the table of a run's fields
    """A run."""

    model_config = ConfigDict(from_attributes=True)

    why: str = Field(description="schedule, catch-up, retry or hand")


class RunsOut(BaseModel):
    """A page of runs, newest first."""

    active: list[RunOut] = Field(description="Not ended; on the first page only")
    runs: list[RunOut]
    next_offset: int | None
    total: int | None = Field(description="How many match in all, where the engine knows")


class ComparisonOut(BaseModel):
    """A run compared with the previous one."""

    model_config = ConfigDict(from_attributes=True)

    run: RunOut
    previous: RunOut
    tables: list[Difference] = Field(description="Rows loaded")
    files: list[Difference] = Field(description="Sizes of files that differ")
    parameters: list[Difference]
    cells: list[CellChange]
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


def _describe(each: FormField, default: Any = ..., *, may_be_left_out: bool = False) -> Any:
    """Return a field of the schedules' form as pydantic's `create_model` takes it."""
    text = f"{each.label}. {each.help}" if each.help else each.label
    kind = each.type | None if may_be_left_out else each.type
    longest = each.longest or None if may_be_left_out else None
    return kind, Field(default=default, description=text, max_length=longest)


_Stored: Any = create_model("_Stored", **{n: _describe(each) for n, each in STORED.items()})
_Given: Any = create_model(
    "_Given", **{n: _describe(each, None, may_be_left_out=True) for n, each in STORED.items()}
)
_When: Any = create_model(
    "_When", **{n: _describe(FIELDS[n], FIELDS[n].default) for n in list_group("when")}
)


class ScheduleOut(_Stored):  # type: ignore[misc]  # made of the form's table
    """A schedule."""

    id: str
    plugin: str
    author: str
    timing: dict[str, list[int]] | bool
    when: str = Field(description="The timing in words, in the language asked for")
    next: list[datetime]
    pinned: str = Field(description="SHA-256 of the pinned copy that runs; empty for the newest")
    last: RunOut | None


class ScheduleIn(_Given):  # type: ignore[misc]  # made of the form's table
    """A schedule to store; fields left out keep their value, or get the default."""

    model_config = ConfigDict(extra="forbid")

    timing: dict[str, list[int]] | bool | None = Field(
        default=None,
        description="Lists of minutes, hours, days, weekdays (0 is Sunday), months, years; "
        "false for only by hand",
    )
    cron: str | None = Field(
        default=None, max_length=200, description="Five fields, in place of `timing`"
    )
    pin: bool | None = Field(
        default=None, description="true pins the notebook as it is now; false runs the newest"
    )


class TimingIn(_When):  # type: ignore[misc]
    """The form's fields that say when."""

    timezone: str = Field(default="", description="Empty for the appliance's own")


class TimeOut(BaseModel):
    """A time at which something would run."""

    at: datetime
    text: str = Field(description="In the zone that was chosen and the language asked for")


class NextOut(BaseModel):
    """When a timing would run."""

    when: str
    next: list[TimeOut]
    problems: dict[str, str] = Field(description="Field to the message about it")


class ScheduleRowOut(BaseModel):
    """A schedule in the overview."""

    id: str = Field(validation_alias=AliasPath("schedule", "id"))
    title: str = Field(validation_alias=AliasPath("schedule", "title"))
    last: RunOut | None = Field(validation_alias="ended", description="The last run that has ended")
    next: datetime | None
    late: datetime | None = Field(description="Since when a run is missing")


class OverviewOut(BaseModel):
    """The overview."""

    bad: list[ScheduleRowOut]
    bad_total: int
    running: list[RunOut]
    upcoming: list[ScheduleRowOut]
    services: dict[str, str]
    disks: list[Disk]
    schedules: int
