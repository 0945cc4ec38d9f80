"""Fields of the form for a notebook's parameters: made of the notebook, and read back.

Each field comes with two hidden ones that say its kind and its default, so that what was typed can
be read without the notebook. Changing them allows nothing that JSON parameters do not allow.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from vixtract.language import Language
from vixtract.portal.library import KINDS, Parameter
from vixtract.portal.schedule_fields import read_json

VALUE, KIND, DEFAULT = "p-", "k-", "d-"
MAX_FIELDS = 100


@dataclass(frozen=True)
class Widget:
    """One parameter's field.

    Args:
        kind: one of `vixtract.portal.library.KINDS`.
        text: what the field shows; for yes_no `true` or `false`.
        default: JSON text of the notebook's own value; `null` where it has none.
        choices: pairs of JSON text and label.
        required: whether the notebook gives it no value.
    """

    name: str
    kind: str
    text: str
    default: str = "null"
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False

    @property
    def default_label(self) -> str:
        """The notebook's own value as people read it; empty where there is none."""
        return _show_value(json.loads(self.default), self.kind)


def _show_value(value: Any, kind: str) -> str:
    """Return a value the way a field of that kind holds it; empty for None."""
    if value is None:
        return ""
    if kind in ("json", "choice") or isinstance(value, (list, dict, bool)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def make_widgets(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> list[Widget]:
    """Return the fields of a notebook; parameters without a value show their default."""
    return [
        _make_widget(parameter, values.get(parameter.name, parameter.default))
        for parameter in parameters[:MAX_FIELDS]
    ]


def _make_widget(parameter: Parameter, value: Any) -> Widget:
    choices = tuple((json.dumps(c, ensure_ascii=False), str(c)) for c in parameter.choices)
    kind = _fit_kind(parameter.kind, value)
    text = _show_value(value, kind)
    if kind == "choice" and value is not None and text not in dict(choices):
        choices = (*choices, (text, str(value)))
    default = json.dumps(parameter.default, ensure_ascii=False)
    return Widget(parameter.name, kind, text, default, parameter.help, choices, parameter.required)


def _fit_kind(kind: str, value: Any) -> str:
    """Return the kind of field that can show a value: JSON where the narrow kind cannot."""
    if value is None or kind in ("choice", "json"):
        return kind
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "yes_no": isinstance(value, bool),
        "date": isinstance(value, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value)),
        # A field of one line would lose line breaks.
        "text": isinstance(value, str) and "\n" not in value,
    }[kind]
    return kind if fits else "json"


def keep_typed(widgets: Sequence[Widget], typed: Mapping[str, Sequence[str]]) -> list[Widget]:
    """Return the fields with what was typed, right or wrong; a field that was not sent stays."""
    kept = []
    for widget in widgets:
        text = (typed.get(VALUE + widget.name) or [""])[0]
        if widget.kind == "yes_no":
            text = "true" if text else "false"
        kept.append(replace(widget, text=text) if KIND + widget.name in typed else widget)
    return kept


def read_widgets(
    typed: Mapping[str, Sequence[str]], language: Language
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read what was typed into the parameters' fields.

    Returns: parameters that differ from the notebook's own values, and problems by field.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    names = [key[len(KIND) :] for key in typed if key.startswith(KIND)][:MAX_FIELDS]
    for name in names:
        kind = typed[KIND + name][0]
        text = (typed.get(VALUE + name) or [""])[0]
        if not name.isidentifier() or kind not in KINDS:
            continue
        default = read_json((typed.get(DEFAULT + name) or ["null"])[0])
        is_blank = not text.strip() and kind != "yes_no"
        if is_blank and (kind != "text" or default is None):
            if "r-" + name in typed:
                problems[VALUE + name] = language.say("The notebook needs a value here.")
            continue
        try:
            value = _read_value(kind, text)
        except (ValueError, RecursionError):
            problems[VALUE + name] = _say_wrong(kind, language)
            continue
        # A value equal to the notebook's own goes on following the notebook.
        if value != default or type(value) is not type(default):
            values[name] = value
    return values, problems


def _read_value(kind: str, text: str) -> Any:
    if kind == "yes_no":
        return bool(text)
    if kind == "integer":
        if not re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII):
            raise ValueError(text)
        return int(text)
    if kind == "number":
        number = float(text.strip().replace(",", "."))
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    if kind == "date":
        return date.fromisoformat(text.strip()).isoformat()
    if kind in ("choice", "json"):
        return json.loads(text, parse_constant=_refuse)
    return text


def _say_wrong(kind: str, language: Language) -> str:
    texts = {
        "integer": language.say("Enter a whole number, such as 42."),
        "number": language.say("Enter a number, such as 0.5."),
        "date": language.say("Enter a date such as 2027-01-31."),
        "choice": language.say("Choose one of the values."),
        "json": language.say('Enter JSON, such as ["a", "b"] or {"a": 1}.'),
    }
    return texts.get(kind, language.say("This value cannot be used."))


def _refuse(name: str) -> None:
    raise ValueError(name)
