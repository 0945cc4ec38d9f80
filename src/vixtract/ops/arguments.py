"""The command line: its words, its options and its help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from vixtract.ops.instance import SERVICES
from vixtract.ops.testing import BENCH, LINT, LONG, TIERS
from vixtract.people_commands import add_commands
from vixtract.settings import check_value
from vixtract.settings_table import BY_NAME

DESCRIPTION = "Looks after a ViXtract appliance on this machine."
EPILOG = """\
Settings are read from the environment, then from .env beside the compose file (another project's:
.vixtract/PROJECT.env); options given to `up` are kept there. exit codes: 0 done, 1 failed, 2 called
wrongly, 3 the machine is not ready.

first steps:
  ./vixtract up --yes        bring the appliance up, installing what is missing
  ./vixtract demo --yes      the same, then run a scheduled notebook on real data
  ./vixtract doctor          find what is wrong, with the cure
"""
TEST_EPILOG = f"""\
tiers: {LINT} (ruff, mypy, shellcheck, hadolint, eslint, …), {", ".join(TIERS)}, {BENCH} (is
loading twice as slow as recorded?); all that there are when none is named. images, stack and
browser run containers under a project name of their own: an appliance that runs on this machine is
not touched. With CI=true a missing container engine is a failure.

{LONG} runs the soaks, drills and corpora that no other call runs; with tiers or paths, only theirs.

examples:
  ./vixtract test                      everything but the long tests
  ./vixtract test unit --fast          unit tests, without those marked slow
  ./vixtract test -k demo              tests whose name has "demo", in all tiers
  ./vixtract test tests/unit/test_settings.py
  ./vixtract test unit -- --lf -x      further arguments go to pytest
"""

CERTS_EPILOG = """\
  show                 what is served, how long, and what is wrong (exit code 1)
  install CERT KEY     take a certificate of your own (HTTPS=files), checked before anything changes
  authority [FILE]     trust a private ACME server's authorities; without FILE no longer
  renew                ask the ACME authority for a new one now (HTTPS=acme)
"""


def _check_as(name: str) -> Callable[[str], str]:
    """Return a type for argparse that takes what a setting takes."""

    def check(text: str) -> str:
        problem = check_value(BY_NAME[name], text)
        if problem:
            raise argparse.ArgumentTypeError(f"{text!r} {problem}")
        return text

    return check


def _add_common(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the options that stand before or after the command's word."""
    group = parser.add_argument_group("options of every command", argument_default=default)
    add, port = group.add_argument, _check_as("HTTP_PORT")
    add("--project", metavar="NAME", help="compose project name (default: vixtract)")
    add("--http-port", metavar="PORT", type=port, help="port of the web pages (80)")
    add("--https-port", metavar="PORT", type=port, help="port of HTTPS (443)")
    add("--postgres-port", metavar="PORT", type=port, help="port for BI (5432)")
    add(
        "--bind",
        metavar="ADDRESS",
        type=_check_as("VIXTRACT_BIND"),
        help="address that the ports are published on (127.0.0.1); with any other, `up` generates "
        "passwords where the documented ones are in force",
    )
    add(
        "--https",
        metavar="MODE",
        choices=("off", "self-signed", "files", "acme"),
        help="off, self-signed, files or acme (off on loopback, else self-signed)",
    )
    add(
        "--domain",
        metavar="NAMES",
        type=_check_as("HTTPS_DOMAIN"),
        help="names of the appliance, the main one first, separated by commas",
    )
    add("--debug", action="store_true", help="show all output, and where errors arise")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="vixtract",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    _add_common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # Only set where it is given: it would overwrite what stands before the word.
        _add_common(command, argparse.SUPPRESS)
        return command

    _add_operations(add)
    add_commands(add, "host")
    _add_checks(add)
    return parser


def _add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", "-y", action="store_true", help="agree to every question")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=("auto", "cronicle", "embedded"),
        default="",
        help="scheduler's engine: cronicle, embedded, or auto: Cronicle where its image can be had",
    )


def _add_operations(add: Any) -> None:
    up = add("up", "bring the appliance up, or apply changed settings")
    _add_yes(up)
    _add_engine(up)
    down = add("down", "stop the appliance; all data stays")
    _add_yes(down)
    down.add_argument("--volumes", action="store_true", help="delete all data too")
    status = add("status", "show how each service does; exit code 1 unless all are up")
    status.add_argument("--json", action="store_true", help="print JSON")
    logs = add("logs", "show what the services log")
    logs.add_argument("service", nargs="*", choices=[*SERVICES, []], metavar="SERVICE")
    logs.add_argument("--follow", "-f", action="store_true", help="go on until interrupted")
    tail = "lines a service, or all (100)"
    logs.add_argument("--tail", default="100", metavar="LINES", help=tail)
    secrets = add("secrets", "change all passwords and keys, or show a setting's password")
    secrets.add_argument("action", choices=("rotate", "show"), help="what to do")
    secrets.add_argument("name", nargs="?", default="", metavar="SETTING", help="what to show")
    _add_yes(secrets)
    wait = "for running jobs to end (600)"
    secrets.add_argument("--wait", type=int, default=600, metavar="SECONDS", help=wait)
    certs = add("certs", "show the certificate of HTTPS, or change it", CERTS_EPILOG)
    certs.add_argument(
        "action", nargs="?", default="show", choices=("show", "install", "authority", "renew")
    )
    certs.add_argument("cert", nargs="?", help="PEM file: certificate and those that vouch for it")
    certs.add_argument("key", nargs="?", help="PEM file: its key")
    certs.add_argument("--password-file", metavar="FILE", help="file with the key's password")
    demo = add("demo", "run a scheduled notebook on real data and read its tables, start included")
    _add_yes(demo)
    _add_engine(demo)


def _add_checks(add: Any) -> None:
    build = add("build", "build images from this checkout, those that changed")
    _add_yes(build)
    build.add_argument("service", nargs="*", metavar="SERVICE", help="jupyter, cronicle, nginx, …")
    build.add_argument("--no-cache", action="store_true", help="make every layer anew")
    test = add("test", "run linters and tests in an environment of their own", TEST_EPILOG)
    _add_yes(test)
    tiers = ", ".join((LINT, *TIERS, BENCH, LONG))
    test.add_argument(
        "what", nargs="*", metavar="TIER|PATH", help=f"{tiers}; or a file, a folder, a node id"
    )
    test.add_argument("-k", dest="keyword", default="", metavar="EXPRESSION", help="as in pytest")
    test.add_argument("--fast", action="store_true", help="leave out tests that are marked slow")
    doctor = add("doctor", "find what is wrong with machine and appliance, with the cure")
    doctor.add_argument("--json", action="store_true", help="print JSON")
