"""Numbers, sizes and labels of runs and tables in a reader's language."""

from __future__ import annotations

from typing import Any

from babel.numbers import format_decimal

from vixtract.language import Language, mark

LABELS = {
    "state_names": {
        "queued": mark("waiting"),
        "running": mark("running"),
        "waiting": mark("retrying soon"),
        "succeeded": mark("succeeded"),
        "warning": mark("warning"),
        "failed": mark("failed"),
        "aborted": mark("stopped"),
    },
    "service_names": {
        "jupyter": "JupyterHub",
        "scheduler": mark("Scheduler"),
        "runner": mark("Job runner"),
        "postgresql": "PostgreSQL",
    },
    "disk_names": {"home": mark("Homes"), "runs": mark("Runs")},
    "notices": {
        "saved": mark("Saved."),
        "deleted": mark("Deleted."),
        "enabled": mark("Switched on."),
        "disabled": mark("Switched off: it runs only by hand."),
        "started": mark("Started."),
        "queued": mark("It starts as soon as the previous run has ended."),
        "aborting": mark("Stopping."),
        "connection_deleted": mark("The connection is deleted."),
    },
    "load_modes": {
        "replace": mark("replaced"),
        "append": mark("appended"),
        "upsert": mark("updated or added"),
        "incremental": mark("new rows added"),
    },
    "relation_kinds": {
        "table": mark("table"),
        "view": mark("view"),
        "materialized": mark("materialized view"),
        "foreign": mark("foreign table"),
    },
}
"""What templates call by a short name, such as a run's state, in English."""


def make_labels(language: Language) -> dict[str, Any]:
    """Return the labels and functions that templates use."""
    say = language.say
    units = (say("B"), say("KB"), say("MB"), say("GB"), say("TB"))

    def amount(number: float) -> str:
        return str(format_decimal(number, locale=language.code))

    def size(count: float) -> str:
        value, place = float(count), 0
        while value >= 1000 and place < len(units) - 1:
            value, place = value / 1000, place + 1
        rounded = round(value) if place == 0 or value >= 10 else round(value, 1)
        return f"{amount(rounded)} {units[place]}"

    return {
        "amount": amount,
        "size": size,
        "plain": str,
    } | {name: {key: say(text) for key, text in texts.items()} for name, texts in LABELS.items()}
