"""The driver: run one notebook with papermill, as its owner, in the directory of the run.

Reads its job as JSON from standard input: input, notebook (the path to show), output, cwd,
parameters, kernel, masked (secrets to hide). Writes the log to standard output and reports
to the progress descriptor.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from vixtract.notebooks.messages import (
    NotebookError,
    explain_failure,
    hint_for,
    load_notebook,
    plain_traceback,
)

CODE_NOT_RUN = 2
CODE_STOPPED = 143


def main() -> int:
    """Run the job on standard input; return 0, 1 (a cell failed) or 2 (it could not run)."""
    return drive(json.load(sys.stdin))


def drive(job: dict[str, Any], engine_class: Any = None) -> int:
    """Prepare output, logging and signals of this process, run the job, and return its code."""
    from vixtract.notebooks import engine

    take_any_text()
    engine.progress.open()
    warnings.simplefilter("ignore")
    logging.getLogger("papermill").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return run(job, engine_class or engine.Engine)
    except NotebookError as error:
        engine.progress.tell(problem=error.message, hint=error.hint)
        print(f"{error.message} {error.hint}".rstrip())
        return CODE_NOT_RUN


def take_any_text() -> None:
    """Have standard output and error escape lone surrogates, which UTF-8 cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(job: dict[str, Any], engine_class: Any) -> int:
    """Run one notebook, and return the exit code.

    Raises:
        NotebookError: the file is not a notebook, or its metadata is wrong.
    """
    import papermill

    from vixtract.notebooks import engine

    name = Path(job["notebook"]).name
    # Before papermill reads it: its messages are for programmers.
    notebook = load_notebook(Path(job["input"]).read_bytes(), name)
    timeout_s = cell_timeout(notebook, name)
    output = Path(job["output"])
    engine.register(str(output.parent), engine_class)
    engine.WholeFiles.masked = job.get("masked", ())
    engine.Cells.shown_paths = {"input_path": job["notebook"], "output_path": job["output"]}
    try:
        papermill.execute_notebook(
            job["input"],
            # papermill replaces braces in paths by parameters; this name must stay.
            job["output"].replace("{", "{{").replace("}", "}}"),
            parameters=job["parameters"],
            engine_name=engine.NAME,
            kernel_name=job["kernel"] or None,
            progress_bar=False,
            execution_timeout=timeout_s,
            cwd=job["cwd"],
        )
    except papermill.PapermillExecutionError as error:
        return report_cell_error(error, str(output))
    except Exception as error:
        return report_failure(error, job["kernel"], str(output))
    engine.progress.tell(output=str(output))
    return 0


def cell_timeout(notebook: Any, name: str) -> int | None:
    """Return how long each cell may take, as the notebook's metadata says.

    Returns: seconds in `execution.timeout`, where jupyter-cache looks, too; None for no limit.
    Raises:
        NotebookError: the value is neither a positive whole number nor -1.
    """
    execution = notebook.metadata.get("execution")
    value = execution.get("timeout") if isinstance(execution, dict) else None
    if value in (None, -1):
        return None
    if type(value) is not int or value < 1:
        raise NotebookError(
            f"{name} says in its metadata that execution.timeout is {str(value)[:40]!r}.",
            "Give the seconds that each cell may take as a whole number, or -1 for no limit.",
        )
    return value


def report_cell_error(error: Any, output: str) -> int:
    """Report the cell that failed, and its error; return the exit code."""
    from vixtract.notebooks import engine

    cells = engine.Cells.current
    number = cells.running if cells else 0
    hint = hint_for(error.ename, error.evalue)
    engine.progress.tell(
        output=output,
        error={"cell": number, "name": error.ename, "message": error.evalue[:2000]},
        hint=hint,
    )
    print(f"--- cell {number} failed: {error.ename}: {error.evalue[:500]}")
    print(plain_traceback(list(error.traceback)))
    if hint:
        print(f"Note: {hint}.")
    sys.stdout.flush()
    return 1


def report_failure(error: Exception, kernel: str, output: str) -> int:
    """Report why the notebook stopped without an error of a cell; return the exit code."""
    from vixtract.notebooks import engine

    cells = engine.Cells.current
    number = cells.running if cells else 0
    problem, hint = explain_failure(error, number, kernel)
    facts: dict[str, Any] = {"problem": problem, "hint": hint}
    if Path(output).exists():
        facts["output"] = output
    if number:
        facts["error"] = {"cell": number, "name": type(error).__name__, "message": problem}
    engine.progress.tell(**facts)
    print(f"--- {problem} {hint}".rstrip(), flush=True)
    return CODE_NOT_RUN


def _stop(*_: object) -> NoReturn:
    """Save the notebook as it is; the supervisor ends the kernel."""
    from vixtract.notebooks import engine

    cells = engine.Cells.current
    try:
        if cells is not None and cells.output_path:
            cells.stop()
            engine.progress.tell(output=str(cells.output_path))
    finally:
        os._exit(CODE_STOPPED)


if __name__ == "__main__":
    sys.exit(main())
