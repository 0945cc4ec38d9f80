"""English and Russian: catalogs, the choice by the browser's language, dates and durations.

English texts stand in the code and the templates; `locale/<code>/portal.po` translates them. The
catalog is compiled when the portal starts, so that no compiled copy can fall behind its source.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from babel import Locale
from babel.dates import format_datetime
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT = "en"


class Language:
    """One language with its texts.

    Args:
        code: `en` or another code for which a catalog exists.
        texts: compiled catalog; the English texts themselves where none is given.
    """

    def __init__(self, code: str, texts: gettext.NullTranslations | None = None) -> None:
        self.code = code
        self.texts = texts or gettext.NullTranslations()
        self.locale = Locale.parse(code)

    def say(self, text: str, **values: object) -> str:
        """Translate a text and fill in its `%(name)s` places."""
        translated = self.texts.gettext(text)
        return translated % values if values else translated

    def say_many(self, one: str, many: str, count: int, **values: object) -> str:
        """Translate a text that depends on a number; `%(count)s` is that number."""
        return self.texts.ngettext(one, many, count) % {"count": count, **values}

    def weekday(self, number: int, width: str = "abbreviated") -> str:
        """Name a day of the week; 0 is Sunday, as in the scheduler."""
        # Babel counts from Monday.
        return str(self.locale.days["stand-alone"][width][(number - 1) % 7])

    def month(self, number: int) -> str:
        """Name a month, 1 to 12."""
        return str(self.locale.months["stand-alone"]["wide"][number])

    def moment(self, when: datetime | None) -> str:
        """Write an aware time in its own zone, such as `Mon 5 Jan 2026, 06:30`."""
        if when is None:
            return ""
        return str(format_datetime(when, "EEE d MMM y, HH:mm", when.tzinfo, locale=self.locale))

    def duration(self, seconds: float | None) -> str:
        """Write a length of time with its two largest units, such as `2 h 5 min`."""
        if seconds is None:
            return ""
        total = max(0, int(timedelta(seconds=seconds).total_seconds()))
        units = (
            (86400, self.say("d")),
            (3600, self.say("h")),
            (60, self.say("min")),
            (1, self.say("s")),
        )
        parts = []
        for size, unit in units:
            amount, total = divmod(total, size)
            if amount:
                parts.append(f"{amount} {unit}")
        return " ".join(parts[:2]) or f"0 {self.say('s')}"


def load_languages(folder: Path) -> dict[str, Language]:
    """Read every catalog of a folder.

    Args:
        folder: holds `<code>/*.po` for each language besides English.
    Returns: code to language; English is always there.
    """
    languages = {DEFAULT: Language(DEFAULT)}
    for code in sorted({path.parent.name for path in folder.glob("*/*.po")}):
        catalog = _read_catalog(folder / code, code)
        compiled = io.BytesIO()
        write_mo(compiled, catalog)
        compiled.seek(0)
        languages[code] = Language(code, gettext.GNUTranslations(compiled))
    return languages


def _read_catalog(folder: Path, code: str) -> Catalog:
    """Join a language's files, one for each part of the portal."""
    whole = Catalog(locale=code)
    for path in sorted(folder.glob("*.po")):
        with path.open("rb") as file:
            part = read_po(file, locale=code)
        for message in part:
            if message.id:
                whole[message.id] = message
    return whole


def choose_language(header: str, known: Mapping[str, Language]) -> Language:
    """Pick the language that a browser likes best.

    Args:
        header: value of Accept-Language, may be empty or nonsense.
        known: code to language; must hold English.
    """
    for code in _wanted(header):
        if code in known:
            return known[code]
    return known[DEFAULT]


def _wanted(header: str) -> Sequence[str]:
    wishes = []
    for place, part in enumerate(header[:500].split(",")):
        tag, _, options = part.partition(";")
        code = tag.strip().lower().partition("-")[0]
        quality = 1.0
        if options.strip().startswith("q="):
            try:
                quality = float(options.strip()[2:])
            except ValueError:
                quality = 0.0
        if code and quality > 0:
            wishes.append((-quality, place, code))
    return [code for _, _, code in sorted(wishes)]
