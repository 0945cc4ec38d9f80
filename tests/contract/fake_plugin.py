"""A stand-in for the plugins: speaks the plugin protocol, needs no runner daemon and no homes.

`shell` runs params.script. `notebook` does, one after another, what the list in
params.parameters.steps says: [name of a function below, its arguments...].
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def say(_job, fields):
    """Write a protocol line."""
    print(json.dumps(fields), flush=True)


def raw(_job, text, times=1):
    """Write raw text to standard output."""
    sys.stdout.write(text * times)
    sys.stdout.flush()


def log(_job, text):
    """Write a line to the log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def sleep(_job, seconds):
    """Wait."""
    time.sleep(seconds)


def await_file(_job, path):
    """Wait until a file is there."""
    while not Path(path).exists():
        time.sleep(0.05)


def flood(_job, size):
    """Write this many bytes to the log."""
    for _ in range(size // 65536):
        os.write(2, b"x" * 65535 + b"\n")


def leave(_job, code):
    """Exit without reporting completion."""
    sys.exit(code)


def stubborn(_job):
    """Ignore SIGTERM from now on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def child(_job, seconds):
    """Leave a child behind that keeps the pipes open."""
    subprocess.Popen(["/bin/sleep", str(seconds)])


def mark(job, path):
    """Append the job's id, due time and attempt to a file, durably."""
    line = f"{job['id']} {job['now']} {job['attempt']}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, line)
    os.fsync(handle)
    os.close(handle)


def environment(_job, path):
    """Write the environment to a file."""
    Path(path).write_text(json.dumps(dict(os.environ)))


def record(job, root, files, end):
    """Write files into the job's record below a root, as the runner does, and end with its facts."""
    folder = Path(root) / "anna" / job["id"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    shown = f"/runs/anna/{job['id']}"
    facts = {
        "owner": "anna", "run_dir": shown, "notebook": "/home/anna/etl/load.ipynb",
        "output": f"{shown}/load-output.ipynb", "html": f"{shown}/output.html", **end["facts"],
    }  # fmt: skip
    line = {"complete": 1, "code": end["code"], "description": end["description"]}
    say(job, {**line, "chain_data": facts})


STEPS = {
    function.__name__: function
    for function in (
        *(
            say,
            raw,
            log,
            sleep,
            await_file,
            flood,
            leave,
            stubborn,
            child,
            mark,
            environment,
            record,
        ),
    )
}


def run_shell(job):
    """Run the script; its output is the log."""
    done = subprocess.run(["/bin/bash", "-c", job["params"]["script"]], stdout=2, check=False)
    code = done.returncode
    say(job, {"complete": 1, "code": code, "description": f"Script exited with {code}"})


def main():
    """Do one job."""
    job = json.loads(sys.stdin.readline())
    if sys.argv[1] == "shell":
        run_shell(job)
        return
    for name, *values in job["params"]["parameters"]["steps"]:
        STEPS[name](job, *values)


if __name__ == "__main__":
    main()
