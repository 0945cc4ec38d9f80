"""Schedules: the event model, the REST client, and the embedded engine.

`events` and `client` are what other packages use and need the standard library alone; everything
else is the engine, started with ``python -I -m vixtract.scheduler.embedded``.
Times are epoch seconds unless their type or docstring says otherwise.
"""
