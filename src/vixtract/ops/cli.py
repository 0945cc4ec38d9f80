"""`./vixtract`: read the command line, call the other modules, print. Only this module prints."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from vixtract import __version__
from vixtract.errors import UsageError, VixtractError
from vixtract.ops import certificates
from vixtract.ops.arguments import build_parser
from vixtract.ops.compose import build_compose, build_down, build_logs, run_compose
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers
from vixtract.ops.demo import is_up, render_result, run_demo
from vixtract.ops.doctor import as_json, is_serious, run_doctor
from vixtract.ops.engine import ensure_engine
from vixtract.ops.host import Host
from vixtract.ops.instance import Instance, load_instance
from vixtract.ops.people import run_people
from vixtract.ops.provision import build_images
from vixtract.ops.rotate import check_shown, render_rotated, run_rotation
from vixtract.ops.status import (
    build_accounts,
    build_addresses,
    build_status,
    render_addresses,
    render_status,
)
from vixtract.ops.testing import run_tests, select_tests
from vixtract.ops.up import Started, find_present_engine, list_volumes, require_running, run_up
from vixtract.text_tables import format_span, render_table

ROOT = Path(__file__).resolve().parents[3]
#: Without a terminal, progress inside a step is printed at most this often.
QUIET_S = 15.0
DOWN_S = 300.0
#: What a shell reports for a program whose reader left (128 and SIGPIPE).
READER_LEFT = 141
FOLLOW_S = 86400.0


class ReaderLeftError(BaseException):
    """The reader of standard output is gone. As a BaseException no step on the way catches it."""


class Terminal:
    """Prints for a person, or line by line into a pipe."""

    def __init__(self) -> None:
        self._fancy = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._open = False
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self._clear()
        self._print(f"{text}\n")
        self._last = time.monotonic()

    def detail(self, text: str) -> None:
        """Show progress: on a terminal it is overwritten by what comes next."""
        if self._fancy:
            width = shutil.get_terminal_size().columns - 1
            self._print(f"\r\033[K{' '.join(text.split())[:width]}")
            self._open = True
        elif time.monotonic() - self._last > QUIET_S:
            self.say(f"  {text}")

    def ask(self, question: str) -> bool | None:
        """Ask; None where there is no terminal."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return None
        self._clear()
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False

    def fail(self, message: str, hint: str) -> None:
        """Print what happened and what to do, each on one line."""
        self._clear()
        for text in (f"vixtract: {message}", hint):
            if text:
                print(" ".join(text.split()), file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._open:
            self._print("\r\033[K")
            self._open = False

    def _print(self, text: str) -> None:
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            raise ReaderLeftError from None


class Command:
    """One call of the command; `passed_on` is what stood after `--`."""

    def __init__(
        self, options: argparse.Namespace, passed_on: Sequence[str], terminal: Terminal
    ) -> None:
        self.options = options
        self.passed_on = passed_on
        self.say = terminal.say
        host = Host()
        self.in_ci = host.environment.get("CI", "").lower() == "true"
        agreed = bool(getattr(options, "yes", False)) or (self.in_ci and options.command == "test")
        self.session = Session(host, terminal, agreed, bool(options.debug))

    def say_all(self, lines: Iterable[str]) -> None:
        """Print several lines."""
        for line in lines:
            self.say(line)

    def instance(self, **more: str) -> Instance:
        """Return the appliance that the options and the environment describe."""
        return load_instance(ROOT, {**vars(self.options), **more}, self.session.host.environment)

    def up(self) -> int:
        """Bring the appliance up and tell where it is."""
        instance = self.instance()
        self.say_all(f"Warning: {warning}" for warning in instance.warnings)
        self._tell(run_up(self.session, instance, self.options.engine))
        return 0

    def _tell(self, started: Started) -> None:
        instance = started.instance
        self.say(f"ViXtract is up after {format_span(started.seconds)}")
        self.say(f"Scheduler engine: {started.engine} ({started.reason})")
        self.say_all(render_addresses(build_addresses(instance)))
        self._tell_certificate(certificates.load_certificate(self.session.host, instance))
        self.say("")
        accounts = build_accounts(instance, started.passwords)
        self.say_all(render_table(("account of", "name", "password"), accounts))
        if started.passwords:
            shown = os.path.relpath(instance.secrets_path, instance.root)
            self.say(f"Generated passwords are shown this once; they are kept in {shown} (0600).")

    def _tell_certificate(self, found: certificates.Certificate | None) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        self.say_all(certificates.render_certificate(found, now) if found else ())

    def certs(self) -> int:
        """Show or change the front door's certificate."""
        instance, host, options = self.instance(), self.session.host, self.options
        require_running(self.session)
        if options.action == "install":
            if not (options.cert and options.key):
                raise UsageError("Certificate and key are needed.", "certs install CERT KEY")
            password_file = options.password_file or ""
            self.say(certificates.install(host, instance, options.cert, options.key, password_file))
            if instance.settings.https_mode != "files":
                self.say("It is served once HTTPS is files: ./vixtract up --https files")
        elif options.action == "authority":
            self.say(certificates.trust_authority(host, instance, options.cert or ""))
        elif options.action == "renew":
            self.say(certificates.manage(host, instance, "renew"))
        else:
            found = certificates.load_certificate(host, instance)
            if found is None:
                self.say(f"No HTTPS is served (HTTPS={instance.settings.https_mode}).")
                return int(instance.settings.https_mode != "off")
            self._tell_certificate(found)
            return int(bool(found.problem))
        return 0

    def down(self) -> int:
        """Stop the appliance."""
        instance, session = self.instance(), self.session
        _, compose = require_running(session)
        volumes = list_volumes(session, instance) if self.options.volumes else []
        if volumes:
            session.agree(
                "Delete for ever all notebooks, schedules, runs and databases of project "
                f"{instance.project} (volumes {', '.join(volumes)})",
                "Leave out --volumes to stop and keep all data, or add --yes.",
            )
        arguments = build_down(volumes=self.options.volumes)
        done = run_compose(session, compose, instance, arguments, DOWN_S)
        done.require(VixtractError, "Compose failed", "Run: ./vixtract doctor")
        rest = "all data is deleted" if self.options.volumes else "all data stays"
        self.say(f"ViXtract (project {instance.project}) is down; {rest}.")
        return 0

    def secrets(self) -> int:
        """Change all secrets, or show one of the settings."""
        instance = self.instance()
        if self.options.action == "show":
            self.say(instance.settings[check_shown(self.options.name)])
            return 0
        self.session.agree(
            "Change all passwords and keys: everybody signs in again, the scheduler is away for "
            "some seconds, and BI tools need the new password",
            "Add --yes.",
        )
        self.say_all(render_rotated(run_rotation(self.session, instance, self.options.wait)))
        return 0

    def status(self) -> int:
        """Show how each service does."""
        instance = self.instance()
        require_running(self.session)
        found = list_containers(self.session.host, instance.project)
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = certificates.load_certificate(self.session.host, instance)
        status = build_status(instance, found, now, certificate)
        if self.options.json:
            self.say(json.dumps(status, indent=2))
        else:
            self.say_all(render_status(status))
            self._tell_certificate(certificate)
        return 0 if status["state"] == "up" else 1

    def logs(self) -> int:
        """Show what the services log."""
        tail = self.options.tail
        if not re.fullmatch(r"\d{1,9}|all", tail):
            raise UsageError(f"--tail {tail} is no number.", "Give a number of lines, or `all`.")
        instance = self.instance()
        _, compose = require_running(self.session)
        service, follow = self.options.service, self.options.follow
        arguments = build_logs(service, follow=follow, tail=tail, colour=sys.stdout.isatty())
        return self.session.host.attach(
            build_compose(compose, instance, arguments),
            timeout_s=FOLLOW_S if follow else DOWN_S,
            environment=instance.variables(),
        )

    def build(self) -> int:
        """Build images."""
        ensure_engine(self.session)
        built = build_images(
            self.session, self.instance(), self.options.service, no_cache=self.options.no_cache
        )
        if not built:
            self.say("Every image matches this checkout; --no-cache builds them all the same.")
        return 0

    def test(self) -> int:
        """Run linters and tests."""
        options = self.options
        selection = select_tests(ROOT, options.what, options.keyword, fast=options.fast)
        # The tests' own project: settings of a person's appliance must not leak into theirs.
        instance = self.instance(project=options.project or "vixtract-test")
        outcome = run_tests(self.session, instance, selection, self.passed_on, required=self.in_ci)
        if outcome.failed:
            print(f"vixtract test: failed: {', '.join(outcome.failed)}", file=sys.stderr)
        return outcome.exit_code

    def demo(self) -> int:
        """Run the main job once."""
        instance, session = self.instance(), self.session
        start = session.host.clock()
        ensure_engine(session)
        asked = self.options.engine
        present = find_present_engine(session.host, instance)
        if is_up(session, instance) and asked in ("", "auto", present):
            self.say(f"ViXtract is up already, with the engine {present}")
        else:
            started = run_up(session, instance, asked)
            self._tell(started)
            instance = started.instance
        result = run_demo(session, instance, datetime.datetime.now(datetime.timezone.utc))
        self.say_all(render_result(result))
        self.say(f"Demo done after {format_span(session.host.clock() - start)}")
        return 0

    def user(self) -> int:
        """Change people, teams or readers."""
        require_running(self.session)
        return run_people(self.session, self.instance(), self.options)

    team = reader = user

    def doctor(self) -> int:
        """Look for problems."""
        findings = run_doctor(self.session, self.instance())
        if self.options.json:
            self.say(json.dumps(as_json(findings), indent=2))
            return int(is_serious(findings))
        for finding in findings:
            self.say(f"{finding.level:8} {finding.check:10} {finding.text}")
            if finding.cure:
                self.say(f"{'':19} cure: {finding.cure}")
        serious = sum(finding.level == "serious" for finding in findings)
        self.say(f"{serious} serious" if serious else "Nothing serious.")
        return int(is_serious(findings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 done, 1 failed, 2 called wrongly, 3 the machine is not ready."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    split = words.index("--") if "--" in words else len(words)
    parser = build_parser()
    options = parser.parse_args(words[:split])
    if options.version:
        print(f"vixtract {__version__}")
        return 0
    if not options.command:
        parser.print_help()
        return 2
    return run_command(options, words[split + 1 :])


def run_command(options: argparse.Namespace, passed_on: list[str]) -> int:
    """Run one subcommand, tell errors in two lines, and return the exit code."""
    terminal = Terminal()
    try:
        command = Command(options, passed_on, terminal)
        code: int = getattr(command, options.command)()
    except VixtractError as error:
        if options.debug:
            traceback.print_exc()
        terminal.fail(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        terminal.fail("Interrupted.", "Run the same command again to go on.")
        return 130
    except ReaderLeftError:
        # As other programs do after `… | head`. SIGPIPE itself stays ignored: with its default,
        # any connection that the other side closed would end this process without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except Exception as error:
        if options.debug:
            raise
        terminal.fail(
            f"Unexpected {type(error).__name__}: {error}", "Run it again with --debug for details."
        )
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
