"""English and Russian: the catalogs, the one choice of a reader's language, dates and durations.

English texts stand in the code, the templates and Lab's extension; `web/locale/<code>/*.po`
translates them for the portal, the Hub's pages, the home page and Lab. The catalogs are compiled
when they are loaded, so that no compiled copy can fall behind its source.

nginx chooses the language of the home page by the same rule, in `nginx/front/language.js`; one
table of cases tests both (tests/unit/test_language.py).
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from babel import Locale
from babel.dates import format_datetime
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT = "en"
LOCALE = Path("/usr/share/vixtract/locale")
COOKIE = "vixtract_lang"
"""Set by the home page's link to the other language; its value is a code such as `ru`."""


def mark(text: str) -> str:
    """Return a text as it is: marks it for translation where it is said later."""
    return text


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

    @property
    def name(self) -> str:
        """The language's own name for itself, such as `English`."""
        return str(self.locale.display_name).capitalize()

    def say(self, text: str, **values: object) -> str:
        """Translate a text and fill in its placeholders such as `%(name)s`."""
        translated = self.texts.gettext(text)
        return translated % values if values else translated

    def say_many(self, one: str, many: str, count: int, **values: object) -> str:
        """Translate a text that depends on a number; `%(count)s` is that number."""
        return self.texts.ngettext(one, many, count) % {"count": count, **values}

    def weekday(self, number: int) -> str:
        """Name a day of the week; 0 is Sunday, as in the scheduler."""
        # Babel counts from Monday.
        return str(self.locale.days["stand-alone"]["abbreviated"][(number - 1) % 7])

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
        say, left, parts = self.say, max(0, int(seconds)), []
        for size, unit in ((86400, say("d")), (3600, say("h")), (60, say("min")), (1, say("s"))):
            amount, left = divmod(left, size)
            if amount:
                parts.append(f"{amount} {unit}")
        return " ".join(parts[:2]) or f"0 {say('s')}"


@cache
def load_languages(folder: Path = LOCALE) -> Mapping[str, Language]:
    """Return English and the languages of the catalogs `<code>/*.po` of a folder, by code."""
    catalogs: dict[str, Catalog] = {}
    for path in sorted(folder.glob("*/*.po")):
        code = path.parent.name
        catalog = catalogs.setdefault(code, Catalog(locale=code))
        with path.open("rb") as file:
            for message in read_po(file, locale=code):
                if message.id:
                    catalog[message.id] = message
    languages = {DEFAULT: Language(DEFAULT)}
    for code, catalog in catalogs.items():
        compiled = io.BytesIO()
        write_mo(compiled, catalog)
        compiled.seek(0)
        languages[code] = Language(code, gettext.GNUTranslations(compiled))
    return languages


def choose_language(cookie: str | None, accepted: str, known: Mapping[str, Language]) -> Language:
    """Return the language of the cookie, else the one that weighs most, else English.

    Args:
        cookie: value of COOKIE, may be None or nonsense.
        accepted: value of Accept-Language, may be empty or nonsense.
        known: code to language; must hold English.
    """
    if cookie is not None and cookie in known:
        return known[cookie]
    best, most = DEFAULT, 0.0
    for part in accepted[:500].split(","):
        tag, _, options = part.partition(";")
        code = tag.strip().lower().partition("-")[0]
        weight = _read_weight(options.strip())
        if code in known and weight > most:
            best, most = code, weight
    return known[best]


def _read_weight(option: str) -> float:
    if not option.startswith("q="):
        return 1.0
    try:
        return float(option[2:])
    except ValueError:
        return 0.0
