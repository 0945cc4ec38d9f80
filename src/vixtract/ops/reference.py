"""Write what is generated from the tables of settings and stores.

Run `PYTHONPATH=src python3 -m vixtract.ops.reference` from the repository's root after a change to
a table; a test compares the files with what this module makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from vixtract.settings import CONTAINERS, list_read
from vixtract.settings_table import SETTINGS
from vixtract.stores import HOST_STORES, STORES, Store

_COMMAND = "`PYTHONPATH=src python3 -m vixtract.ops.reference`"
HEADER = f"Generated from src/vixtract/settings_table.py by {_COMMAND}."
STORES_BEGIN = f"<!-- Generated from src/vixtract/stores.py by {_COMMAND}. -->"
STORES_END = "<!-- End of what is generated. -->"


def build_env_example(_: str = "") -> str:
    """Return `.env.example`: every setting, commented out, passwords without a value."""
    lines = [
        "# Settings of ViXtract. Copy to .env beside docker-compose.yml and change what you need.",
        f"# {HEADER}",
    ]
    for group, settings in groupby(SETTINGS, key=attrgetter("group")):
        lines += ["", f"# --- {group} ---"]
        for setting in settings:
            value = "" if setting.is_secret else setting.default
            lines += [f"# {setting.help}", f"#{setting.name}={value}"]
    return "\n".join(lines) + "\n"


def build_settings_page(_: str = "") -> str:
    """Return `docs/reference/settings.md`: one table a group."""
    lines = [
        "# Settings",
        "",
        f"<!-- {HEADER} -->",
        "",
        "Settings are environment variables, read from `.env` beside `docker-compose.yml`. "
        "After a change run `./vixtract up` again: it starts the containers anew that are handed "
        "the setting.",
        "",
        "`./vixtract up` checks all values before it starts anything, and each container checks "
        "those that it is handed. A wrong value stops with exit code 3; all wrong ones are named "
        "at once, with file and line. A name that is not a setting gets a warning, and stops if "
        "it is one letter away from a setting's name. Names that begin with `COMPOSE_`, "
        "`DOCKER_`, `BUILDKIT_` or `WORKER_` belong to other programs.",
    ]
    head = ["| setting | default | meaning | containers |", "|---|---|---|---|"]
    for group, settings in groupby(SETTINGS, key=attrgetter("group")):
        lines += ["", f"## {group}", "", *head]
        for setting in settings:
            default = f"`{setting.default}`" if setting.default else ""
            handed = ", ".join(name for name in CONTAINERS if setting.name in list_read(name))
            lines.append(f"| `{setting.name}` | {default} | {setting.help} | {handed} |")
    return "\n".join(lines) + "\n"


def _list_rows(stores: Iterable[Store]) -> Iterable[str]:
    for store in stores:
        backup = "yes" if store.in_backup else "no"
        access = store.access if store.mounts else ""
        cells = (store.owner, store.holds, store.loss, backup, store.prunable, access)
        yield f"| `{store.name}` | {' | '.join(cells)} |"


def fill_stores(page: str) -> str:
    """Return `docs/reference/architecture.md` with the present table between the two comments."""
    before, _, rest = page.partition(STORES_BEGIN)
    after = rest.partition(STORES_END)[2]
    table = [
        STORES_BEGIN,
        "",
        "| volume | owner | holds | lost without it | in a backup | may be pruned | in a cluster |",
        "|---|---|---|---|---|---|---|",
        *_list_rows(STORES),
        *_list_rows(HOST_STORES),
        "",
        STORES_END,
    ]
    return before + "\n".join(table) + after


#: File to the function that makes its text from the present one.
GENERATED: Mapping[str, Callable[[str], str]] = {
    ".env.example": build_env_example,
    "docs/reference/settings.md": build_settings_page,
    "docs/reference/architecture.md": fill_stores,
}


if __name__ == "__main__":
    for name, build in GENERATED.items():
        path = Path(name)
        path.write_text(build(path.read_text("utf-8") if path.is_file() else ""), encoding="utf-8")
