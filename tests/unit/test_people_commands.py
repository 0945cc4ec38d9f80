"""The operator's words for people: the host and the container understand the same."""

from __future__ import annotations

import argparse

import pytest

from tests.unit.ops_fakes import FakeHost, make_session
from vixtract.errors import PreconditionError
from vixtract.hub import operator
from vixtract.ops.arguments import build_parser
from vixtract.ops.host import Completed
from vixtract.ops.instance import load_instance
from vixtract.ops.people import describe_removal, run_people
from vixtract.people_commands import COMMANDS, add_commands, build_words

EXAMPLES = [
    ("user add anna", "user add -- anna"),
    ("user add --admin anna", "user add --admin -- anna"),
    ("user list --json", "user list --json"),
    ("user list", "user list"),
    ("user passwd anna", "user passwd -- anna"),
    ("user disable anna", "user disable -- anna"),
    ("user enable anna", "user enable -- anna"),
    ("user grant-admin anna", "user grant-admin -- anna"),
    ("user revoke-admin anna", "user revoke-admin -- anna"),
    ("user source anna ldap", "user source -- anna ldap"),
    ("user remove anna -y", "user remove -- anna"),
    ("user remove anna --keep-home", "user remove --keep-home -- anna"),
    ("user remove anna --hand-over-to boris", "user remove --hand-over-to=boris -- anna"),
    ("team add sales --private --database", "team add --private --database -- sales"),
    ("team list", "team list"),
    ("team remove sales --yes", "team remove -- sales"),
    ("team join sales anna", "team join -- sales anna"),
    ("team leave sales anna", "team leave -- sales anna"),
    ("reader add bi --schema a --schema=-b", "reader add --schema=a --schema=-b -- bi"),
    ("reader add bi --all", "reader add --all -- bi"),
    ("reader list --json", "reader list --json"),
    ("reader passwd bi", "reader passwd -- bi"),
    ("reader remove bi", "reader remove -- bi"),
]


def container_parser():
    """Return the command line of the program in the container."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    add_commands(lambda name, text: commands.add_parser(name, help=text), "container")
    return parser


@pytest.mark.parametrize(("line", "passed"), EXAMPLES)
def test_the_container_understands_what_the_host_was_told(line, passed):
    host = build_parser().parse_args(line.split())
    words = build_words(host)
    assert words == passed.split()
    inside = vars(container_parser().parse_args(words))
    own = {"password_stdin", "generate"}
    assert {name: vars(host)[name] for name in inside.keys() - own} == {
        name: value for name, value in inside.items() if name not in own
    }


def test_every_word_has_an_example_and_a_program_and_help(capsys):
    every = {(command, word) for command, (_, words) in COMMANDS.items() for word in words}
    assert {tuple(line.split()[:2]) for line, _ in EXAMPLES} == every == set(operator._COMMANDS)
    for command, (text, words) in COMMANDS.items():
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert f"{text[0].upper()}{text[1:]}." in shown
        assert all(f" {word} {help_text}" in shown for word, (help_text, _) in words.items())


def test_passwords_are_given_in_the_container_alone_and_questions_asked_on_the_host_alone():
    for words in ("user add anna --generate", "user passwd anna --password-stdin"):
        assert container_parser().parse_args(words.split())
        with pytest.raises(SystemExit):
            build_parser().parse_args(words.split())
    with pytest.raises(SystemExit):
        container_parser().parse_args(["user", "remove", "--yes", "anna"])


@pytest.mark.parametrize(
    "line",
    [
        "user remove anna --keep-home --hand-over-to boris",
        "user source anna saml",
        "user add",
        "team join sales",
        "user",
        "user fly anna",
    ],
)
def test_what_makes_no_sense_is_refused_on_both_sides(line, capsys):
    for parser in (build_parser(), container_parser()):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(line.split())
        assert caught.value.code == 2
    assert "usage: vixtract user" in capsys.readouterr().err or line.startswith("team")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("user remove anna", "Remove anna: files and tables go to the archive"),
        ("user remove anna --hand-over-to boris", "files, schedules and tables go to boris"),
        ("team remove sales", "its folder and schema go to the archive"),
        ("reader remove bi", "Remove the reader bi"),
    ],
)
def test_a_removal_says_what_becomes_of_everything(line, what):
    question, instead = describe_removal(build_parser().parse_args(line.split()))
    assert what in question and "--yes" in instead


def test_people_are_changed_while_the_hub_runs(tmp_path):
    session = make_session(FakeHost(tmp_path, {"docker ps": Completed(0, "")}))
    options = build_parser().parse_args(["user", "list"])
    with pytest.raises(PreconditionError, match="people are changed while it runs"):
        run_people(session, load_instance(tmp_path, {}, {}), options)
