"""The page of an executed notebook: tables and text are shown, nothing in it can run or load."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import nbformat
import pytest

from vixtract.notebooks.cleaning import TAGS
from vixtract.notebooks.render import render

PANDAS = (
    "<div><style scoped>.dataframe tbody tr th { vertical-align: top }</style>"
    '<table border="1" class="dataframe"><thead><tr><th>city</th></tr></thead>'
    "<tbody><tr><td>Rome</td></tr></tbody></table></div>"
)


@pytest.fixture
def show(tmp_path):
    def make(*cells):
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        (tmp_path / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        render(tmp_path / "a.ipynb", tmp_path / "a.html")
        page = (tmp_path / "a.html").read_text(encoding="utf-8")
        return page[page.index("<body") :]

    return make


def html_output(text):
    return nbformat.v4.new_code_cell(
        "x", outputs=[nbformat.v4.new_output("display_data", {"text/html": text})]
    )


def output(form, value, **metadata):
    shown = nbformat.v4.new_output("display_data", {form: value}, metadata={form: metadata})
    return nbformat.v4.new_code_cell("x", outputs=[shown])


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


FORMS = (
    "application/javascript", "application/vnd.jupyter.widget-view+json", "text/latex", "text/plain",
    "text/markdown", "text/vnd.mermaid",
)  # fmt: skip


def test_nothing_that_runs_is_left(show):
    usual = Elements(show(html_output(""), nbformat.v4.new_markdown_cell("x")))
    cells = [html_output(attack) for attack in ATTACKS]
    cells += [nbformat.v4.new_markdown_cell(attack) for attack in ATTACKS]
    cells += [nbformat.v4.new_raw_cell(attack) for attack in ATTACKS]
    cells += [output(form, attack) for form in FORMS for attack in ATTACKS]
    found = Elements(show(*cells))
    new = {(tag, name) for tag, name, _ in found.seen} - {(t, n) for t, n, _ in usual.seen}
    assert {tag for tag, _ in new} <= TAGS
    kept = {"", "class", "id", "title", "align", "href", "colspan", "rel"}
    assert {name for _, name in new} <= kept
    assert not any("javascript:" in value for _, _, value in found.seen)


def test_an_image_is_shown_with_no_more_than_its_size(show):
    page = show(
        output("image/png", "iVBORw0KGgo=", width=640, height="1 onerror=alert(1)"),
        output("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        output("image/png", '"><script>alert(1)</script>'),
    )
    found = Elements(page).seen
    images = {(name, value) for tag, name, value in found if tag == "img" and name != "src"}
    known = "No description has been provided for this image"
    assert images >= {("width", "640"), ("alt", known.lower())}
    assert {name for name, _ in images} == {"", "alt", "class", "width", "height"}
    assert all(v.startswith("data:image/") for t, n, v in found if (t, n) == ("img", "src"))
    assert not any(tag == "script" for tag, _, _ in found)


def test_an_interactive_output_says_where_it_can_be_seen(show):
    figure = {
        "text/html": "<div></div><script>draw()</script>",
        "application/vnd.plotly.v1+json": {},
    }
    shown = nbformat.v4.new_output("display_data", figure)
    page = show(nbformat.v4.new_code_cell("x", outputs=[shown]))
    assert "open the notebook in Lab to see it" in page
    assert "draw()" not in page


def test_a_quotation_a_link_and_a_colour_are_kept(show):
    printed = nbformat.v4.new_output("stream", name="stdout", text="\x1b[38;5;196mred\x1b[0m")
    page = show(
        nbformat.v4.new_markdown_cell("> said\n\n[all](https://example.org/?a=1&b=2)"),
        nbformat.v4.new_code_cell("x", outputs=[printed]),
    )
    assert "<blockquote>" in page
    assert 'href="https://example.org/?a=1&amp;b=2"' in page
    assert 'style="color:' in page


def test_halves_of_characters_do_not_keep_the_page_from_being_made(show):
    printed = nbformat.v4.new_output("stream", name="stdout", text="half \ud83d of it")
    page = show(
        html_output("<b>half \ud83d</b><script></script>"),
        nbformat.v4.new_code_cell("x = '\ud83d'", outputs=[printed]),
    )
    assert "<b>half ?</b>" in page
    assert "half ? of it" in page


def test_cells_can_be_reached_by_the_tab_key(show):
    page = show(html_output("<b>x</b>"))
    assert page.count('tabindex="0"') == 2


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
