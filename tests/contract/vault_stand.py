"""A vault as a real root process over a scratch folder, and questions put to it by other accounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CAN_SERVE = os.geteuid() == 0
WHY_NOT = "answering by uid needs accounts, and so root"
# Beyond any account of the machine that runs the tests.
PORTAL, ENGINE, ANNA, BOB, CAROL = 48323, 48324, 48400, 48401, 48402
PEOPLE = {"anna": ANNA, "bob": BOB, "carol": CAROL}
LOOPBACK = "127.0.0.1"
LIBRARIES = [str(ROOT / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
# Accounts of the test stand in for the machine's; all else is the real process.
LAUNCH = """
import os, pwd, sys
sys.path.insert(0, {source!r})
from pathlib import Path
from types import SimpleNamespace as Entry
people = {people!r}
names = dict((uid, name) for name, uid in people.items())
pwd.getpwuid = lambda uid: Entry(pw_name=names[uid])
from vixtract.vault.isolated_test import IsolatedTest
from vixtract.vault.requests import VaultConfig
from vixtract.vault.server import Vault
boot = "import sys; sys.path[:0] = {path!r}; from vixtract.vault.probe import main; main()"
tester = IsolatedTest(({python!r}, "-I", "-S", "-c", boot), {deadline}, {allowed!r})
Vault(VaultConfig(Path({socket!r}), Path({secrets!r}), Path({homes!r}), {portal}, 65534, tester)).run()
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(40)
    s.connect(sys.argv[1])
    s.sendall(sys.stdin.buffer.read() + b"\\n")
    answer = b""
    while part := s.recv(65536):
        answer += part
sys.stdout.buffer.write(answer)
"""


def find_python() -> str:
    """Return a Python that every account may run, of the version of the tests' own libraries."""
    own = Path(sys.executable).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in own.parents):
        return sys.executable
    version = "import sys; print(sys.version_info[:2])"
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(name).exists():
            done = subprocess.run([name, "-c", version], capture_output=True, text=True, timeout=60)
            if done.stdout.strip() == str(sys.version_info[:2]):
                return name
    raise AssertionError(
        f"No account but root can run {own}: make the tests' environment elsewhere."
    )


class VaultStand:
    """A running vault.

    Args:
        directory: scratch folder that other accounts can reach.
        people: name to uid.
        portal: uid of the portal.
        deadline: seconds of a test.
        allowed: addresses that tests may go to although they are refused.
    """

    def __init__(
        self, directory: Path, people=PEOPLE, *, portal: int = PORTAL, deadline: float = 18.0,
        allowed: tuple[str, ...] = (LOOPBACK,),
    ) -> None:  # fmt: skip
        self.directory = directory
        self.socket = directory / "vault" / "vault.sock"
        self.secrets = directory / "secrets"
        self.homes = directory / "vault-home"
        for name, uid in people.items():
            home = self.homes / name
            home.mkdir(parents=True)
            os.chown(home, uid, uid)
        self._people = people
        self._portal, self._deadline, self._allowed = portal, deadline, allowed
        self.start()

    def start(self) -> None:
        """Start the process."""
        code = LAUNCH.format(
            source=str(ROOT / "src"), people=dict(self._people),
            path=LIBRARIES, python=find_python(),
            socket=str(self.socket), secrets=str(self.secrets),
            homes=str(self.homes), portal=self._portal,
            deadline=self._deadline, allowed=self._allowed,
        )  # fmt: skip
        with (self.directory / "vault.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", code], stdout=log, stderr=log
            )
        wait_until(self._listens_or_ended, "the vault's socket", interval_s=0.05)
        assert self.process.poll() is None, self.log

    def set_team(self, name: str, *members: str) -> None:
        """Make a team with these members, as the Hub's list of teams says it."""
        place = self.homes / ".vixtract"
        place.mkdir(mode=0o700, exist_ok=True)
        teams = {"teams": {name: {"gid": 60000, "members": members}}}
        (place / "teams.json").write_text(json.dumps(teams), encoding="ascii")

    def _listens_or_ended(self) -> bool:
        return self.process.poll() is not None or self.socket.is_socket()

    @property
    def log(self) -> str:
        """What the process wrote."""
        return (self.directory / "vault.log").read_text(errors="replace")

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(20)
        self.socket.unlink(missing_ok=True)

    def ask(self, uid: int, **question) -> dict:
        """Ask from a process of an account."""
        return self.ask_raw(uid, json.dumps(question).encode())

    def ask_raw(self, uid: int, line: bytes) -> dict:
        """Send any bytes from a process of an account."""
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", ASK, str(self.socket)], input=line,
            user=uid, group=uid, extra_groups=[], capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout) if done.stdout else {}

    def save(
        self, person: str, name: str, kind: str, owner=None, number: int = 0, **values
    ) -> dict:
        """Keep a connection as the portal does."""
        kept = values.pop("kept", [])
        return self.ask(
            self._portal, do="save", person=person, name=name, kind=kind, owner=owner, id=number,
            values=values, kept=kept,
        )  # fmt: skip
