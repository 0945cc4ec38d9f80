"""The form of a schedule: from typed text to an event, and back.

Nothing is looked up here: whether the notebook exists is for the runner to see when it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from vixtract.language import Language
from vixtract.portal.cron import CronError, parse_cron
from vixtract.portal.errors import FormError
from vixtract.portal.when import KINDS, When, build_when_timing, read_when
from vixtract.scheduler.events import check_event
from vixtract.scheduler.timing import TimingError, check_timing, get_zone

MAX_PARAMETERS = 65_536
# Minutes.
WEEK = 10_080
YEAR = 527_040
# Field of the event to the field of the form that shows its problem.
EVENT_FIELDS = {"timing": "timing", "params": "notebook", "timeout": "timeout_minutes"}


@dataclass(frozen=True)
class ScheduleForm:
    """What the form holds, as text, in the order of the page.

    Args:
        plugin: `notebook`; other events have no notebook fields and keep their params.
        notebook: path below the owner's home.
        title: name of the schedule, unique in the appliance.
        owner: whose home the notebook is in; only admins may name another than themselves.
        kind: one of `vixtract.portal.when.KINDS`.
        minute: of every hour, 0-59.
        time: `hh:mm`.
        weekdays: `0` (Sunday) to `6`.
        day: of the month.
        date: `yyyy-mm-dd`.
        timing: the scheduler's timing object as JSON, for kind custom.
        cron: five fields, for kind cron.
        timezone: IANA name.
        parameters: JSON object, or empty.
        kernel: name of a kernel; empty is the notebook's own.
        timeout_minutes: 0 is the appliance's limit.
        memory_mb: 0 is the appliance's limit.
        retries: further attempts after a failure.
        retry_delay_minutes: between attempts.
        catch_up: whether runs missed during a downtime are made up for.
        enabled: whether it runs by itself.
        version: `latest`, `keep` (the pinned copy) or `now` (pin what is there at saving).
        pinned: SHA-256 of the pinned copy, or empty.
        notify_fail: mail addresses that hear of failures.
        notify_success: mail addresses that hear of successes.
        web_hook: address that gets ended runs as JSON.
        web_hook_error: whether that address gets failures alone.
    """

    plugin: str = "notebook"
    notebook: str = ""
    title: str = ""
    owner: str = ""
    kind: str = "daily"
    minute: str = "0"
    time: str = "06:00"
    weekdays: tuple[str, ...] = ()
    day: str = "1"
    date: str = ""
    timing: str = ""
    cron: str = ""
    timezone: str = "UTC"
    parameters: str = ""
    kernel: str = ""
    timeout_minutes: str = "0"
    memory_mb: str = "0"
    retries: str = "0"
    retry_delay_minutes: str = "5"
    catch_up: bool = False
    enabled: bool = True
    version: str = "latest"
    pinned: str = ""
    notify_fail: str = ""
    notify_success: str = ""
    web_hook: str = ""
    web_hook_error: bool = True


TEXT_FIELDS = (
    "notebook", "title", "owner", "kind", "minute", "time", "day", "date", "timing", "timezone",
    "parameters", "kernel", "timeout_minutes", "memory_mb", "retries", "retry_delay_minutes",
    "cron", "version", "pinned", "notify_fail", "notify_success", "web_hook",
)  # fmt: skip


@dataclass
class _Checker:
    """Collects problems field by field, in the person's language."""

    language: Language
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, text: str, **values: object) -> None:
        self.problems.setdefault(place, self.language.say(text, **values))

    def number(self, name: str, text: str, low: int, high: int) -> int:
        text = text.strip() or "0"
        if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high:
            return int(text)
        say = self.language.say
        self.problems.setdefault(
            name, say("Give a whole number from %(low)s to %(high)s.", low=low, high=high)
        )
        return low


def build_event(form: ScheduleForm, language: Language) -> dict[str, Any]:
    """Check a form and make the event's fields of it.

    Args:
        form: as typed.
        language: of the messages.
    Returns: fields for the scheduler's create and update calls, without id and username; for
        events that are no notebooks also without params.
    Raises:
        FormError: names every field that is wrong.
    """
    check = _Checker(language)
    event: dict[str, Any] = {
        "title": form.title.strip(),
        "plugin": form.plugin,
        "enabled": int(form.enabled),
        "timing": build_when_timing(_read_choice(form, check)),
        "timezone": _read_zone(form.timezone.strip(), check),
        "timeout": 60 * check.number("timeout_minutes", form.timeout_minutes, 0, YEAR),
        "catch_up": int(form.catch_up),
        "retries": check.number("retries", form.retries, 0, 100),
        "retry_delay": 60 * check.number("retry_delay_minutes", form.retry_delay_minutes, 0, WEEK),
        **_read_messages(form, check),
    }
    if form.plugin == "notebook":
        event["params"] = {
            "notebook": _read_notebook(form, check),
            "owner": form.owner,
            "parameters": _read_parameters(form.parameters, check),
            "kernel": _read_kernel(form.kernel.strip(), check),
            "memory_mb": check.number("memory_mb", form.memory_mb, 0, 10_000_000),
        }
        if form.version == "keep" and re.fullmatch("[0-9a-f]{64}", form.pinned):
            event["params"]["pinned"] = form.pinned
    if not event["title"]:
        check.add("title", "Give the schedule a name.")
    for problem in check_event(event, partial=True) if not check.problems else ():
        check.problems.setdefault(EVENT_FIELDS.get(problem.field, problem.field), problem.message)
    if check.problems:
        raise FormError(check.problems)
    return event


def _read_notebook(form: ScheduleForm, check: _Checker) -> str:
    """Return the path below the owner's home, whichever of three ways it was typed in."""
    path = form.notebook.strip().removeprefix("~/")
    path = path.removeprefix(f"/home/{form.owner}/")
    parts = path.split("/")
    if not path:
        check.add("notebook", "Say which notebook is to run.")
    elif not path.isprintable() or len(path) > 1024:
        check.add("notebook", "This is no path of a file.")
    elif path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        check.add("notebook", "Give the path below the home folder, such as etl/load.ipynb.")
    elif not path.endswith(".ipynb") or parts[-1] == ".ipynb":
        check.add("notebook", "The name of a notebook ends in .ipynb.")
    return path


def _read_choice(form: ScheduleForm, check: _Checker) -> When:
    if form.kind == "hourly":
        return When("hourly", check.number("minute", form.minute, 0, 59))
    if form.kind == "cron":
        return _read_cron(form.cron, check)
    if form.kind == "custom":
        return _read_custom(form.timing, check)
    if form.kind == "manual" or form.kind not in KINDS:
        if form.kind != "manual":
            check.add("kind", "Choose when it runs.")
        return When("manual")
    return _read_day(form, *_read_clock(form.time, check), check)


def _read_cron(text: str, check: _Checker) -> When:
    try:
        timing = parse_cron(text)
    except CronError as error:
        check.add("cron", error.text, **error.values)
        return When("manual")
    problems = check_timing(timing)
    if problems:
        check.add("cron", "This never happens: no date has such a day and month.")
        return When("manual")
    return When("custom", timing=timing)


def _read_messages(form: ScheduleForm, check: _Checker) -> dict[str, Any]:
    event: dict[str, Any] = {
        "notify_fail": form.notify_fail.strip(),
        "notify_success": form.notify_success.strip(),
        "web_hook": form.web_hook.strip(),
        "web_hook_error": int(form.web_hook_error),
    }
    wrong = {problem.field for problem in check_event(event, partial=True)}
    for name in wrong & {"notify_fail", "notify_success"}:
        check.add(name, "Give mail addresses with commas between, such as anna@example.com.")
    if "web_hook" in wrong:
        check.add("web_hook", "Give an address such as https://chat.example.com/hook.")
    return event


def _read_day(form: ScheduleForm, hour: int, minute: int, check: _Checker) -> When:
    if form.kind == "weekly":
        days = tuple(sorted({int(day) for day in form.weekdays if re.fullmatch("[0-6]", day)}))
        if not days:
            check.add("weekdays", "Choose at least one day.")
        return When("weekly", minute, hour, weekdays=days or (1,))
    if form.kind == "monthly":
        return When("monthly", minute, hour, day=check.number("day", form.day or "?", 1, 31))
    if form.kind == "once":
        return When("once", minute, hour, date=_read_date(form.date.strip(), check))
    return When(form.kind, minute, hour)


def _read_clock(text: str, check: _Checker) -> tuple[int, int]:
    # Browsers may add seconds to the value of a time field.
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::00)?", text.strip())
    if match is None:
        check.add("time", "Give a time such as 06:30.")
        return 0, 0
    return int(match[1]), int(match[2])


def _read_date(text: str, check: _Checker) -> date:
    try:
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year < 9999:
        check.add("date", "Give a date such as 2027-01-31.")
        return date(2027, 1, 31)
    return day


def _read_custom(text: str, check: _Checker) -> When:
    try:
        timing = json.loads(text)
    except (ValueError, RecursionError):
        timing = None
    if not isinstance(timing, dict):
        check.add("timing", "Give a JSON object with lists, such as %(example)s.",
                  example='{"hours": [6, 18], "minutes": [30]}')  # fmt: skip
        return When("manual")
    problems = check_timing(timing)
    if problems:
        check.problems.setdefault("timing", "; ".join(problems))
        return When("manual")
    return When("custom", timing=timing)


def _read_zone(name: str, check: _Checker) -> str:
    try:
        get_zone(name)
    except TimingError:
        check.add("timezone", "There is no such time zone; use a name such as Europe/Moscow.")
    return name


def _read_kernel(name: str, check: _Checker) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", name):
        check.add("kernel", "The name of a kernel has letters, digits, dots and dashes only.")
    return name


def _read_parameters(text: str, check: _Checker) -> dict[str, Any]:
    if not text.strip():
        return {}
    if len(text) > MAX_PARAMETERS:
        check.add("parameters", "At most %(count)s characters, please.", count=MAX_PARAMETERS)
        return {}
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        check.add("parameters", "This is no JSON: line %(line)s, column %(column)s: %(what)s.",
                  line=error.lineno, column=error.colno, what=error.msg)  # fmt: skip
        return {}
    except (ValueError, RecursionError):
        check.add("parameters", "A value cannot be used: it is too large, or no JSON.")
        return {}
    if not isinstance(values, dict):
        check.add("parameters", "Give a JSON object, such as %(example)s.",
                  example='{"year": 2026}')  # fmt: skip
        return {}
    wrong = next((name for name in values if not name.isidentifier()), None)
    if wrong is not None:
        check.add("parameters", "%(name)s cannot be the name of a variable.", name=repr(wrong[:40]))
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def read_event(event: Mapping[str, Any], timezone: str) -> ScheduleForm:
    """Fill the form from an event.

    Args:
        event: as the scheduler returns it.
        timezone: zone shown for an event that names none.
    """
    params = event.get("params") or {}
    when = read_when(event.get("timing"))
    return ScheduleForm(
        plugin=str(event.get("plugin", "")),
        notebook=str(params.get("notebook", "")),
        title=str(event.get("title", "")),
        owner=str(params.get("owner") or event.get("username") or ""),
        kind=when.kind,
        minute=str(when.minute),
        time=f"{when.hour:02d}:{when.minute:02d}",
        weekdays=tuple(map(str, when.weekdays)),
        day=str(when.day),
        date=when.date.isoformat() if when.date else "",
        timing=json.dumps(when.timing) if when.timing is not None else "",
        timezone=str(event.get("timezone") or timezone),
        parameters=_write_parameters(params.get("parameters")),
        kernel=str(params.get("kernel") or ""),
        timeout_minutes=str(-(-_whole(event.get("timeout")) // 60)),
        memory_mb=str(_whole(params.get("memory_mb"))),
        retries=str(_whole(event.get("retries"))),
        retry_delay_minutes=str(-(-_whole(event.get("retry_delay")) // 60)),
        catch_up=bool(event.get("catch_up")),
        enabled=bool(event.get("enabled")),
        version="keep" if params.get("pinned") else "latest",
        pinned=str(params.get("pinned") or ""),
        notify_fail=str(event.get("notify_fail") or ""),
        notify_success=str(event.get("notify_success") or ""),
        web_hook=str(event.get("web_hook") or ""),
        # A schedule without an address begins with the choice that is wanted most.
        web_hook_error=bool(event.get("web_hook_error", not event.get("web_hook"))),
    )


def _whole(value: object) -> int:
    """Read a number that another engine may have stored as text."""
    return int(value) if isinstance(value, (int, float, str)) and str(value).isdecimal() else 0


def _write_parameters(value: object) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
