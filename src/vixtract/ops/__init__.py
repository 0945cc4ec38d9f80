"""What `./vixtract` does on the host: standard library only, Python 3.9 or newer.

Start reading in `cli.py` (commands) and `up.py` (what a start does). Functions named `build_…` are
pure and return argument lists; `host.py` alone runs programs; `cli.py` alone prints.
"""
