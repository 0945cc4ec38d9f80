"""OS accounts of people: they own files and processes, and have no password.

No volume holds /etc: each new container makes the accounts again, from the owners of the homes.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people.archive import list_left
from vixtract.people.names import FIRST_UID, InvalidNameError, check_name

log = logging.getLogger(__name__)

ADMIN_GROUP = "libadmin"
USER_SITE = Path(".local/lib/python3.13/site-packages")
EXAMPLES = Path("/usr/share/vixtract/examples")
SKELETON = Path("/etc/skel")
RUNS = Path("/runs")
COMMAND_S = 30.0

# Where the jupyter container keeps the Hub's state, and how the Hub is started.
STATE = Path("/srv/jupyterhub")
DATABASE = STATE / "jupyterhub.sqlite"
SECRETS = Path("/srv/secrets")
RUNTIME = Path("/run/vixtract")
PREFIX = "/opt/jupyterhub"
HUB = (
    f"{PREFIX}/bin/python",
    "-I",
    f"{PREFIX}/bin/jupyterhub",
    "-f",
    f"{PREFIX}/etc/jupyterhub_config.py",
)

# useradd and gpasswd lock /etc/passwd and give up at once when it is taken.
_lock = threading.RLock()


class AccountError(VixtractError):
    """An OS account could not be made or does not fit its home."""


def ensure_account(
    name: str, home_root: Path = Path("/home"), *, create_home: bool = False
) -> pwd.struct_passwd:
    """Return a person's OS account, made from the owner of their home where it is missing.

    Args:
        create_home: make a missing home too, with the next free uid.
    Raises:
        InvalidNameError: the name is a system account's or malformed.
        AccountError: there is no home, its owner is no person, or useradd failed.
    """
    check_name(name)
    with _lock:
        account = _find_account(name)
        home = home_root / name
        if create_home and not os.path.lexists(home):
            uid = account.pw_uid if account else next_uid(home_root)
            _make_home(home, uid)
        uid = _owner(home)
        if account is None:
            _add_account(name, uid, home)
        elif account.pw_uid != uid:
            raise AccountError(
                f"{home} belongs to uid {uid}, but the account {name!r} has uid {account.pw_uid}.",
                "Start the container again: accounts are made anew from the owners of the homes.",
            )
        return pwd.getpwnam(name)


def recreate_accounts(
    home_root: Path = Path("/home"), *, preferred: Collection[str] = ()
) -> list[str]:
    """Make the accounts of all homes again, and return their names; one bad home stops no other.

    Args:
        preferred: names that come first where two homes have one owner (a copied home).
    """
    names = sorted(entry.name for entry in home_root.iterdir() if not entry.name.startswith("."))
    made = []
    for name in sorted(names, key=lambda name: (name not in preferred, name)):
        try:
            ensure_account(name, home_root)
        except (InvalidNameError, AccountError) as error:
            log.warning("No account for %s: %s", home_root / name, error.message)
        else:
            made.append(name)
    return sorted(made)


def next_uid(home_root: Path) -> int:
    """Return the uid of the next new person: one above all owners of homes and all accounts."""
    owners = [entry.lstat().st_uid for entry in home_root.iterdir()]
    accounts = [account.pw_uid for account in pwd.getpwall()]
    # Files of people who left may still exist: their uids are never used again.
    left = [uid for _, uid in list_left(home_root)]
    # 60000 and up belong to the system's account `nobody` and to the container engine.
    used = [uid for uid in owners + accounts + left if uid < 60000]
    return max([FIRST_UID - 1, *used]) + 1


def remove_account(name: str, uid: int) -> bool:
    """Remove the account of a person who left, and their processes; return whether there was one.

    Args:
        uid: that it must have; a new person of this name has another one.
    Raises:
        AccountError: userdel failed.
    """
    if not FIRST_UID <= uid < 60000:
        raise AccountError(f"Uid {uid} is no person's.")
    end_processes(lambda owner: owner == uid)
    with _lock:
        account = _find_account(name)
        if account is None or account.pw_uid != uid:
            return False
        # Takes the account out of all groups, and its own group with it.
        _run(["/usr/sbin/userdel", "--force", name])
    return True


def end_processes(is_meant: Callable[[int], bool], timeout_s: float = 2.0) -> int:
    """End all processes of some accounts in this container, and return how many there were.

    Args:
        is_meant: returns for a uid whether its processes end.
        timeout_s: seconds between SIGTERM and SIGKILL.
    """
    first = found = _signal_all(is_meant, signal.SIGTERM)
    end = time.monotonic() + timeout_s
    while found and time.monotonic() < end:
        time.sleep(0.05)
        found = _signal_all(is_meant, None)
    # A process that forks all the time is caught by one of many rounds.
    for _ in range(50):
        if not found:
            break
        found = _signal_all(is_meant, signal.SIGKILL)
        time.sleep(0.02)
    return len(first)


def _signal_all(is_meant: Callable[[int], bool], number: signal.Signals | None) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if not path.name.isdigit() or not is_meant(path.stat().st_uid):
                continue
            if b"\nState:\tZ" in (path / "status").read_bytes():
                continue
            if number is not None:
                os.kill(int(path.name), number)
            found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


def set_admin(name: str, is_admin: bool) -> None:
    """Put an account into the group of library admins, or take it out.

    Processes that run already keep what they have.

    Raises:
        AccountError: gpasswd failed.
    """
    with _lock:
        members = grp.getgrnam(ADMIN_GROUP).gr_mem
        if is_admin != (name in members):
            _run(["/usr/bin/gpasswd", "-a" if is_admin else "-d", name, ADMIN_GROUP])


def ensure_group(name: str, gid: int, members: Collection[str]) -> None:
    """Make a team's group with these members, those who have an account.

    Raises:
        AccountError: a group of that name has another number, or a command failed.
    """
    with _lock:
        if not has_group(name):
            _run(["/usr/sbin/groupadd", "--gid", str(gid), name])
        found = grp.getgrnam(name)
        if found.gr_gid != gid:
            raise AccountError(f"The group {name!r} has number {found.gr_gid}, not {gid}.")
        wanted = {member for member in members if _find_account(member) is not None}
        for member in sorted(wanted ^ set(found.gr_mem)):
            _run(["/usr/bin/gpasswd", "-a" if member in wanted else "-d", member, name])


def set_group_folder(folder: Path, gid: int) -> None:
    """Let a group write a folder of root's, and make all that is put there the group's.

    Raises:
        AccountError: chmod failed.
    """
    # Only a member may set the bit for the group: containers are not given CAP_FSETID.
    _run(["/usr/bin/chmod", "2770", str(folder)], group=gid)


def remove_group(name: str, gid: int) -> None:
    """Remove a team's group, where it is there with this number."""
    with _lock:
        if has_group(name) and grp.getgrnam(name).gr_gid == gid:
            _run(["/usr/sbin/groupdel", name])


def ensure_runs_link(name: str, home_root: Path = Path("/home")) -> bool:
    """Link ~/runs to the person's runs, where nothing of that name exists."""
    try:
        (home_root / name / "runs").symlink_to(RUNS / name)
    except (FileExistsError, FileNotFoundError, NotADirectoryError):
        return False
    return True


def _find_account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _owner(home: Path) -> int:
    try:
        status = home.lstat()
    except FileNotFoundError:
        raise AccountError(
            f"There is no home {home}.", "Add the person in the Hub's Control Panel."
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise AccountError(f"{home} is not a directory.", "Move it away.")
    if not FIRST_UID <= status.st_uid < 60000:
        raise AccountError(
            f"{home} belongs to uid {status.st_uid}, which is no person's.",
            f"Give it to a uid of {FIRST_UID} or more, with all that is in it.",
        )
    return status.st_uid


def _add_account(name: str, uid: int, home: Path) -> None:
    if not has_group(name):
        _run(["/usr/sbin/groupadd", "--gid", str(uid), name])
    command = ["/usr/sbin/useradd", "--uid", str(uid), "--gid", str(uid), "--no-create-home"]
    command += ["--home-dir", str(home), "--shell", "/bin/bash", "--no-log-init", name]
    _run(command)


def has_group(name: str) -> bool:
    """Return whether the container has a group of this name."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _make_home(home: Path, uid: int) -> None:
    """Fill a new home under a temporary name, then rename it: no home is ever half made."""
    new = home.parent / f".new-{home.name}"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if SKELETON.is_dir():
        shutil.copytree(SKELETON, new, dirs_exist_ok=True, symlinks=True)
    if EXAMPLES.is_dir():
        shutil.copytree(EXAMPLES, new / "examples", dirs_exist_ok=True)
    # Python looks for its user site at start only: made later, it would need a new kernel.
    (new / USER_SITE).mkdir(parents=True)
    (new / "runs").symlink_to(RUNS / home.name)
    new.chmod(0o700)
    for path in new.rglob("*"):
        os.lchown(path, uid, uid)
    os.chown(new, uid, uid)
    new.rename(home)


def _run(command: list[str], *, group: int | None = None) -> None:
    # The environment is empty: an admin can write /usr/local, and no variable may lead there.
    try:
        result = subprocess.run(
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            group=group,
        )
    except subprocess.TimeoutExpired:
        problem = f"it took longer than {COMMAND_S:g} s"
    else:
        if result.returncode == 0:
            return
        problem = result.stderr.strip()
    raise AccountError(f"{Path(command[0]).name} failed for {command[-1]!r}: {problem}")


def main() -> int:
    """Make one person's account and home: what authenticators of drop-ins call."""
    try:
        ensure_account(sys.argv[-1], create_home=True)
    except (InvalidNameError, AccountError) as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
