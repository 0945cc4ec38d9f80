"""The edge of the operator's command, played back: a machine that answers as it is told."""

from __future__ import annotations

import re
from pathlib import Path

from vixtract.ops.console import Session
from vixtract.ops.host import Completed, Host


class Recorder:
    """A console that keeps what was said; questions get the given answer."""

    def __init__(self, answer=None):
        self.lines: list[str] = []
        self.details: list[str] = []
        self.questions: list[str] = []
        self.answer = answer

    def say(self, text):
        self.lines.append(text)

    def detail(self, text):
        self.details.append(text)

    def ask(self, question):
        self.questions.append(question)
        return self.answer

    @property
    def text(self):
        return "\n".join(self.lines)


class FakeHost(Host):
    """A machine on which no program runs.

    ``answers`` maps a regular expression over the command line to a `Completed`, a list of them
    (one a call, the last for ever) or a function of the keyword arguments.
    """

    def __init__(self, root: Path, answers=None, *, programs=(), environment=None, is_root=True):
        super().__init__(root, environment or {})
        self.answers = dict(answers or {})
        self.programs = set(programs)
        self.calls: list[str] = []
        self.given: list[dict] = []
        self.now = 0.0
        self.root_user = is_root
        self.spawned: list[list[str]] = []
        self.exit_code = None

    def which(self, name):
        return f"/usr/bin/{name}" if name in self.programs else ""

    def is_root(self):
        return self.root_user

    def sleep(self, seconds):
        self.now += seconds

    def clock(self):
        return self.now

    def _answer(self, argv, arguments) -> Completed:
        line = " ".join(argv)
        self.calls.append(line)
        self.given.append(arguments)
        for pattern, answer in self.answers.items():
            if re.search(pattern, line):
                if callable(answer):
                    return answer(arguments)
                if isinstance(answer, list):
                    return answer.pop(0) if len(answer) > 1 else answer[0]
                return answer
        raise AssertionError(f"unexpected command: {line}")

    def run(self, argv, **arguments):
        return self._answer(argv, arguments)

    def stream(self, argv, *, on_line, **arguments):
        done = self._answer(argv, arguments)
        for line in done.stdout.splitlines():
            on_line(line)
        return done

    def attach(self, argv, **arguments):
        return self._answer(argv, arguments).returncode

    def spawn(self, argv, log):
        self.spawned.append(list(argv))
        return lambda: self.exit_code

    def called(self, pattern) -> list[str]:
        """Return the command lines that match."""
        return [line for line in self.calls if re.search(pattern, line)]


def make_session(host, *, yes=False, answer=None, debug=False) -> Session:
    """Return a session on a fake machine with a recording console."""
    return Session(host, Recorder(answer), yes, debug)


OK = Completed(0, "")
FAILED = Completed(1, "", "it failed")
