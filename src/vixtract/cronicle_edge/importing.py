"""Import the schedules from another Cronicle's export.

Reads on standard input what `control.sh export` of Cronicle or Cronicle Edge writes. Events become
schedules of people of this appliance, made by the scheduler's own calls, so that nothing gets an
account, a command or a right that it would not get on a page. What stays behind is listed.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vixtract.errors import UsageError, VixtractError
from vixtract.processes.person import find_person
from vixtract.runner.job import script_owners
from vixtract.scheduler.client import SchedulerClient, SchedulerError
from vixtract.scheduler.events import BOOLEANS, NUMBERS, check_event

MAX_BYTES = 64 * 1024 * 1024
_LINE = re.compile(r"([\w./-]+) - (\{.*)")
_PAGE = re.compile(r"global/(\w+)/-?\d+")
_TAKEN = (
    "id",
    "title",
    "timing",
    "timezone",
    "notes",
    "notify_success",
    "notify_fail",
    "web_hook",
    *BOOLEANS,
    *NUMBERS,
)
# Belong to the record, or mean nothing here and change nothing about the run.
_SILENT = frozenset(
    (
        "plugin",
        "params",
        "username",
        "category",
        "target",
        "created",
        "modified",
        "algo",
        "multiplex",
        "stagger",
        "api_key",
        "session_id",
        "log_max_size",
        "cpu_sustain",
        "memory_sustain",
        "salt",
        "ticks",
        "secret_preview",
    )
)


@dataclass
class Export:
    """Users by name, and the items of each list, such as `schedule`."""

    users: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    lists: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)


def read_export(text: str) -> Export:
    """Read lines `KEY - JSON`; empty lines and comments are skipped.

    Raises:
        UsageError: the text is not an export; names the line.
    """
    export = Export()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            record = json.loads(match[2]) if match else None
        except (ValueError, RecursionError):
            record = None
        if not match or not isinstance(record, dict):
            raise UsageError(
                f"Line {number} is not a line of Cronicle's export.",
                "Make it with: /opt/cronicle/bin/control.sh export > export.txt",
            )
        page = _PAGE.fullmatch(match[1])
        if page:
            items = record.get("items")
            items = items if isinstance(items, list) else []
            export.lists.setdefault(page[1], []).extend(i for i in items if isinstance(i, dict))
        elif match[1].startswith("users/"):
            export.users[match[1].removeprefix("users/")] = record
    if not export.users and not export.lists:
        raise UsageError("There is nothing in the file.", "Make it with control.sh export.")
    return export


class CannotImportError(VixtractError):
    """An event that has no equivalent here."""


def build_script(record: Mapping[str, Any]) -> str:
    """Build the script that does what an event's plugin did, or raise CannotImportError."""
    params = record.get("params")
    params = params if isinstance(params, Mapping) else {}
    plugin = str(record.get("plugin") or "")
    if plugin == "shellplug":
        return str(params.get("script") or "")
    if plugin != "urlplug":
        raise CannotImportError(f"the plugin {plugin!r} is not here; make a Shell Script of it")
    method = re.sub(r"\W", "", str(params.get("method") or "GET")).upper()
    words = ["curl", "--fail", "--silent", "--show-error", "--request", method]
    timeout = str(params.get("timeout") or "30")
    words += ["--max-time", timeout if timeout.isdecimal() else "30"]
    words += ["--location"] if params.get("follow") else []
    for header in str(params.get("headers") or "").splitlines():
        words += ["--header", header.strip()] if header.strip() else []
    if params.get("data") and method != "GET":
        words += ["--data-binary", str(params["data"])]
    # After `--`, an address cannot be an option.
    return f"#!/bin/bash\n{shlex.join([*words, '--', str(params.get('url') or '')])}\n"


def find_owner(
    record: Mapping[str, Any], script: str, fallback: str, is_person: Callable[[str], bool]
) -> str:
    """Return the person whose schedule an event becomes.

    Args:
        fallback: person for events whose author has no account here; empty for none.
        is_person: says whether a name belongs to a person with a home here.
    Raises:
        CannotImportError: no person here can own it.
    """
    named = sorted(script_owners(script))
    if len(named) > 1:
        raise CannotImportError(f"it runs notebooks of {' and '.join(named)}; make an event each")
    author = str(record.get("username") or "").lower()
    for name in (*named, author, fallback):
        if name and is_person(name):
            return name
        if name and name in named:
            break
    raise CannotImportError(
        f"{(named or [author])[0]!r} has no account here; add it, or use --owner"
    )


def convert(
    record: Mapping[str, Any], fallback: str, is_person: Callable[[str], bool]
) -> tuple[dict[str, Any], list[str]]:
    """Return an event for this appliance, and the fields left out, or raise CannotImportError."""
    script = build_script(record)
    owner = find_owner(record, script, fallback, is_person)
    event = {name: record[name] for name in _TAKEN if record.get(name) not in (None, "")}
    event.update({n: int(_whole(event[n]) > 0) for n in BOOLEANS if n in event})
    event.update({n: min(_whole(event[n]), NUMBERS[n]) for n in NUMBERS if n in event})
    for name in ("title", "notes"):
        event[name] = re.sub("[<>]", "", str(event.get(name, "")))
    event["id"] = re.sub(r"\W", "", str(event.get("id", "")))
    event.setdefault("timing", False)
    event.update(
        plugin="shellplug",
        params={"script": script, "owner": owner},
        username=owner,
        category="general",
        target="allgrp",
    )
    problems = check_event(event)
    if problems:
        raise CannotImportError("; ".join(map(str, problems)))
    left = sorted(name for name, v in record.items() if v and name not in (*_TAKEN, *_SILENT))
    author = str(record.get("username") or "").lower()
    return event, left + ([f"author {author}, now {owner}"] if author != owner else [])


def _whole(value: object) -> int:
    try:
        return max(0, int(float(str(int(value) if isinstance(value, bool) else value))))
    except (ValueError, OverflowError):
        return 0


def import_events(
    export: Export, client: SchedulerClient | None, fallback: str, is_person: Callable[[str], bool]
) -> Iterator[tuple[str, str, str]]:
    """Create the events; without a client only say what would be done.

    Returns: status (`imported`, `here`, `refused`), title and remark of each.
    """
    # A list's newest is first; made in this order the schedule looks as it did.
    for record in reversed(export.lists.get("schedule", [])):
        title = str(record.get("title") or record.get("id") or "?")
        try:
            event, left = convert(record, fallback, is_person)
            if client is not None:
                client.create_event(event)
        except CannotImportError as error:
            yield "refused", title, error.message
        except SchedulerError as error:
            is_here = "already exists" in error.message
            yield "here" if is_here else "refused", title, error.message
        else:
            owner = event["params"]["owner"]
            yield "imported", title, f"as {owner}" + (f"; left out: {', '.join(left)}" * bool(left))


def list_others(export: Export, is_person: Callable[[str], bool]) -> Iterator[str]:
    """Yield a line about everything else in the file, and why it is not imported."""
    for name in sorted(export.users):
        known = "is here" if is_person(name.lower()) else "has no account here: add it in the Hub"
        yield f"user {name}: {known}; passwords and privileges stay behind"
    for plugin in export.lists.get("plugins", []):
        name, uid = str(plugin.get("id")), str(plugin.get("uid") or "root")
        if name not in ("shellplug", "urlplug"):
            yield f"plugin {name}: stays behind"
        elif uid in ("root", "0"):
            yield f"plugin {name}: ran as root there; its events run as their owners here"
    for kind, word in (("categories", "category"), ("api_keys", "API key"), ("secrets", "secret")):
        for item in export.lists.get(kind, []):
            if item.get("id") != "general":
                yield f"{word} {item.get('title') or item.get('id')}: stays behind"


def _is_person(name: str) -> bool:
    try:
        return bool(re.fullmatch(r"[a-z_][a-z0-9._-]{0,31}", name)) and bool(
            find_person(name, Path("/home"))
        )
    except VixtractError:
        return False


def main() -> int:
    """Import; returns 0, 1 when an event was refused, 2 for a wrong call or file."""
    parser = argparse.ArgumentParser(prog="vixtract.cronicle_edge.importing", description=__doc__)
    parser.add_argument(
        "--owner", default="", help="person for events of authors without an account here"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    options = parser.parse_args()
    say = sys.stdout.write
    try:
        if options.owner and not _is_person(options.owner):
            raise UsageError(
                f"--owner: there is no account {options.owner!r}.", "Add it in the Hub."
            )
        text = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise UsageError("The file is larger than 64 MB.", "Leave the logs out of it.")
        export = read_export(text.decode("utf-8", "replace"))
        key = Path("/srv/secrets/api_key").read_text(encoding="ascii").strip()
        client = SchedulerClient("http://127.0.0.1:3012/cronicle", key, 30)
        counts: Counter[str] = Counter()
        done = import_events(export, None if options.dry_run else client, options.owner, _is_person)
        for word, title, remark in done:
            counts[word] += 1
            say(f"{word:9} {title}: {remark}\n")
        for line in list_others(export, _is_person):
            say(f"{'left':9} {line}\n")
    except (VixtractError, OSError) as error:
        sys.stderr.write(f"{getattr(error, 'message', error)}\n{getattr(error, 'hint', '')}\n")
        return 2
    say(", ".join(f"{count} {word}" for word, count in sorted(counts.items())) + "\n")
    return 1 if counts["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
