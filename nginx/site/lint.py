"""Ask gixy about the configuration as `front-door` renders it, for each engine and with HTTPS.

Usage: lint.py GIXY. Exit code 1 when gixy finds something that is not in SKIPPED.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

NGINX = Path(__file__).parents[1]
sys.path.insert(0, str(NGINX.parent / "src"))

from vixtract.settings import Settings, list_defaults  # noqa: E402 - it is found by now

SHARE = "/usr/share/vixtract/front/"
SKIPPED = {
    # JupyterHub compares Host with a websocket's Origin, so it stays as the browser sent it. No
    # link and no cookie depends on it: tests/stack/test_attacks_doors.py forges it.
    "host_spoofing",
    # Speed, not safety: two small files.
    "try_files_is_evil_too",
    # The name in the address has passed a list of names before it is put there.
    "proxy_pass_normalized",
    # The image brings its own OpenSSL, 3.5; tests/images/test_https.py starts nginx with it.
    "ssl_ecdh_curve",
    # Strangers get 421 and no policy; tests/images/test_https.py looks at that of the pages.
    "hsts_header",
}


# What the settings choose, in all ways that change what is rendered.
MODES = (
    {"VIXTRACT_ENGINE": "embedded", "HTTPS": "off"},
    {"VIXTRACT_ENGINE": "cronicle", "HTTPS": "off"},
    {"VIXTRACT_ENGINE": "embedded", "HTTPS": "acme", "HTTPS_DOMAIN": "etl.example.com"},
    {"VIXTRACT_ENGINE": "cronicle", "HTTPS": "self-signed", "CRONICLE_PORT": "3012"},
)
HSTS = 'map $host $hsts { default "max-age=63072000"; }\n'


def render(folder: Path, mode: Mapping[str, str]) -> Path:
    """Let `front-door` write the configuration for some settings into a folder; return its path."""
    share, run = folder / "share", folder / "run"
    for path in (share, run / "tls"):
        path.mkdir(parents=True)
    for source in (*(NGINX / "front").glob("*.conf"), NGINX / "nginx.conf"):
        text = source.read_text(encoding="utf-8").replace(SHARE, f"{share}/")
        text = text.replace("include /etc/nginx/mime.types;", "")
        (share / source.name).write_text(text.replace("/run/nginx/", f"{run}/"), encoding="utf-8")
    (run / "tls/hsts.conf").write_text(HSTS, encoding="ascii")
    script = f"source {NGINX}/front-door; share={share} run={run} main={share}/nginx.conf; "
    settings = {**list_defaults("nginx"), **mode}
    Settings.for_process("nginx", settings)
    subprocess.run(
        # The settings are checked by now, and the image's own check is not at hand.
        [
            "/bin/bash",
            "-c",
            script + 'certificates() { :; }; check_settings; render "$run" without',
        ],
        env={"PATH": "/usr/bin:/bin", **settings},
        timeout=60,
        check=True,
    )
    return run / "nginx.conf"


def main(gixy: str) -> int:
    """Check all configurations; print what is found."""
    worst = 0
    for mode in MODES:
        name = " ".join(f"{key}={value}" for key, value in mode.items())
        with tempfile.TemporaryDirectory() as folder:
            config = render(Path(folder), mode)
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
            sys.stderr.write(f"{name}:\n{output}\n")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
