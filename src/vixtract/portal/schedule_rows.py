"""What lists of schedules show: bars of the last runs, what is late, and what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from vixtract.portal.models import Run, Schedule, read_moment
from vixtract.portal.scheduler_access import SchedulerAccess
from vixtract.scheduler.timing import TimingError, next_due

BARS_SHOWN = 30
HEIGHT = 24
LEAST = 5
BAR, GAP = 6, 2
# A slot without a run after this time is late: queues and busy machines need a moment.
LATE_AFTER = timedelta(minutes=3)


@dataclass(frozen=True)
class Bar:
    """One run in the chart of a schedule's last runs: pixels, the height by its duration."""

    run: Run
    x: int
    y: int
    height: int


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule with what its row shows.

    Args:
        schedule: with its newest run, which may not have ended.
        bars: its last runs that have ended, oldest first.
        next: when it runs next, aware in its own zone; None where it does not.
        late: the first past slot that no run has started for, or None.
    """

    schedule: Schedule
    bars: Sequence[Bar] = ()
    next: datetime | None = None
    late: datetime | None = None

    @property
    def ended(self) -> Run | None:
        """Its last run that has ended, or None."""
        return self.bars[-1].run if self.bars else None

    @property
    def has_failed(self) -> bool:
        """Whether its last run went wrong."""
        return self.ended is not None and self.ended.state in ("failed", "aborted")

    @property
    def width(self) -> int:
        """Width of the chart in pixels."""
        return max(1, len(self.bars) * (BAR + GAP) - GAP)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of bars by state."""
        return Counter(bar.run.state for bar in self.bars)


def make_rows(
    access: SchedulerAccess, schedules: Sequence[Schedule], count: int
) -> list[ScheduleRow]:
    """Return the rows of a person's schedules, each with `count` bars at most; blocks."""
    recent = access.list_recent([schedule.id for schedule in schedules], count)
    return [
        make_row(schedule, recent.get(schedule.id, []), access.timezone)
        for schedule in access.add_last(schedules, recent)
    ]


def make_row(schedule: Schedule, runs: Sequence[Run], timezone_name: str) -> ScheduleRow:
    """Return the row of a schedule with its newest run.

    Args:
        runs: its last ended runs, newest first.
        timezone_name: zone of schedules that name none.
    """
    bars = _make_bars(runs[:BARS_SHOWN][::-1])
    if not schedule.enabled:
        return ScheduleRow(schedule, bars)
    zone, now = schedule.timezone or timezone_name, datetime.now(timezone.utc)
    late = _find_due(schedule, zone, _find_last_slot(schedule, runs))
    if late is not None and late >= now - LATE_AFTER:
        late = None
    return ScheduleRow(schedule, bars, _find_due(schedule, zone, now), late)


def _make_bars(runs: Sequence[Run]) -> list[Bar]:
    longest = max((run.elapsed or 0.0 for run in runs), default=0.0)
    bars = []
    for place, run in enumerate(runs):
        share = (run.elapsed or 0.0) / longest if longest else 0.0
        height = LEAST + round((HEIGHT - LEAST) * share)
        bars.append(Bar(run, place * (BAR + GAP), HEIGHT - height, height))
    return bars


def _find_due(schedule: Schedule, zone: str, after: datetime | None) -> datetime | None:
    """Return the first slot after a moment, aware in the zone, or None."""
    try:
        return next(iter(next_due(schedule.timing, zone, after, 1)), None) if after else None
    except TimingError:
        return None


def _find_last_slot(schedule: Schedule, runs: Sequence[Run]) -> datetime | None:
    """Return the last moment that needs no run any more; None if one is open, or none is known."""
    if schedule.last and schedule.last.is_open:
        return None
    moments = [run.due or run.start for run in runs[:5]]
    moments.append(read_moment(schedule.event.get("modified") or schedule.event.get("created")))
    return max((moment for moment in moments if moment is not None), default=None)
