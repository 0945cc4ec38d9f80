"""Write the files that are generated from the table of settings.

Run `python3 -m vixtract.ops.reference` from the repository's root after a change to the table; a
test compares the files with what this module makes.
"""

from __future__ import annotations

from pathlib import Path

from vixtract.settings import SETTINGS

HEADER = "Generated from src/vixtract/settings.py by `python3 -m vixtract.ops.reference`."


def build_env_example() -> str:
    """Return `.env.example`: every setting, commented out, passwords without a value."""
    lines = [
        "# Settings of ViXtract. Copy to .env beside docker-compose.yml and change what you need.",
        f"# {HEADER}",
    ]
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            lines += ["", f"# --- {group} ---"]
        value = "" if setting.is_secret else setting.default
        lines += [f"# {setting.help}", f"#{setting.name}={value}"]
    return "\n".join(lines) + "\n"


def build_settings_page() -> str:
    """Return `docs/reference/settings.md`: one table a group."""
    lines = [
        "# Settings",
        "",
        f"<!-- {HEADER} -->",
        "",
        "Settings are environment variables, read from `.env` beside `docker-compose.yml`. "
        "After a change run `./vixtract up` again.",
    ]
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            lines += ["", f"## {group}", "", "| setting | default | meaning |", "|---|---|---|"]
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(f"| `{setting.name}` | {default} | {setting.help} |")
    return "\n".join(lines) + "\n"


GENERATED = {".env.example": build_env_example, "docs/reference/settings.md": build_settings_page}


def write_reference(root: Path) -> None:
    """Write every generated file below the repository's root."""
    for name, build in GENERATED.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(build(), encoding="utf-8")


if __name__ == "__main__":
    write_reference(Path.cwd())
