"""What one person may see and do, put together from its parts.

`access` answers every question of ownership. Works through the scheduler's REST contract alone, so
all of it blocks: call it in a thread.
"""

from __future__ import annotations

from vixtract.portal.desk_runs import RunDesk
from vixtract.portal.desk_schedules import ScheduleDesk


class Desk(ScheduleDesk, RunDesk):
    """One person's view of the scheduler, for one request."""
