"""Texts of jobs and events for Cronicle's page, which shows some of them as HTML, unescaped."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

# The rest, which Cronicle would act on or show as HTML, is never passed on.
PASSED = ("progress", "memo", "complete", "code", "description", "perf", "table", "chain_data")
# The page escapes some texts, and puts others into attributes as they are: entities would be shown
# in the one place, the characters themselves be markup in the other. These are neither.
_SHOWN = str.maketrans({"<": "\u2039", ">": "\u203a", '"': "\u2033"})
_MEANT = str.maketrans({"\u2039": "<", "\u203a": ">", "\u2033": '"'})


def show_text(text: str) -> str:
    """Return a memo or description as Cronicle's page shows it well anywhere."""
    return text.translate(_SHOWN)


def read_text(text: str) -> str:
    """Return what `show_text` was given."""
    return text.translate(_MEANT)


def show_title(title: str) -> str:
    """Return an event's title for Cronicle's page; `<` and `>` are in no title."""
    return title.replace('"', "\u2033")


def read_title(title: str) -> str:
    """Return what `show_title` was given."""
    return title.replace("\u2033", '"')


def escape_line(line: Mapping[str, Any], job: str) -> dict[str, Any]:
    """Make a plugin's line safe for Cronicle's page, and add the link to the rendered run."""
    safe = {name: value for name, value in line.items() if name in PASSED}
    for name in ("memo", "description"):
        if name in safe:
            safe[name] = show_text(str(safe[name]))
    table = safe.get("table")
    if isinstance(table, Mapping):
        rows = [
            [html.escape(str(cell), quote=True) for cell in row] for row in table.get("rows", [])
        ]
        if line.get("complete"):
            address = html.escape(f"/portal/runs/{job}")
            link = f'<a href="{address}" target="_blank">Open it in the portal</a>'
            rows.append(["Log and files", link])
        safe["table"] = {"title": "Run", "header": ["", ""], "rows": rows}
    return safe
