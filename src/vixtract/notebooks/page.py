"""The page of an executed notebook: nbconvert's, without anything that could run or load."""

from __future__ import annotations

import html
import warnings
from functools import cache
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.exporters import TemplateExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from vixtract.known_libraries import find_unknown
from vixtract.notebooks import cleaning

_v4: Any = nbformat.v4
_PLACE_OF_TITLE = "the-title-of-the-page"
_FROM_BODY = "{% extends 'index.html.j2' %}{% block header %}{% endblock %}"


@cache
def prepare() -> tuple[Any, str]:
    """Compile the templates and make the head, which is most of a page.

    Returns: nbconvert's exporter of bodies, and the head with a placeholder for the title.
    """
    whole = _make(_exporter(), _v4.new_notebook(), _PLACE_OF_TITLE)
    return _exporter(raw_template=_FROM_BODY), cleaning.clean_head(whole)


def _exporter(**traits: Any) -> Any:
    # nbconvert validates the notebook after each preprocessor, even after disabled ones.
    wanted = ["nbconvert.preprocessors.HighlightMagicsPreprocessor"]
    config = Config({"Exporter": {"default_preprocessors": wanted}})
    make: Any = HTMLExporter
    return make(sanitize_html=True, filters={"clean_html": cleaning.clean}, config=config, **traits)


def _make(exporter: Any, notebook: Any, name: str) -> str:
    # HTMLExporter's own method parses the page once more, for tab stops and texts of images, which
    # takes as long as making it; and makes the filter `highlight_code`.
    make: Any = HTMLExporter if find_unknown("nbconvert") else TemplateExporter
    if make is TemplateExporter:
        exporter.register_filter("highlight_code", _highlighter(notebook))
    with warnings.catch_warnings():
        # IPython belongs to the kernels, not to this environment; Python's lexer will do.
        warnings.filterwarnings("ignore", "IPython3? lexer unavailable")
        resources = {"metadata": {"name": name}}
        page, _ = make.from_notebook_node(exporter, notebook, resources)
    return str(page)


def _highlighter(notebook: Any) -> Any:
    from nbconvert.filters.highlight import _pygments_highlight

    info = notebook.metadata.get("language_info", {})
    usual = info.get("pygments_lexer", info.get("name")) or "ipython3"

    def highlight_code(source: str, language: str | None = None, metadata: Any = None) -> Any:
        """Highlight as nbconvert does, without a new style sheet for each cell."""
        chosen = language or usual
        return _pygments_highlight(  # type: ignore[no-untyped-call]
            source or " ", _formatter(chosen), chosen, metadata
        )

    return highlight_code


@cache
def _formatter(language: str) -> Any:
    return HtmlFormatter(cssclass=html.escape(f" highlight hl-{language}"))


def export(notebook: Any, name: str) -> str:
    """Return a notebook's page; outputs that need a script are removed from the notebook."""
    cleaning.keep_what_shows(notebook)
    exporter, head = prepare()
    title = html.escape(str(notebook.metadata.get("title", name)))
    body = cleaning.clean_body(_make(exporter, notebook, name))
    return head.replace(_PLACE_OF_TITLE, title) + body


def rehearse() -> None:
    """Render a small notebook, so that templates, expressions and tables are in memory."""
    table = {"text/html": "<table><tr><td>&lt;1&gt;</td></tr></table>", "text/plain": "1"}
    outputs = [
        _v4.new_output("execute_result", table, execution_count=1),
        _v4.new_output("stream", name="stdout", text="printed"),
        _v4.new_output("error", ename="E", evalue="e", traceback=["\x1b[31mE\x1b[0m"]),
    ]
    cells = [
        _v4.new_markdown_cell("# Title\n\n*text* & <b>more</b>, a [link](x)\n\n- item"),
        _v4.new_code_cell("import os\n%time x = f'{1}'", outputs=outputs, execution_count=1),
    ]
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    export(_v4.new_notebook(cells=cells, metadata=metadata), "rehearsal")
