"""OS accounts from the owners of homes; the machine's account files are stood in for by a table."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import subprocess
from types import SimpleNamespace

import pytest

from vixtract.people import accounts
from vixtract.people.accounts import AccountError, end_processes
from vixtract.people.names import InvalidNameError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home directory, and accounts that live in a table instead of /etc/passwd."""
    table: dict[str, SimpleNamespace] = {"root": SimpleNamespace(pw_uid=0, pw_name="root")}
    groups: dict[str, list[str]] = {accounts.ADMIN_GROUP: []}

    def find(name):
        return table[name]

    def run(command):
        program, name = command[0], command[-1]
        if program == "/usr/sbin/useradd":
            uid = int(command[command.index("--uid") + 1])
            if uid in {account.pw_uid for account in table.values()}:
                raise AccountError(f"useradd failed: UID {uid} is not unique")
            table[name] = SimpleNamespace(pw_uid=uid, pw_gid=uid, pw_name=name)
        elif program == "/usr/bin/gpasswd":
            name = command[2]
            groups[accounts.ADMIN_GROUP] = [m for m in groups[accounts.ADMIN_GROUP] if m != name]
            if command[1] == "-a":
                groups[accounts.ADMIN_GROUP].append(name)

    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "first.ipynb").write_text("{}")
    home_root = tmp_path / "home"
    home_root.mkdir()
    monkeypatch.setattr(pwd, "getpwnam", find)
    monkeypatch.setattr(pwd, "getpwall", lambda: list(table.values()))
    monkeypatch.setattr(
        grp, "getgrnam", lambda name: SimpleNamespace(gr_mem=groups[name], gr_gid=1900)
    )
    monkeypatch.setattr(accounts, "has_group", lambda _: True)
    monkeypatch.setattr(accounts, "_run", run)
    monkeypatch.setattr(accounts, "EXAMPLES", examples)
    return SimpleNamespace(home=home_root, table=table, groups=groups, examples=examples)


def make_home(machine, name, uid):
    (machine.home / name).mkdir()
    os.chown(machine.home / name, uid, uid)


def test_new_person_gets_a_home_of_their_own(machine):
    account = accounts.ensure_account("anna", machine.home, create_home=True)
    home = machine.home / "anna"
    assert account.pw_uid == 2000
    assert home.stat().st_mode & 0o777 == 0o700
    owners = {path.lstat().st_uid for path in [home, *home.rglob("*")]}
    assert owners == {2000}
    assert (home / ".local/lib/python3.13/site-packages").is_dir()
    assert (home / "examples/first.ipynb").is_file()
    assert (home / "runs").readlink() == accounts.RUNS / "anna"
    assert [entry.name for entry in machine.home.iterdir()] == ["anna"]


def test_second_run_leaves_the_persons_files_alone(machine):
    accounts.ensure_account("anna", machine.home, create_home=True)
    home = machine.home / "anna"
    (home / "examples/first.ipynb").write_text("mine")
    (home / "runs").unlink()
    (home / "runs").mkdir()
    home.chmod(0o750)
    accounts.ensure_account("anna", machine.home, create_home=True)
    assert accounts.ensure_runs_link("anna", machine.home) is False
    assert (home / "examples/first.ipynb").read_text() == "mine"
    assert (home / "runs").is_dir()
    assert home.stat().st_mode & 0o777 == 0o750


def test_missing_link_is_made_and_missing_examples_are_tolerated(machine):
    (machine.examples / "first.ipynb").unlink()
    machine.examples.rmdir()
    accounts.ensure_account("anna", machine.home, create_home=True)
    (machine.home / "anna/runs").unlink()
    assert accounts.ensure_runs_link("anna", machine.home) is True


def test_uid_is_one_above_all_owners_and_accounts(machine):
    make_home(machine, "zoe", 2007)
    assert accounts.next_uid(machine.home) == 2008
    machine.table["gone"] = SimpleNamespace(pw_uid=2011, pw_name="gone")
    machine.table["nobody"] = SimpleNamespace(pw_uid=65534, pw_name="nobody")
    assert accounts.ensure_account("q", machine.home, create_home=True).pw_uid == 2012


def test_accounts_come_back_with_the_uids_of_their_homes(machine):
    for name, uid in (("zoe", 2003), ("a.b", 2001), ("q", 2010)):
        make_home(machine, name, uid)
    assert accounts.recreate_accounts(machine.home) == ["a.b", "q", "zoe"]
    assert {n: a.pw_uid for n, a in machine.table.items()} == {
        "root": 0,
        "zoe": 2003,
        "a.b": 2001,
        "q": 2010,
    }


def test_bad_homes_stop_nobody_elses_account(machine):
    make_home(machine, "anna", 2001)
    make_home(machine, "of-root", 0)
    make_home(machine, "lost+found", 0)
    make_home(machine, ".new-half", 2005)
    (machine.home / "file").write_text("")
    (machine.home / "link").symlink_to(machine.home / "anna")
    assert accounts.recreate_accounts(machine.home) == ["anna"]
    assert sorted(machine.table) == ["anna", "root"]


def test_copied_home_does_not_take_the_persons_account(machine):
    make_home(machine, "anna", 2001)
    make_home(machine, "a-copy-of-anna", 2001)
    assert accounts.recreate_accounts(machine.home, preferred={"anna"}) == ["anna"]


def test_cut_creation_is_begun_again(machine):
    half = machine.home / ".new-anna"
    half.mkdir()
    (half / "rubbish").write_text("")
    accounts.ensure_account("anna", machine.home, create_home=True)
    assert not half.exists()
    assert not (machine.home / "anna/rubbish").exists()


def test_no_home_is_no_account_unless_asked_for(machine):
    with pytest.raises(AccountError, match="There is no home"):
        accounts.ensure_account("anna", machine.home)


@pytest.mark.parametrize("name", ["root", "../etc", "", "Anna"])
def test_no_account_for_a_name_that_is_no_persons(machine, name):
    with pytest.raises(InvalidNameError):
        accounts.ensure_account(name, machine.home, create_home=True)


def test_link_is_no_home(machine):
    make_home(machine, "anna", 2001)
    (machine.home / "eve").symlink_to(machine.home / "anna")
    with pytest.raises(AccountError, match="not a directory"):
        accounts.ensure_account("eve", machine.home, create_home=True)


def test_account_that_does_not_fit_its_home_is_named(machine):
    make_home(machine, "anna", 2001)
    machine.table["anna"] = SimpleNamespace(pw_uid=2009, pw_gid=2009, pw_name="anna")
    with pytest.raises(
        AccountError, match="belongs to uid 2001, but the account 'anna' has uid 2009"
    ):
        accounts.ensure_account("anna", machine.home)


def test_admin_group_follows_the_flag(machine):
    accounts.set_admin("anna", True)
    accounts.set_admin("anna", True)
    assert machine.groups[accounts.ADMIN_GROUP] == ["anna"]
    accounts.set_admin("anna", False)
    accounts.set_admin("anna", False)
    assert machine.groups[accounts.ADMIN_GROUP] == []


def test_processes_of_an_account_end_whatever_they_do_about_it():
    uid = 47113
    ignores = "trap '' TERM; echo ready; while :; do sleep 1; done"
    commands = (["sleep", "60"], ["sh", "-c", ignores], ["sleep", "60"])
    started = [subprocess.Popen(c, user=uid, stdout=subprocess.PIPE) for c in commands]
    started[1].stdout.readline()
    os.kill(started[2].pid, signal.SIGSTOP)
    other = subprocess.Popen(["sleep", "60"], user=uid + 1)
    try:
        assert end_processes(lambda owner: owner == uid, timeout_s=0.3) >= 3
        ends = [process.wait(10) for process in started]
        assert ends == [-signal.SIGTERM, -signal.SIGKILL, -signal.SIGKILL]
        assert other.poll() is None
        assert end_processes(lambda owner: owner == uid, timeout_s=0.3) == 0
    finally:
        for process in (*started, other):
            process.kill()
            process.wait(10)
            if process.stdout:
                process.stdout.close()


@pytest.mark.parametrize(
    ("words", "problem"), [("sleep 60", "it took longer than 0.2 s"), ("echo no >&2; exit 3", "no")]
)
def test_a_command_that_fails_or_hangs_is_an_error_of_that_account(monkeypatch, words, problem):
    monkeypatch.setattr(accounts, "COMMAND_S", 0.2)
    with pytest.raises(AccountError, match=rf"sh failed for .*: {problem}$"):
        accounts._run(["/bin/sh", "-c", f"exec {words}" if "sleep" in words else words])
