"""Settling due slots, and judging how runs end: the rules that both engines follow.

Which slots are due follows from the event's cursor, which of them run from its policy. Each runs
once, whatever the clock, the cursor or a restart did: UNIQUE(event, due_at) in the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from vixtract.ledger import runs, slots
from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, FAILED, GRACE_S, SUCCEEDED, Settlement
from vixtract.scheduler.clock import ClockWatch
from vixtract.scheduler.events import Event, find_owner
from vixtract.scheduler.store import StoredEvent

logger = logging.getLogger(__name__)

# A clock set forward by more than this while running: one run stands for all skipped slots.
JUMP_S = 3600.0
# A run that the engine died under is tried this often in all.
MAX_ATTEMPTS = 3
# Cursors without a due slot behind them are written this often, to save disk writes.
CURSOR_STEP_S = 3600
GOOD_CODES = (0, runs.WARNING_CODE)
CRASHED = "Aborted Job: Server shut down unexpectedly."
STOPPING = "Server is shutting down"


class Settler:
    """Finds what is to be settled.

    Args:
        cap: late slots made up for per event.
        watch: tells a clock that was set from a downtime.
        delay_s: seconds after its due time from which on a slot is looked at.
    """

    def __init__(
        self, database: Database, cap: int, watch: ClockWatch, *, delay_s: int = 0
    ) -> None:
        self._database = database
        self._cap = cap
        self._watch = watch
        self._delay_s = delay_s

    def prepare(self, stored: StoredEvent, now: int) -> Settlement | None:
        """Return what is to be settled for an event, or None where there is nothing.

        Where the cursor is ahead of the clock, which was set back, slots are opened again.
        """
        event, cursor, until = stored.event, stored.cursor, now - self._delay_s
        if not event.enabled or not isinstance(event.timing, Mapping):
            return None
        if cursor > now + GRACE_S:
            reopened = slots.rewind_cursor(self._database, event.id, now)
            logger.warning(
                "the clock was set back by %d s: event %s goes on from now; %d slots recorded as"
                " missed are still to come",
                cursor - now,
                event.id,
                reopened,
            )
            return None
        due = find_due(event, cursor, until)
        left = slots.open_slots(self._database, event.id, until)
        if not due and not left and until - cursor < CURSOR_STEP_S:
            return None
        return Settlement(
            event=event.id,
            cursor=cursor,
            until=until,
            now=now,
            due=due,
            left_open=left,
            catch_up=bool(event.catch_up),
            cap=self._cap,
            jumped=self._watch.drift() > JUMP_S,
        )


def find_due(event: Event, after: float, until: float) -> list[int]:
    """Return an event's due times after one moment up to another, epoch seconds."""
    return list(takewhile(lambda due: due <= until, event.due_times(after)))


def add_run(
    database: Database, identifier: str, event: Event, source: str, due_at: int | None, now: float
) -> None:
    """Queue a run of an event, parameters overridden where asked; by hand, `due_at` is None."""
    run = runs.NewRun(
        id=identifier,
        event=event.id,
        username=event.username,
        source=source,
        due_at=due_at,
        queued_at=now,
        job=event.to_dict(),
        owner=find_owner(event.params, event.username),
    )
    runs.add_run(database, run)


def judge(code: int, *, stopped: bool) -> str:
    """Return the outcome of a run: aborted when it was told to end, else succeeded or failed."""
    if stopped:
        return ABORTED
    return SUCCEEDED if code in GOOD_CODES else FAILED


def may_run_again(run: Mapping[str, Any], crashes: int) -> bool:
    """Return whether the slot of a run that was cut off is run again.

    Args:
        run: row of the ledger, its job decoded.
        crashes: how often the engine has died under a run of this slot; 0 for an orderly stop.
    """
    return run["due_at"] is not None and bool(run["job"].get("catch_up")) and crashes < MAX_ATTEMPTS
