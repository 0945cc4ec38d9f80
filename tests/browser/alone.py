"""Run a program that is not told of the machine's networks coming and going.

Chromium gives up the requests it waits for whenever an interface appears (ERR_NETWORK_CHANGED), and
on the machine that runs the containers interfaces come and go with each of them. Nobody else's
browser runs there. Usage: alone.py PROGRAM ARGUMENT...
"""

from __future__ import annotations

import errno
import os
import socket
import sys

import pyseccomp

calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
calls.add_rule(
    pyseccomp.ERRNO(errno.EAFNOSUPPORT),
    "socket",
    pyseccomp.Arg(0, pyseccomp.EQ, int(socket.AF_NETLINK)),
)
calls.load()
os.execv(sys.argv[1], sys.argv[1:])
