"""papermill's engine as the appliance runs it: progress per cell, live output, limits, whole files.

papermill still handles parameters, metadata, saving and errors. Used by the driver and by the
`papermill` command of shell jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.iorw import papermill_io
from papermill.utils import nb_language
from traitlets.config import Config

from vixtract.files import write_whole
from vixtract.notebooks.budget import OutputBudget
from vixtract.secret_settings import Masker, known_secrets

NAME = "vixtract"
DEFAULT_KERNEL = "python3"
KERNEL_PYTHON = "/usr/bin/python3"
_START_S = 120
_LATE_S = 0.1


class Progress:
    """Report to the supervisor on a descriptor that the kernel does not inherit."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self.result: dict[str, Any] = {}

    def open(self) -> None:
        """Take the descriptor over from the environment, so that no child sees it."""
        number = os.environ.pop("VIXTRACT_PROGRESS_FD", "")
        # A script may have closed it, or opened a file of its own under this number.
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISFIFO(os.fstat(int(number)).st_mode):
                os.set_inheritable(int(number), False)
                self._descriptor = int(number)

    def say(self, progress: float, memo: str) -> None:
        """Report how far the run is, 0 to 1."""
        self._write({"progress": round(progress, 4), "memo": memo})

    def tell(self, **facts: Any) -> None:
        """Add to the result and report all of it."""
        self.result.update(facts)
        self._write({"result": self.result})

    def _write(self, report: dict[str, Any]) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(report).encode() + b"\n")
        except OSError:
            self._descriptor = None


progress = Progress()


class Cells(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's state of a run, with progress in cells as a person counts them.

    Empty cells and the cell that papermill injects do not count.
    """

    current: ClassVar[Cells | None] = None
    shown_paths: ClassVar[dict[str, str]] = {}
    # While set, a save may be `_LATE_S` late; whoever sets it calls `save_where_due`.
    saves_late = False
    save_due = 0.0

    def notebook_start(self, **kwargs: Any) -> None:
        """Number the cells, then start as papermill does."""
        Cells.current = self
        self._numbers = number_cells(self.nb.cells)
        self.running = 0
        self.nb.metadata.papermill.update(self.shown_paths)
        progress.tell(cells_done=0, cells_total=len(self._numbers))
        super().notebook_start(**kwargs)

    def number(self, index: int) -> int:
        """Return a cell's number as a person counts, or 0 where it does not count."""
        return self._numbers.get(index, 0)

    def cell_start(self, cell: Any, cell_index: int, **kwargs: Any) -> None:
        """Say which cell begins."""
        self.running = self.number(cell_index)
        if self.running:
            total = len(self._numbers)
            memo = f"cell {self.running} of {total}"
            progress.say((self.running - 1) / total, memo)
            first = next((line for line in cell["source"].splitlines() if line.strip()), "")
            print(f"--- {memo}: {first.strip()[:100]}", flush=True)
        super().cell_start(cell, cell_index=cell_index, **kwargs)

    def cell_complete(self, cell: Any, cell_index: int, **kwargs: Any) -> None:
        """Count the cell if it succeeded."""
        if sys.exc_info()[0]:
            # The kernel died, for example: papermill would record the cell as completed.
            self.cell_exception(cell, cell_index=cell_index)
        super().cell_complete(cell, cell_index=cell_index, **kwargs)
        number = self.number(cell_index)
        if number and cell.metadata.papermill["status"] == self.COMPLETED and not sys.exc_info()[0]:
            progress.tell(cells_done=number)

    def save(self, **kwargs: Any) -> None:
        """Save now, or later together with the fast cells that follow."""
        if self.saves_late:
            self.save_due = self.save_due or time.monotonic() + _LATE_S
        else:
            self.save_due = 0.0
            super().save(**kwargs)

    def save_where_due(self) -> bool:
        """Save if a postponed save is due; return whether it did."""
        if not self.save_due or time.monotonic() < self.save_due:
            return False
        self.save_now()
        return True

    def save_now(self) -> None:
        """Do a postponed save."""
        if self.save_due:
            self.save_due = 0.0
            super().save()

    def autosave_cell(self) -> None:
        """Save the outputs of a long cell at intervals, which grow with the time a save takes."""
        late, self.saves_late = self.saves_late, False
        try:
            super().autosave_cell()
        finally:
            self.saves_late = late

    def stop(self) -> None:
        """Save the notebook, with the running cell marked as failed."""
        self.saves_late = False
        for index, cell in enumerate(self.nb.cells):
            if cell.metadata.papermill["status"] == self.RUNNING:
                self.cell_exception(cell, cell_index=index)
        self.save()


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client with limited output, private sockets and the Python of jobs."""

    def __init__(self, manager: Cells, **options: Any) -> None:
        options["log_output"] = True
        super().__init__(manager, **options)
        self._budget = OutputBudget()

    def create_kernel_manager(self) -> Any:
        """Make the kernel listen on sockets in the run's private directory, not on ports."""
        folder = Path(os.environ.get("JUPYTER_RUNTIME_DIR") or tempfile.mkdtemp(prefix="vixtract-"))
        config = Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "k")}})
        self.km = JobKernelManager(kernel_name=self.kernel_name, config=config)
        self.km.connection_file = str(folder / "k.json")
        return self.km

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Process a message as far as the limits of output allow."""
        admitted = self._budget.admit(msg, cell_index)
        return None if admitted is None else super().process_message(admitted, cell, cell_index)

    def log_output_message(self, output: Any) -> None:
        """Write what a cell prints to the live log."""
        if output.output_type == "stream":
            sys.stdout.write("".join(output.text))
        elif output.output_type != "error" and "text/plain" in output.get("data", {}):
            sys.stdout.write("".join(output.data["text/plain"]) + "\n")
        sys.stdout.flush()


class JobKernelManager(AsyncKernelManager):
    """Starts kernels whose command is just `python` with the Python of jobs, not the driver's."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Build the kernel's command line."""
        command: list[str] = super().format_kernel_cmd(extra_arguments)
        if command and command[0] == sys.executable:
            command[0] = KERNEL_PYTHON
        return command


class Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's engine of name `vixtract`."""

    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, output_path: str | None = None, **options: Any
    ) -> Any:
        """Run the cells; the options are papermill's."""
        for unused in ("progress_bar", "log_output", "stdout_file", "stderr_file"):
            options.pop(unused, None)
        autosave = options.pop("autosave_cell_every", 30)
        cells = Cells(nb, output_path, progress_bar=False, autosave_cell_every=autosave)
        cells.notebook_start()
        try:
            cls.execute_managed_notebook(cells, kernel_name, **options)
        finally:
            cells.notebook_complete()
        return cells.nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
        """Run the cells with the appliance's client."""
        start_s = max(options.get("start_timeout") or 0, _START_S)
        timeout = options.get("execution_timeout")
        cls.make_client(
            nb_man, kernel_name=kernel_name, startup_timeout=start_s, timeout=timeout
        ).execute()

    @classmethod
    def make_client(cls, manager: Cells, **options: Any) -> Client:
        """Make what runs the cells."""
        return Client(manager, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Return the kernel to use: the requested one, the notebook's, or the default."""
        wanted = name or nb.metadata.get("kernelspec", {}).get("name") or ""
        return choose_kernel(wanted, _language(nb), is_demand=bool(name))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Return the language; Python where the notebook names none."""
        try:
            return str(nb_language(nb, language))
        except ValueError:
            return "python"


class WholeFiles:
    """papermill's handler of files, which replaces each in one step."""

    # Secrets of the owner's connections, from the job.
    masked: Sequence[str] = ()

    def read(self, path: str) -> str:
        """Read a notebook."""
        return Path(path).read_text(encoding="utf-8")

    def write(self, text: str, path: str) -> None:
        """Replace a notebook in one step, without the owner's secrets."""
        masked = Masker([*known_secrets(os.environ), *self.masked]).mask_text(text)
        # papermill saves after every cell: waiting for the disk would slow the notebook down.
        write_whole(Path(path), masked.encode("utf-8", "replace"), sync=False)

    def listdir(self, path: str) -> list[str]:
        """List a directory."""
        return [str(entry) for entry in Path(path).iterdir()]

    def pretty_path(self, path: str) -> str:
        """Show a path."""
        return path


def register(output_root: str, engine: type[Engine] = Engine) -> None:
    """Make the engine known to papermill, which replaces notebooks below `output_root` whole."""
    papermill_engines.register(NAME, engine)
    papermill_io.register(output_root.rstrip("/") + "/", WholeFiles())


def number_cells(cells: Any) -> dict[int, int]:
    """Return the cells that a person counts: index in the notebook to number, from 1."""
    counted = [
        index
        for index, cell in enumerate(cells)
        if cell.cell_type == "code"
        and cell.source.strip()
        and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    return {index: number for number, index in enumerate(counted, 1)}


_said: set[str] = set()


def choose_kernel(wanted: str, language: str, *, is_demand: bool) -> str:
    """Return the requested kernel, or the default where that is missing and Python will do.

    Args:
        wanted: kernel name; empty where the notebook names none.
        language: the notebook's, in small letters; empty where it names none.
        is_demand: whether the event names the kernel: then no other is used, even if unknown.
    """
    if not wanted:
        return DEFAULT_KERNEL
    known = KernelSpecManager().find_kernel_specs()
    if wanted in known or is_demand or language not in ("python", ""):
        return wanted
    line = f"There is no kernel {wanted!r} here; the Python notebook runs with {DEFAULT_KERNEL!r}."
    if line not in _said:
        _said.add(line)
        print(line, flush=True)
    return DEFAULT_KERNEL


def _language(nb: Any) -> str:
    spec = nb.metadata.get("kernelspec", {})
    info = nb.metadata.get("language_info", {})
    return str(spec.get("language") or info.get("name") or "").lower()
