"""Runs in forked processes: the same as with a kernel that is started, and nothing of each other."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.images.docker_cli import logs
from tests.images.notebooks_both_ways import NOTEBOOKS, summary
from tests.images.test_cronicle import Box, notebook, running_box
from tests.waiting import wait_until

pytestmark = pytest.mark.docker
COLD = "A kernel is started for it"
COLD_CELL = ": # ipykernel"


@pytest.fixture(scope="module")
def box():
    with running_box() as running:
        yield running


def write_all(box: Box, notebooks: dict[str, str]) -> None:
    """Put notebooks into anna's home in one go."""
    lines = [
        f"cat > '{name}' <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n" for name, text in notebooks.items()
    ]
    box.in_home("anna", "".join(lines))


def run_one(box: Box, path: str):
    """Run a notebook of anna's; returns the result and the executed notebook."""
    result = box.run("notebook", {"owner": "anna", "notebook": path}, timeout=120)
    output = result.end["chain_data"]["output"]
    return result, json.loads(box.execute("cat", output))


@pytest.fixture(scope="module")
def both_ways(box):
    """All notebooks, run warm and cold: name to two pairs of result and executed notebook."""
    texts = {}
    for name, cells in NOTEBOOKS.items():
        texts[f"warm {name}.ipynb"] = notebook(*cells)
        # The last word asks for a kernel that is started.
        texts[f"cold {name}.ipynb"] = notebook(*cells, "# ipykernel")
    write_all(box, texts)
    with ThreadPoolExecutor(3) as pool:
        done = dict(zip(texts, pool.map(lambda path: run_one(box, path), texts)))
    return {name: (done[f"warm {name}.ipynb"], done[f"cold {name}.ipynb"]) for name in NOTEBOOKS}


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_notebook_shows_the_same_both_ways(both_ways, name):
    (warm, warm_notebook), (cold, cold_notebook) = both_ways[name]
    assert COLD not in warm.log
    assert COLD in cold.log
    assert warm.end["code"] == cold.end["code"]
    warm_cells, cold_cells = summary(warm_notebook), summary(cold_notebook)[:-1]
    if name == "random":
        assert warm_cells != cold_cells
    else:
        assert warm_cells == cold_cells
    facts = [
        {key: run.end["chain_data"].get(key) for key in ("error", "hint", "cells_done")}
        for run in (warm, cold)
    ]
    facts[1]["cells_done"] -= COLD_CELL in cold.log
    assert facts[0] == facts[1]
    for part in ("kernelspec", "language_info"):
        assert warm_notebook["metadata"].get(part) == cold_notebook["metadata"].get(part)
    assert set(warm_notebook["metadata"]["papermill"]) == set(
        cold_notebook["metadata"]["papermill"]
    )


def test_files_left_open_are_written_and_exit_functions_run(box, both_ways):
    for result, _ in both_ways["code of others"]:
        folder = result.end["chain_data"]["run_dir"]
        assert box.execute("cat", f"{folder}/kept.txt") == "written at the end"
        assert box.execute("cat", f"{folder}/exit.txt") == "left"


def test_chance_is_another_in_each_run(box):
    cell = NOTEBOOKS["random"][0]
    lines = {box.run_cells(cell).log.splitlines()[-2] for _ in range(3)}
    assert len(lines) == 3


def test_output_stands_in_its_order(box):
    result = box.run_cells(
        "import os, subprocess, sys\nfrom IPython.display import display\n"
        "for i in range(20):\n"
        "    print('p', i); os.write(1, b'd%d\\n' % i); display(i)\n"
        "    subprocess.run(['echo', 's', str(i)]); sys.stderr.write(f'e{i}\\n')\n"
    )
    expected = [f"{kind}{i}" for i in range(20) for kind in ("p ", "d", "", "s ", "e")]
    assert result.log.splitlines()[2:-1] == expected


@pytest.mark.parametrize(
    ("prepare", "cells", "reason"),
    [
        ("", ("import ipykernel",), "it speaks of ipykernel"),
        ("", ("import os\nos.environ['OMP_NUM_THREADS'] = '1'",), "_NUM_THREADS"),
        ("", ("%matplotlib widget",), "%matplotlib w"),
        (
            "echo 'raise SystemError' > requests.py",
            ("1",),
            "/home/anna/requests.py takes the place",
        ),
        ("echo 'lines.linewidth: 5' > matplotlibrc", ("1",), "matplotlibrc"),
        (
            "mkdir -p .local/lib/python3.13/site-packages/petl; touch .local/lib/python3.13/site-packages/petl/__init__.py",
            ("import petl\nprint(petl.__file__)",),
            "petl takes the place",
        ),
        (
            "mkdir -p .local/lib/python3.13/site-packages; echo 'import sys; sys.meta_path.append(1)' > .local/lib/python3.13/site-packages/x.pth",
            ("1",),
            "how libraries are imported",
        ),
        (
            "mkdir -p .local/share/jupyter/kernels; cp -r /usr/share/jupyter/kernels/python3 .local/share/jupyter/kernels/python3",
            ("1",),
            "its kernel is python3",
        ),
    ],
)
def test_what_a_forked_process_cannot_do_gets_a_kernel(box, prepare, cells, reason):
    try:
        box.in_home("anna", prepare or "true")
        result = box.run_cells(*cells)
        (line,) = [line for line in result.log.splitlines() if COLD in line]
        assert reason in line
        if "petl" in prepare:
            assert "/home/anna/.local/lib" in result.log
    finally:
        box.in_home("anna", "rm -rf .local requests.py matplotlibrc")
    assert COLD not in box.run_cells("1").log


def test_own_library_that_shadows_nothing_is_found_warm(box):
    box.in_home(
        "anna",
        "mkdir -p .local/lib/python3.13/site-packages; echo 'WHO = 7' > .local/lib/python3.13/site-packages/ownlib.py;"
        " echo 'NEAR = 8' > nearlib.py",
    )
    try:
        result = box.run_cells("import ownlib, nearlib\nprint(ownlib.WHO * nearlib.NEAR)")
        assert COLD not in result.log
        assert "56" in result.log
    finally:
        box.in_home("anna", "rm -rf .local nearlib.py")


def test_killed_kernel_leaves_earlier_cells_and_a_failed_one(box):
    result = box.run_cells(
        "print('kept')", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('never')"
    )
    assert result.text.startswith("The kernel died in cell 2")
    executed = json.loads(box.execute("cat", result.end["chain_data"]["output"]))
    cells = executed["cells"]
    assert cells[0]["outputs"][0]["text"] == ["kept\n"]
    states = [cell["metadata"]["papermill"]["status"] for cell in cells]
    assert states[:2] == ["completed", "failed"]
    assert executed["metadata"]["papermill"]["exception"] is True


def test_what_a_dying_kernel_wrote_last_is_kept(box):
    # Warm only: one that is started loses what its sockets have not sent yet.
    result = box.run_cells("import ctypes\nprint('last words', flush=True)\nctypes.string_at(0)")
    assert result.text.startswith("The kernel died in cell 1")
    executed = json.loads(box.execute("cat", result.end["chain_data"]["output"]))
    (output,) = executed["cells"][0]["outputs"]
    assert output["text"] == ["last words\n"]


def test_cells_are_saved_while_a_later_one_runs(box):
    box.write("anna", "slow.ipynb", notebook("1 + 1", "import time; time.sleep(7031)"))
    process, job = box.start("notebook", {"owner": "anna", "notebook": "slow.ipynb"}, timeout=300)
    show = ("cat", f"/runs/anna/{job}/slow-output.ipynb")

    def states():
        cells = json.loads(box.execute(*show))["cells"]
        return [cell["metadata"]["papermill"]["status"] for cell in cells]

    wait_until(lambda: states() == ["completed", "running"], what="the saved cells")
    box.execute("pkill", "-TERM", "-f", "vixtract.runner.plugin", user="990")
    process.communicate(timeout=120)
    wait_until(lambda: box.processes_of("anna") == [], what="its end")
    assert states() == ["completed", "failed"]


def test_nothing_of_one_run_is_in_the_next(box):
    mark = "m" + "ark-of-anna"
    box.run_cells(
        f"import os, sys, builtins, petl\nos.environ['LEFT'] = builtins.left = petl.left = '{mark}'",
        "open('/dev/shm/left', 'w').write(os.environ['LEFT']) if False else None",
    )
    # The word is put together in the kernel; the memory searched is the driver's.
    search = (
        "import os, builtins, petl\n"
        "found = [hasattr(builtins, 'left'), hasattr(petl, 'left'), 'LEFT' in os.environ]\n"
        "word = ''.join(['m', 'ark-of-anna']).encode()\n"
        "pid = os.getppid()\n"
        "with open(f'/proc/{pid}/mem', 'rb', 0) as memory:\n"
        "    for line in open(f'/proc/{pid}/maps'):\n"
        "        start, end = (int(x, 16) for x in line.split()[0].split('-'))\n"
        "        if ' rw' not in line: continue\n"
        "        try:\n            memory.seek(start); data = memory.read(end - start)\n"
        "        except OSError: continue\n"
        "        if word in data: found.append(line)\n"
        "print('FOUND', found)"
    )
    result = box.run_cells(search, person="bob")
    assert "FOUND [False, False, False]" in result.log


def test_what_libraries_brought_along_is_not_counted(box):
    # Constants of code, which the collector of garbage does not see.
    result = box.run_cells(
        "import sys\nfrom petl.util import vis",
        "print('COUNTED', sys.getrefcount(vis._look_grid.__code__.co_consts) < 2**31)",
    )
    assert "COUNTED False" in result.log


def test_memory_of_a_run_holds_no_key(box):
    key = box.execute("cat", "/srv/secrets/role_key").strip()
    half = len(key) // 2
    # In two parts, so that the notebook itself does not hold it.
    search = (
        "def look(pid):\n"
        f"    word = ({key[:half][::-1]!r}[::-1] + {key[half:][::-1]!r}[::-1]).encode()\n"
        "    count = 0\n"
        "    memory = open(f'/proc/{pid}/mem', 'rb', 0)\n"
        "    for line in open(f'/proc/{pid}/maps'):\n"
        "        if ' r' not in line or '[v' in line: continue\n"
        "        start, end = (int(x, 16) for x in line.split()[0].split('-'))\n"
        "        for part in range(start, end, 1 << 22):\n"
        "            try:\n                memory.seek(part); data = memory.read(min(1 << 22, end - part))\n"
        "            except OSError: break\n"
        "            count += data.count(word) if data is not word else 0\n"
        "            del data\n"
        "    return count\n"
        "import os\nprint('KEYS', look(os.getppid()))"
    )
    result = box.run_cells(search)
    assert result.end["code"] == 0, result
    assert "KEYS 0" in result.log


def test_killed_fork_server_is_started_again_and_runs_go_on(box):
    server = box.execute("pgrep", "-f", "forkserver.py").split()[0]
    ready = logs(box.name).count("The fork server is ready")
    box.execute("kill", "-KILL", server)
    assert box.run_cells("print(6 * 7)").end["code"] == 0
    wait_until(
        lambda: logs(box.name).count("The fork server is ready") > ready,
        what="the fork server",
        timeout_s=300,
    )
    result = box.run_cells("import os\nprint(open('/proc/self/comm').read())")
    assert "vixtract-run" in result.log
