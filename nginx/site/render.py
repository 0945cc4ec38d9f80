"""Render the static pages of the front door; runs in a build stage of nginx/Dockerfile.

Owns: web/*.html with the catalogs of web/locale -> home and error pages in each language;
docs/**/*.md -> pages under /docs/. Does not own what nginx does with them
(nginx/front/locations.conf).

Usage: render.py WEB DOCS OUTPUT, which makes OUTPUT/web and OUTPUT/docs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup
from mdit_py_plugins.anchors import anchors_plugin

from vixtract.language import DEFAULT, Language, load_languages

# Statuses that nginx answers with a page of ours: error_page in nginx/front/site.conf.
ERRORS = ("404", "413", "429", "500", "503", "504")
# The order that a newcomer needs; other folders follow in the order of their names.
FOLDERS = ("", "tutorial", "how-to", "reference", "troubleshooting")
ICONS = {
    "lab": (
        '<path d="M9 3h6M10 3v6l-5.5 9.5A1.7 1.7 0 0 0 6 21h12'
        'a1.7 1.7 0 0 0 1.5-2.5L14 9V3M7.5 15h9"/>'
    ),
    "schedules": '<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.5 2"/>',
    "docs": '<path d="M5 4h10a4 4 0 0 1 4 4v12H9a4 4 0 0 1-4-4zM9 9h6M9 13h6"/>',
}
SVG = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>'
)


def load_templates(web: Path, language: Language) -> jinja2.Environment:
    """Return the templates of a folder in a language.

    Args:
        web: folder with the templates and `assets`; ``asset(name)`` gives an address with its hash.
        language: of the texts.
    """

    def asset(name: str) -> str:
        digest = hashlib.sha256((web / "assets" / name).read_bytes()).hexdigest()[:10]
        return f"/assets/{name}?v={digest}"

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(web),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"asset": asset, "language": language, "_": language.say}
    templates.globals["icons"] = {
        name: Markup(SVG.format(path))  # noqa: S704 - our own drawings
        for name, path in ICONS.items()
    }
    return templates


def render_pages(web: Path, languages: Mapping[str, Language], output: Path) -> None:
    """Write home and error pages: OUTPUT/<language>/index.html and .../_errors/<code>.html."""
    for code, language in languages.items():
        templates = load_templates(web, language)
        folder = output / code
        (folder / "_errors").mkdir(parents=True)
        others = [other for other in languages.values() if other is not language]
        home = templates.get_template("home.html").render(others=others)
        (folder / "index.html").write_text(home, encoding="utf-8")
        for status in ERRORS:
            text = templates.get_template("error.html").render(code=status)
            (folder / "_errors" / f"{status}.html").write_text(text, encoding="utf-8")


def read_title(source: Path) -> str:
    """Return the first heading of a Markdown file, else its name."""
    found = re.search(r"^#\s+(.+?)\s*#*$", source.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].replace("`", "") if found else source.stem.replace("-", " ").capitalize()


def address(relative: PurePosixPath) -> str:
    """Return where a Markdown file is served: index.md and README.md are their folder's page."""
    if relative.stem.lower() in {"index", "readme"}:
        folder = relative.parent.as_posix()
        return "/docs/" if folder == "." else f"/docs/{folder}/"
    return f"/docs/{relative.with_suffix('.html').as_posix()}"


def list_groups(docs: Path) -> list[dict[str, Any]]:
    """Return the navigation: one group a folder, each with its pages (title, href, source)."""

    def rank(folder: str) -> tuple[int, str]:
        return (FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS), folder)

    def index_first(page: dict[str, Any]) -> tuple[bool, str]:
        return (not page["href"].endswith("/"), page["href"])

    folders: dict[str, list[dict[str, Any]]] = {}
    for source in sorted(docs.rglob("*.md")):
        relative = PurePosixPath(source.relative_to(docs).as_posix())
        folder = "" if relative.parent == PurePosixPath() else relative.parent.as_posix()
        page = {"title": read_title(source), "href": address(relative), "source": source}
        folders.setdefault(folder, []).append(page)
    return [
        {
            "title": name.replace("-", " ").capitalize(),
            "pages": sorted(folders[name], key=index_first),
        }
        for name in sorted(folders, key=rank)
    ]


def point_links(text: str) -> str:
    """Let links to other Markdown files lead to their pages."""
    local = r'href="(?![a-z]+:)([^"#]*?)'
    text = re.sub(local + r'(?:index|README)\.md(#[^"]*)?"', r'href="\1./\2"', text)
    return re.sub(local + r'\.md(#[^"]*)?"', r'href="\1.html\2"', text)


def render_docs(templates: jinja2.Environment, docs: Path, output: Path) -> None:
    """Write a page for each Markdown file of a folder, and copy its other files."""
    markdown = MarkdownIt("gfm-like", {"linkify": False}).use(
        anchors_plugin, max_level=4, permalink=False
    )
    groups = list_groups(docs)
    template = templates.get_template("docs.html")
    for page in (page for group in groups for page in group["pages"]):
        target = output / page["href"].removeprefix("/docs/")
        target = target / "index.html" if page["href"].endswith("/") else target
        target.parent.mkdir(parents=True, exist_ok=True)
        body = point_links(markdown.render(page["source"].read_text(encoding="utf-8")))
        text = template.render(
            groups=groups,
            here=page["href"],
            title=page["title"],
            body=Markup(body),  # noqa: S704 - the project's own Markdown
        )
        target.write_text(text, encoding="utf-8")
    for source in other_files(docs):
        target = output / source.relative_to(docs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    ensure_index(template, groups, output)


def other_files(docs: Path) -> Iterator[Path]:
    """Yield pictures and the like."""
    yield from (path for path in sorted(docs.rglob("*")) if path.is_file() and path.suffix != ".md")


def ensure_index(template: jinja2.Template, groups: list[dict[str, Any]], output: Path) -> None:
    """Make /docs/ a list of all pages where the folder has no index.md of its own."""
    if (output / "index.html").exists():
        return
    title = "Documentation"
    body = Markup("<h1>{}</h1>").format(title)
    for group in groups:
        body += Markup("<h2>{}</h2><ul>").format(group["title"] or title)
        for page in group["pages"]:
            body += Markup('<li><a href="{}">{}</a></li>').format(page["href"], page["title"])
        body += Markup("</ul>")
    text = template.render(groups=groups, here="/docs/", title=title, body=body)
    (output / "index.html").write_text(text, encoding="utf-8")


def main(web: Path, docs: Path, output: Path) -> None:
    """Render everything into an output folder that does not exist yet."""
    languages = load_languages(web / "locale")
    (output / "docs").mkdir(parents=True)
    render_pages(web, languages, output / "web")
    shutil.copytree(web / "assets", output / "web" / "assets")
    # The documentation is in English.
    render_docs(load_templates(web, languages[DEFAULT]), docs, output / "docs")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
