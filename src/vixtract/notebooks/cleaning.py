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
_INTERACTIVE = "An interactive output: open the notebook in Lab to see it."
_IMAGE = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,")
_FOCUSABLE = re.compile(r'(?<=<div) (?=class="jp-(?:Cell-inputWrapper|Rendered))')


def _check_address(_: str, name: str, value: str) -> str | None:
    """Let links lead anywhere but into data, and images be nothing but data."""
    if name == "src":
        return value if _IMAGE.match(value) else None
    return None if name == "href" and value.strip().lower().startswith("data:") else value


_PAGE = nh3.Cleaner(
    tags={*TAGS, "main", "img"},
    attributes={
        **ATTRIBUTES,
        "*": {*ATTRIBUTES["*"], "data-mime-type", "data-type"},
        "img": {"src", "width", "height"},
        # What coloured text of a terminal becomes.
        "span": {"style"},
    },
    filter_style_properties={"color", "background-color"},
    set_tag_attribute_values={"img": {"alt": "No description has been provided for this image"}},
    url_schemes={"http", "https", "mailto", "data"},
    attribute_filter=_check_address,
)


def keep_what_shows(notebook: Any) -> None:
    """Remove the forms of outputs that need a script; say so where no other is left.

    Args:
        notebook: of nbformat; changed in place.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data")
            if not data:
                continue
            html = data.get("text/html", "")
            if "<script" in html and not _TEXT.clean(_encodable(html)).strip():
                del data["text/html"]
            for kind in set(data) - _SHOWN:
                del data[kind]
            if not data:
                data["text/plain"] = _INTERACTIVE


def clean(html: str | bytes) -> str:
    """Return HTML of known elements and attributes alone; the text of others stays.

    Args:
        html: of a cell or an output.
    """
    text = html.decode("utf-8", "replace") if isinstance(html, bytes) else str(html)
    return _FOREIGN.clean(_encodable(text))


def clean_page(page: str) -> str:
    """Clean all that a page shows once more: of templates' slips, too, nothing gets through.

    Args:
        page: whole document.
    """
    start = page.index(">", page.index("<body")) + 1
    end = page.rindex("</body>")
    body = _FOCUSABLE.sub(' tabindex="0" ', _PAGE.clean(_encodable(page[start:end])))
    return page[:start] + body + page[end:]


def _encodable(text: str) -> str:
    """Return a text without halves of characters, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
