"""Run the main job once on real data: a scheduled notebook loads tables, BI reads them."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.errors import VixtractError
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers
from vixtract.ops.instance import SERVICES, Instance
from vixtract.ops.scheduler import connect_scheduler
from vixtract.ops.up import OPERATOR
from vixtract.scheduler.client import SchedulerClient, SchedulerError
from vixtract.text_tables import render_table

PERSON = "demo"
EVENT = "demo_flights"
EXAMPLE = "/usr/share/vixtract/examples/flights.ipynb"
NOTEBOOK = "examples/flights.ipynb"
START_S = 150.0
RUN_S = 900.0
#: Show at most so many new lines of the log at a time; the log itself has all.
LIVE_LINES = 5
#: Tables with at most this many rows are shown whole.
SMALL = 20

#: Runs in the jupyter image on the host's network, as a BI tool would: no access to any volume.
QUERY = """
import json, os, psycopg
from psycopg import sql
report = {"tables": [], "read_only": False}
with psycopg.connect(connect_timeout=10) as connection:
    names = connection.execute(
        "SELECT c.relname, obj_description(c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'p')"
        " AND c.relnamespace = to_regnamespace(%s) ORDER BY 1", [os.environ["DEMO_SCHEMA"]]
    ).fetchall()
    for name, comment in names:
        table = sql.Identifier(os.environ["DEMO_SCHEMA"], name)
        rows = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()[0]
        query = sql.SQL("SELECT * FROM {} LIMIT %s").format(table)
        cursor = connection.execute(query, [int(os.environ["DEMO_LIMIT"])])
        report["tables"].append({"name": name, "comment": comment or "", "rows": rows,
                                 "head": [column.name for column in cursor.description],
                                 "first": cursor.fetchall()})
    if names:
        try:
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
        except psycopg.errors.InsufficientPrivilege:
            report["read_only"] = True
        connection.rollback()
print(json.dumps(report, default=str))
"""


class DemoError(VixtractError):
    """A step of the demo failed."""


@dataclass(frozen=True)
class DemoResult:
    """The outcome of the demo.

    Args:
        job: the finished job's status.
        tables: name, comment, rows, head and first rows of each table, as BI reads them.
        read_only: whether the BI account was refused a DELETE.
    """

    job: Mapping[str, Any]
    tables: Sequence[Mapping[str, Any]]
    read_only: bool
    log: str = ""


def is_up(session: Session, instance: Instance) -> bool:
    """Say whether all services run and are healthy."""
    found = list_containers(session.host, instance.project)
    return all(service in found and found[service].is_up for service in SERVICES)


def run_demo(session: Session, instance: Instance, now: datetime.datetime) -> DemoResult:
    """Run the main job on the appliance, which is up.

    Raises:
        DemoError: a step failed; the job's log was shown if it was the job.
    """
    ensure_person(session, instance)
    ensure_notebook(session, instance)
    scheduler = connect_scheduler(session.host, instance)
    due = next_minute(now)
    ensure_event(scheduler, build_event(due))
    session.console.say(
        f"Scheduled {NOTEBOOK} of {PERSON} for {due:%H:%M} UTC (event {EVENT}), "
        f"in {(due - now).total_seconds():.0f} s"
    )
    try:
        job = follow(session, scheduler, due.timestamp())
    finally:
        # Its one minute is over. An enabled schedule that never runs would puzzle people.
        scheduler.update_event(EVENT, {"enabled": 0})
    log = ""
    with contextlib.suppress(SchedulerError):  # it may have none
        log = scheduler.get_job_log(str(job["id"]))
    if job.get("code"):
        for line in log.splitlines()[-20:]:
            session.console.say(f"  {line}")
        raise DemoError(
            f"The notebook's run failed: {job.get('description', '')}",
            f"The executed notebook: {(job.get('chain_data') or {}).get('output', 'none')}",
        )
    report = query_tables(session, instance)
    return DemoResult(job, report["tables"], report["read_only"], log)


def _execute(session: Session, command: Sequence[str], what: str, timeout_s: float = 60) -> str:
    done = session.host.run(command, timeout_s=timeout_s)
    return done.require(DemoError, f"Could not {what}", "Run: ./vixtract doctor")


def ensure_person(session: Session, instance: Instance) -> None:
    """Make the account of the demo's person; its password is shown when it is made."""
    operator = ["docker", "exec", instance.container("jupyter"), *OPERATOR]
    people = json.loads(_execute(session, [*operator, "user", "list", "--json"], "list people"))
    if any(person["name"] == PERSON for person in people):
        session.console.say(f"Person {PERSON} is there already")
        return
    answer = _execute(session, [*operator, "user", "add", PERSON], f"add {PERSON}", timeout_s=120)
    password = re.search(r"Password: (\S+)", answer)
    shown = f", password {password[1]} (shown this once)" if password else ""
    session.console.say(f"Added person {PERSON}{shown}")


def ensure_notebook(session: Session, instance: Instance) -> None:
    """Put the shipped notebook into the person's home, as that person."""
    # An edited copy stays, under another name: the demo must run what is shipped.
    script = (
        'set -eu; umask 077; cd; mkdir -p examples; if [ -e "$2" ] && ! cmp -s "$1" "$2"; then '
        'mv -f "$2" "${2%.ipynb}-edited.ipynb"; echo edited; fi; cp "$1" "$2.new"; mv "$2.new" "$2"'
    )
    command = ["docker", "exec", "--user", PERSON, "--env", f"HOME=/home/{PERSON}"]
    command += [instance.container("jupyter"), "/bin/sh", "-c", script, "-", EXAMPLE, NOTEBOOK]
    if "edited" in _execute(session, command, f"put {NOTEBOOK} into the home of {PERSON}"):
        session.console.say(f"The edited {NOTEBOOK} was kept as examples/flights-edited.ipynb")


def next_minute(now: datetime.datetime) -> datetime.datetime:
    """Return the next full minute in UTC, or the one after where that is within five seconds."""
    start = now.astimezone(datetime.timezone.utc) + datetime.timedelta(seconds=65)
    return start.replace(second=0, microsecond=0)


def build_event(due: datetime.datetime) -> dict[str, Any]:
    """Build the demo's event for exactly one minute, given in UTC."""
    return {
        "id": EVENT,
        "title": "Demo: flights of 2013",
        "enabled": 1,
        "category": "general",
        "target": "allgrp",
        "plugin": "notebook",
        "params": {"owner": PERSON, "notebook": NOTEBOOK},
        "timing": {
            "years": [due.year],
            "months": [due.month],
            "days": [due.day],
            "hours": [due.hour],
            "minutes": [due.minute],
        },
        "timezone": "UTC",
        "max_children": 1,
        "timeout": int(RUN_S),
        "username": PERSON,
        "notes": "Made by ./vixtract demo, which switches it off after its run.",
    }


def ensure_event(scheduler: SchedulerClient, event: Mapping[str, Any]) -> None:
    """Create the event, or change the one of an earlier demo."""
    if any(row.get("id") == EVENT for row in scheduler.get_schedule().rows):
        scheduler.update_event(EVENT, event)
    else:
        scheduler.create_event(event)


def find_job(scheduler: SchedulerClient, due_at: float) -> str:
    """Return the number of the event's job due then (seconds since 1970), or an empty text."""
    active = scheduler.get_active_jobs().values()
    for job in (*active, *scheduler.get_event_history(EVENT, limit=5).rows):
        if job.get("event") == EVENT and float(job.get("time_start") or 0) >= due_at - 1:
            return str(job["id"])
    return ""


def follow(session: Session, scheduler: SchedulerClient, due_at: float) -> dict[str, Any]:
    """Show the progress of the run due then (seconds since 1970); return the job's last status."""
    host, console = session.host, session.console
    start = host.clock()
    job = ""
    while not job:
        job = find_job(scheduler, due_at)
        if not job and host.clock() - start > START_S:
            raise DemoError(
                f"The scheduler did not start the run within {START_S:.0f} s.",
                "Look at: ./vixtract logs cronicle",
            )
        console.detail("waiting for the due minute")
        host.sleep(1)
    console.say(f"The scheduler started job {job}")
    offset, shown = 0, ""
    while True:
        status = scheduler.get_job_status(job)
        memo = f"{float(status.get('progress') or 0):4.0%}  {status.get('memo') or ''}".rstrip()
        if memo != shown:
            console.say(f"  {memo}")
            shown = memo
        if status.get("complete"):
            return status
        offset = show_console(session, scheduler, job, offset)
        if host.clock() - start > START_S + RUN_S:
            raise DemoError(
                f"Job {job} is not done after {RUN_S:.0f} s; last seen: {memo}",
                f"Look at {status.get('log_file', job)}",
            )
        host.sleep(0.5)


def show_console(session: Session, scheduler: SchedulerClient, job: str, offset: int) -> int:
    """Show what a job logged after so many bytes; return how many have been shown now."""
    try:
        page = scheduler.get_live_console(job, offset)
    except SchedulerError:
        # The job ended between the two calls; the next status says so.
        return offset
    whole, _, rest = page.data.rpartition("\n")
    lines = [line for line in whole.splitlines() if line.strip()]
    for line in lines[-LIVE_LINES:]:
        session.console.say(f"  | {line.rstrip()[:160]}")
    # A line that is still being written is shown when it is whole.
    return page.next - len(rest.encode()) if whole else page.next


def build_query(instance: Instance) -> list[str]:
    """Build the command that reads the demo's tables on the published port as the BI account."""
    names = ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "DEMO_SCHEMA", "DEMO_LIMIT")
    command = ["docker", "run", "--rm", "--network", "host", "--user", "65534:65534"]
    for name in names:
        command += ["--env", name]
    command += ["--entrypoint", "/usr/bin/python3", instance.image("jupyter")]
    return [*command, "-I", "-c", QUERY]


def query_tables(session: Session, instance: Instance) -> dict[str, Any]:
    """Read the demo's tables as a BI tool would; return `tables` and `read_only`."""
    environment = {
        "PGHOST": instance.local_address.strip("[]"),
        "PGPORT": instance.settings["POSTGRES_PORT"],
        "PGUSER": "bi",
        "PGDATABASE": "etl",
        "PGPASSWORD": instance.settings["BI_PASSWORD"],
        "DEMO_SCHEMA": PERSON,
        "DEMO_LIMIT": str(SMALL),
    }
    done = session.host.run(build_query(instance), timeout_s=120, environment=environment)
    problem, cure = "The BI account could not read the tables", "Run: ./vixtract doctor"
    report: dict[str, Any] = json.loads(done.require(DemoError, problem, cure))
    if not report["tables"]:
        raise DemoError(f"Schema {PERSON} has no tables.", "Look at the executed notebook.")
    return report


def render_result(result: DemoResult) -> list[str]:
    """Return the lines that describe the outcome."""
    lines = []
    for table in result.tables:
        if table["rows"] <= SMALL:
            lines += ["", f"{PERSON}.{table['name']}: {table['comment']}".rstrip(": ")]
            lines += [f"  {line}" for line in render_table(table["head"], table["first"])]
    rows = [(f"{PERSON}.{table['name']}", table["rows"]) for table in result.tables]
    lines += ["", *render_table(("table", "rows"), rows), ""]
    facts = result.job.get("chain_data") or {}
    who = f"{facts.get('owner', PERSON)} (uid {facts.get('uid', '?')})"
    seconds = float(result.job.get("elapsed") or 0)
    lines.append(f"Ran as {who} in {seconds:.1f} s: job {result.job['id']}")
    lines.append(f"Executed notebook: {facts.get('output', '?')} (volume runs)")
    if result.read_only:
        lines.append("Read on the published port as account bi, which may not change anything.")
    lines.append(f"Event {EVENT} is switched off; ./vixtract demo runs it again.")
    return lines
