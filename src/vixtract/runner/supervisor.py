"""Supervises one run, from the request on a connection to the last event and the record.

Each supervisor is a single-threaded process forked by the daemon. It stays root's, takes the
owner's rights for every access to their files, and never reads a notebook's content.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import resource
import shlex
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.people.directory import read_admins, read_blocked
from vixtract.processes import tree
from vixtract.processes.limits import Limits
from vixtract.processes.notebook_files import (
    copy_notebook,
    open_notebook,
    open_pinned,
    relative_parts,
)
from vixtract.processes.person import acting_as, find_person
from vixtract.processes.spawn import PROGRESS_FD, ProcessSpec, set_subreaper, spawn
from vixtract.processes.usage import DiskFloor
from vixtract.runner import outcome
from vixtract.runner.channel import Channel, Reports, RunLog, read_request
from vixtract.runner.config import RunnerConfig, check_author, check_blocked
from vixtract.runner.environment import ask_for_run, build_environment, received_database
from vixtract.runner.prepared import PreparedProcess, WarmRun, WarmStarts
from vixtract.runner.protocol import NoRequestError, RunRequest
from vixtract.runner.removal import remove_records
from vixtract.runner.watch import Bounds, Streams, Watched, Watcher
from vixtract.runner.workers.client import is_remote, run_on_worker
from vixtract.runner.workspace import Workspace, make_workspace, read_loads
from vixtract.secret_settings import Masker, known_secrets
from vixtract.values import MIB

log = logging.getLogger(__name__)

INPUT = "input.ipynb"
LOG = "log.txt"
RECORD = "run.json"
HTML = "output.html"
HOMES_LINK = "jupyter-home"
_RENDER = Limits(memory_mb=1024, cpu_s=20, file_bytes=200 * MIB, nice=15)
_RENDER_S = 60.0


def serve(
    connection: socket.socket, config: RunnerConfig, starts: WarmStarts | None = None
) -> None:
    """Carry out the run that a checked peer asks for; without `starts` its processes start cold."""
    os.umask(0o077)
    set_subreaper()
    channel = Channel(connection)
    # When the daemon ends, its runs are aborted, so that each still writes its record.
    signal.signal(signal.SIGTERM, lambda *_: channel.want_abort())
    try:
        request = read_request(connection)
        if request.kind == "ping":
            channel.finish({"type": "end", "code": 0, "description": "The runner is up."})
            return
        if request.kind == "remove":
            count = remove_records(config.runs_root, request.owner, request.job)
            channel.finish({"type": "end", "code": 0, "description": f"{count} folders deleted."})
            return
        if is_remote(request, config):
            run_on_worker(connection, channel, request, config)
            return
        # Forked now, before secrets are read: a fork has this process's memory.
        warm = None
        if starts and request.kind == "notebook":
            warm = WarmRun(PreparedProcess(starts.run), starts.render)
        Supervisor(request, config, channel, warm).run()
    except VixtractError as error:
        # Health checks connect without a request, which is not worth a line in the log.
        level = logging.DEBUG if isinstance(error, NoRequestError) else logging.INFO
        log.log(level, "Refused: %s", error.message)
        channel.finish({"type": "refused", "description": error.message, "hint": error.hint})


class Supervisor:
    """Runs one request of a checked shape; without `warm` its processes start cold."""

    def __init__(
        self,
        request: RunRequest,
        config: RunnerConfig,
        channel: Channel,
        warm: WarmRun | None = None,
    ) -> None:
        self._warm = warm
        if not config.is_worker:
            check_blocked(request.author, request.owner, read_blocked(config.secrets_dir))
            check_author(request.author, request.owner, read_admins(config.secrets_dir))
        self._person = find_person(request.owner, config.home_root)
        if config.ensure_account:
            config.ensure_account(request.owner, config.home_root)
        self._request = request
        self._config = config
        self._channel = channel
        self._parts: tuple[str, ...] = ()
        self._memory_mb = request.memory_mb or config.memory_mb
        self._timeout_s = request.timeout_s or config.timeout_s
        self._masker = Masker([])

    def run(self) -> None:
        """Prepare, run and record; send the plugin the outcome."""
        source = self._open_source()
        work = make_workspace(self._person, self._request.job, self._config)
        last = {"type": "refused", "description": "The runner failed.", "hint": "See its log."}
        try:
            if source is not None:
                with acting_as(self._person):
                    copy_notebook(source, work.directory, INPUT, self._config.notebook_bytes)
            last = self._run_in(work)
        except VixtractError as error:
            last = {"type": "refused", "description": error.message, "hint": error.hint}
        except OSError as error:
            last["description"] = f"The runner failed: {error}."
            log.exception("The run %s failed", self._request.job)
        finally:
            # The plugin gets its answer before the clean-up, which can take long.
            self._channel.finish(last)
            work.close()

    def _open_source(self) -> int | None:
        if self._request.kind != "notebook":
            return None
        self._parts = relative_parts(self._request.notebook, self._person, self._config.home_root)
        with acting_as(self._person):
            if self._request.pinned:
                return open_pinned(self._person, self._request.pinned, self._config.notebook_bytes)
            return open_notebook(self._person, self._parts, self._config.notebook_bytes)

    def _run_in(self, work: Workspace) -> dict[str, Any]:
        started = time.time()
        self._channel.send({"type": "started", "uid": self._person.uid, "run_dir": str(work.path)})
        run_log = RunLog(work.create(LOG), self._channel, self._config.log_bytes)
        reports = Reports(self._channel)
        run_log.note(self._first_line())
        try:
            watched = self._start(work, run_log, reports)
            result = self._masker.mask_json(reports.result)
            facts = outcome.judge(self._request, watched, result, self._memory_mb)
            for name in (INPUT, HOMES_LINK):
                work.remove(name)
            self._check_files(work, facts)
            with acting_as(self._person):
                facts["loads"] = read_loads(work)
            if facts.get("output"):
                reports = Reports(self._channel)
                facts["html"] = self._render(work, Path(facts["output"]), run_log, reports)
                facts["perf"] = reports.result.get("perf") or {}
            facts.update(run_dir=str(work.path), uid=self._person.uid, owner=self._request.owner)
            run_log.note(str(facts["description"]))
            self._record(work, facts, started)
        finally:
            run_log.close()
        return {"type": "end", **facts}

    def _start(self, work: Workspace, run_log: RunLog, reports: Reports) -> Watched:
        output, output_end = os.pipe()
        progress, progress_end = os.pipe()
        command = self._command(work, output_end, progress_end)
        masked = [*known_secrets(command.environment), *self._asked[1]]
        self._masker = Masker(masked)
        run_log.mask(masked)
        pid = self._warm.prepared.start(command) if self._warm else spawn(command)
        os.close(output_end)
        os.close(progress_end)
        if command.stdin is not None:
            os.close(command.stdin)
        streams = Streams(output, progress, run_log, reports, self._channel)
        bounds = Bounds(
            memory_bytes=self._memory_mb * MIB,
            timeout_s=float(self._timeout_s),
            grace_s=self._config.grace_s,
            stops_group=self._request.kind == "shell",
            processes=self._config.processes,
            disk=DiskFloor(self._config.disk_floor_mb, (self._config.runs_root, Path("/"))),
            is_forked=self._warm is not None,
        )
        watched = Watcher(pid, self._person, streams, bounds).run()
        os.close(output)
        os.close(progress)
        # The system knows the peak of the biggest process between two checks.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        biggest = usage.ru_maxrss * 1024
        if self._warm:
            # Pages shared with this process are not counted.
            biggest -= tree.resident_bytes([os.getpid()])
            if not watched.peak_bytes:
                # Ended before the first check: each page it wrote to caused one fault.
                biggest = max(biggest, usage.ru_minflt * resource.getpagesize())
        watched.peak_bytes = max(watched.peak_bytes, biggest)
        return watched

    def _command(self, work: Workspace, output: int, progress: int) -> ProcessSpec:
        environment = {
            **build_environment(
                self._person,
                self._config,
                run_dir=work.path,
                private=work.private,
                job=self._request.job,
            ),
            **self._asked[0],
            "VIXTRACT_PROGRESS_FD": str(PROGRESS_FD),
            "VIXTRACT_HOME_ROOT": str(self._config.home_root),
        }
        command = ProcessSpec(
            argv=self._config.driver,
            environment=environment,
            cwd=work.path,
            person=self._person,
            output=output,
            progress=progress,
            limits=Limits(
                memory_mb=self._memory_mb,
                processes=self._config.processes,
                file_bytes=self._config.file_bytes,
            ),
        )
        if self._request.kind == "notebook":
            return replace(command, stdin=self._job_description(work))
        return replace(command, argv=self._script(work))

    @functools.cached_property
    def _asked(self) -> tuple[Mapping[str, str], list[str]]:
        """The database variables, and the secrets of connections to mask; workers have none."""
        if self._config.is_worker:
            return received_database(self._request.database, self._config), []
        return ask_for_run(self._person, self._config)

    def _job_description(self, work: Workspace) -> int:
        """Return a file with the driver's job, for standard input: arguments would be public."""
        folder = self._person.home.joinpath(*self._parts[:-1])
        stem = self._parts[-1].removesuffix(".ipynb")
        with acting_as(self._person):
            # A pinned copy also runs when its notebook's folder no longer exists.
            cwd = folder if folder.is_dir() else self._person.home
        description = {
            "input": str(work.path / INPUT),
            "notebook": str(folder / self._parts[-1]),
            "output": str(work.path / f"{stem}-output.ipynb"),
            "cwd": str(cwd),
            "parameters": self._request.parameters,
            "kernel": self._request.kernel,
            "masked": self._asked[1],
        }
        descriptor = os.memfd_create("job")
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(json.dumps(description).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _script(self, work: Workspace) -> tuple[str, ...]:
        """Write the script to the private directory, and make the link that old scripts rely on."""
        script = self._request.script.replace("\r\n", "\n")
        path = work.private / "script"
        with acting_as(self._person):
            path.write_text(script, encoding="utf-8")
            path.chmod(0o700)
            os.symlink(self._config.home_root, HOMES_LINK, dir_fd=work.directory)
        return (str(path),) if script.startswith("#!") else ("/bin/bash", str(path))

    def _first_line(self) -> str:
        what = shlex.quote("/".join(self._parts)) if self._parts else "a script"
        memory = f"{self._memory_mb} MB" if self._memory_mb else "no memory limit"
        return (
            f"Running {what} as {self._request.owner} (scheduled by {self._request.author}); "
            f"limits: {memory}, {self._timeout_s} s."
        )

    def _check_files(self, work: Workspace, facts: dict[str, Any]) -> None:
        """Drop reported paths that are not this run's own: others open them later."""
        output = Path(facts.get("output", ""))
        if output.parent != work.path or not work.has_file(output.name):
            facts.pop("output", None)
        if self._parts:
            facts["notebook"] = str(self._person.home.joinpath(*self._parts))

    def _render(self, work: Workspace, output: Path, run_log: RunLog, reports: Reports) -> str:
        """Make the HTML in a process with limits; its failure does not change the run's outcome."""
        if self._channel.abort_wanted or not self._channel.is_open:
            return ""
        try:
            code = self._run_renderer(work, output.name, run_log, reports)
        except (VixtractError, OSError) as error:
            run_log.note(f"No HTML of the notebook: {error}")
            return ""
        if code == 0 and work.has_file(HTML):
            return str(work.path / HTML)
        run_log.note("No HTML of the notebook: making it failed or took too long.")
        return ""

    def _run_renderer(self, work: Workspace, name: str, run_log: RunLog, reports: Reports) -> int:
        output, output_end = os.pipe()
        progress, progress_end = os.pipe()
        environment = build_environment(
            self._person,
            self._config,
            run_dir=work.path,
            private=work.private,
            job=self._request.job,
        )
        command = ProcessSpec(
            argv=(*self._config.renderer, name, HTML),
            environment={**environment, "VIXTRACT_PROGRESS_FD": str(PROGRESS_FD)},
            cwd=work.path,
            person=self._person,
            output=output_end,
            progress=progress_end,
            limits=replace(_RENDER, processes=self._config.processes),
        )
        try:
            pid = spawn(command, self._warm.render if self._warm else None)
        finally:
            os.close(output_end)
            os.close(progress_end)
        streams = Streams(output, progress, run_log, reports, self._channel)
        watched = Watcher(pid, self._person, streams, Bounds(1024 * MIB, _RENDER_S)).run()
        os.close(output)
        os.close(progress)
        return 1 if watched.stopped else watched.exit_code

    def _record(self, work: Workspace, facts: Mapping[str, Any], started: float) -> None:
        record = {
            **self._request.facts,
            "job": self._request.job,
            "kind": self._request.kind,
            "author": self._request.author,
            "parameters": self._request.parameters,
            "started": started,
            "ended": time.time(),
            "log": str(work.path / LOG),
            **facts,
        }
        try:
            work.write_json(RECORD, self._masker.mask_json(record))
        except OSError as error:
            log.warning("No record of %s: %s", self._request.job, error.strerror)
