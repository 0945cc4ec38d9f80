"""Ask gixy about the configuration as it is rendered for each engine.

Usage: lint.py GIXY. Exit code 1 when gixy finds something that is not in SKIPPED.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

NGINX = Path(__file__).parents[1]
SHARE = "/usr/share/vixtract/front/"
SKIPPED = {
    # JupyterHub compares Host with a websocket's Origin, so it stays as the browser sent it. No
    # link and no cookie depends on it: tests/stack/test_attacks_doors.py forges it.
    "host_spoofing",
    # Speed, not safety: two small files.
    "try_files_is_evil_too",
    # The name in the address has passed a list of names before it is put there.
    "proxy_pass_normalized",
}


def render(folder: Path, engine: Path) -> Path:
    """Write nginx.conf with an engine's locations into a folder; return its path."""
    for kind in ("server.d", "stream.d"):
        (folder / kind).mkdir(parents=True)
    for source in (*(NGINX / "front").glob("*.conf"), NGINX / "nginx.conf"):
        text = source.read_text(encoding="utf-8").replace(SHARE, f"{folder}/")
        text = text.replace("include /etc/nginx/mime.types;", "")
        (folder / source.name).write_text(text, encoding="utf-8")
    (folder / engine.name).rename(folder / "server.d/engine.conf")
    return folder / "nginx.conf"


def main(gixy: str) -> int:
    """Check all engines' configurations; print what is found."""
    worst = 0
    for engine in sorted((NGINX / "front").glob("engine-*.conf")):
        with tempfile.TemporaryDirectory() as folder:
            config = render(Path(folder) / "nginx", engine)
            done = subprocess.run(
                [gixy, "--skips", ",".join(sorted(SKIPPED)), str(config)],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        output = done.stdout + done.stderr
        if done.returncode or "Missing" in output or "Traceback" in output:
            worst = 1
            sys.stderr.write(f"{engine.name}:\n{output}\n")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
