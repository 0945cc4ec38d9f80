"""The daemon of the job container: requests, workspace, supervision and the record of a run.

Root's part uses the standard library alone and never parses a notebook.
"""
