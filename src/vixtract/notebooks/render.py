"""Executed notebook to HTML without scripts. Runs as the owner in a limited process of its own.

A hundred kilobytes of `[` in a markdown cell keep nbconvert busy for a minute, so the limits of the
process are what ends it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from vixtract.notebooks import figures


@cache
def make_exporter() -> Any:
    """Return nbconvert's exporter, with clean HTML and its templates compiled once."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from vixtract.notebooks import cleaning

    # The notebook is validated after each of them, also after those that are switched off.
    wanted = ["nbconvert.preprocessors.HighlightMagicsPreprocessor"]
    config = Config({"Exporter": {"default_preprocessors": wanted}})
    exporter = HTMLExporter(sanitize_html=True, config=config)  # type: ignore[no-untyped-call]
    exporter.register_filter("clean_html", cleaning.clean)  # type: ignore[no-untyped-call]
    return exporter


def export(notebook: Any, name: str) -> str:
    """Return a notebook's page.

    Args:
        notebook: of nbformat; what its outputs cannot show without a script is removed.
        name: for the title.
    """
    from nbconvert.exporters import TemplateExporter
    from nbconvert.filters import Highlight2HTML

    from vixtract.notebooks import cleaning

    cleaning.keep_what_shows(notebook)
    exporter = make_exporter()
    language = notebook.metadata.get("language_info", {})
    lexer = language.get("pygments_lexer", language.get("name"))
    highlight: Any = Highlight2HTML
    exporter.register_filter("highlight_code", highlight(pygments_lexer=lexer, parent=exporter))
    # HTMLExporter's own method parses the page once more, for tab stops and texts of images, which
    # takes as long as making it.
    make = TemplateExporter.from_notebook_node
    with warnings.catch_warnings():
        # IPython is the kernels' and not in this environment; Python's own colours do as well.
        warnings.filterwarnings("ignore", "IPython3? lexer unavailable")
        html, _ = make(exporter, notebook, {"metadata": {"name": name}})
    return cleaning.clean_page(html)


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
    export(make.new_notebook(cells=cells, metadata=metadata), "rehearsal")


def render(source: Path, target: Path) -> None:
    """Write the HTML of a notebook in one step; its figures are reported before.

    Args:
        source: executed notebook.
        target: new HTML file, in an existing directory.
    """
    import nbformat

    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    figures.tell(figures.measure(notebook.cells))
    html = export(notebook, source.name.removesuffix(".ipynb"))
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
