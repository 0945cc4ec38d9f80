"""Clean the page of an executed notebook: nothing in it runs, nothing loads.

Lists of what is allowed, for ammonia (nh3), which parses as browsers do.
"""

from __future__ import annotations

import re
from typing import Any

import nh3

# Elements of text and tables. None of them can load or run anything.
_BLOCKS = {"blockquote", "br", "details", "div", "hr", "p", "pre", "summary"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_LISTS = {"dd", "dl", "dt", "li", "ol", "ul"}
_TABLES = {"caption", "col", "colgroup", "table", "tbody", "td", "tfoot", "th", "thead", "tr"}
_PHRASES = {"a", "abbr", "b", "cite", "code", "del", "em", "i", "ins", "kbd", "q", "s", "samp"}
_MORE_PHRASES = {"small", "span", "strong", "sub", "sup", "u", "var"}
TAGS = frozenset(_BLOCKS | _HEADINGS | _LISTS | _TABLES | _PHRASES | _MORE_PHRASES)
ATTRIBUTES = {
    "*": {"class", "id", "title", "align"},
    "a": {"href"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_TEXT = nh3.Cleaner(tags=set())
_FOREIGN = nh3.Cleaner(tags=set(TAGS), attributes=ATTRIBUTES)
# MIME types of outputs that a page without scripts can show.
_TEXTS = frozenset(("text/html", "text/markdown", "text/latex", "text/plain"))
_SHOWN = _TEXTS | {"image/png", "image/jpeg", "image/svg+xml"}
_ELSEWHERE = "This output shows in Lab only: open the notebook there."
_MERMAID = "text/vnd.mermaid"
_IMAGE = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,")
_COLOURS = re.compile(r"(?:(?:background-)?color: ?rgb\([\d, ]+\);? ?)+")
_FOCUSABLE = re.compile(
    r'(?<=<div) (?=class="jp-(?:Cell-inputWrapper|Rendered[^"]*jp-OutputArea-output))'
)
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)
# A parser drops the first line break behind it.
_PRE = re.compile(r"(<pre[^<>]*>)\n", re.IGNORECASE)
_BLANKS = re.compile(r"[\x00-\x20]+")


def _check_value(_: str, name: str, value: str) -> str | None:
    """Allow links except to `data:`, images only as `data:`, and styles only for colours."""
    if name == "src":
        return value if _IMAGE.match(value) else None
    if name == "style":
        return value if _COLOURS.fullmatch(value) else None
    is_data = name == "href" and _BLANKS.sub("", value).lower().startswith("data:")
    return None if is_data else value


_PAGE = nh3.Cleaner(
    tags={*TAGS, "main", "img"},
    attributes={
        **ATTRIBUTES,
        "*": {*ATTRIBUTES["*"], "data-mime-type", "data-type"},
        "img": {"src", "width", "height"},
        # Classes of coloured terminal text.
        "span": {"style"},
    },
    set_tag_attribute_values={"img": {"alt": "No description has been provided for this image"}},
    url_schemes={"http", "https", "mailto", "data"},
    attribute_filter=_check_value,
)


def keep_what_shows(notebook: Any) -> None:
    """Remove the outputs that a page cannot show; leave a note where none is left."""
    # The state of widgets needs a script.
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data")
            if not data:
                continue
            if isinstance(data.get(_MERMAID), str):
                data["text/plain"] = data[_MERMAID]
            # Objects choose their own MIME types: any text is possible.
            for kind in [kind for kind in data if not _shows(kind, data[kind])]:
                del data[kind]
            if not data:
                data["text/plain"] = _ELSEWHERE


def _shows(kind: str, value: object) -> bool:
    """Return whether a page can show an output of this MIME type, and it is not empty."""
    if kind not in _SHOWN or not isinstance(value, str):
        return False
    return kind != "text/html" or not value.strip() or bool(_parse(_TEXT, value).strip())


def clean(html: str | bytes) -> str:
    """Return HTML with known elements and attributes only.

    The text of other elements stays, except in scripts, styles, drawings and formulas.
    """
    return _parse(_FOREIGN, html.decode("utf-8", "replace") if isinstance(html, bytes) else html)


def clean_head(page: str) -> str:
    """Return the document up to its body, without scripts."""
    return _SCRIPT.sub("", page[: _start_of_body(page)])


def clean_body(page: str) -> str:
    """Return the cleaned body of a finished page: an error in a template lets nothing through."""
    body = _parse(_PAGE, page[_start_of_body(page) : page.rindex("</body>")])
    body = _FOCUSABLE.sub(' tabindex="0" ', body)
    return f"{body}</body>\n</html>\n"


def _start_of_body(page: str) -> int:
    return page.index(">", page.index("<body")) + 1


def _parse(cleaner: nh3.Cleaner, html: str) -> str:
    # Without lone surrogates, which JSON can hold and UTF-8 cannot.
    whole = str(html).encode("utf-8", "replace").decode()
    return cleaner.clean(_PRE.sub(r"\1\n\n", whole))
