"""Executed notebook to HTML without scripts. Runs as the owner in a limited process of its own.

A hundred kilobytes of `[` in a markdown cell keep nbconvert busy for a minute, so the limits of the
process are what ends it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from vixtract.notebooks import figures

# What text and tables of a notebook are made of. nbconvert's own list knows neither paragraphs nor
# tables, and a data frame would show as its source. Nothing here can load or run anything.
TAGS = frozenset(
    (
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd"),
        *("del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i"),
        *("ins", "kbd", "li", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub"),
        *("summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
    )
)
ATTRIBUTES = {
    "*": ["class", "id", "title", "align"],
    "a": ["href"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
}
# pandas puts one before each table; its tag alone removed, its text would be shown.
_STYLE = re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE)


def drop_styles(notebook: Any) -> None:
    """Remove style sheets from HTML outputs.

    Args:
        notebook: of nbformat; changed in place.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if isinstance(data.get("text/html"), str):
                data["text/html"] = _STYLE.sub("", data["text/html"])


def clean(html: str | bytes) -> str:
    """Return HTML of known elements and attributes alone; the text of others stays.

    Args:
        html: of a cell or an output.
    """
    import bleach  # type: ignore[import-untyped]

    text = html.decode("utf-8", "replace") if isinstance(html, bytes) else str(html)
    return str(bleach.clean(text, tags=TAGS, attributes=ATTRIBUTES, strip=True))


@cache
def make_exporter() -> Any:
    """Return nbconvert's exporter, with clean HTML and its templates compiled once."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config(
        {"SanitizeHTML": {"tags": sorted(TAGS), "attributes": ATTRIBUTES, "strip": True}}
    )
    exporter = HTMLExporter(sanitize_html=True, config=config)  # type: ignore[no-untyped-call]
    # The templates clean once more, by a list of their own.
    exporter.register_filter("clean_html", clean)  # type: ignore[no-untyped-call]
    return exporter


def rehearse() -> None:
    """Render a notebook of our own, so that templates, expressions and tables are in memory."""
    from nbformat import v4

    make: Any = v4
    table = {"text/html": "<table><tr><td>&lt;1&gt;</td></tr></table>", "text/plain": "1"}
    outputs = [
        make.new_output("execute_result", table, execution_count=1),
        make.new_output("stream", name="stdout", text="printed"),
        make.new_output("error", ename="E", evalue="e", traceback=["\x1b[31mE\x1b[0m"]),
    ]
    cells = [
        make.new_markdown_cell("# Title\n\n*text* & <b>more</b>, a [link](x)\n\n- item"),
        make.new_code_cell("import os\n%time x = f'{1}'", outputs=outputs, execution_count=1),
    ]
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    make_exporter().from_notebook_node(make.new_notebook(cells=cells, metadata=metadata))


def render(source: Path, target: Path) -> None:
    """Write the HTML of a notebook in one step; its figures are reported before.

    Args:
        source: executed notebook.
        target: new HTML file, in an existing directory.
    """
    import nbformat

    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    figures.tell(figures.measure(notebook.cells))
    drop_styles(notebook)
    exporter = make_exporter()
    with warnings.catch_warnings():
        # IPython is the kernels' and not in this environment; Python's own colours do as well.
        warnings.filterwarnings("ignore", "IPython3? lexer unavailable")
        html, _ = exporter.from_notebook_node(
            notebook, resources={"metadata": {"name": source.name.removesuffix(".ipynb")}}
        )
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(html)
    Path(temporary).replace(target)


def main() -> int:
    """Render the notebook named first to the file named second."""
    warnings.simplefilter("ignore")
    try:
        render(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        print(f"HTML: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
