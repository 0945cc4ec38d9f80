"""Which names are taken, and which are refused with which reason."""

from __future__ import annotations

import pytest

from vixtract.people.names import InvalidNameError, check_name


@pytest.mark.parametrize(
    "name", ["q", "x", "ab", "_me", "ivan.petrov", "a-b_c.d", "admin", "x" * 32, "order", "user1"]
)
def test_usable_names(name):
    check_name(name, lookup_uid=lambda _: None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "not a valid name"),
        ("Anna", "not a valid name"),
        ("1abc", "not a valid name"),
        (".hidden", "not a valid name"),
        ("-rf", "not a valid name"),
        ("a b", "not a valid name"),
        ("a/b", "not a valid name"),
        ("a\n", "not a valid name"),
        ("a\x00", "not a valid name"),
        ("анна", "not a valid name"),
        ("x" * 33, "not a valid name"),
        ("a..b", "dot where none is allowed"),
        ("a.", "dot where none is allowed"),
        ("root", "reserved"),
        ("postgres", "reserved"),
        ("bi", "reserved"),
        ("public", "reserved"),
        ("pg_read_all_data", "reserved"),
        ("none", "reserved"),
    ],
)
def test_refused_names(name, reason):
    with pytest.raises(InvalidNameError, match=reason):
        check_name(name, lookup_uid=lambda _: None)


def test_system_accounts_are_refused_and_people_are_not():
    check_name("anna", lookup_uid=lambda _: 2000)
    with pytest.raises(InvalidNameError, match="system account"):
        check_name("www-data", lookup_uid=lambda _: 33)
    with pytest.raises(InvalidNameError, match="system account"):
        check_name("daemon")
    with pytest.raises(InvalidNameError, match="system account"):
        check_name("tty")  # a group of every Debian, and no account


def test_long_garbage_is_cut_in_the_message():
    with pytest.raises(InvalidNameError) as caught:
        check_name("A" * 10_000)
    assert len(caught.value.message) < 100
