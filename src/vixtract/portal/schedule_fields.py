"""The fields of a schedule's form, in one table.

`ScheduleForm` is the table: each field says its label, its limits and where the event keeps it.
The page, the reading of what was typed (`form`), the API and the messages follow from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vixtract.language import Language, mark
from vixtract.scheduler.timing import TimingError, get_zone

MAX_PARAMETERS = 65_536
# Minutes.
WEEK = 10_080
YEAR = 527_040
ANY_DAY = "daily workdays weekly monthly once"
MAIL_REFUSED = mark("Enter mail addresses separated by commas, such as anna@example.com.")


@dataclass
class Checker:
    """Collects messages by field, in the person's language."""

    language: Language
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, text: str, **values: object) -> None:
        self.problems.setdefault(place, self.language.say(text, **values))

    def number(self, name: str, text: str, low: int, high: int) -> int:
        text = text.strip() or "0"
        if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high:
            return int(text)
        self.add(name, "Enter a whole number from %(low)s to %(high)s.", low=low, high=high)
        return low


@dataclass(frozen=True)
class FormField:
    """Description of one field.

    Args:
        label: text beside it, in English, marked for translation.
        group: part of the page: `notebook`, `when`, `runs`, `version`, `messages` or `limits`.
        kind: how it is shown and read: `text`, `area`, `number`, `date`, `time`, `tick`, `days`,
            `choice`, `zone`, or `own` where the page has markup of its own.
        stored: its key in the event, `params.KEY` for one of the plugin's parameters; empty where
            it is a part of the timing.
        help: text below it, in English, marked for translation.
        low: least number.
        high: largest number.
        unit: a number is stored times this; 60 where minutes are typed and seconds stored.
        longest: characters of a text; 0 for no limit.
        required: whether it may not be empty.
        placeholder: an example, shown while it is empty.
        shown_for: kinds of timing that it belongs to, with blanks between; empty for all.
        refused: message if the scheduler would refuse the value, marked for translation; empty
            for the scheduler's own message.
        read: returns the stored value, and adds problems to the checker; None for the text itself.
        name: the field's name; known in FIELDS.
        default: what an empty form holds; known in FIELDS.
    """

    label: str
    group: str
    kind: str = "text"
    stored: str = ""
    help: str = ""
    low: int = 0
    high: int = 0
    unit: int = 1
    longest: int = 0
    required: bool = False
    placeholder: str = ""
    shown_for: str = ""
    refused: str = ""
    read: Callable[[ScheduleForm, Checker], Any] | None = None
    name: str = ""
    default: Any = ""

    @property
    def is_of_notebook(self) -> bool:
        """Whether it is stored with the notebook's parameters: shell scripts do not have it."""
        return self.stored.startswith("params.")

    @property
    def type(self) -> Any:
        """Type of its value for programs."""
        return {"number": int, "tick": bool, "area": dict[str, Any], "days": list[str]}.get(
            self.kind, str
        )

    def declare(self, default: Any = "") -> Any:
        """Return a field of a dataclass with a default value and this description."""
        return field(default=default, metadata={"field": self})

    def store(self, form: ScheduleForm, check: Checker) -> Any:
        """Return the value that the event stores; problems are added to the checker."""
        value = getattr(form, self.name)
        if self.read is not None:
            return self.read(form, check)
        if self.kind == "number":
            return self.unit * check.number(self.name, value, self.low, self.high)
        return int(value) if self.kind == "tick" else value.strip()

    def value(self, form: ScheduleForm) -> Any:
        """Return a stored form's value for programs."""
        if self.kind == "area":
            return form.values
        typed = getattr(form, self.name)
        return int(typed) if self.kind == "number" else typed

    def load(self, event: Mapping[str, Any]) -> Any:
        """Return what the form shows of the event, where the value may be missing."""
        outer, _, key = self.stored.rpartition(".")
        value = ((event.get(outer) or {}) if outer else event).get(key)
        if self.kind == "number":
            return str(-(-_whole(value) // self.unit))
        return bool(value) if self.kind == "tick" else str(value or "")


def _read_notebook(form: ScheduleForm, check: Checker) -> str:
    """Return the path below the owner's home; it may be typed absolute, or with `~/`."""
    path = form.notebook_path
    parts = path.split("/")
    if not path:
        check.add("notebook", "Choose the notebook to run.")
    elif not path.isprintable() or len(path) > 1024:
        check.add("notebook", "This is not a file path.")
    elif path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        check.add("notebook", "Enter the path below the home folder, such as etl/load.ipynb.")
    elif not path.endswith(".ipynb") or parts[-1] == ".ipynb":
        check.add("notebook", "The name of a notebook ends in .ipynb.")
    return path


def _read_title(form: ScheduleForm, check: Checker) -> str:
    if not form.title.strip():
        check.add("title", "Enter a name for the schedule.")
    return form.title.strip()


def _read_zone(form: ScheduleForm, check: Checker) -> str:
    name = form.timezone.strip()
    try:
        get_zone(name)
    except TimingError:
        check.add("timezone", "Unknown time zone; use a name such as Europe/Moscow.")
    return name


def _read_kernel(form: ScheduleForm, check: Checker) -> str:
    name = form.kernel.strip()
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", name):
        check.add("kernel", "The name of a kernel has letters, digits, dots and dashes only.")
    return name


def _read_parameters(form: ScheduleForm, check: Checker) -> dict[str, Any]:
    text = form.parameters
    if not text.strip():
        return {}
    if len(text) > MAX_PARAMETERS:
        check.add("parameters", "Enter at most %(count)s characters.", count=MAX_PARAMETERS)
        return {}
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        text = mark("This is not valid JSON: line %(line)s, column %(column)s: %(what)s.")
        check.add("parameters", text, line=error.lineno, column=error.colno, what=error.msg)
        return {}
    except (ValueError, RecursionError):
        check.add("parameters", "A value cannot be used: it is too large or not valid JSON.")
        return {}
    if not isinstance(values, dict):
        example = '{"year": 2026}'
        check.add("parameters", "Enter a JSON object, such as %(example)s.", example=example)
        return {}
    wrong = next((name for name in values if not name.isidentifier()), None)
    if wrong is not None:
        check.add("parameters", "%(name)s cannot be the name of a variable.", name=repr(wrong[:40]))
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


@dataclass(frozen=True)
class ScheduleForm:
    """What the form holds, as it is typed, in the order of the page."""

    # Other plugins' events have no fields of the notebook and keep their params.
    plugin: str = "notebook"
    notebook: str = FormField(
        mark("Notebook"),
        "notebook",
        "own",
        "params.notebook",
        help=mark("Path below the home folder, as JupyterLab shows it."),
        longest=1024,
        required=True,
        placeholder="etl/load.ipynb",
        read=_read_notebook,
    ).declare()
    owner: str = FormField(
        mark("Runs as"),
        "notebook",
        "text",
        "params.owner",
        help=mark("The account that owns the notebook."),
        longest=32,
    ).declare()
    title: str = FormField(
        mark("Name"), "notebook", "text", "title", longest=200, required=True, read=_read_title
    ).declare()

    kind: str = FormField(mark("Runs"), "when", "choice").declare("daily")
    minute: str = FormField(
        mark("At minute"), "when", "number", high=59, shown_for="hourly"
    ).declare("0")
    # `0` is Sunday.
    weekdays: tuple[str, ...] = FormField(
        mark("Days of the week"), "when", "days", shown_for="weekly"
    ).declare(())
    day: str = FormField(
        mark("Day of the month"),
        "when",
        "number",
        low=1,
        high=31,
        shown_for="monthly",
        help=mark("Months without this day are skipped."),
    ).declare("1")
    # `yyyy-mm-dd`, and `hh:mm` for the time.
    date: str = FormField(mark("Date"), "when", "date", shown_for="once").declare()
    time: str = FormField(mark("Time"), "when", "time", shown_for=ANY_DAY).declare("06:00")
    cron: str = FormField(
        mark("Cron expression"),
        "when",
        longest=200,
        shown_for="cron",
        help=mark("Minute, hour, day of the month, month, weekday."),
        placeholder="30 6 * * mon-fri",
    ).declare()
    timing: str = FormField(
        mark("Custom timing"),
        "when",
        shown_for="custom",
        help=mark(
            "JSON with lists of minutes, hours, days, weekdays (0 is Sunday), months, years; "
            "what is left out means every one."
        ),
        placeholder='{"hours": [6, 18], "minutes": [30]}',
    ).declare()
    timezone: str = FormField(
        mark("Time zone"),
        "when",
        "zone",
        "timezone",
        shown_for=f"hourly {ANY_DAY} cron custom",
        read=_read_zone,
    ).declare("UTC")

    enabled: bool = FormField(mark("Switched on"), "runs", "tick", "enabled").declare(True)
    catch_up: bool = FormField(
        mark("Make up for runs missed while the appliance was down"), "runs", "tick", "catch_up"
    ).declare(False)

    # `latest`, `keep` (the pinned copy, named by its SHA-256), `now` (pin it as it is at saving).
    version: str = FormField(mark("Version of the notebook"), "version", "own").declare("latest")
    pinned: str = FormField(mark("Version of the notebook"), "version", "own").declare()

    notify_fail: str = FormField(
        mark("Mail on failure to"),
        "messages",
        "text",
        "notify_fail",
        longest=1000,
        placeholder="anna@example.com",
        refused=MAIL_REFUSED,
    ).declare()
    notify_success: str = FormField(
        mark("Mail on success to"),
        "messages",
        "text",
        "notify_success",
        longest=1000,
        refused=MAIL_REFUSED,
    ).declare()
    web_hook: str = FormField(
        mark("Web hook"),
        "messages",
        "text",
        "web_hook",
        longest=2000,
        help=mark("Gets each ended run as JSON by POST; its “text” is what chat servers show."),
        placeholder="https://chat.example.com/hook",
        refused=mark("Enter an address such as https://chat.example.com/hook."),
    ).declare()
    web_hook_error: bool = FormField(
        mark("Only failures"), "messages", "tick", "web_hook_error"
    ).declare(True)

    kernel: str = FormField(
        mark("Kernel"), "limits", "choice", "params.kernel", read=_read_kernel
    ).declare()
    memory_mb: str = FormField(
        mark("Memory, MB"),
        "limits",
        "number",
        "params.memory_mb",
        high=10_000_000,
        help=mark("0 means the default limit."),
    ).declare("0")
    timeout_minutes: str = FormField(
        mark("Stop after, minutes"),
        "limits",
        "number",
        "timeout",
        high=YEAR,
        unit=60,
        help=mark("0 means the default limit."),
    ).declare("0")
    retries: str = FormField(
        mark("Retries after a failure"), "limits", "number", "retries", high=100
    ).declare("0")
    retry_delay_minutes: str = FormField(
        mark("Minutes between retries"), "limits", "number", "retry_delay", high=WEEK, unit=60
    ).declare("5")
    parameters: str = FormField(
        mark("Parameters"),
        "limits",
        "area",
        "params.parameters",
        help=mark(
            "A JSON object; each value replaces the variable of that name in the notebook's cell "
            "tagged “parameters”."
        ),
        placeholder='{"year": 2026}',
        read=_read_parameters,
    ).declare()

    @property
    def values(self) -> dict[str, Any]:
        """The typed parameters by name; empty where they are not a JSON object."""
        values = read_json(self.parameters)
        return values if isinstance(values, dict) else {}

    @property
    def notebook_path(self) -> str:
        """The notebook's path below the home; it may be typed absolute, or with `~/`."""
        path = self.notebook.strip().removeprefix("~/")
        return path.removeprefix(f"/home/{self.owner}/")


FIELDS: Mapping[str, FormField] = {
    each.name: replace(each.metadata["field"], name=each.name, default=each.default)
    for each in fields(ScheduleForm)
    if "field" in each.metadata
}
STORED = {name: each for name, each in FIELDS.items() if each.stored}


def list_group(group: str) -> list[str]:
    """Return the names of a group's fields, in the order of the page."""
    return [name for name, each in FIELDS.items() if each.group == group]


def read_json(text: str) -> Any:
    """Return the value of a JSON text, or None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _whole(value: object) -> int:
    """Read a number that another engine may have stored as text."""
    return int(value) if isinstance(value, (int, float, str)) and str(value).isdecimal() else 0
