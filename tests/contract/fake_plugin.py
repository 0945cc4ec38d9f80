"""A stand-in for the plugins: speaks the plugin protocol, needs no runner daemon and no homes.

`shell` runs params.script. `notebook` does what the JSON list in params.parameters.steps says:
["say", object] writes a protocol line, ["raw", text, times] raw text to standard output, ["log", text]
to the log, ["sleep", seconds], ["flood", bytes] to the log, ["exit", code], ["stubborn"] ignores
SIGTERM, ["child", seconds] leaves a child behind, ["mark", path] appends the job's id, due time
and attempt to a file, ["environment", path] writes the environment to a file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def report(**fields):
    print(json.dumps(fields), flush=True)


def log(text):
    sys.stderr.write(text)
    sys.stderr.flush()


def mark(job, path):
    line = f"{job['id']} {job['now']} {job['attempt']}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, line)
    os.fsync(handle)
    os.close(handle)


def step(job, name, *values):
    if name == "say":
        print(json.dumps(values[0]), flush=True)
    elif name == "raw":
        sys.stdout.write(values[0] * (values[1] if len(values) > 1 else 1))
        sys.stdout.flush()
    elif name == "log":
        log(values[0] + "\n")
    elif name == "sleep":
        time.sleep(values[0])
    elif name == "flood":
        for _ in range(values[0] // 65536):
            os.write(2, b"x" * 65535 + b"\n")
    elif name == "exit":
        sys.exit(values[0])
    elif name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif name == "child":
        subprocess.Popen(["/bin/sleep", str(values[0])])
    elif name == "mark":
        mark(job, values[0])
    elif name == "environment":
        Path(values[0]).write_text(json.dumps(dict(os.environ)))
    else:
        log(f"unknown step {name}\n")


def run_shell(job):
    done = subprocess.run(["/bin/bash", "-c", job["params"]["script"]], stdout=2, check=False)
    report(complete=1, code=done.returncode, description=f"Script exited with {done.returncode}")


def main():
    job = json.loads(sys.stdin.readline())
    if sys.argv[1] == "shell":
        run_shell(job)
        return
    parameters = job["params"].get("parameters") or {}
    for words in parameters.get("steps", [["say", {"complete": 1, "code": 0}]]):
        step(job, *words)


if __name__ == "__main__":
    main()
