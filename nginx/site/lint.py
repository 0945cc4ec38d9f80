"""Ask gixy about the configuration as the entrypoint renders it in each mode.

Usage: lint.py GIXY. Exit code 1 when gixy finds something that is not in SKIPPED.
"""

from __future__ import annotations

import os
import re
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
    # The server for names that are not ours answers nobody, so it pins nobody to HTTPS.
    "hsts_header",
    # The image has OpenSSL 3.5, and nginx checks its configuration while the image is built.
    "ssl_ecdh_curve",
    # Speed, not safety: two small files.
    "try_files_is_evil_too",
    # The name in the address has passed a list of names before it is put there.
    "proxy_pass_normalized",
}


# The settings that lead to different configurations.
MODES = (
    {"VIXTRACT_ENGINE": "embedded", "HTTPS": "off"},
    {"VIXTRACT_ENGINE": "embedded", "HTTPS": "acme", "HTTPS_DOMAIN": "etl.example.com"},
    {"VIXTRACT_ENGINE": "cronicle", "HTTPS": "self-signed"},
    {"VIXTRACT_ENGINE": "cronicle", "HTTPS": "self-signed", "CRONICLE_PORT": "8012"},
)
# The entrypoint's own functions, over a copy of what the image has.
RENDER = """
source "$1/front-door"
run="$2" share="$2/front"
cp() { command cp "$share/../nginx.conf.in" "$2"; }
check_settings
render "$2" without
"""


def render(folder: Path, mode: dict[str, str]) -> Path:
    """Let the entrypoint write the configuration of a mode into a folder; return its path."""
    (folder / "front").mkdir(parents=True)
    (folder / "tls").mkdir()
    (folder / "tls/hsts.conf").write_text('map $host $hsts { default ""; }\n', encoding="utf-8")
    sources = {path: folder / "front" / path.name for path in (NGINX / "front").glob("*.conf")}
    for source, target in {**sources, NGINX / "nginx.conf": folder / "nginx.conf.in"}.items():
        text = source.read_text(encoding="utf-8").replace(SHARE, f"{folder}/front/")
        # Includes are relative to nginx.conf, as nginx reads them; gixy goes by the file.
        text = re.sub(r"include ([\w.-]+\.d/)", rf"include {folder}/\1", text)
        target.write_text(text.replace("include /etc/nginx/mime.types;", ""), encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], **mode}
    script = ["bash", "-c", RENDER, "-", str(NGINX), str(folder)]
    subprocess.run(script, env=environment, check=True, timeout=30)
    return folder / "nginx.conf"


def main(gixy: str) -> int:
    """Check the configurations of all modes; print what is found."""
    worst = 0
    for mode in MODES:
        with tempfile.TemporaryDirectory() as folder:
            config = render(Path(folder) / "nginx", mode)
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
            sys.stderr.write(f"{mode}:\n{output}\n")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
