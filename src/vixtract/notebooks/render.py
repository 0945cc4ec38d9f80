"""Executed notebook to HTML without scripts. Runs as the owner in a limited process of its own.

A hundred kilobytes of `[` in a markdown cell keep nbconvert busy for a minute: only the limits of
the process end that.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import nbformat

from vixtract.files import write_whole
from vixtract.notebooks import figures


def render(source: Path, target: Path) -> None:
    """Report the figures of a notebook, then write its HTML in one step."""
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    figures.tell(figures.measure(notebook.cells))
    # Imported late: the figures are reported even where the libraries take too long.
    from vixtract.notebooks.page import export

    page = export(notebook, source.name.removesuffix(".ipynb"))
    write_whole(target, page.encode("utf-8", "replace"), sync=False)


def main() -> int:
    """Render the notebook named first to the file named second."""
    warnings.simplefilter("ignore")
    source, target = (Path(word).absolute() for word in sys.argv[1:3])
    # nbconvert takes templates from the working directory, where a notebook may have put some.
    os.chdir("/")
    try:
        render(source, target)
    except Exception as error:
        print(f"HTML: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
