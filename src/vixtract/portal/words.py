"""Numbers, sizes and labels of runs and tables in a reader's language."""

from __future__ import annotations

from typing import Any

from babel.numbers import format_decimal

from vixtract.language import Language


def make_words(language: Language) -> dict[str, Any]:
    """Return what templates of runs and tables use.

    Args:
        language: of the pages.
    """
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
        "load_modes": {
            "replace": say("replaced"),
            "append": say("appended"),
            "upsert": say("updated or added"),
            "incremental": say("new rows added"),
        },
        "relation_kinds": {
            "table": say("table"),
            "view": say("view"),
            "materialized": say("materialized view"),
            "foreign": say("foreign table"),
        },
    }
