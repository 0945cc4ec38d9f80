"""One file of the front door adds a header to every answer; no place loses it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import open_folder

NGINX = Path(__file__).parents[2] / "nginx"
COMMON = NGINX / "front" / "common-headers.conf"
TOKEN = re.compile(r"""\s*(?:\#[^\n]*|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|[^\s{};]+))""")


def load_lint():
    """Load nginx/site/lint.py, which writes the configuration as `front-door` does."""
    spec = importlib.util.spec_from_file_location("nginx_lint", NGINX / "site" / "lint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINT = load_lint()


def read_tokens(path: Path) -> Iterator[str]:
    for match in TOKEN.finditer(path.read_text(encoding="utf-8")):
        if match[1]:
            yield match[1]


def read_block(tokens: Iterator[str], folder: Path) -> list:
    """Return directives as lists of words; a block's last item is the list of its directives."""
    found: list = []
    words: list = []
    for token in tokens:
        if token == "}":
            break
        if token == "{":
            found.append([*words, read_block(tokens, folder)])
            words = []
        elif token == ";":
            if words[0] == "include":
                for path in sorted(
                    folder.glob(words[1]) if "*" in words[1] else [folder / words[1]]
                ):
                    found += read_block(read_tokens(path), folder)
            else:
                found.append(words)
            words = []
        else:
            words.append(token)
    return found


def list_blocks(block: list, name: str) -> Iterator[tuple[str, list]]:
    """Yield a block and all blocks inside of it, with their names."""
    yield name, block
    for directive in block:
        if isinstance(directive[-1], list):
            yield from list_blocks(directive[-1], f"{name} > {' '.join(directive[:-1])}")


def headers_of(block: list) -> set[str]:
    return {directive[1] for directive in block if directive[0] == "add_header"}


@pytest.mark.parametrize("mode", LINT.MODES, ids=lambda mode: "-".join(mode.values()))
def test_every_place_that_adds_a_header_adds_the_common_ones(mode):
    common = headers_of(read_block(read_tokens(COMMON), NGINX))
    assert common
    with open_folder() as folder:
        config = LINT.render(folder, mode)
        http = next(
            directive[-1]
            for directive in read_block(read_tokens(config), config.parent)
            if directive[0] == "http"
        )
    adding = [(name, block) for name, block in list_blocks(http, "http") if headers_of(block)]
    assert len(adding) > 10
    assert [name for name, block in adding if not common <= headers_of(block)] == []
    # A server that serves pages has them for the places that add none.
    servers = [directive[-1] for directive in http if directive[0] == "server"]
    serving = [block for block in servers if ["root", "/usr/share/vixtract/web"] in block]
    assert serving
    assert all(common <= headers_of(block) for block in serving)


@pytest.mark.parametrize(
    ("bind", "only"), [("127.0.0.2", "yes"), ("::1", "yes"), ("[::1]", "yes"), ("[::]", "")]
)
def test_a_loopback_address_is_known_with_brackets_too(bind, only):
    """Compose publishes on an IPv6 address in brackets; there, plain HTTP is the default."""
    with open_folder() as folder:
        config = LINT.render(folder, {"VIXTRACT_BIND": bind})
        written = (config.parent / "server.d/site.conf").read_text(encoding="ascii")
        servers = (config.parent / "servers.d/site.conf").read_text(encoding="ascii")
    assert f'set $loopback_only "{only}";' in written
    assert ("8443" in servers) == (only == "")


def test_common_headers_are_written_in_one_file():
    for name in headers_of(read_block(read_tokens(COMMON), NGINX)):
        files = [*NGINX.rglob("*.conf"), NGINX / "front-door"]
        found = [path.name for path in files if name in path.read_text(encoding="utf-8")]
        assert found == [COMMON.name]


def test_every_status_that_nginx_answers_with_a_page_has_one():
    asked = set()
    for name in ("site", "cronicle-port"):
        text = (NGINX / "front" / f"{name}.conf").read_text(encoding="utf-8")
        asked |= set(re.findall(r"/_errors/(\d+)", text))
    rendered = re.search(r"^ERRORS = (.*)$", (NGINX / "site" / "render.py").read_text(), re.M)[1]
    written = (NGINX.parent / "web" / "error.html").read_text(encoding="utf-8")
    assert (
        asked == set(ast.literal_eval(rendered)) == set(re.findall(r'^  "(\d+)": ', written, re.M))
    )
