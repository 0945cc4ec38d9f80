"""The parts of papermill's engine that need no kernel."""

from __future__ import annotations

import datetime
import json
import os
import time

import nbformat.v4
import pytest

from vixtract.notebooks import engine
from vixtract.notebooks.warm import client as warm_client


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A Jupyter path with one kernel named `spark`."""
    for name in ("python3", "spark"):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        spec = {
            "argv": ["/bin/true", "{connection_file}"],
            "display_name": name,
            "language": "python",
        }
        (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    engine._said.clear()


@pytest.mark.parametrize(
    ("wanted", "language", "is_demand", "chosen"),
    [
        ("", "", False, "python3"),
        ("spark", "python", False, "spark"),
        ("dev", "python", False, "python3"),
        ("dev", "", False, "python3"),
        ("dev", "python", True, "dev"),
        ("ir", "r", False, "ir"),
    ],
)
def test_kernel_is_chosen_where_the_choice_is_safe(
    kernels, capsys, wanted, language, is_demand, chosen
):
    assert engine.choose_kernel(wanted, language, is_demand=is_demand) == chosen
    engine.choose_kernel(wanted, language, is_demand=is_demand)
    lines = capsys.readouterr().out.splitlines()
    assert lines == (
        [f"There is no kernel {wanted!r} here; the Python notebook runs with 'python3'."]
        if wanted not in ("", chosen)
        else []
    )


def test_cells_are_numbered_as_a_person_counts():
    cells = [
        nbformat.v4.new_markdown_cell("# title"),
        nbformat.v4.new_code_cell("a = 1"),
        nbformat.v4.new_code_cell("a = 2", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("  \n"),
        nbformat.v4.new_code_cell("print(a)"),
    ]
    assert engine.number_cells(cells) == {1: 1, 4: 2}


def test_language_is_python_where_a_notebook_does_not_say():
    notebook = nbformat.v4.new_notebook()
    assert engine.Engine.nb_language(notebook) == "python"
    notebook.metadata["language_info"] = {"name": "R"}
    assert engine.Engine.nb_language(notebook) == "R"


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("the disk is full")

    target = tmp_path / "x.ipynb"
    engine.WholeFiles().write("one", str(target))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is full"):
        patch.setattr(os, "replace", fail)
        engine.WholeFiles().write("two", str(target))
    assert target.read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["x.ipynb"]


def test_reports_survive_a_closed_pipe(monkeypatch):
    progress = engine.Progress()
    monkeypatch.setenv("VIXTRACT_PROGRESS_FD", "987")
    progress.open()
    progress.say(0.5, "nobody listens")
    progress.tell(cells_done=1)
    assert progress.result == {"cells_done": 1}


def test_reports_go_to_a_pipe_and_to_no_file_of_a_script(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    for number in (writer, os.open(tmp_path / "own", os.O_CREAT | os.O_WRONLY)):
        progress = engine.Progress()
        monkeypatch.setenv("VIXTRACT_PROGRESS_FD", str(number))
        progress.open()
        progress.say(0.5, "half")
        os.close(number)
    assert os.read(reader, 100) == b'{"progress": 0.5, "memo": "half"}\n'
    os.close(reader)
    assert (tmp_path / "own").read_bytes() == b""


@pytest.fixture
def cells(tmp_path):
    """papermill's state of a run of two cells, with a way to read what is saved."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(x) for x in "ab"])
    notebook.metadata["papermill"] = {}
    state = engine.Cells(notebook, str(tmp_path / "o.ipynb"), progress_bar=False)
    state.saved = lambda: [
        cell.metadata.papermill.status for cell in nbformat.read(tmp_path / "o.ipynb", 4).cells
    ]
    state.notebook_start()
    return state


def test_cells_that_follow_each_other_fast_are_saved_together(cells, monkeypatch):
    monkeypatch.setattr(engine, "_LATE_S", 3600)
    cells.saves_late = True
    for index, cell in enumerate(cells.nb.cells):
        cells.cell_start(cell, cell_index=index)
        if index == 0:
            cells.cell_complete(cell, cell_index=index)
    assert not cells.save_where_due()
    assert cells.saved() == ["pending", "pending"]
    cells.save_due = time.monotonic()
    assert cells.save_where_due()
    assert cells.saved() == ["completed", "running"]
    assert not cells.save_due


def test_long_cells_are_still_saved_now_and_then(cells):
    cells.saves_late = True
    cells.cell_start(cells.nb.cells[0], cell_index=0)
    cells.last_save_time -= datetime.timedelta(seconds=31)
    cells.autosave_cell()
    assert cells.saved() == ["running", "pending"]
    assert cells.saves_late


def test_a_stopped_run_is_saved_at_once(cells):
    cells.saves_late = True
    cells.cell_start(cells.nb.cells[0], cell_index=0)
    cells.stop()
    assert cells.saved() == ["failed", "pending"]


@pytest.mark.slow
def test_a_kernel_that_has_said_all_is_waited_for_without_asking_all_the_time():
    def fork(messages, requests, outputs):
        pid = os.fork()
        if pid == 0:
            messages.close()
            for end in outputs:
                os.close(end)
            time.sleep(0.5)
            os._exit(0)
        return pid

    kernel = warm_client.ForkedKernel(fork)
    waits = 0
    while kernel.is_alive and waits < 100:
        kernel.wait(60)
        waits += 1
    kernel.close()
    assert waits < 10
