"""What is really installed in the images: no older than tests/versions.py says, and nothing setuid."""

from __future__ import annotations

import json

import pytest

from tests.images.docker_cli import docker
from tests.own_images import own_image, postgres_base
from tests.versions import DEBIAN, GONE, NODE, POSTGRESQL, PYTHON, number

INTERPRETERS = {
    "jupyter": ("/opt/jupyterhub/bin/python", "/usr/bin/python3"),
    "cronicle": ("/opt/vixtract/bin/python", "/usr/bin/python3"),
}
LIST = (
    "import importlib.metadata as m, json, re; "
    "print(json.dumps({re.sub('[-_.]+', '-', d.name).lower(): d.version for d in m.distributions()}))"
)
# Setuid and setgid programs that an image keeps, and why.
SETUID = {"jupyter": {"/usr/bin/sudo"}}  # administrators' terminals


def look(service: str, *words: str) -> str:
    """Run a command in an image, without its entrypoint and network."""
    options = ("run", "--rm", "--network=none", "--user=0", f"--entrypoint={words[0]}")
    return docker(*options, own_image(service), *words[1:]).stdout


@pytest.mark.parametrize("service", INTERPRETERS)
def test_no_image_holds_an_older_library(service):
    for interpreter in INTERPRETERS[service]:
        held = json.loads(look(service, interpreter, "-I", "-c", LIST))
        assert len(held) > 20, interpreter
        old = {
            name: f"{held[name]} < {least}: {reason}"
            for name, (least, reason) in PYTHON.items()
            if name in held and number(held[name]) < number(least)
        }
        assert not old, (interpreter, old)


@pytest.mark.parametrize("service", DEBIAN)
def test_no_image_holds_an_older_package_of_debian(service):
    for name, (least, reason) in DEBIAN[service].items():
        script = 'v=$(dpkg-query -W -f \'${Version}\' "$1") && dpkg --compare-versions "$v" ge "$2" && echo "$v"'
        assert look(service, "bash", "-c", script, "-", name, least), f"{name} < {least}: {reason}"


def test_the_proxy_of_the_hub_is_one_that_is_kept_up():
    script = (
        "const fs = require('fs'), held = {}, root = '/opt/chp/node_modules/';"
        "for (const d of fs.readdirSync(root, {recursive: true})) if (d.endsWith('package.json')) {"
        "const p = JSON.parse(fs.readFileSync(root + d)); if (p.name && p.version) held[p.name] = p.version; }"
        "console.log(JSON.stringify(held))"
    )
    held = json.loads(look("jupyter", "node", "-e", script))
    for name, (least, reason) in NODE.items():
        assert number(held[name]) >= number(least), f"{name}: {reason}"
    assert not set(GONE) & set(held)


def test_postgresql_has_its_fixes():
    options = ("run", "--rm", "--network=none", "--entrypoint=/bin/sh", postgres_base())
    shown = docker(*options, "-c", "$(ls -d /usr/lib/postgresql/*/bin/postgres) --version").stdout
    version = shown.split()[2]
    assert number(version) >= number(POSTGRESQL[0]), f"{version}: {POSTGRESQL[1]}"


def test_the_hubs_image_has_no_other_way_up_than_sudo():
    """Where no-new-privileges cannot be set, no program may give rights away."""
    found = look("jupyter", "find", "/", "-xdev", "-type", "f", "-perm", "/6000").split()
    assert set(found) == SETUID["jupyter"]
