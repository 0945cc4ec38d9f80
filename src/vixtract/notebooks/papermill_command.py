"""The `papermill` command of shell jobs, which write no files below the read-only homes.

An output path below the homes is replaced by one in the run's directory, with a line that says so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def redirect(output: str, *, homes: Path, run_dir: Path) -> Path | None:
    """Return a path in the run's directory for an output below the homes, None for another one."""
    if output in ("", "-") or "://" in output:
        return None
    # realpath: the script's path usually leads through the link `jupyter-home`.
    real = Path(os.path.realpath(output))
    if not real.is_relative_to(os.path.realpath(homes)):
        return None
    return run_dir / real.name


def main(arguments: list[str] | None = None) -> None:
    """Run papermill's command line with the output redirected."""
    # papermill.cli looks at standard input when it is imported; a script may have closed it.
    try:
        os.fstat(0)
    except OSError:
        os.open("/dev/null", os.O_RDONLY)
    from papermill.cli import papermill as command

    from vixtract.notebooks import engine
    from vixtract.notebooks.execute import take_any_text

    take_any_text()
    engine.progress.open()
    original = command.callback

    def callback(**params: Any) -> None:
        _prepare(params)
        sys.exit(_invoke(original, params))

    command.callback = callback
    # click's main parses the words, and ends the process with its usual messages and codes.
    command.main(args=arguments, prog_name="papermill")


def _prepare(params: dict[str, Any]) -> None:
    from vixtract.notebooks import engine

    run_dir = Path(os.environ.get("VIXTRACT_OUTPUT_DIR") or Path.cwd())
    homes = Path(os.environ.get("VIXTRACT_HOME_ROOT", "/home"))
    engine.register(str(run_dir))
    if params.get("engine") is None:
        params["engine"] = engine.NAME
        params["progress_bar"] = False
    output = params.get("output_path") or ""
    target = redirect(output, homes=homes, run_dir=run_dir)
    if target is not None:
        print(f"Homes are read-only in scheduled runs: {output} is written to {target}", flush=True)
        params["output_path"] = str(target).replace("{", "{{").replace("}", "}}")


def _invoke(original: Any, params: dict[str, Any]) -> int:
    import papermill

    from vixtract.notebooks import engine
    from vixtract.notebooks.execute import cell_timeout, report_cell_error, report_failure
    from vixtract.notebooks.messages import NotebookError, load_notebook

    output = str(params.get("output_path") or "")
    source = Path(params.get("notebook_path") or "-")
    try:
        if source.is_file():
            notebook = load_notebook(source.read_bytes(), source.name)
            if params.get("execution_timeout") is None:
                params["execution_timeout"] = cell_timeout(notebook, source.name)
            engine.progress.tell(notebook=os.path.realpath(source))
        original(**params)
    except papermill.PapermillExecutionError as error:
        return report_cell_error(error, output)
    except NotebookError as error:
        engine.progress.tell(problem=error.message, hint=error.hint)
        print(f"{error.message} {error.hint}".rstrip(), file=sys.stderr)
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        return report_failure(error, str(params.get("kernel") or ""), output)
    engine.progress.tell(output=output)
    return 0


if __name__ == "__main__":
    main()
