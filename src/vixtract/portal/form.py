"""From the form of a schedule to the scheduler's event, and back.

Nothing is looked up here: whether the notebook exists is checked by the runner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from vixtract.language import Language
from vixtract.portal.cron import CronError, parse_cron
from vixtract.portal.errors import FormError
from vixtract.portal.schedule_fields import FIELDS, STORED, Checker, ScheduleForm, read_json
from vixtract.portal.timing_choice import KINDS, TimingChoice, build_timing_of_choice, read_choice
from vixtract.scheduler.events import check_event
from vixtract.scheduler.timing import check_timing

Typed = Mapping[str, Sequence[str]]


def build_event(form: ScheduleForm, language: Language) -> dict[str, Any]:
    """Return the fields of a form's event for the scheduler's create and update calls.

    They have no id and no username; events that are no notebooks have no params either.

    Raises:
        FormError: names every field that is wrong.
    """
    check = Checker(language)
    event: dict[str, Any] = {
        "plugin": form.plugin,
        "timing": build_timing_of_choice(_read_choice(form, check)),
    }
    for each in STORED.values():
        if not each.is_of_notebook:
            event[each.stored] = each.store(form, check)
        elif form.plugin == "notebook":
            params = event.setdefault("params", {})
            params[each.stored.removeprefix("params.")] = each.store(form, check)
    if "params" in event and form.version == "keep" and re.fullmatch("[0-9a-f]{64}", form.pinned):
        event["params"]["pinned"] = form.pinned
    _check_whole(event, check)
    if check.problems:
        raise FormError(check.problems)
    return event


def _check_whole(event: Mapping[str, Any], check: Checker) -> None:
    """Apply the scheduler's own rules to an event; the form's come first."""
    # The first field of `params` stands for all of them.
    names = {each.stored.partition(".")[0]: name for name, each in reversed(STORED.items())}
    is_fine = not check.problems
    for problem in check_event(event, partial=True):
        name = names.get(problem.field, problem.field)
        if name in FIELDS and FIELDS[name].refused:
            check.add(name, FIELDS[name].refused)
        elif is_fine:
            check.problems.setdefault(name, problem.message)


def _read_choice(form: ScheduleForm, check: Checker) -> TimingChoice:
    if form.kind == "hourly":
        return TimingChoice("hourly", check.number("minute", form.minute, 0, 59))
    if form.kind == "cron":
        return _read_cron(form.cron, check)
    if form.kind == "custom":
        return _read_custom(form.timing, check)
    if form.kind not in KINDS:
        check.add("kind", "Choose when it runs.")
    if form.kind == "manual" or form.kind not in KINDS:
        return TimingChoice("manual")
    return _read_day(form, *_read_clock(form.time, check), check)


def _read_cron(text: str, check: Checker) -> TimingChoice:
    try:
        timing = parse_cron(text)
    except CronError as error:
        check.add("cron", error.text, **error.values)
        return TimingChoice("manual")
    if check_timing(timing):
        check.add("cron", "This never happens: no date has such a day and month.")
    return TimingChoice("custom", timing=timing)


def _read_day(form: ScheduleForm, hour: int, minute: int, check: Checker) -> TimingChoice:
    if form.kind == "weekly":
        days = tuple(sorted({int(day) for day in form.weekdays if re.fullmatch("[0-6]", day)}))
        if not days:
            check.add("weekdays", "Choose at least one day.")
        return TimingChoice("weekly", minute, hour, weekdays=days or (1,))
    if form.kind == "monthly":
        day = check.number("day", form.day or "?", 1, 31)
        return TimingChoice("monthly", minute, hour, day=day)
    if form.kind == "once":
        return TimingChoice("once", minute, hour, date=_read_date(form.date.strip(), check))
    return TimingChoice(form.kind, minute, hour)


def _read_clock(text: str, check: Checker) -> tuple[int, int]:
    # Browsers may add seconds to the value of a time field.
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::00)?", text.strip())
    if match is None:
        check.add("time", "Enter a time such as 06:30.")
        return 0, 0
    return int(match[1]), int(match[2])


def _read_date(text: str, check: Checker) -> date:
    try:
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year < 9999:
        check.add("date", "Enter a date such as 2027-01-31.")
        return date(2027, 1, 31)
    return day


def _read_custom(text: str, check: Checker) -> TimingChoice:
    timing = read_json(text)
    if not isinstance(timing, dict):
        example = '{"hours": [6, 18], "minutes": [30]}'
        check.add("timing", "Enter a JSON object with lists, such as %(example)s.", example=example)
        return TimingChoice("manual")
    problems = check_timing(timing)
    if problems:
        check.problems.setdefault("timing", "; ".join(problems))
        return TimingChoice("manual")
    return TimingChoice("custom", timing=timing)


def read_event(event: Mapping[str, Any], timezone: str) -> ScheduleForm:
    """Return the form of an event, with this time zone where the event names none."""
    params = event.get("params") or {}
    when = read_choice(event.get("timing"))
    stored = {name: each.load(event) for name, each in STORED.items()}
    return ScheduleForm(
        **stored
        | {
            "plugin": str(event.get("plugin", "")),
            "owner": stored["owner"] or str(event.get("username") or ""),
            "kind": when.kind,
            "minute": str(when.minute),
            "time": f"{when.hour:02d}:{when.minute:02d}",
            "weekdays": tuple(map(str, when.weekdays)),
            "day": str(when.day),
            "date": when.date.isoformat() if when.date else "",
            "timing": json.dumps(when.timing) if when.timing is not None else "",
            "timezone": stored["timezone"] or timezone,
            "parameters": _write_parameters(params.get("parameters")),
            "version": "keep" if params.get("pinned") else "latest",
            "pinned": str(params.get("pinned") or ""),
            # Without an address, start with the choice that most people want.
            "web_hook_error": bool(event.get("web_hook_error", not event.get("web_hook"))),
        }
    )


def read_typed(typed: Typed, before: ScheduleForm, admin: bool) -> ScheduleForm:
    """Return the form with what was typed in it; boxes that are absent are unticked.

    Args:
        before: the form as it was; its plugin stays, and its owner where the person is no admin.
        admin: whether the person may name an owner.
    """
    changes: dict[str, Any] = {}
    for name, each in FIELDS.items():
        if each.kind == "tick":
            changes[name] = name in typed
        elif each.kind == "days":
            changes[name] = tuple(typed.get(name, ())[:7])
        elif typed.get(name):
            changes[name] = typed[name][0][:100_000]
    if not admin or not changes.get("owner", "").strip():
        changes.pop("owner", None)
    return replace(before, **changes)


def _write_parameters(value: object) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
