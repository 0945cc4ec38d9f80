"""The ledger: every due slot once, every slot exactly one outcome.

`database` opens the SQLite file, `slots` settles what is due, `runs` keeps the rows of runs,
`mirror` copies both to PostgreSQL. The ledger knows nothing of time zones, plugins or HTTP.
"""

from vixtract.ledger.database import Database, LedgerError
from vixtract.ledger.slots import ABORTED, FAILED, MISSED, SUCCEEDED, Settlement, settle_slots

__all__ = [
    "ABORTED",
    "FAILED",
    "MISSED",
    "SUCCEEDED",
    "Database",
    "LedgerError",
    "Settlement",
    "settle_slots",
]
