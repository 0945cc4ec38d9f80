"""Whole notebooks on this machine: with a forked kernel, with one that is started, by papermill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from vixtract.notebooks import render
from vixtract.runner.channel import clean_result

WARM = "from vixtract.notebooks.warm import in_process; code = in_process.run(job)"
COLD = "from vixtract.notebooks import execute; code = execute.drive(job)"
SCRIPT = """
import json, sys
sys.modules["debugpy"] = None  # as the fork server does
from vixtract.notebooks import engine
engine.KERNEL_PYTHON = sys.executable
job, code = json.loads(sys.argv[1]), 0
{way}
sys.stdout.flush()
sys.exit(code)
"""
PAPERMILL = """
from vixtract.notebooks.papermill_command import main
main([job["input"], job["output"], *job["options"]])
"""
ODD = "\\ud800"


@dataclass(frozen=True)
class Ran:
    """What came of a notebook."""

    code: int
    log: str
    result: dict[str, Any]
    path: Path

    @property
    def outputs(self) -> list[list[Any]]:
        """Outputs of each code cell."""
        notebook = nbformat.read(self.path, 4)
        return [cell.get("outputs", []) for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def run(tmp_path):
    """A function that runs cells one of the three ways."""

    def start(way: str, *cells: str, options: tuple[str, ...] = (), **metadata: Any) -> Ran:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=metadata
        )
        (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
        names = {"input": "a.ipynb", "notebook": "a.ipynb", "output": "out.ipynb"}
        job = {
            **{key: str(tmp_path / name) for key, name in names.items()},
            "cwd": str(tmp_path), "parameters": {}, "kernel": "", "options": options,
        }  # fmt: skip
        reader, writer = os.pipe()
        environment = {
            **os.environ, "HOME": str(tmp_path), "VIXTRACT_PROGRESS_FD": str(writer),
            "VIXTRACT_OUTPUT_DIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path)),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(way=way), json.dumps(job)],
            env=environment, pass_fds=(writer,), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, timeout=300, check=False,
        )  # fmt: skip
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            reports = [json.loads(line) for line in file]
        result = next((r["result"] for r in reversed(reports) if "result" in r), {})
        return Ran(done.returncode, done.stdout.decode(), result, tmp_path / "out.ipynb")

    return start


def test_a_forked_child_that_comes_back_from_its_cell_ends_without_a_word(run):
    ran = run(
        WARM,
        "import os\npid = os.fork()\nif pid == 0: raise ValueError('in the child')",
        "os.waitpid(pid, 0)[1] if pid else print('twice')",
    )
    assert (ran.code, ran.result["cells_done"]) == (0, 2)
    first, second = ran.outputs
    assert first == []
    assert [output.data for output in second] == [{"text/plain": "0"}]


def test_what_a_notebook_prints_stays_in_it_wherever_the_descriptor_leads(run):
    ran = run(
        WARM,
        "import os\nos.dup2(os.open('said', os.O_CREAT | os.O_WRONLY), 1)\n"
        "os.system('echo to the file'); print('to the cell')",
        "os.close(1)\nfile = open('other', 'w')\nprint('still', file.fileno())",
    )
    assert [[output.text for output in outputs] for outputs in ran.outputs] == [
        ["to the cell\n"], ["still 1\n"],
    ]  # fmt: skip
    assert ran.path.with_name("said").read_text() == "to the file\n"
    assert ran.path.with_name("other").read_text() == ""


def test_half_a_surrogate_pair_is_shown_and_told(run):
    ran = run(WARM, f"print('{ODD}')", f"'{ODD}'", f"raise ValueError('{ODD}')")
    assert ran.code == 1
    assert f"cell 3 failed: ValueError: {ODD}" in ran.log
    assert "Traceback (most recent call last)" in ran.log
    printed, shown, failed = ran.outputs
    assert printed[0].text == f"{ODD}\n"
    assert shown[0].data == {"text/plain": f"'{ODD}'"}
    assert failed[0].evalue == "?"
    # SQLite and PostgreSQL take this.
    assert clean_result(ran.result)["error"] == {"cell": 3, "name": "ValueError", "message": ODD}
    render.render(ran.path, ran.path.with_suffix(".html"))
    assert "</span>: ?" in ran.path.with_suffix(".html").read_text()


def test_half_a_surrogate_pair_in_a_source_or_name_ends_no_driver(run):
    ran = run(WARM, "a = 1", "print('\ud800')", "print('not run')", title="\ud800")
    assert ran.code == 1
    assert "UnicodeEncodeError" in ran.outputs[1][0].ename
    assert "cell 2 failed" in ran.log


@pytest.mark.parametrize("way", [WARM, COLD, PAPERMILL], ids=["warm", "cold", "papermill"])
def test_a_cell_takes_no_longer_than_the_notebook_says(run, way):
    cells = ("print('begun')\nimport time; time.sleep(30)", "print('never')")
    ran = run(way, *cells, execution={"timeout": 1})
    assert ran.code == 2
    assert "begun" in ran.log
    assert "Cell 1 took longer than 1 s." in ran.log
    assert ran.result["error"]["cell"] == 1
    assert ran.outputs[0][0].text == "begun\n"
    assert ran.outputs[1] == []
    if way == WARM:
        assert ran.outputs[0][1].ename == "KeyboardInterrupt"
    states = [cell.metadata.papermill.status for cell in nbformat.read(ran.path, 4).cells]
    assert states == ["failed", "pending"]


def test_a_cell_may_take_a_month(run):
    ran = run(WARM, "import time\ntime.sleep(0.1)", execution={"timeout": 31 * 86400})
    assert (ran.code, ran.result["cells_done"]) == (0, 1)


def test_papermill_s_option_goes_before_the_notebook(run):
    options = ("--execution-timeout", "1")
    ran = run(PAPERMILL, "import time; time.sleep(30)", options=options, execution={"timeout": 60})
    assert (ran.code, ran.result["problem"]) == (2, "Cell 1 took longer than 1 s.")
