"""The ledger: every due slot once, every slot exactly one outcome.

`database` opens the SQLite file, `slots` settles what is due, `runs` keeps the rows of runs,
`mirror` copies both to PostgreSQL. The ledger knows nothing of time zones, plugins or HTTP.
Times are epoch seconds.
"""
