"""The addresses of the Hub and of a person's server, as the programs in the container list them."""

from __future__ import annotations

import json
import re
import uuid

UNSAFE = ("post", "put", "patch", "delete")
# {walk} notes each rule; a websocket counts as a method of its own.
SCRIPT = """
import json, sys
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler
found = []
def note(pattern, handler):
    own = [m for m in {methods!r} if getattr(handler, m, None) is not getattr(RequestHandler, m)]
    found.append((pattern, own + ["websocket"] * issubclass(handler, WebSocketHandler)))
{walk}
print("ROUTES" + json.dumps(found))
"""
HUB = """
from pathlib import Path
from jupyterhub import apihandlers, handlers
from vixtract.hub.authenticator import PeopleAuthenticator
own = PeopleAuthenticator(database="/tmp/routes.sqlite").get_handlers(None)
Path("/tmp/routes.sqlite").unlink(missing_ok=True)
for rule in [*handlers.default_handlers, *apihandlers.default_handlers, *own]:
    note("/jupyter/hub" + rule[0] + "$", rule[1])
"""
LAB = """
from jupyterlab.labapp import LabApp
arguments = ["--port=0", "--ServerApp.base_url=/jupyter/user/{name}/"]
server = LabApp.initialize_server(argv=arguments, load_other_extensions=True)
def walk(router):
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            walk(rule.target)
        elif isinstance(rule.target, type):
            note(rule.matcher.regex.pattern, rule.target)
walk(server.web_app.wildcard_router)
walk(server.web_app.default_router)
"""
# What stands for a group of a pattern, by its name or by what it admits.
SAMPLES = {
    "user_name": "victim", "user_path": "/api/kernels", "path": "/keep.txt", "kernel_name": "python3",
    "workspace": "", "tree": "", "action": "restart", "mode": "lab", "schema_name": "@jupyterlab/apputils-extension:themes",
    "checkpoint_id": "checkpoint", "section_name": "notebook", "format": "html", "space_name": "default",
}  # fmt: skip


def sample_group(group: str) -> str:
    """Return what a group of a pattern admits."""
    if r"\w+-\w+" in group:
        return str(uuid.UUID(int=1))
    if r"(\d+)" in group:
        return "7"
    file = re.match(r"\((\w+)\\\.(\w+)", group)
    return f"{file[1]}.{file[2]}" if file else "victim"


def sample_path(pattern: str) -> str:
    """Return an address that a pattern of tornado's matches."""
    path, depth, begun = "", 0, 0
    for position, letter in enumerate(pattern):
        if letter == "(" and pattern[position - 1] != "\\":
            begun = position if depth == 0 else begun
            depth += 1
        elif letter == ")" and pattern[position - 1] != "\\":
            depth -= 1
            if depth == 0:
                group = pattern[begun : position + 1]
                name = re.match(r"\(\?P<(\w+)>", group)
                path += SAMPLES.get(name[1] if name else "", sample_group(group))
        elif depth == 0:
            path += letter
    path = path.rstrip("$").replace("/?", "").replace(".*", "x").replace("\\.", ".")
    path = path.replace("?", "")
    assert re.fullmatch(pattern.rstrip("$"), path), (pattern, path)
    return path


def list_routes(
    appliance, walk: str, user: str = "", methods: tuple[str, ...] = UNSAFE
) -> list[tuple[str, str]]:
    """Return (method, address) for each method that a program has.

    Args:
        appliance: the running instance.
        walk: HUB or LAB.
        user: account that the listing runs as; whose server LAB is.
        methods: wanted ones, in small letters; `websocket` always comes along.
    """
    script = SCRIPT.format(methods=methods, walk=walk.replace("{name}", user))
    output = appliance.execute(
        "jupyter", "/opt/jupyterhub/bin/python", "-I", "-c", script, user=user, check=False
    )
    assert "ROUTES" in output, output
    listed = json.loads(output.partition("ROUTES")[2].splitlines()[0])
    found = {(method, sample_path(pattern)) for pattern, own in listed for method in own}
    # Some rules lie outside of the prefix, where the front door never leads.
    return sorted(route for route in found if route[1].startswith("/jupyter/"))
