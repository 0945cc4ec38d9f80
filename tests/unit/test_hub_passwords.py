"""Local passwords: what matches, what is refused, and who is locked out for how long."""

from __future__ import annotations

import pytest

from vixtract.hub import passwords
from vixtract.hub.passwords import LockedError, PasswordError, PasswordStore
from vixtract.sqlite import open_sqlite

HOME = "address:10.0.0.1"
ATTACKER = "address:10.6.6.6"
BROWSER = "browser:abc"


class Clock:
    """A clock that stands still until it is told."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """A clock of the test's own; hashing is made cheap, its cost is not what is tried here."""
    monkeypatch.setattr(passwords, "_LOG_N", 4)
    monkeypatch.setattr(passwords, "_P", 1)
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    """A store with one person."""
    store = PasswordStore(tmp_path / "hub.sqlite", clock=clock)
    store.set_password("anna", "right-password")
    return store


def fail(store, times, client=HOME, name="anna"):
    for number in range(times):
        assert store.verify(name, f"wrong-{number}", client=client) is False


def test_right_password_matches_and_others_do_not(store):
    assert store.verify("anna", "right-password", client=HOME)
    for wrong in ("", "right-passwor", "right-password ", "RIGHT-PASSWORD", "x" * 100_000):
        assert not passwords.is_hash_of(store._stored_hash("anna"), wrong)
    assert not store.verify("nobody", "right-password", client=HOME)


@pytest.mark.slow
def test_real_cost_is_owasps_minimum_and_in_the_hash():
    stored = passwords.hash_password("абв ✓")
    assert stored.startswith("scrypt$15$8$3$")
    assert passwords.is_hash_of(stored, "абв ✓")
    assert stored != passwords.hash_password("абв ✓"), "salted"


def test_five_failures_lock_this_client_for_fifteen_minutes(store, clock):
    fail(store, 5)
    with pytest.raises(LockedError, match="Try again in 15 min"):
        store.verify("anna", "right-password", client=HOME)
    assert store.verify("anna", "right-password", client=ATTACKER), "another address is free"
    assert store.verify("anna", "right-password", client=BROWSER), "so is a known browser"
    clock.now += passwords.WINDOW_S - 1
    with pytest.raises(LockedError, match="1 min"):
        store.verify("anna", "right-password", client=HOME)
    clock.now += 2
    assert store.verify("anna", "right-password", client=HOME)


def test_tries_while_locked_do_not_lengthen_the_lock(store, clock):
    fail(store, 5)
    for _ in range(20):
        clock.now += 30
        with pytest.raises(LockedError):
            store.verify("anna", "x", client=HOME)
    clock.now += passwords.WINDOW_S - 20 * 30 + 1
    assert store.verify("anna", "right-password", client=HOME)


def test_success_forgets_this_clients_failures(store):
    for _ in range(3):
        fail(store, 4)
        assert store.verify("anna", "right-password", client=HOME)


@pytest.mark.slow
def test_many_addresses_together_are_locked_but_a_known_browser_is_not(store):
    for number in range(10):
        fail(store, 5, client=f"address:10.6.6.{number}")
    with pytest.raises(LockedError):
        store.verify("anna", "right-password", client="address:10.7.7.7")
    assert store.verify("anna", "right-password", client=BROWSER)
    assert store.verify("boris", "x", client="address:10.7.7.7") is False, "other names are free"


def test_failures_in_a_known_browser_lock_that_browser_alone(store):
    fail(store, 5, client=BROWSER)
    with pytest.raises(LockedError):
        store.verify("anna", "right-password", client=BROWSER)
    assert store.verify("anna", "right-password", client=HOME)


def test_lock_is_durable_and_a_new_password_ends_it(store, tmp_path, clock):
    fail(store, 5)
    again = PasswordStore(tmp_path / "hub.sqlite", clock=clock)
    with pytest.raises(LockedError):
        again.verify("anna", "right-password", client=HOME)
    again.set_password("anna", "new-password")
    assert again.verify("anna", "new-password", client=HOME)
    assert not again.verify("anna", "right-password", client=HOME)


def test_unknown_names_are_locked_like_known_ones(store):
    fail(store, 5, name="ghost")
    with pytest.raises(LockedError):
        store.verify("ghost", "x", client=HOME)


def test_deleted_person_has_no_password(store):
    assert store.names() == {"anna"}
    store.delete("anna")
    assert store.names() == frozenset()
    assert not store.has_password("anna")
    assert not store.verify("anna", "right-password", client=HOME)


def test_old_failures_do_not_pile_up(store, clock):
    fail(store, 4, name="one")
    clock.now += passwords.WINDOW_S + 1
    fail(store, 1, name="two")
    with open_sqlite(store._database) as connection:
        rows = connection.execute("SELECT name FROM vixtract_login_failure").fetchall()
    assert rows == [("two",)]


@pytest.mark.parametrize(
    "password", ["", "1234567", "x" * 257, "vixtract", "VIXTRACT", "ivan.petrov"]
)
def test_weak_new_passwords_are_refused(password):
    with pytest.raises(PasswordError):
        passwords.check_new_password(password, name="ivan.petrov")


@pytest.mark.parametrize("password", ["12345679", "x" * 256, "пароль-1", "with space "])
def test_usable_new_passwords(password):
    passwords.check_new_password(password, name="anna")
