"""The page of an executed notebook: tables and text are shown, nothing in it can run or load."""

from __future__ import annotations

from html.parser import HTMLParser

import nbformat
import pytest

from vixtract.notebooks.render import TAGS, render

PANDAS = (
    "<div><style scoped>.dataframe tbody tr th { vertical-align: top }</style>"
    '<table border="1" class="dataframe"><thead><tr><th>city</th></tr></thead>'
    "<tbody><tr><td>Rome</td></tr></tbody></table></div>"
)


@pytest.fixture
def show(tmp_path):
    def make(*cells):
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        nbformat.write(notebook, tmp_path / "a.ipynb")
        render(tmp_path / "a.ipynb", tmp_path / "a.html")
        page = (tmp_path / "a.html").read_text(encoding="utf-8")
        return page[page.index("<body") :]

    return make


def html_output(text):
    return nbformat.v4.new_code_cell(
        "x", outputs=[nbformat.v4.new_output("display_data", {"text/html": text})]
    )


def test_a_data_frame_is_a_table(show):
    page = show(html_output(PANDAS))
    assert '<table class="dataframe">' in page
    assert "<td>Rome</td>" in page
    assert "vertical-align: top }" not in page


def test_text_keeps_its_paragraphs(show):
    page = show(nbformat.v4.new_markdown_cell("# Sales\n\n<p>Two <b>words</b></p>\n\nand 1 < 2"))
    assert "<p>Two <b>words</b></p>" in page
    assert "&lt;p&gt;" not in page
    assert "Sales" in page


ATTACKS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>', "<iframe srcdoc='<script>alert(1)</script>'>",
    "<p onclick=alert(1)>x</p>", "<style><img src=x onerror=alert(1)></style>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=alert(1)>'>",
    "<form action=/portal/logout><button formaction=javascript:alert(1)>x</button></form>",
    "<style>a</style <script>alert(1)</script>", "<base href=//evil.example>",
)  # fmt: skip


def test_nothing_that_runs_is_left(show):
    usual = Elements(show(html_output(""), nbformat.v4.new_markdown_cell("x")))
    cells = [html_output(attack) for attack in ATTACKS]
    cells += [nbformat.v4.new_markdown_cell(attack) for attack in ATTACKS]
    found = Elements(show(*cells))
    new = {(tag, name) for tag, name, _ in found.seen} - {(t, n) for t, n, _ in usual.seen}
    assert {tag for tag, _ in new} <= TAGS
    assert {name for _, name in new} <= {"", "class", "id", "title", "align", "href", "colspan"}
    assert not any("javascript:" in value for _, _, value in found.seen)


class Elements(HTMLParser):
    """Elements of a page as (tag, attribute, value); text is none of them.

    Args:
        page: HTML.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[tuple[str, str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen |= {(tag, "", ""), *((tag, name, (value or "").lower()) for name, value in attrs)}
