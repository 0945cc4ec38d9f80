"""The portal: web pages and an API for schedules, runs, tables and connections.

A service that the Hub starts and that speaks to the scheduler through its REST contract alone, so
it works the same with either engine. It runs as an account of its own and cannot read homes.

Read `app.py` first (how it is put together), then `access.py` (who may see and do what).
"""
