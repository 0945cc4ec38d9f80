"""Runs on a worker, from the side of the appliance: checked here, executed there.

This machine decides who may run what, by its list of people. The worker gets the request and
the one owner's database login; the appliance's secrets stay.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import socket
import ssl
import time
from dataclasses import asdict

from vixtract.errors import RequestError
from vixtract.people.directory import read_admins, read_blocked
from vixtract.processes.person import find_person
from vixtract.processes.questions import encode
from vixtract.runner.channel import Channel
from vixtract.runner.config import RunnerConfig, check_author, check_blocked
from vixtract.runner.environment import database_environment
from vixtract.runner.protocol import WORKERS, RunRequest
from vixtract.runner.workers.connection import KEY_NAME, Pump, connect, read_line

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_READY_S = 15.0


def is_remote(request: RunRequest, config: RunnerConfig) -> bool:
    """Return whether a request is for a worker."""
    return request.target == WORKERS and not config.is_worker


def run_on_worker(
    connection: socket.socket, channel: Channel, request: RunRequest, config: RunnerConfig
) -> None:
    """Hand a run to a worker and pass on its events.

    Raises:
        RequestError: it is not allowed, or no worker can be had.
    """
    check_blocked(request.author, request.owner, read_blocked(config.secrets_dir))
    check_author(request.author, request.owner, read_admins(config.secrets_dir))
    person = find_person(request.owner, config.home_root)
    key = _read_key(config)
    found = _find_worker(config, key, channel)
    if found is None:
        channel.finish({"type": "end", "code": 130, "description": "Aborted."})
        return
    address, outer = found
    log.info("The run %s goes to the worker %s", request.job, address)
    body = asdict(request) | {"target": "", "database": dict(database_environment(person, config))}
    with outer:
        pump = Pump(connection, outer)
        signal.signal(signal.SIGTERM, lambda *_: pump.put(b'{"abort":true}\n'))
        pump.put(encode(body))
        channel.flush()
        pump.run()
    connection.close()


def _read_key(config: RunnerConfig) -> str:
    try:
        return (config.secrets_dir / KEY_NAME).read_text(encoding="ascii").strip()
    except OSError as error:
        raise RequestError(f"The worker's key cannot be read: {error.strerror}.") from None


def _find_worker(
    config: RunnerConfig, key: str, channel: Channel
) -> tuple[str, ssl.SSLSocket] | None:
    """Return a worker that has room, or None if the run was aborted while it waited."""
    if not config.workers:
        raise RequestError(
            "The schedule's target is workers, and there are none.",
            "Set WORKERS in .env, or the target to allgrp.",
        )
    is_told = False
    while channel.is_open and not channel.abort_wanted:
        problems, busy = [], 0
        for address in random.sample(config.workers, len(config.workers)):
            name = f"{address[0]}:{address[1]}"
            try:
                outer = connect(address, key)
                outer.settimeout(_READY_S)
                answer = json.loads(read_line(outer) or b"{}")
            except (OSError, ValueError) as error:
                problems.append(f"{name}: {error}")
                continue
            if answer.get("type") == "ready":
                return name, outer
            busy += 1
            outer.close()
        if not busy:
            raise RequestError(
                f"No worker can be reached ({'; '.join(problems)[:500]}).",
                "See whether it runs, WORKERS and its worker_key.",
            )
        if not is_told:
            is_told = True
            channel.send({"type": "progress", "progress": 0, "memo": "waits: the workers are busy"})
        time.sleep(_AGAIN_S)
        channel.flush()
        channel.receive()
    return None
