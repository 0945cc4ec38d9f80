"""Who there is: names, OS accounts, PostgreSQL roles, teams and readers.

Everything here is safe to run again: `ensure_x` makes it so, and leaves people's own changes alone.
"""
