"""Another Cronicle's export: what comes along, as whom, and what is refused."""

from __future__ import annotations

import json

import pytest

from vixtract.cronicle_edge.importing import (
    CannotImportError,
    build_script,
    convert,
    import_events,
    list_others,
    read_export,
)
from vixtract.errors import UsageError

PEOPLE = ("anna", "bob")
EVENT = {
    "id": "ejx1", "title": "Nightly", "enabled": 1, "category": "general", "target": "maingrp", "plugin": "shellplug",
    "params": {"script": "#!/bin/sh\necho hi\n", "annotate": 0, "json": 0}, "timing": {"hours": [3], "minutes": [15]},
    "timezone": "Europe/Moscow", "max_children": 1, "timeout": 3600, "catch_up": 0, "queue_max": 1000, "algo": "random",
    "username": "anna", "notes": "", "created": 1, "modified": 1, "cpu_limit": 100, "memory_limit": 0,
}  # fmt: skip


def is_person(name):
    return name in PEOPLE


def export(*events, **lists):
    """Write an export as classic Cronicle does."""
    pages = {"schedule": list(events), **lists}
    lines = [
        "# Cronicle Data Export v1.0",
        "# Hostname: old",
        "",
        'users/anna - {"username":"anna"}',
    ]
    for name, items in pages.items():
        head = {
            "page_size": 50,
            "first_page": 0,
            "last_page": 0,
            "length": len(items),
            "type": "list",
        }
        lines += [
            f"global/{name} - {json.dumps(head)}",
            f"global/{name}/0 - {json.dumps({'type': 'list_page', 'items': items})}",
        ]
    return "\n".join(lines) + "\n"


def test_an_event_becomes_its_authors_schedule():
    event, left = convert(EVENT, "", is_person)
    assert event["params"] == {"script": EVENT["params"]["script"], "owner": "anna"}
    assert (event["username"], event["target"], event["timing"]) == (
        "anna",
        "allgrp",
        EVENT["timing"],
    )
    assert left == ["cpu_limit"]


@pytest.mark.parametrize(
    "extra",
    [{"uid": "root"}, {"gid": 0}, {"debug_sudo": 1}, {"env": {"A": "b"}}, {"command": "/bin/sh"}, {"cwd": "/root"}],
)  # fmt: skip
def test_nothing_that_chooses_the_process_comes_along(extra):
    event, left = convert({**EVENT, **extra}, "", is_person)
    assert not set(extra) & set(event)
    assert not any(extra.values()) or set(extra) <= set(left)
    assert event["params"]["owner"] == "anna"


def test_a_papermill_script_is_its_notebooks_owners():
    script = "papermill --cwd ./jupyter-home/bob/ ./jupyter-home/bob/in.ipynb ./jupyter-home/bob/out.ipynb"
    event, left = convert({**EVENT, "params": {"script": script}}, "", is_person)
    assert event["username"] == "bob" and "author anna, now bob" in left
    with pytest.raises(CannotImportError, match="carl"):
        convert({**EVENT, "params": {"script": script.replace("bob", "carl")}}, "anna", is_person)


def test_what_is_nobodys_needs_an_owner():
    with pytest.raises(CannotImportError, match="--owner"):
        convert({**EVENT, "username": "admin"}, "", is_person)
    event, _ = convert({**EVENT, "username": "admin"}, "bob", is_person)
    assert event["username"] == "bob"


def test_a_web_request_becomes_a_script_that_no_value_can_break_out_of():
    params = {
        "method": "post; id",
        "url": "-o/etc/x'; id; '",
        "headers": "A: b\n\nC: $(id)",
        "data": "`id`",
        "timeout": "x",
    }
    script = build_script({"plugin": "urlplug", "params": params})
    assert "--request POSTID" in script and "--max-time 30" in script
    assert "'C: $(id)'" in script and "'`id`'" in script
    assert script.rstrip().endswith("""-- '-o/etc/x'"'"'; id; '"'"''""")


@pytest.mark.parametrize("plugin", ["testplug", "p123", "sshplug", "workflow"])
def test_other_plugins_are_refused(plugin):
    with pytest.raises(CannotImportError, match=plugin):
        convert({**EVENT, "plugin": plugin}, "anna", is_person)


def test_a_whole_export_is_listed_and_odd_values_are_mended():
    odd = {
        **EVENT,
        "id": "a-b",
        "title": "<b>Odd</b>",
        "retries": "2",
        "timeout": 1e12,
        "enabled": True,
        "timing": False,
    }
    text = export(
        EVENT, odd, {**EVENT, "title": "Other", "plugin": "p1"},
        plugins=[{"id": "shellplug", "uid": ""}, {"id": "p1", "command": "/root/x"}],
        api_keys=[{"id": "k", "title": "BI", "key": "SECRET"}], categories=[{"id": "general"}, {"id": "c", "title": "Own"}],
    )  # fmt: skip
    found = read_export(text)
    rows = list(import_events(found, None, "", is_person))
    assert [row[:2] for row in rows] == [
        ("refused", "Other"), ("imported", "<b>Odd</b>"), ("imported", "Nightly"),
    ]  # fmt: skip
    others = list(list_others(found, is_person))
    assert len(others) == 5 and not any("SECRET" in line for line in others)
    assert any("ran as root" in line for line in others)
    event, _ = convert(odd, "", is_person)
    assert (event["id"], event["title"], event["retries"], event["enabled"]) == (
        "ab",
        "bOdd/b",
        2,
        1,
    )


@pytest.mark.parametrize(
    "text", ["", "# only\n", "hello\n", "users/a - {broken\n", "users/a - []\n"]
)
def test_a_file_that_is_no_export_is_refused(text):
    with pytest.raises(UsageError):
        read_export(text)
