"""Running one notebook or script as its owner, and recording the run.

`runner` is the root daemon, `plugin` what the scheduler starts, `execute` and `render` the owner's
own processes. The daemon's modules use the standard library alone and never parse a notebook.
"""
