"""What lists of schedules show: bars of the last runs, what is late, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from vixtract.portal.models import Run, Schedule
from vixtract.scheduler.timing import TimingError, next_due

BARS_SHOWN = 30
HEIGHT = 24
LEAST = 5
BAR, GAP = 6, 2
# A slot without a run after this time is late: queues and busy machines need a moment.
LATE_AFTER = timedelta(minutes=3)
BAD = ("failed", "aborted")


@dataclass(frozen=True)
class Bar:
    """One run in the chart of a schedule's last runs.

    Args:
        run: the run.
        x: left edge.
        y: upper edge.
        height: by its share of the longest of them.
    """

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
    def width(self) -> int:
        """Width of the chart in pixels."""
        return max(1, len(self.bars) * (BAR + GAP) - GAP)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of bars by state."""
        counts: dict[str, int] = {}
        for bar in self.bars:
            counts[bar.run.state] = counts.get(bar.run.state, 0) + 1
        return counts


def make_row(
    schedule: Schedule, runs: Sequence[Run], timezone_name: str, now: datetime
) -> ScheduleRow:
    """Make the row of a schedule.

    Args:
        schedule: with its newest run.
        runs: its last ended runs, newest first.
        timezone_name: zone of schedules that name none.
        now: aware.
    """
    zone = schedule.timezone or timezone_name
    upcoming = find_next(schedule, zone, now)
    return ScheduleRow(schedule, make_bars(runs), upcoming, find_late(schedule, runs, zone, now))


def make_bars(runs: Sequence[Run]) -> list[Bar]:
    """Return bars of runs, the oldest first.

    Args:
        runs: ended ones.
    """
    shown = list(reversed(runs[:BARS_SHOWN]))
    longest = max((run.elapsed or 0.0 for run in shown), default=0.0)
    bars = []
    for place, run in enumerate(shown):
        share = (run.elapsed or 0.0) / longest if longest else 0.0
        height = LEAST + round((HEIGHT - LEAST) * share)
        bars.append(Bar(run, place * (BAR + GAP), HEIGHT - height, height))
    return bars


def find_next(schedule: Schedule, zone: str, now: datetime) -> datetime | None:
    """Return when a schedule runs next, aware in its own zone, or None."""
    if not schedule.enabled:
        return None
    try:
        return next(iter(next_due(schedule.timing, zone, now, 1)), None)
    except TimingError:
        return None


def find_late(schedule: Schedule, runs: Sequence[Run], zone: str, now: datetime) -> datetime | None:
    """Return the first past slot that no run has started for, or None.

    Args:
        schedule: with its newest run.
        runs: its last ended runs, newest first.
        zone: IANA name.
        now: aware.
    """
    if not schedule.enabled or not isinstance(schedule.timing, Mapping):
        return None
    last = schedule.last
    if last is not None and last.is_open:
        # It has started, or waits in the queue.
        return None
    times = [run.due or run.start for run in runs[:5]]
    known = [time for time in times if time is not None]
    changed = _moment(schedule.event.get("modified") or schedule.event.get("created"))
    since = max([*known, changed]) if changed else max(known, default=None)
    if since is None:
        return None
    try:
        due = next(iter(next_due(schedule.timing, zone, since, 1)), None)
    except TimingError:
        return None
    return due if due is not None and due < now - LATE_AFTER else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, (int, float)) and value > 0:
        return datetime.fromtimestamp(value, timezone.utc)
    return None
