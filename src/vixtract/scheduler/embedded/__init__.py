"""The embedded engine, started with ``python -I -m vixtract.scheduler.embedded``."""
