"""The scheduler's REST contract over Cronicle: the calls that come with an API key.

Keys are the ledger's, as with the embedded engine: Cronicle itself knows none, for it would write
them into events and descriptions. Everything is passed on under the appliance's own session.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.checks import check_names, check_values, tell_params
from vixtract.cronicle_edge.plugins import read_title
from vixtract.cronicle_edge.shapes import MESSAGES, clean_event, clean_job, read_event, tell
from vixtract.cronicle_edge.upstream import Upstream, UpstreamError
from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.scheduler import api, store
from vixtract.scheduler.api import (
    Answer,
    ApiError,
    add_event,
    build_event,
    choose_cursor,
    get_id,
    get_number,
    override_params,
    page,
    require,
)
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.events import FIELDS, SERVICE_ACCOUNT, Event
from vixtract.scheduler.ledger_calls import LEDGER_CALLS
from vixtract.scheduler.shapes import job_shape
from vixtract.scheduler.store import Caller

logger = logging.getLogger(__name__)

# Set here, never taken from a caller as they are.
_OWN = ("username", "created", "modified")
_CONSOLE = 64 * 1024
_LOG_S = 15.0
_BETWEEN_S = 3.0


class Contract:
    """Answers the calls that come with a key; the configuration has the defaults of events."""

    def __init__(self, upstream: Upstream, database: Database, config: EngineConfig) -> None:
        self.upstream = upstream
        self.database = database
        self._config = config
        # An event is made and its author set in two calls; the schedule is not read in between.
        self.lock = threading.RLock()
        self._calls: Mapping[str, Callable[[Caller, Mapping[str, Any]], Answer]] = {
            "get_schedule": self._get_schedule,
            "get_event": self._get_event,
            "create_event": self._create_event,
            "update_event": self._update_event,
            "delete_event": self._delete_event,
            "run_event": self._run_event,
            "get_job_status": partial(self._get_job, "get_job_status"),
            "get_job_details": partial(self._get_job, "get_job_details"),
            "get_live_console": self._get_console,
            "get_active_jobs": self._get_active,
            "abort_job": self._abort_job,
            "get_queue": self._get_queue,
            "flush_event_queue": self._flush_queue,
            "get_plugins": partial(self._get_list, "get_plugins"),
            "get_categories": partial(self._get_list, "get_categories"),
        }

    def now(self) -> float:
        """Return the wall clock, epoch seconds."""
        return time.time()

    def log_size(self, run: str) -> int:
        """Return 0: Cronicle packs the log of an ended job."""
        del run
        return 0

    def find_caller(self, key: str) -> Caller:
        """Return the caller that a key belongs to, or raise ApiError."""
        return api.find_caller(self.database, self._config.api_key, key)

    def answer(self, name: str, key: str, params: Mapping[str, Any]) -> Answer:
        """Answer one call, or raise ApiError."""
        caller = self.find_caller(key)
        if name in LEDGER_CALLS:
            return LEDGER_CALLS[name](self, caller, params)
        call = self._calls.get(name)
        if call is None:
            raise ApiError("api", f"There is no call {name!r}")
        self.require_schedule()
        return call(caller, params)

    def require_schedule(self) -> None:
        """Raise ApiError until the embedded engine's schedule has been copied to Cronicle."""
        if store.get_engine(self.database) == "embedded":
            raise ApiError("manager", "Cronicle is taking the schedule over. Try again.")

    def _ask(self, name: str, params: Mapping[str, Any]) -> Answer:
        try:
            answer = self.upstream.call(f"app/{name}", params)
        except UpstreamError as error:
            raise ApiError(error.code, error.message) from error
        return {key: value for key, value in answer.items() if key != "code"}

    # Events.

    def _find(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        """Return Cronicle's answer about the event that a call names."""
        by = {name: str(params[name]) for name in ("id", "title") if params.get(name)}
        if not by:
            raise ApiError("event", "Failed to locate event: No criteria specified")
        answer = self._ask("get_event", tell(by))
        if not caller.owns(str(answer["event"].get("username") or "")):
            raise ApiError("event", f"Failed to locate event: {next(iter(by.values()))}")
        return answer

    def _get_schedule(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        rows = [clean_event(self.database, row) for row in self.upstream.list_events()]
        rows = [row for row in rows if caller.owns(str(row.get("username") or ""))]
        offset, limit = get_number(params, "offset", 0), get_number(params, "limit", 0)
        return page(rows[offset : offset + limit] if limit else rows[offset:], len(rows))

    def _get_event(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        answer = self._find(caller, params)
        answer["event"] = clean_event(self.database, answer["event"])
        if "jobs" in answer:
            answer["jobs"] = [clean_job(self.database, job) for job in answer["jobs"]]
        return answer

    def _create_event(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "create_events")
        check_values({k: v for k, v in params.items() if v is not None}, partial=False)
        now = int(self.now())
        event = build_event(params, caller, self._config, now)
        self.create(event, now - now % 60)
        logger.info("event %s (%s) created by %s", event.id, event.title, caller.title)
        return {"id": event.id}

    def create(self, event: Event, cursor: int) -> None:
        """Create a checked event in the ledger and in Cronicle.

        Args:
            cursor: time up to which its slots are settled.
        Raises:
            ApiError: the id or title is taken, or Cronicle refused.
        """
        with self.lock:
            # First here: a job that starts at once must find its author.
            add_event(self.database, event, cursor)
            try:
                self.put(event)
            except ApiError:
                store.delete_event(self.database, event.id)
                raise

    def put(self, event: Event) -> None:
        """Create an event in Cronicle alone, under its author's name."""
        body = {k: v for k, v in event.to_dict().items() if k not in (*_OWN, *MESSAGES)}
        self._ask("create_event", tell(body))
        if event.username != SERVICE_ACCOUNT:
            self._ask("update_event", {"id": event.id, "username": event.username})

    def _update_event(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "edit_events")
        identifier = get_id(params)
        with self.lock:
            present = self._find(caller, {"id": identifier})["event"]
            changes = {k: v for k, v in params.items() if k not in ("id", "created")}
            check_values({"plugin": present.get("plugin"), **changes}, partial=True)
            if not caller.is_admin:
                changes.pop("username", None)
            known = {
                k: v
                for k, v in changes.items()
                if k in FIELDS or k in ("reset_cursor", "abort_jobs")
            }
            if "plugin" in known and "params" not in known:
                check_values(
                    {"plugin": known["plugin"], "params": present.get("params")}, partial=True
                )
            if known.get("timing", False) is None:
                known["timing"] = False
            told = {k: v for k, v in known.items() if k not in MESSAGES}
            self._ask("update_event", tell({**told, "id": identifier}))
            self.keep(self._ask("get_event", {"id": identifier})["event"], known)
        logger.info("event %s updated by %s", identifier, caller.title)
        return {}

    def keep(self, record: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Store an event as Cronicle has it now; a changed timing is settled from now on."""
        stored = store.get_event(self.database, id=str(record.get("id") or ""))
        event = read_event(record, stored.event if stored else None)
        if event is None:
            return
        event = event.updated({k: changes[k] for k in MESSAGES if k in changes})
        now = int(self.now())
        if stored is None:
            cursor: int | None = now - now % 60
        else:
            cursor = choose_cursor(stored.event, event, changes, self._config, now)
        store.put_event(self.database, event, cursor)

    def _delete_event(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "delete_events")
        identifier = get_id(params)
        with self.lock:
            self._find(caller, {"id": identifier})
            self._ask("delete_event", {"id": identifier})
            store.delete_event(self.database, identifier)
        logger.info("event %s deleted by %s", identifier, caller.title)
        return {}

    def _run_event(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "run_events")
        event = self._find(caller, params)["event"]
        body: dict[str, Any] = {"id": event["id"]}
        plugin = str(event.get("plugin"))
        merged = override_params(plugin, event.get("params") or {}, params, caller)
        if merged is not None:
            check_names(plugin, merged)
            body["params"] = tell_params(merged)
        answer = self._ask("run_event", body)
        return {name: answer[name] for name in ("ids", "queue") if name in answer}

    # Jobs.

    def _owned(self, caller: Caller, job: Mapping[str, Any]) -> bool:
        if caller.is_admin:
            return True
        stored = store.get_event(self.database, id=str(job.get("event") or ""))
        return stored is not None and caller.owns(stored.event.username)

    def _get_job(self, call: str, caller: Caller, params: Mapping[str, Any]) -> Answer:
        identifier = get_id(params)
        try:
            job = self._ask_job(call, identifier)
        except ApiError:
            # Of before a switch of the engine, or deleted by Cronicle, which keeps fewer runs.
            run = runs.get_run(self.database, identifier)
            if run is None or run["state"] != "done" or not caller.owns(run["username"]):
                raise
            return {"job": {**job_shape(run, now=self.now()), "params": run["job"]["params"]}}
        if not self._owned(caller, job):
            raise ApiError("job", f"Failed to fetch job details: no job {params['id']}")
        return {"job": clean_job(self.database, job)}

    def _ask_job(self, call: str, identifier: str) -> Mapping[str, Any]:
        """Ask for a job; Cronicle does not find one in the moment after its end."""
        limit = time.monotonic() + _BETWEEN_S
        while True:
            try:
                return self._ask(call, {"id": identifier}).get("job") or {}
            except ApiError:
                known = runs.get_run(self.database, identifier)
                ended = float(known["time_end"] or self.now()) if known else 0.0
                if ended < self.now() - _BETWEEN_S or time.monotonic() > limit:
                    raise
            time.sleep(0.1)

    def check_job(self, caller: Caller, identifier: str) -> None:
        """Raise ApiError when a job does not exist or the caller may not see it."""
        if not caller.is_admin:
            self._get_job("get_job_status", caller, {"id": identifier})

    def wait_for_log(self, identifier: str) -> None:
        """Wait until Cronicle has moved a job's log, a moment after it calls the job complete."""
        path, limit = paths.LOGS / "jobs" / f"{identifier}.log", time.monotonic() + _LOG_S
        while path.exists() and time.monotonic() < limit:
            if not self._ask_job("get_job_status", identifier).get("complete"):
                return
            time.sleep(0.2)

    def _get_console(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        identifier, offset = get_id(params), get_number(params, "offset", 0)
        self.check_job(caller, identifier)
        path = paths.LOGS / "jobs" / f"{identifier}.log"
        # Cronicle's own call leaves out what does not fit; a page after another shows everything.
        answer = self._ask("get_live_console", {"id": identifier, "offset": 1 << 40})
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(min(offset, size))
                data = file.read(_CONSOLE)
        except OSError:
            size, data = offset, b""
        whole = data.decode(errors="ignore" if len(data) == _CONSOLE else "replace")
        read = len(whole.encode()) if len(data) == _CONSOLE and whole else len(data)
        title = read_title(str(answer.get("event_title") or ""))
        shown = {"event_title": title, "hostname": answer.get("hostname")}
        place = {"next": min(offset, size) + read, "fileSize": size, "skipBytes": 0}
        return {**shown, "data": whole, **place}

    def _get_active(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        del params
        jobs = self._ask("get_active_jobs", {}).get("jobs") or {}
        return {
            "jobs": {
                identifier: {
                    k: v for k, v in clean_job(self.database, job).items() if k != "params"
                }
                for identifier, job in jobs.items()
                if self._owned(caller, job)
            }
        }

    def _abort_job(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "abort_events")
        self.check_job(caller, get_id(params))
        self._ask("abort_job", {"id": params["id"]})
        return {}

    def _get_queue(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        """Count what waits, by event: Cronicle gives waiting runs no id."""
        del params
        queues = {}
        for event in self.upstream.list_events():
            if event.get("queue") and caller.owns(str(event.get("username") or "")):
                waiting = self._ask("get_event", {"id": event["id"]}).get("queue") or 0
                if waiting:
                    queues[event["id"]] = waiting
        return {**page([], sum(queues.values())), "queues": queues}

    def _flush_queue(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        require(caller, "abort_events")
        event = self._find(caller, {"id": get_id(params)})["event"]
        self._ask("flush_event_queue", {"id": event["id"]})
        return {}

    def _get_list(self, call: str, caller: Caller, params: Mapping[str, Any]) -> Answer:
        del caller, params
        answer = self._ask(call, {})
        shown = ("id", "title", "enabled", "max_children", "params", "description")
        rows = [{k: v for k, v in row.items() if k in shown} for row in answer.get("rows") or []]
        return page(rows, len(rows))
