"""What of an executed notebook a page may show: nothing that runs, and nothing that loads.

Lists of what is allowed, for ammonia (nh3), which parses as browsers do.
"""

from __future__ import annotations

import re
from typing import Any

import nh3

# What text and tables of a notebook are made of. Nothing here can load or run anything.
TAGS = frozenset(
    (
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd"),
        *("del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i"),
        *("ins", "kbd", "li", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub"),
        *("summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
    )
)
ATTRIBUTES = {
    "*": {"class", "id", "title", "align"},
    "a": {"href"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_TEXT = nh3.Cleaner(tags=set())
_FOREIGN = nh3.Cleaner(tags=set(TAGS), attributes=ATTRIBUTES)
# The forms of an output that a page without scripts can show.
_SHOWN = frozenset(
    (
        *("text/html", "text/markdown", "text/latex", "text/plain"),
        *("image/png", "image/jpeg", "image/svg+xml"),
    )
)
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
    """Let links lead anywhere but into data, images be nothing but data, and styles colours."""
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
        # What coloured text of a terminal becomes.
        "span": {"style"},
    },
    set_tag_attribute_values={"img": {"alt": "No description has been provided for this image"}},
    url_schemes={"http", "https", "mailto", "data"},
    attribute_filter=_check_value,
)


def keep_what_shows(notebook: Any) -> None:
    """Remove the forms of outputs that need more than a page; say so where no other is left.

    Args:
        notebook: of nbformat; changed in place.
    """
    # The state of widgets, which need a script.
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data")
            if not data:
                continue
            if isinstance(data.get(_MERMAID), str):
                data["text/plain"] = data[_MERMAID]
            # What an object gives for itself may be anything.
            for kind in [kind for kind in data if not _shows(kind, data[kind])]:
                del data[kind]
            if not data:
                data["text/plain"] = _ELSEWHERE


def _shows(kind: str, value: object) -> bool:
    """Tell whether a page can show a form of an output, and something of it is seen."""
    if kind not in _SHOWN or not isinstance(value, str):
        return False
    return kind != "text/html" or not value.strip() or bool(_parse(_TEXT, value).strip())


def clean(html: str | bytes) -> str:
    """Return HTML of known elements and attributes alone.

    The text of other elements stays, but for that of scripts, styles, drawings and formulas.

    Args:
        html: of a cell or an output.
    """
    return _parse(_FOREIGN, html.decode("utf-8", "replace") if isinstance(html, bytes) else html)


def clean_head(page: str) -> str:
    """Return all before the body, without scripts.

    Args:
        page: whole document.
    """
    return _SCRIPT.sub("", page[: _start_of_body(page)])


def clean_body(page: str) -> str:
    """Clean all that a page shows once more: of templates' slips, too, nothing gets through.

    Args:
        page: document; what comes before its body is left out.
    """
    body = _parse(_PAGE, page[_start_of_body(page) : page.rindex("</body>")])
    body = _FOCUSABLE.sub(' tabindex="0" ', body)
    return f"{body}</body>\n</html>\n"


def _start_of_body(page: str) -> int:
    return page.index(">", page.index("<body")) + 1


def _parse(cleaner: nh3.Cleaner, html: str) -> str:
    # Without halves of characters, which JSON can hold and UTF-8 cannot.
    whole = str(html).encode("utf-8", "replace").decode()
    return cleaner.clean(_PRE.sub(r"\1\n\n", whole))
