"""People: their names, OS accounts, PostgreSQL roles and passwords, and the Hub's part in them.

Everything here is safe to run again: `ensure_x` makes it so, and leaves people's own changes alone.
The sub-package `hub` alone needs JupyterHub.
"""
