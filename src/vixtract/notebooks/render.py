"""Executed notebook to HTML without scripts. Runs as the owner in a limited process of its own.

A hundred kilobytes of `[` in a markdown cell keep nbconvert busy for a minute, so the limits of the
process are what ends it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path


def render(source: Path, target: Path) -> None:
    """Write the HTML of a notebook in one step.

    Args:
        source: executed notebook.
        target: new HTML file, in an existing directory.
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    exporter = HTMLExporter(sanitize_html=True)  # type: ignore[no-untyped-call]
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
