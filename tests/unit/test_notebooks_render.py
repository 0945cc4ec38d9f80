"""The page of an executed notebook: tables and text are shown, nothing in it can run or load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import pytest

from vixtract.notebooks.cleaning import TAGS, clean_body
from vixtract.notebooks.page import export
from vixtract.notebooks.render import render

ALT = "no description has been provided for this image"
PANDAS = (
    "<div><style scoped>.dataframe tbody tr th { vertical-align: top }</style>"
    '<table border="1" class="dataframe"><thead><tr><th>city</th></tr></thead>'
    "<tbody><tr><td>Rome</td></tr></tbody></table></div>"
)


@pytest.fixture
def show(tmp_path):
    def make(*cells, **metadata):
        notebook = nbformat.v4.new_notebook(cells=list(cells), metadata=metadata)
        (tmp_path / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        render(tmp_path / "a.ipynb", tmp_path / "a.html")
        return (tmp_path / "a.html").read_text(encoding="utf-8")

    return make


def html_output(text):
    return output("text/html", text)


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
    cells += [nbformat.v4.new_code_cell("x", metadata={"tags": [attack]}) for attack in ATTACKS]
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}, "x": "</body>"}}
    found = Elements(show(*cells, title="".join(ATTACKS), widgets=widgets))
    new = {(tag, name) for tag, name, _ in found.seen} - {(t, n) for t, n, _ in usual.seen}
    assert {tag for tag, _ in new} <= TAGS
    kept = {"", "class", "id", "title", "align", "href", "colspan", "rel"}
    assert {name for _, name in new} <= kept
    assert not any(value.strip().startswith("javascript:") for _, _, value in found.seen)
    assert not any(tag == "script" for tag, _, _ in found.seen)


def test_an_image_is_shown_with_no_more_than_its_size(show):
    page = show(
        output("image/png", "iVBORw0KGgo=", width=640, height="1 onerror=alert(1)"),
        output("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        output("image/png", '"><script>alert(1)</script>'),
    )
    found = Elements(page).seen
    images = {(name, value) for tag, name, value in found if tag == "img" and name != "src"}
    assert images >= {("width", "640"), ("alt", ALT)}
    assert {name for name, _ in images} == {"", "alt", "class", "width", "height"}
    assert all(v.startswith("data:image/") for t, n, v in found if (t, n) == ("img", "src"))
    assert not any(tag == "script" for tag, _, _ in found)


PLACE = "shows in Lab only"


@pytest.mark.parametrize(
    "html",
    [
        "<div></div><SCRIPT>draw()</SCRIPT>",
        "<iframe src='/map'></iframe>",
        "<svg><g/></svg>",
        None,
        5,
    ],
)
def test_a_form_without_anything_to_see_leaves_another_one_its_place(html):
    shown = nbformat.v4.new_output("display_data", {"text/plain": "Figure(1)"})
    cell = nbformat.v4.new_code_cell("x", outputs=[shown])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    # After all that validates.
    notebook.cells[0].outputs[0].data["text/html"] = html
    page = export(notebook, "x")
    assert "Figure(1)" in page
    assert PLACE not in page


def test_a_diagram_shows_its_source(show):
    page = show(output("text/vnd.mermaid", "graph TD; A-->B"))
    assert "graph TD; A--&gt;B" in page


def test_blank_lines_at_the_start_stay(show):
    printed = nbformat.v4.new_output("stream", name="stdout", text="\n\nhello")
    page = show(
        nbformat.v4.new_code_cell("x", outputs=[printed]),
        html_output("<pre>\n\n\nthere</pre>"),
    )
    assert "<pre>\n\nhello" in page
    assert "<pre>\n\n\nthere" in page


@pytest.mark.parametrize(
    "html",
    [
        "<a href='da\tta:text/html,x'>x</a>", "<a href='\x01data:text/html,x'>x</a>",
        "<span style='background-color:url(//e.example/x)'>x</span>",
        "<span style='color: rgb(1,2,3); position: fixed'>x</span>", "<img src='//e.example/x'>",
    ],
)  # fmt: skip
def test_the_page_is_a_wall_of_its_own(html):
    page = clean_body(f"<body>{html}</body></html>")
    found = {(name, value) for _, name, value in Elements(page).seen if name}
    assert found <= {("rel", "noopener noreferrer"), ("alt", ALT)}


def test_an_interactive_output_says_where_it_can_be_seen(show):
    figure = {
        "text/html": "<div></div><script>draw()</script>",
        "application/vnd.plotly.v1+json": {},
    }
    shown = nbformat.v4.new_output("display_data", figure)
    page = show(nbformat.v4.new_code_cell("x", outputs=[shown]))
    assert PLACE in page
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
    assert show(nbformat.v4.new_markdown_cell("x")).count('tabindex="0"') == 1


@pytest.mark.slow
def test_a_template_beside_the_notebook_is_not_used(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")])
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (tmp_path / "<memory>").touch()
    (tmp_path / "lab").mkdir()
    for name in ("index.html.j2", "base.html.j2"):
        (tmp_path / "lab" / name).write_text("<body>foreign{{ 7 * 7 }}</body>", encoding="utf-8")
    command = [sys.executable, "-m", "vixtract.notebooks.render", "a.ipynb", "a.html"]
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "jp-CodeCell" in page
    assert "foreign" not in page


@pytest.mark.slow
def test_figures_are_told_where_no_page_can_be_made(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "x = 1", metadata={"tags": ["load"], "papermill": {"duration": 2}}
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    code = (
        "import sys; sys.modules['nbconvert'] = None\n"
        "from vixtract.notebooks import render; sys.exit(render.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "a.ipynb", "a.html"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "VIXTRACT_PROGRESS_FD": "1", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip
    assert json.loads(done.stdout) == {"result": {"perf": {"load": 2.0}}}
    assert done.returncode == 1
    assert done.stderr.startswith("HTML: ModuleNotFoundError: ")


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
